package alexnet

import (
	"fmt"
	"sort"

	"vkalexnet/engine"
)

// MemoryPlan is what an executor takes on a device, in bytes.
type MemoryPlan struct {
	Batch int
	// Weights are the parameters, with their copies in 16 bits where there are
	// any; Input the pictures and results, on both sides.
	Weights, Momentum, Input uint64
	// Gradients are those that outlive a batch (see [ExecOptions].KeepGrads).
	Gradients uint64
	// Temporary holds activations and gradients of a training step, Inference the
	// activations of an evaluation.
	Temporary, Inference uint64
}

// Total is the sum, in bytes.
func (m MemoryPlan) Total() uint64 {
	return m.Weights + m.Momentum + m.Input + m.Gradients + m.Inference + m.Temporary
}

// planNet is a network on buffers without memory: its recordings can be planned and
// compiled but not run.
func planNet(info engine.Info, net *Network, batch int, opt ExecOptions) (*deviceNet, error) {
	return newDeviceNet(info, net, batch, opt, func(name string, words int, _ engine.Place) (engine.Buffer, error) {
		return engine.PlannedBuffer(name, words), nil
	})
}

// PlanMemory says what an executor of the network would take on a device,
// without taking any.
func PlanMemory(info engine.Info, net *Network, batch int, opt ExecOptions) (MemoryPlan, error) {
	m := MemoryPlan{Batch: batch}
	n, err := planNet(info, net, batch, opt)
	if err != nil {
		return m, err
	}
	sum := func(buffers ...engine.Buffer) (total uint64) {
		for _, b := range buffers {
			total += uint64(b.Len()) * engine.WordBytes
		}
		return total
	}
	m.Weights, m.Momentum, m.Gradients = sum(n.params...)+sum(n.half...), sum(n.momentum...), sum(n.grads...)
	m.Input = sum(n.hostInput[0], n.hostInput[1], n.devInput, n.mean, n.classWeights, n.loss, n.rank, n.logits, n.overflow, n.hostOverflow)
	for _, size := range n.sizes() {
		r := engine.NewRecording(info)
		n.forBatches(size).recordEval(r)
		m.Inference += r.Memory()
	}
	if !opt.Inference {
		r := engine.NewRecording(info)
		n.recordTrain(r)
		m.Temporary = r.Memory()
	}
	return m, nil
}

// Room is the device memory in bytes that is free for an executor: what the
// driver allows this process, or all there is where it does not say, without
// what it holds already.
func Room(dev *engine.Device) uint64 {
	room := dev.Memory
	if dev.Info.Free > 0 {
		room = dev.Info.Free
	}
	if used := dev.Allocated(); used < room {
		return room - used
	}
	return 0
}

// LargestBatch is the largest batch up to most that fits, or 0. It asks from below,
// as a plan takes time in proportion to its batch.
func LargestBatch(most int, fits func(batch int) bool) int {
	low, high := 0, 1
	for high <= most && fits(high) {
		low, high = high, 2*high
	}
	high = min(high, most+1)
	return low + sort.Search(high-low-1, func(i int) bool { return !fits(low + 1 + i) })
}

// fits compares the plan with the device's memory.
func (m MemoryPlan) fits(dev *engine.Device, net *Network, opt ExecOptions) error {
	room := Room(dev)
	if m.Total() <= room {
		return nil
	}
	largest := func(opt ExecOptions) int {
		return LargestBatch(m.Batch, func(n int) bool {
			p, err := PlanMemory(dev.Info, net, n, opt)
			return err == nil && p.Total() <= room
		})
	}
	cure := "no batch fits: choose a smaller network or another device"
	if n := largest(opt); n > 0 {
		cure = fmt.Sprintf("the largest batch that fits is %d", n)
		opt.KeepGrads = true
		if n = largest(opt); n > 0 && !opt.Inference {
			steps := (m.Batch + n - 1) / n
			cure += fmt.Sprintf(": --batch-size %d --grad-accum-steps %d gives a step of the same size", (m.Batch+steps-1)/steps, steps)
		}
	}
	return fmt.Errorf("%w for a batch of %d: %s are needed (weights %s, momentum %s, kept gradients %s, activations and gradients %s, evaluation %s, input %s) and %s are free on %s; %s",
		engine.ErrOutOfMemory, m.Batch, engine.Bytes(m.Total()), engine.Bytes(m.Weights), engine.Bytes(m.Momentum), engine.Bytes(m.Gradients), engine.Bytes(m.Temporary),
		engine.Bytes(m.Inference), engine.Bytes(m.Input), engine.Bytes(room), dev.Name, cure)
}
