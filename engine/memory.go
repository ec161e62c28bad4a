package engine

/*
#include "shim.h"
*/
import "C"

import (
	"fmt"
	"runtime"
	"sync"
	"unsafe"

	vk "github.com/vulkan-go/vulkan"
)

// WordBytes is the size of a word: buffers are counted in 32-bit words.
const WordBytes = 4

// pageWords is the alignment, in words, of everything that is bound to a
// kernel: 256 bytes is the largest alignment that Vulkan lets a device ask for.
const pageWords = 64

// Place says who reads and writes a buffer.
type Place int

// The places of buffers.
const (
	OnDevice Place = iota // kernels only
	HostWrites
	HostReads
)

// Buffer is a range of device memory, counted in 32-bit words. The zero Buffer
// is no buffer.
type Buffer struct {
	block    *block // lasting memory, or
	temp     *temp  // a temporary of a recording
	first, n int
}

// Len is the number of 32-bit words.
func (b Buffer) Len() int { return b.n }

// IsZero reports whether b is no buffer.
func (b Buffer) IsZero() bool { return b.block == nil && b.temp == nil }

// Slice is the part of b from word first on, n words long. What is bound to a
// kernel must start at a multiple of 64 words.
func (b Buffer) Slice(first, n int) Buffer {
	if first < 0 || n < 0 || first+n > b.n {
		panic(fmt.Sprintf("engine: slice [%d:+%d] of a buffer of %d words", first, n, b.n))
	}
	b.first += first
	b.n = n
	return b
}

func (b Buffer) name() string {
	switch {
	case b.block != nil:
		return b.block.name
	case b.temp != nil:
		return b.temp.name
	}
	return "no buffer"
}

// block is one VkBuffer with memory of its own.
type block struct {
	name     string
	handle   vk.Buffer
	memory   vk.DeviceMemory
	bytes    uint64
	mapped   unsafe.Pointer // nil where the host cannot see it
	coherent bool
}

// NewBuffer takes words 32-bit words of memory. Its content is undefined.
func (d *Device) NewBuffer(name string, words int, place Place) (Buffer, error) {
	d.submit.Lock()
	defer d.submit.Unlock()
	b, err := d.newBlock(name, uint64(max(words, 1))*WordBytes, place)
	if err != nil {
		return Buffer{}, err
	}
	return Buffer{block: b, n: words}, nil
}

// Free gives the memory of a lasting buffer back. No program that uses it may
// be running or run again.
func (d *Device) Free(b Buffer) {
	if b.block == nil {
		return
	}
	d.submit.Lock()
	defer d.submit.Unlock()
	if d.handle != nil {
		d.freeBlock(b.block)
	}
}

const (
	memDeviceLocal = vk.MemoryPropertyFlags(vk.MemoryPropertyDeviceLocalBit)
	memVisible     = vk.MemoryPropertyFlags(vk.MemoryPropertyHostVisibleBit)
	memCoherent    = vk.MemoryPropertyFlags(vk.MemoryPropertyHostCoherentBit)
	memCached      = vk.MemoryPropertyFlags(vk.MemoryPropertyHostCachedBit)
)

// memoryOrder ranks the memory types for a place, best first. Weights and
// activations stay out of the small host-visible window of discrete cards.
func (d *Device) memoryOrder(place Place, allowed uint32) []uint32 {
	score := func(f vk.MemoryPropertyFlags) int {
		has := func(bit vk.MemoryPropertyFlags) int {
			if f&bit != 0 {
				return 1
			}
			return 0
		}
		switch place {
		case HostWrites:
			if f&memVisible == 0 {
				return -1
			}
			return 4*has(memCoherent) + 2*has(memDeviceLocal) - has(memCached)
		case HostReads:
			if f&memVisible == 0 {
				return -1
			}
			return 4*has(memCached) + 2*has(memCoherent)
		}
		if d.Type == Discrete {
			return 4*has(memDeviceLocal) - has(memVisible)
		}
		return 4*has(memDeviceLocal) + has(memVisible) + has(memCoherent)
	}
	var order []uint32
	for want := 8; want >= -1; want-- {
		for i, f := range d.memory.flags {
			if allowed>>i&1 != 0 && score(f) == want && (place == OnDevice || want >= 0) {
				order = append(order, uint32(i))
			}
		}
	}
	return order
}

func (d *Device) newBlock(name string, bytes uint64, place Place) (*block, error) {
	if err := d.alive(); err != nil {
		return nil, err
	}
	b := &block{name: name, bytes: bytes}
	info := &vk.BufferCreateInfo{
		SType: vk.StructureTypeBufferCreateInfo,
		Size:  vk.DeviceSize(bytes),
		Usage: vk.BufferUsageFlags(vk.BufferUsageStorageBufferBit | vk.BufferUsageTransferSrcBit | vk.BufferUsageTransferDstBit),
	}
	var handle vk.Buffer
	result := vk.CreateBuffer(d.handle, info, nil, &handle)
	info.Free()
	if err := d.sink(result, "vkCreateBuffer", "%s, %s", name, Bytes(bytes)); err != nil {
		return nil, err
	}
	b.handle = handle
	d.blocks[b] = true
	var need vk.MemoryRequirements
	vk.GetBufferMemoryRequirements(d.handle, handle, &need)
	need.Deref()
	defer need.Free()
	order := d.memoryOrder(place, need.MemoryTypeBits)
	result = -2
	var memory vk.DeviceMemory
	var kind uint32
	for _, kind = range order {
		take := &vk.MemoryAllocateInfo{SType: vk.StructureTypeMemoryAllocateInfo, AllocationSize: need.Size, MemoryTypeIndex: kind}
		result = vk.AllocateMemory(d.handle, take, nil, &memory)
		take.Free()
		if result >= 0 {
			break
		}
	}
	if err := d.sink(result, "vkAllocateMemory", "%s, %s; %s are in use of %s on %s", name, Bytes(bytes), Bytes(d.allocated), Bytes(d.Memory), d.Name); err != nil {
		d.freeBlock(b)
		return nil, err
	}
	b.memory = memory
	d.allocated += bytes
	if err := d.sink(vk.BindBufferMemory(d.handle, handle, memory, 0), "vkBindBufferMemory", "%s", name); err != nil {
		d.freeBlock(b)
		return nil, err
	}
	flags := d.memory.flags[kind]
	b.coherent = flags&memCoherent != 0
	if flags&memVisible != 0 {
		var p unsafe.Pointer
		if err := d.sink(vk.MapMemory(d.handle, memory, 0, vk.DeviceSize(vk.WholeSize), 0, &p), "vkMapMemory", "%s", name); err != nil {
			d.freeBlock(b)
			return nil, err
		}
		b.mapped = p
	}
	return b, nil
}

func (d *Device) freeBlock(b *block) {
	delete(d.blocks, b)
	if b.handle != nil {
		vk.DestroyBuffer(d.handle, b.handle, nil)
		b.handle = nil
	}
	if b.memory != nil {
		vk.FreeMemory(d.handle, b.memory, nil)
		b.memory = nil
		d.allocated -= b.bytes
	}
	b.mapped = nil
}

// words is the host's view of a visible buffer.
func (b Buffer) words() []uint32 {
	return unsafe.Slice((*uint32)(unsafe.Add(b.block.mapped, b.first*WordBytes)), b.n)
}

const stagingBytes = 16 << 20

// Upload copies data into the buffer and returns when it is there. T is any
// type of four bytes, or byte for packed bytes (rounded up to whole words).
func Upload[T float32 | uint32 | int32 | byte](d *Device, b Buffer, data []T) error {
	if len(data) == 0 {
		return nil
	}
	return d.upload(b, unsafe.Slice((*byte)(unsafe.Pointer(&data[0])), len(data)*int(unsafe.Sizeof(data[0]))))
}

// Write has fill compute the whole content of the buffer, in the device's memory
// where the host sees that: fill must not read what it is given, nor leave any
// of it as it was.
func Write(d *Device, b Buffer, fill func(words []float32)) error {
	if b.n == 0 {
		return nil
	}
	if b.block.mapped == nil {
		words := make([]float32, b.n)
		fill(words)
		return Upload(d, b, words)
	}
	if err := d.alive(); err != nil {
		return err
	}
	fill(unsafe.Slice((*float32)(unsafe.Add(b.block.mapped, b.first*WordBytes)), b.n))
	return d.flush(b.block)
}

// Download copies the beginning of the buffer into data.
func Download[T float32 | uint32 | int32 | byte](d *Device, b Buffer, data []T) error {
	if len(data) == 0 {
		return nil
	}
	return d.download(b, unsafe.Slice((*byte)(unsafe.Pointer(&data[0])), len(data)*int(unsafe.Sizeof(data[0]))))
}

func (d *Device) upload(b Buffer, data []byte) error {
	if b.block == nil || len(data) > b.n*WordBytes {
		panic(fmt.Sprintf("engine: upload of %d bytes into %s of %d words", len(data), b.name(), b.n))
	}
	if b.block.mapped != nil { // without the lock: work may be submitted meanwhile
		return d.pieces(b, data, func(host []byte, at uint64, n int) error {
			copySideBySide(unsafe.Slice((*byte)(unsafe.Add(b.block.mapped, at)), n), host)
			return d.flush(b.block)
		})
	}
	d.submit.Lock()
	defer d.submit.Unlock()
	return d.pieces(b, data, func(host []byte, at uint64, n int) error {
		copy(unsafe.Slice((*byte)(d.staging.mapped), n), host)
		if err := d.flush(d.staging); err != nil {
			return err
		}
		return d.copyNow(d.staging, b.block, 0, at, uint64(n))
	})
}

// copySideBySide copies with several processors where there is much to copy: one
// alone does not fill the way to a GPU.
func copySideBySide(to, from []byte) {
	const least = 2 << 20
	pieces := max(1, min(len(from)/least, runtime.NumCPU(), 8))
	var done sync.WaitGroup
	for i := range pieces {
		first, last := i*len(from)/pieces, (i+1)*len(from)/pieces
		done.Go(func() { copy(to[first:last], from[first:last]) })
	}
	done.Wait()
}

func (d *Device) download(b Buffer, data []byte) error {
	if b.block == nil || len(data) > b.n*WordBytes {
		panic(fmt.Sprintf("engine: download of %d bytes from %s of %d words", len(data), b.name(), b.n))
	}
	d.submit.Lock()
	defer d.submit.Unlock()
	return d.pieces(b, data, func(host []byte, at uint64, n int) error {
		from := b.block
		if from.mapped == nil {
			if err := d.copyNow(b.block, d.staging, at, 0, uint64(n)); err != nil {
				return err
			}
			from, at = d.staging, 0
		}
		if err := d.invalidate(from); err != nil {
			return err
		}
		copy(host, unsafe.Slice((*byte)(unsafe.Add(from.mapped, at)), n))
		return nil
	})
}

// pieces runs move over data, in pieces that fit the staging buffer where the host
// does not see b's own memory.
func (d *Device) pieces(b Buffer, data []byte, move func(host []byte, at uint64, n int) error) error {
	if err := d.alive(); err != nil {
		return err
	}
	step := len(data)
	if b.block.mapped == nil {
		step = stagingBytes
		if d.staging == nil {
			s, err := d.newBlock("staging", stagingBytes, HostReads)
			if err != nil {
				return err
			}
			d.staging = s
		}
	}
	for first := 0; first < len(data); first += step {
		n := min(step, len(data)-first)
		if err := move(data[first:first+n], uint64(b.first*WordBytes+first), n); err != nil {
			return fmt.Errorf("copy %s: %w", b.name(), err)
		}
	}
	return nil
}

// flush makes what the host has written to its view of a block visible to the device.
func (d *Device) flush(b *block) error {
	if b.coherent {
		return nil
	}
	return d.sink(vk.Result(C.shim_flush(d.shim, C.shim_handle(unsafe.Pointer(b.memory)), 0, C.uint64_t(vk.WholeSize), 0)),
		"vkFlushMappedMemoryRanges", "%s", b.name)
}

// invalidate makes what the device has written to a block visible to the host.
func (d *Device) invalidate(b *block) error {
	if b.coherent {
		return nil
	}
	return d.sink(vk.Result(C.shim_flush(d.shim, C.shim_handle(unsafe.Pointer(b.memory)), 0, C.uint64_t(vk.WholeSize), 1)),
		"vkInvalidateMappedMemoryRanges", "%s", b.name)
}

// copyNow copies between two blocks and waits.
func (d *Device) copyNow(from, to *block, fromOffset, toOffset, bytes uint64) error {
	commands, err := d.newCommands()
	if err != nil {
		return err
	}
	defer d.freeCommands(commands)
	c := C.shim_handle(unsafe.Pointer(commands))
	C.shim_barrier(d.shim, c, stageAll, stageTransfer)
	C.shim_copy(d.shim, c, C.shim_handle(unsafe.Pointer(from.handle)), C.shim_handle(unsafe.Pointer(to.handle)),
		C.uint64_t(fromOffset), C.uint64_t(toOffset), C.uint64_t((bytes+3)&^3))
	C.shim_barrier(d.shim, c, stageTransfer, stageAll)
	if err := d.sink(vk.EndCommandBuffer(commands), "vkEndCommandBuffer", "copy"); err != nil {
		return err
	}
	fence, err := d.newFence()
	if err != nil {
		return err
	}
	defer vk.DestroyFence(d.handle, fence, nil)
	if err := d.submitCommands([]vk.CommandBuffer{commands}, fence); err != nil {
		return err
	}
	return d.waitFence(fence)
}

// Bytes writes a size for people: "144.0 MiB".
func Bytes[T uint64 | int64 | int](n T) string {
	v := float64(n)
	for _, unit := range []string{"B", "KiB", "MiB"} {
		if v < 1024 {
			if unit == "B" {
				return fmt.Sprintf("%d B", n)
			}
			return fmt.Sprintf("%.1f %s", v, unit)
		}
		v /= 1024
	}
	return fmt.Sprintf("%.2f GiB", v)
}

func alignWords(n int) int { return (n + pageWords - 1) &^ (pageWords - 1) }

// PlannedBuffer is a lasting buffer without memory, to make recordings that are
// only planned: see Recording.Memory.
func PlannedBuffer(name string, words int) Buffer {
	return Buffer{block: &block{name: name, bytes: uint64(words) * WordBytes}, n: words}
}
