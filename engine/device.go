package engine

/*
#include <stdlib.h>
#include "shim.h"
*/
import "C"

import (
	"context"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"unsafe"

	vk "github.com/vulkan-go/vulkan"
)

// Device is an open device. Its methods may be called from several goroutines;
// work is submitted in the order of the calls.
type Device struct {
	Info

	handle  vk.Device
	shim    *C.shim_device
	queue   vk.Queue
	family  uint32
	shaders fs.FS

	submit  sync.Mutex // the queue, the pools and the staging buffer
	pool    vk.CommandPool
	staging *block
	lost    atomic.Pointer[error] // set once, by sink

	modules   moduleCache
	pipelines pipelineCache
	allocated uint64 // bytes in buffers
	blocks    map[*block]bool
	programs  map[*Program]bool
	cache     vk.PipelineCache

	statistics bool // of pipelines are captured

	closing    context.Context // ends what runs in the background
	close      context.CancelFunc
	background sync.WaitGroup
}

// Open opens the device for computing. shaders holds the kernels' SPIR-V as
// <name>.spv.
func Open(info Info, shaders fs.FS) (*Device, error) {
	if info.Rejected != "" {
		return nil, fmt.Errorf("open %s: %w: %s", info.Name, ErrNoDevice, info.Rejected)
	}
	d, err := open(info, shaders, false)
	if err == nil {
		d.openPipelineCache()
	}
	return d, err
}

// open is Open without the cache of pipelines: a cached one may lack statistics.
func open(info Info, shaders fs.FS, statistics bool) (*Device, error) {
	family := info.computeFamily()
	d := &Device{Info: info, family: uint32(family), shaders: shaders, statistics: statistics, blocks: map[*block]bool{}, programs: map[*Program]bool{}}
	d.closing, d.close = context.WithCancel(context.Background())
	var extensions []string
	if info.extensions[extPortabilitySubset] {
		extensions = append(extensions, extPortabilitySubset+"\x00")
	}
	var features unsafe.Pointer
	if statistics {
		extensions = append(extensions, extExecutableProperties+"\x00")
		features = C.shim_executable_features()
	}
	bfloat16 := len(info.Features.MatricesBF16) > 0
	matrices := len(info.Features.Matrices) > 0 || bfloat16
	if matrices {
		for _, name := range matrixExtensions {
			extensions = append(extensions, name+"\x00")
		}
	}
	if bfloat16 {
		extensions = append(extensions, extBFloat16+"\x00")
	}
	flexible := len(info.Features.Flexible)+len(info.Features.FlexibleBF16) > 0
	if flexible {
		extensions = append(extensions, extCooperativeMatrix2+"\x00")
	}
	if info.Features.Int64 || matrices {
		if features = C.shim_features(features, cbool(info.Features.Int64), cbool(matrices), cbool(bfloat16), cbool(flexible), cbool(info.Features.hasWorkgroupMatrices())); features == nil {
			return nil, fmt.Errorf("open %s: %w", info.Name, ErrOutOfMemory)
		}
		defer C.free(features)
	}
	create := &vk.DeviceCreateInfo{
		SType:                vk.StructureTypeDeviceCreateInfo,
		PNext:                features,
		QueueCreateInfoCount: 1,
		PQueueCreateInfos: []vk.DeviceQueueCreateInfo{{
			SType:            vk.StructureTypeDeviceQueueCreateInfo,
			QueueFamilyIndex: d.family,
			QueueCount:       1,
			PQueuePriorities: []float32{1},
		}},
		EnabledExtensionCount:   uint32(len(extensions)),
		PpEnabledExtensionNames: extensions,
	}
	var handle vk.Device
	result := vk.CreateDevice(info.physical, create, nil, &handle)
	create.Free()
	if err := check(result, "vkCreateDevice", "%s", info.Name); err != nil {
		return nil, err
	}
	d.handle = handle
	d.shim = C.shim_device_new(library.get, C.shim_handle(unsafe.Pointer(instance.handle)), C.shim_handle(unsafe.Pointer(handle)))
	if d.shim == nil {
		vk.DestroyDevice(handle, nil)
		return nil, fmt.Errorf("open %s: its driver lacks functions of Vulkan 1.0", info.Name)
	}
	var queue vk.Queue
	vk.GetDeviceQueue(handle, d.family, 0, &queue)
	d.queue = queue
	poolInfo := &vk.CommandPoolCreateInfo{
		SType:            vk.StructureTypeCommandPoolCreateInfo,
		Flags:            vk.CommandPoolCreateFlags(vk.CommandPoolCreateResetCommandBufferBit),
		QueueFamilyIndex: d.family,
	}
	var pool vk.CommandPool
	result = vk.CreateCommandPool(handle, poolInfo, nil, &pool)
	poolInfo.Free()
	if err := check(result, "vkCreateCommandPool", "%s", info.Name); err != nil {
		d.Close()
		return nil, err
	}
	d.pool = pool
	return d, nil
}

// Close waits for the device to finish and frees everything on it, buffers and
// programs included.
func (d *Device) Close() {
	d.close()
	d.background.Wait()
	d.submit.Lock()
	defer d.submit.Unlock()
	if d.handle == nil {
		return
	}
	if !d.CompileOnly { // nothing was submitted, and null drivers cannot wait
		vk.DeviceWaitIdle(d.handle)
	}
	d.savePipelineCache()
	d.pipelines.destroy(d)
	d.modules.destroy(d)
	for p := range d.programs {
		p.free()
	}
	for b := range d.blocks {
		d.freeBlock(b)
	}
	d.staging = nil
	if d.pool != nil {
		vk.DestroyCommandPool(d.handle, d.pool, nil)
	}
	if d.shim != nil {
		C.shim_device_free(d.shim)
	}
	vk.DestroyDevice(d.handle, nil)
	d.handle = nil
}

// Software reports whether the device is a CPU driver.
func (d *Device) Software() bool { return d.Type == Software }

// Allocated is the memory in buffers on the device, in bytes.
func (d *Device) Allocated() uint64 {
	d.submit.Lock()
	defer d.submit.Unlock()
	return d.allocated
}

// sink turns results into errors and remembers the loss of the device: after
// it every call fails the same way.
func (d *Device) sink(result vk.Result, call, format string, args ...any) error {
	err := check(result, call, format, args...)
	if result == -4 {
		d.lost.CompareAndSwap(nil, &err)
	}
	return err
}

// alive is nil until the device is lost.
func (d *Device) alive() error {
	if err := d.lost.Load(); err != nil {
		return *err
	}
	return nil
}
