package engine

/*
#include "shim.h"
*/
import "C"

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"unsafe"

	vk "github.com/vulkan-go/vulkan"
)

// module is a kernel's shader on a device.
type module struct {
	once      sync.Once
	err       error
	link      *link
	handle    vk.ShaderModule
	setLayout vk.DescriptorSetLayout
	layout    vk.PipelineLayout
}

type moduleCache struct {
	mu   sync.Mutex
	each map[*kernel]*module
}

// pipeline is a module with its constants set.
type pipeline struct {
	once   sync.Once
	err    error
	module *module
	link   *link
	local  [3]uint32
	handle vk.Pipeline
}

type pipelineCache struct {
	mu   sync.Mutex
	each map[string]*pipeline
}

func (m *moduleCache) get(d *Device, k *kernel) (*module, error) {
	m.mu.Lock()
	if m.each == nil {
		m.each = map[*kernel]*module{}
	}
	mod := m.each[k]
	if mod == nil {
		mod = &module{}
		m.each[k] = mod
	}
	m.mu.Unlock()
	mod.once.Do(func() { mod.err = mod.create(d, k) })
	return mod, mod.err
}

func (m *module) create(d *Device, k *kernel) error {
	words, err := readModule(d.shaders, k.name)
	if err != nil {
		return err
	}
	if m.link, err = k.link(words); err != nil {
		return err
	}
	if m.link.matricesBF16() && len(d.Features.MatricesBF16) == 0 {
		return fmt.Errorf("kernel %s: needs cooperative matrices of bf16 (%s and %s), which %s does not offer", k.name, extCooperativeMatrix, extBFloat16, d.Name)
	}
	if m.link.matrices() && !m.link.matricesBF16() && len(d.Features.Matrices) == 0 {
		return fmt.Errorf("kernel %s: needs cooperative matrices of fp16 (%s), which %s does not offer", k.name, extCooperativeMatrix, d.Name)
	}
	if m.link.pushBytes > int(d.Limits.PushConstants) {
		return fmt.Errorf("kernel %s: has %d bytes of push constants, and %s allows %d", k.name, m.link.pushBytes, d.Name, d.Limits.PushConstants)
	}
	if n := len(m.link.buffers); n > int(d.Limits.StorageBuffers) { // bindings: views of one buffer are one
		return fmt.Errorf("kernel %s: binds %d storage buffers, and %s allows %d (maxPerStageDescriptorStorageBuffers): choose another device, or --device cpu", k.name, n, d.Name, d.Limits.StorageBuffers)
	}
	if m.handle, err = d.shaderModule(k.name, words); err != nil {
		return err
	}
	bindings := make([]vk.DescriptorSetLayoutBinding, len(m.link.buffers))
	for i, b := range m.link.buffers {
		bindings[i] = vk.DescriptorSetLayoutBinding{
			Binding: b.binding, DescriptorType: vk.DescriptorTypeStorageBuffer, DescriptorCount: 1,
			StageFlags: vk.ShaderStageFlags(vk.ShaderStageComputeBit),
		}
	}
	setInfo := &vk.DescriptorSetLayoutCreateInfo{SType: vk.StructureTypeDescriptorSetLayoutCreateInfo, BindingCount: uint32(len(bindings)), PBindings: bindings}
	var set vk.DescriptorSetLayout
	result := vk.CreateDescriptorSetLayout(d.handle, setInfo, nil, &set)
	setInfo.Free()
	if err := d.sink(result, "vkCreateDescriptorSetLayout", "%s", k.name); err != nil {
		return err
	}
	m.setLayout = set
	layoutInfo := &vk.PipelineLayoutCreateInfo{
		SType: vk.StructureTypePipelineLayoutCreateInfo, SetLayoutCount: 1, PSetLayouts: []vk.DescriptorSetLayout{set},
	}
	if m.link.pushBytes > 0 {
		layoutInfo.PushConstantRangeCount = 1
		layoutInfo.PPushConstantRanges = []vk.PushConstantRange{{
			StageFlags: vk.ShaderStageFlags(vk.ShaderStageComputeBit), Size: uint32(m.link.pushBytes)}}
	}
	var layout vk.PipelineLayout
	result = vk.CreatePipelineLayout(d.handle, layoutInfo, nil, &layout)
	layoutInfo.Free()
	m.layout = layout
	return d.sink(result, "vkCreatePipelineLayout", "%s", k.name)
}

func (d *Device) shaderModule(name string, words []uint32) (handle vk.ShaderModule, err error) {
	create := &vk.ShaderModuleCreateInfo{SType: vk.StructureTypeShaderModuleCreateInfo, CodeSize: uint(4 * len(words)), PCode: words}
	result := vk.CreateShaderModule(d.handle, create, nil, &handle)
	create.Free()
	runtime.KeepAlive(words)
	return handle, d.sink(result, "vkCreateShaderModule", "%s", name)
}

func (m *moduleCache) destroy(d *Device) {
	for _, mod := range m.each {
		if mod.layout != nil {
			vk.DestroyPipelineLayout(d.handle, mod.layout, nil)
		}
		if mod.setLayout != nil {
			vk.DestroyDescriptorSetLayout(d.handle, mod.setLayout, nil)
		}
		if mod.handle != nil {
			vk.DestroyShaderModule(d.handle, mod.handle, nil)
		}
	}
	m.each = nil
}

// Prepare builds the pipelines of each recording, all of them side by side, and
// says which recordings cannot be compiled and why: an error each, nil where all
// is well.
func (d *Device) Prepare(recordings ...*Recording) []error {
	lists := make([][]call, len(recordings))
	for i, r := range recordings {
		lists[i] = r.calls
	}
	return d.pipelines.prepare(d, lists...)
}

// prepare builds the pipelines of lists of calls side by side, all processors at
// work. It returns the first error of each list.
func (c *pipelineCache) prepare(d *Device, lists ...[]call) []error {
	type job struct {
		list int
		call *call
	}
	work := make(chan job)
	errs := make([]error, len(lists))
	var mu sync.Mutex
	var done sync.WaitGroup
	for range runtime.NumCPU() {
		done.Go(func() {
			for j := range work {
				if _, err := c.get(d, j.call); err != nil {
					mu.Lock()
					if errs[j.list] == nil {
						errs[j.list] = err
					}
					mu.Unlock()
				}
			}
		})
	}
	for l, calls := range lists {
		for i := range calls {
			if calls[i].kernel != nil {
				work <- job{l, &calls[i]}
			}
		}
	}
	close(work)
	done.Wait()
	return errs
}

// get builds the pipeline of a call, or finds it.
func (c *pipelineCache) get(d *Device, call *call) (*pipeline, error) {
	mod, err := d.modules.get(d, call.kernel)
	if err != nil {
		return nil, err
	}
	in := mod.link
	var ids, values []uint32
	for i, slot := range in.constants {
		ids = append(ids, slot.id)
		values = append(values, call.numbers[in.constField[i]])
	}
	local := in.local
	for axis, id := range in.localID {
		if id < 0 {
			continue
		}
		local[axis] = 1
		if f := in.localField[axis]; f >= 0 {
			local[axis] = call.numbers[f]
		} else if axis == 0 {
			local[axis] = d.threadsPerGroup()
		}
		ids = append(ids, uint32(id))
		values = append(values, local[axis])
	}
	var key strings.Builder
	fmt.Fprintf(&key, "%s%v", call.kernel.name, values)
	c.mu.Lock()
	if c.each == nil {
		c.each = map[string]*pipeline{}
	}
	p := c.each[key.String()]
	if p == nil {
		p = &pipeline{module: mod, link: in, local: local}
		c.each[key.String()] = p
	}
	c.mu.Unlock()
	p.once.Do(func() { p.err = p.create(d, call.kernel.name, ids, values) })
	return p, p.err
}

// threadsPerGroup is the workgroup size of one-dimensional kernels.
func (d *Device) threadsPerGroup() uint32 { return min(64, d.Limits.Invocations) }

func (p *pipeline) create(d *Device, name string, ids, values []uint32) error {
	if n := p.local[0] * p.local[1] * p.local[2]; n == 0 || n > d.Limits.Invocations {
		return fmt.Errorf("kernel %s: a workgroup of %d × %d × %d invocations, and %s allows %d", name, p.local[0], p.local[1], p.local[2], d.Name, d.Limits.Invocations)
	}
	cids, cvalues := make([]C.uint32_t, len(ids)+1), make([]C.uint32_t, len(ids)+1)
	for i := range ids {
		cids[i], cvalues[i] = C.uint32_t(ids[i]), C.uint32_t(values[i])
	}
	// Matrices belong to whole subgroups, of the size that the kernel was told.
	full, required := p.link.matrices(), uint32(0)
	if full && d.Features.SubgroupMin != d.Features.SubgroupMax {
		required = d.Features.SubgroupSize
	}
	module := p.module.handle
	if d.Software() {
		var err error
		if module, err = d.shaderModule(name, specialized(p.link.words, ids, values)); err != nil {
			return err
		}
		defer vk.DestroyShaderModule(d.handle, module, nil)
	}
	var handle C.shim_handle
	result := vk.Result(C.shim_compute_pipeline(d.shim, C.shim_handle(unsafe.Pointer(d.cache)), C.shim_handle(unsafe.Pointer(module)), C.shim_handle(unsafe.Pointer(p.module.layout)),
		C.uint32_t(len(ids)), &cids[0], &cvalues[0], C.uint32_t(required), cbool(full), cbool(d.statistics), &handle))
	p.handle = vk.Pipeline(unsafe.Pointer(handle))
	if result >= 0 && handle == nil { // some drivers end so when their compiler gives up
		return fmt.Errorf("vkCreateComputePipelines (%s): %s reports success and gives no pipeline", name, d.Driver)
	}
	return d.sink(result, "vkCreateComputePipelines", "%s", name)
}

func (c *pipelineCache) destroy(d *Device) {
	for _, p := range c.each {
		if p.handle != nil {
			vk.DestroyPipeline(d.handle, p.handle, nil)
		}
	}
	c.each = nil
}
