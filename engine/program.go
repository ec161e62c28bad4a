package engine

/*
#include "shim.h"
*/
import "C"

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"
	"unsafe"

	vk "github.com/vulkan-go/vulkan"
)

// Options change how a recording is compiled.
type Options struct {
	// KeepAll gives every temporary memory of its own, for tests that read them.
	KeepAll bool
	// Poison fills the temporaries' memory with NaN once, so that what is read
	// before it was written shows.
	Poison bool
	// Timing takes timestamps around every call, which then run one by one.
	Timing bool
}

// Program is a recording compiled for a device: it can be run again and again.
type Program struct {
	device   *Device
	commands []vk.CommandBuffer
	pool     vk.DescriptorPool
	arena    []*block
	places   []place
	queries  vk.QueryPool
	calls    []call
	fence    vk.Fence
	unbound  int // arguments bound to nothing so far
}

// CallTime is how long one call took on the device.
type CallTime struct {
	Label    string
	Kernel   string
	Duration time.Duration
	FLOPs    int64
}

// Memory is what the recording's temporaries take, in bytes.
func (r *Recording) Memory() uint64 {
	_, sizes := r.plan(false)
	total := uint64(0)
	for _, s := range sizes {
		total += uint64(s) * WordBytes
	}
	return total
}

func (r *Recording) plan(keepAll bool) ([]place, []int) {
	lives := make([]lifetime, len(r.temps))
	for i, t := range r.temps {
		lives[i] = lifetime{words: t.words, first: math.MaxInt, last: -1}
	}
	use := func(b Buffer, at int) {
		if b.temp != nil {
			l := &lives[b.temp.index]
			l.first, l.last = min(l.first, at), max(l.last, at)
		}
	}
	for i, c := range r.calls {
		for _, b := range c.buffers {
			use(b, i)
		}
		use(c.from, i)
		use(c.to, i)
	}
	if keepAll {
		for i := range lives {
			lives[i].first, lives[i].last = 0, len(r.calls)
		}
	}
	return plan(lives, int(min(r.info.Limits.Allocation, 1<<30)/WordBytes))
}

// Compile plans the recording's memory, builds its pipelines and records its
// commands. It fails with ErrOutOfMemory, before anything is taken, where the
// temporaries do not fit.
func (d *Device) Compile(r *Recording, opt Options) (*Program, error) {
	places, sizes := r.plan(opt.KeepAll)
	if err := d.pipelines.prepare(d, r.calls)[0]; err != nil {
		return nil, err
	}
	d.submit.Lock()
	defer d.submit.Unlock()
	if err := d.alive(); err != nil {
		return nil, err
	}
	p := &Program{device: d, places: places, calls: r.calls}
	d.programs[p] = true
	ok := false
	defer func() {
		if !ok {
			p.free()
		}
	}()
	total := uint64(0)
	for _, s := range sizes {
		total += uint64(s) * WordBytes
	}
	room := d.Memory
	if d.allocated+total > room {
		return nil, fmt.Errorf("plan the temporaries: %w: %s are needed beside the %s in use, and %s has %s",
			ErrOutOfMemory, Bytes(total), Bytes(d.allocated), d.Name, Bytes(room))
	}
	for i, s := range sizes {
		b, err := d.newBlock(fmt.Sprintf("temporaries %d", i), uint64(s)*WordBytes, OnDevice)
		if err != nil {
			return nil, err
		}
		p.arena = append(p.arena, b)
	}
	if err := p.record(r, opt); err != nil {
		return nil, err
	}
	fence, err := d.newFence()
	if err != nil {
		return nil, err
	}
	p.fence = fence
	ok = true
	return p, nil
}

// resolve finds a buffer's block and its first word there.
func (p *Program) resolve(b Buffer) (*block, int) {
	if b.temp != nil {
		at := p.places[b.temp.index]
		return p.arena[at.block], at.offset + b.first
	}
	return b.block, b.first
}

func (p *Program) record(r *Recording, opt Options) error {
	d := p.device
	pipes := make([]*pipeline, len(r.calls))
	spans := make([][]span, len(r.calls))
	buffers := 1
	for i := range r.calls {
		c := &r.calls[i]
		if c.kernel == nil && c.from.IsZero() {
			to, t := p.resolve(c.to)
			spans[i] = []span{{to, t, t + c.to.n, true}}
			continue
		}
		if c.kernel == nil {
			from, f := p.resolve(c.from)
			to, t := p.resolve(c.to)
			spans[i] = []span{{from, f, f + c.from.n, false}, {to, t, t + c.to.n, true}}
			continue
		}
		pipe, err := d.pipelines.get(d, c)
		if err != nil {
			return err
		}
		pipes[i] = pipe
		for s, slot := range pipe.link.buffers {
			b := c.buffers[pipe.link.bufferField[s]]
			buffers++
			if b.IsZero() {
				continue
			}
			blk, first := p.resolve(b)
			if first%pageWords != 0 {
				panic(fmt.Sprintf("engine: %s of %s starts at word %d of %s, which is not a multiple of %d", slot.name, c.kernel.name, first, b.name(), pageWords))
			}
			if uint64(b.n)*WordBytes > d.Limits.StorageRange {
				return fmt.Errorf("%s: %s of %s binds %s of %s, and %s allows %s", c.label, slot.name, c.kernel.name,
					Bytes(uint64(b.n)*WordBytes), b.name(), d.Name, Bytes(d.Limits.StorageRange))
			}
			if slot.reads {
				spans[i] = append(spans[i], span{blk, first, first + b.n, false})
			}
			if slot.writes {
				spans[i] = append(spans[i], span{blk, first, first + b.n, true})
			}
		}
	}
	waits := barriersBefore(spans)
	poolInfo := &vk.DescriptorPoolCreateInfo{
		SType:         vk.StructureTypeDescriptorPoolCreateInfo,
		MaxSets:       uint32(len(r.calls) + 1),
		PoolSizeCount: 1,
		PPoolSizes:    []vk.DescriptorPoolSize{{Type: vk.DescriptorTypeStorageBuffer, DescriptorCount: uint32(buffers)}},
	}
	var pool vk.DescriptorPool
	result := vk.CreateDescriptorPool(d.handle, poolInfo, nil, &pool)
	poolInfo.Free()
	if err := d.sink(result, "vkCreateDescriptorPool", "%d calls", len(r.calls)); err != nil {
		return err
	}
	p.pool = pool
	if opt.Timing {
		info := &vk.QueryPoolCreateInfo{SType: vk.StructureTypeQueryPoolCreateInfo, QueryType: vk.QueryTypeTimestamp, QueryCount: uint32(2 * len(r.calls))}
		var queries vk.QueryPool
		result := vk.CreateQueryPool(d.handle, info, nil, &queries)
		info.Free()
		if err := d.sink(result, "vkCreateQueryPool", "%d timestamps", 2*len(r.calls)); err != nil {
			return err
		}
		p.queries = queries
	}
	if opt.Poison {
		if err := p.poison(); err != nil {
			return err
		}
	}
	var commands vk.CommandBuffer
	var handle C.shim_handle
	flops := int64(0)
	begin := func() error {
		c, err := d.newCommands()
		if err != nil {
			return err
		}
		commands, handle, flops = c, C.shim_handle(unsafe.Pointer(c)), 0
		p.commands = append(p.commands, c)
		C.shim_barrier(d.shim, handle, stageAll, stageCompute|stageTransfer)
		return nil
	}
	end := func() error {
		C.shim_barrier(d.shim, handle, stageCompute|stageTransfer, stageAll)
		return d.sink(vk.EndCommandBuffer(commands), "vkEndCommandBuffer", "")
	}
	if err := begin(); err != nil {
		return err
	}
	if p.queries != nil {
		vk.CmdResetQueryPool(commands, p.queries, 0, uint32(2*len(r.calls)))
	}
	for i := range r.calls {
		c := &r.calls[i]
		// Watchdogs count submissions.
		if flops > 0 && flops+c.flops > 2*r.MaxFLOPs() {
			if err := end(); err != nil {
				return err
			}
			if err := begin(); err != nil {
				return err
			}
		} else if waits[i] || opt.Timing {
			C.shim_barrier(d.shim, handle, stageCompute|stageTransfer, stageCompute|stageTransfer)
		}
		flops += c.flops
		if p.queries != nil {
			vk.CmdWriteTimestamp(commands, vk.PipelineStageBottomOfPipeBit, p.queries, uint32(2*i))
		}
		if c.kernel == nil && c.from.IsZero() {
			to, t := p.resolve(c.to)
			vk.CmdFillBuffer(commands, to.handle, vk.DeviceSize(t*WordBytes), vk.DeviceSize(c.to.n*WordBytes), c.value)
		} else if c.kernel == nil {
			from, f := p.resolve(c.from)
			to, t := p.resolve(c.to)
			C.shim_copy(d.shim, handle, C.shim_handle(unsafe.Pointer(from.handle)), C.shim_handle(unsafe.Pointer(to.handle)),
				C.uint64_t(f*WordBytes), C.uint64_t(t*WordBytes), C.uint64_t(c.from.n*WordBytes))
		} else if err := p.call(commands, pipes[i], c); err != nil {
			return err
		}
		if p.queries != nil {
			vk.CmdWriteTimestamp(commands, vk.PipelineStageBottomOfPipeBit, p.queries, uint32(2*i+1))
		}
	}
	return end()
}

// call records one kernel call.
func (p *Program) call(commands vk.CommandBuffer, pipe *pipeline, c *call) error {
	d := p.device
	in := pipe.link
	info := &vk.DescriptorSetAllocateInfo{
		SType:              vk.StructureTypeDescriptorSetAllocateInfo,
		DescriptorPool:     p.pool,
		DescriptorSetCount: 1,
		PSetLayouts:        []vk.DescriptorSetLayout{pipe.module.setLayout},
	}
	sets := make([]vk.DescriptorSet, 1)
	result := vk.AllocateDescriptorSets(d.handle, info, &sets[0])
	info.Free()
	if err := d.sink(result, "vkAllocateDescriptorSets", "%s", c.label); err != nil {
		return err
	}
	n := len(in.buffers)
	if n > 0 {
		bindings := make([]C.uint32_t, n)
		handles := make([]C.shim_handle, n)
		offsets := make([]C.uint64_t, n)
		sizes := make([]C.uint64_t, n)
		for s, slot := range in.buffers {
			b := c.buffers[in.bufferField[s]]
			bindings[s] = C.uint32_t(slot.binding)
			if b.IsZero() { // a buffer that this variant does not touch still has to be valid
				nothing, err := d.nothing()
				if err != nil {
					return err
				}
				// A place of its own for each, so that no two calls seem to share memory.
				handles[s], sizes[s] = C.shim_handle(unsafe.Pointer(nothing.handle)), C.uint64_t(nothing.bytes)
				offsets[s] = C.uint64_t(p.unbound % (stagingBytes / int(nothing.bytes)) * int(nothing.bytes))
				p.unbound++
				continue
			}
			blk, first := p.resolve(b)
			handles[s] = C.shim_handle(unsafe.Pointer(blk.handle))
			offsets[s], sizes[s] = C.uint64_t(first*WordBytes), C.uint64_t(b.n*WordBytes)
		}
		C.shim_write_buffers(d.shim, C.shim_handle(unsafe.Pointer(sets[0])), C.uint32_t(n), &bindings[0], &handles[0], &offsets[0], &sizes[0])
	}
	vk.CmdBindPipeline(commands, vk.PipelineBindPointCompute, pipe.handle)
	vk.CmdBindDescriptorSets(commands, vk.PipelineBindPointCompute, pipe.module.layout, 0, 1, sets, 0, nil)
	if in.pushBytes > 0 {
		push := make([]byte, in.pushBytes)
		for s, slot := range in.push {
			binary.LittleEndian.PutUint32(push[slot.offset:], c.numbers[in.pushField[s]])
		}
		vk.CmdPushConstants(commands, pipe.module.layout, vk.ShaderStageFlags(vk.ShaderStageComputeBit), 0, uint32(len(push)), unsafe.Pointer(&push[0]))
	}
	groups, err := groupsOf(c, pipe.local, d.Limits)
	if err != nil {
		return err
	}
	vk.CmdDispatch(commands, groups[0], groups[1], groups[2])
	return nil
}

// groupsOf turns a grid into workgroups within the device's limits.
func groupsOf(c *call, local [3]uint32, limits Limits) ([3]uint32, error) {
	most := int(limits.GroupCount)
	if c.empty {
		return [3]uint32{}, nil
	}
	if c.grid.threads > 0 {
		n := (c.grid.threads + int(local[0]) - 1) / int(local[0])
		rows := (n + most - 1) / most
		columns := (n + rows - 1) / rows
		if rows > most {
			return [3]uint32{}, fmt.Errorf("%s: kernel %s needs %d workgroups, and the device allows %d × %d", c.label, c.kernel.name, n, most, most)
		}
		return [3]uint32{uint32(columns), uint32(rows), 1}, nil
	}
	for _, g := range c.grid.groups {
		if g < 1 || g > most {
			return [3]uint32{}, fmt.Errorf("%s: kernel %s asks for %v workgroups, and the device allows %d in each dimension", c.label, c.kernel.name, c.grid.groups, most)
		}
	}
	return [3]uint32{uint32(c.grid.groups[0]), uint32(c.grid.groups[1]), uint32(c.grid.groups[2])}, nil
}

// nothing is a small buffer to bind where a variant of a kernel has no argument.
func (d *Device) nothing() (*block, error) {
	if d.staging == nil {
		b, err := d.newBlock("staging", stagingBytes, HostReads)
		if err != nil {
			return nil, err
		}
		d.staging = b
	}
	return &block{handle: d.staging.handle, bytes: 256}, nil
}

func (p *Program) poison() error {
	d := p.device
	for _, b := range p.arena {
		commands, err := d.newCommands()
		if err != nil {
			return err
		}
		vk.CmdFillBuffer(commands, b.handle, 0, vk.DeviceSize(vk.WholeSize), math.Float32bits(float32(math.NaN())))
		err = d.sink(vk.EndCommandBuffer(commands), "vkEndCommandBuffer", "poison")
		var fence vk.Fence
		if err == nil {
			fence, err = d.newFence()
		}
		if err == nil {
			if err = d.submitCommands([]vk.CommandBuffer{commands}, fence); err == nil {
				err = d.waitFence(fence)
			}
			vk.DestroyFence(d.handle, fence, nil)
		}
		d.freeCommands(commands)
		if err != nil {
			return err
		}
	}
	return nil
}

// Start submits programs to run one after the other; Wait on the last one
// waits for all of them.
func (d *Device) Start(programs ...*Program) error {
	d.submit.Lock()
	defer d.submit.Unlock()
	for i, p := range programs {
		for j, c := range p.commands {
			var fence vk.Fence
			if i == len(programs)-1 && j == len(p.commands)-1 {
				fence = p.fence
			}
			if err := d.submitCommands([]vk.CommandBuffer{c}, fence); err != nil {
				return err
			}
		}
	}
	return nil
}

// Wait waits until the program, started last, has run.
func (p *Program) Wait() error {
	d := p.device
	if err := d.waitFence(p.fence); err != nil {
		return err
	}
	return d.sink(vk.ResetFences(d.handle, 1, []vk.Fence{p.fence}), "vkResetFences", "")
}

// Run runs the program and waits for it.
func (p *Program) Run() error {
	if err := p.device.Start(p); err != nil {
		return err
	}
	return p.Wait()
}

// Timings are the durations of the last run's calls, in their order. The
// program must have been compiled with Options.Timing.
func (p *Program) Timings() ([]CallTime, error) {
	if p.queries == nil || len(p.calls) == 0 {
		return nil, fmt.Errorf("read timestamps: the program was not compiled for timing")
	}
	stamps := make([]uint64, 2*len(p.calls))
	result := vk.GetQueryPoolResults(p.device.handle, p.queries, 0, uint32(len(stamps)), uint(8*len(stamps)), unsafe.Pointer(&stamps[0]), 8,
		vk.QueryResultFlags(vk.QueryResult64Bit|vk.QueryResultWaitBit))
	if err := p.device.sink(result, "vkGetQueryPoolResults", ""); err != nil {
		return nil, err
	}
	bits := p.device.families[p.device.family].timestampBits
	mask := ^uint64(0)
	if bits < 64 {
		mask = 1<<bits - 1
	}
	times := make([]CallTime, len(p.calls))
	for i, c := range p.calls {
		name := "copy"
		if c.kernel != nil {
			name = c.kernel.name
		}
		ticks := (stamps[2*i+1] - stamps[2*i]) & mask
		times[i] = CallTime{c.label, name, time.Duration(float64(ticks) * float64(p.device.Limits.timestampPeriod)), c.flops}
	}
	return times, nil
}

// Temp reads a temporary after a run; only programs compiled with KeepAll still
// have all of them.
func (p *Program) Temp(b Buffer) Buffer {
	blk, first := p.resolve(b)
	return Buffer{block: blk, first: first, n: b.n}
}

// Free gives the program's memory back. It must not be running.
func (p *Program) Free() {
	p.device.submit.Lock()
	defer p.device.submit.Unlock()
	p.free()
}

func (p *Program) free() {
	d := p.device
	if d.handle == nil {
		return
	}
	delete(d.programs, p)
	for _, c := range p.commands {
		d.freeCommands(c)
	}
	p.commands = nil
	if p.pool != nil {
		vk.DestroyDescriptorPool(d.handle, p.pool, nil)
		p.pool = nil
	}
	if p.queries != nil {
		vk.DestroyQueryPool(d.handle, p.queries, nil)
		p.queries = nil
	}
	if p.fence != nil {
		vk.DestroyFence(d.handle, p.fence, nil)
		p.fence = nil
	}
	for _, b := range p.arena {
		d.freeBlock(b)
	}
	p.arena = nil
}
