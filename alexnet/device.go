package alexnet

import (
	"errors"
	"maps"
	"slices"
	"sync"

	"vkalexnet/engine"
	"vkalexnet/loader"
	"vkalexnet/weights"
)

// device is the Executor on a Vulkan device: whole steps recorded once and
// replayed. Programs are compiled when they are first asked for.
type device struct {
	*deviceNet
	dev                 *engine.Device
	evals               map[int]*engine.Program // by the size of the batch, see sizes
	train               *engine.Program
	zero, update        *engine.Program // with gradients kept over several batches
	inside              map[insideKey]*inside
	timing              bool
	hostLoss, hostLogit []float32
	hostRank            []uint32
	overflown           []uint32
	slots               [2]slot
	staging             sync.Mutex      // slots
	warming             *engine.Warming // what the first step needs
}

// NewDevice makes an executor on an open device for batches of up to batch
// pictures. What it needs is planned first: where the device has too little
// memory the error wraps engine.ErrOutOfMemory and says which batch would fit.
func NewDevice(dev *engine.Device, net *Network, batch int, opt ExecOptions) (Executor, error) {
	d, err := newDevice(dev, net, batch, opt, false)
	if err != nil {
		return nil, err // and not a *device that is nil
	}
	return d, nil
}

func newDevice(dev *engine.Device, net *Network, batch int, opt ExecOptions, timing bool) (*device, error) {
	if err := CheckBatchSize(batch); err != nil {
		return nil, err
	}
	if err := opt.check(net); err != nil {
		return nil, err
	}
	memory, err := PlanMemory(dev.Info, net, batch, opt)
	if err != nil {
		return nil, err
	}
	if err := memory.fits(dev, net, opt); err != nil {
		return nil, err
	}
	d := &device{dev: dev, timing: timing, evals: map[int]*engine.Program{}}
	var taken []engine.Buffer
	d.deviceNet, err = newDeviceNet(dev.Info, net, batch, opt, func(name string, words int, place engine.Place) (engine.Buffer, error) {
		b, err := dev.NewBuffer(name, words, place)
		taken = append(taken, b)
		return b, err
	})
	if err != nil {
		for _, b := range taken {
			dev.Free(b)
		}
		return nil, err
	}
	for i := range d.slots {
		s := &d.slots[i]
		s.words, s.host = make([]uint32, d.layout.pixels), d.hostInput[i]
		s.copy = map[int]*engine.Program{}
		for _, size := range d.sizes() {
			words := d.layout.end(size)
			s.copy[size], err = d.compile(func(r *engine.Recording) {
				r.Label("input")
				r.Copy(d.devInput.Slice(0, words), s.host.Slice(0, words))
			})
			if err != nil {
				d.Close()
				return nil, err
			}
		}
	}
	d.hostLoss, d.hostRank = make([]float32, batch), make([]uint32, batch)
	d.hostLogit = make([]float32, d.logits.Len())
	err = d.zeroAll()
	if err == nil && !d.mean.IsZero() {
		packed := make([]float32, d.mean.Len())
		copy(packed, net.Input.MeanTerms())
		err = engine.Upload(d.dev, d.mean, packed)
	}
	if err == nil && d.weighted() {
		err = engine.Upload(dev, d.classWeights, slices.Concat(opt.ClassWeights, make([]float32, d.classWeights.Len()-len(opt.ClassWeights))))
	}
	if err != nil {
		d.Close()
		return nil, err
	}
	d.warming = dev.Warm(d.first()...)
	return d, nil
}

func (d *device) Name() string { return d.dev.Name }

func (d *device) Close() {
	if d.warming != nil {
		d.warming.Stop()
	}
	programs := []*engine.Program{d.train, d.zero, d.update}
	for _, bySize := range []map[int]*engine.Program{d.evals, d.slots[0].copy, d.slots[1].copy} {
		programs = slices.AppendSeq(programs, maps.Values(bySize))
	}
	for _, p := range programs {
		if p != nil {
			p.Free()
		}
	}
	for _, i := range d.inside {
		i.free(d.dev)
	}
	for _, b := range slices.Concat(d.params, d.half, d.momentum, d.grads, d.hostInput[:], []engine.Buffer{d.overflow, d.hostOverflow, d.devInput, d.mean, d.classWeights, d.loss, d.rank, d.logits}) {
		d.dev.Free(b)
	}
}

// zeroAll makes all parameters and momenta zero.
func (d *device) zeroAll() error {
	p, err := d.compile(func(r *engine.Recording) {
		r.Label("zero the parameters")
		for _, b := range slices.Concat(d.params, d.half, d.momentum) {
			if !b.IsZero() {
				r.Fill(b, 0)
			}
		}
	})
	if err != nil {
		return err
	}
	defer p.Free()
	return p.Run()
}

func (d *device) compile(record func(r *engine.Recording)) (*engine.Program, error) {
	if d.warming != nil { // what it fails with, compiling tells
		_ = d.warming.Wait()
	}
	r := engine.NewRecording(d.dev.Info)
	record(r)
	return d.dev.Compile(r, engine.Options{Timing: d.timing})
}

// Train implements Executor.
func (d *device) Train(b *loader.Batch, step TrainStep) (BatchResult, error) {
	if d.opt.Inference {
		return BatchResult{}, ErrInference
	}
	if err := d.net.CheckBatch(b, d.batch, d.net.NumClasses()); err != nil {
		return BatchResult{}, err
	}
	if err := d.prepareTrain(step); err != nil {
		return BatchResult{}, err
	}
	s, err := d.load(b, step)
	if err != nil {
		return BatchResult{}, err
	}
	return d.runTrain(s, b.N, step)
}

// prepareTrain compiles what a step needs. The first step that does not update
// on its own has the gradients kept from then on; a step computes the same
// either way.
func (d *device) prepareTrain(step TrainStep) error {
	if len(d.grads) == 0 && (step.Accumulate || !step.Update) {
		if d.train != nil {
			d.train.Free()
			d.train = nil
		}
		if err := d.keepGrads(); err != nil {
			for _, g := range d.grads { // all of them or none
				d.dev.Free(g)
			}
			d.grads = nil
			return err
		}
	}
	var err error
	if len(d.grads) > 0 && d.zero == nil {
		if d.zero, err = d.compile(func(r *engine.Recording) {
			r.Label("zero the gradients")
			for _, g := range d.grads {
				if !g.IsZero() {
					r.Fill(g, 0)
				}
			}
		}); err != nil {
			return err
		}
		if d.update, err = d.compile(d.recordUpdates); err != nil {
			return err
		}
	}
	if d.train == nil {
		d.train, err = d.compile(d.recordTrain)
	}
	return err
}

// runTrain runs a training step of a slot's n pictures.
func (d *device) runTrain(s *slot, n int, step TrainStep) (BatchResult, error) {
	run := []*engine.Program{d.train}
	if len(d.grads) > 0 {
		run = run[:0]
		if !step.Accumulate {
			run = append(run, d.zero)
		}
		run = append(run, d.train)
		if step.Update {
			run = append(run, d.update)
		}
	}
	if err := d.run(s, n, run...); err != nil {
		return BatchResult{}, err
	}
	res, err := d.result(n)
	if err != nil || !d.scaled() || !step.Update {
		return res, err
	}
	if d.overflown == nil {
		d.overflown = make([]uint32, d.hostOverflow.Len())
	}
	if err := engine.Download(d.dev, d.hostOverflow, d.overflown); err != nil {
		return res, err
	}
	res.Overflow = slices.Contains(d.overflown, 1)
	return res, nil
}

// Eval implements Executor.
func (d *device) Eval(b *loader.Batch) (BatchResult, error) {
	if err := d.net.CheckBatch(b, d.batch, d.net.NumClasses()); err != nil {
		return BatchResult{}, err
	}
	size := d.size(b.N)
	if err := d.prepareEval(size); err != nil {
		return BatchResult{}, err
	}
	s, err := d.load(b, TrainStep{})
	if err != nil {
		return BatchResult{}, err
	}
	if err := d.run(s, b.N, d.evals[size]); err != nil {
		return BatchResult{}, err
	}
	res, err := d.result(b.N)
	if err != nil {
		return res, err
	}
	classes, pitch := d.net.NumClasses(), d.plans[len(d.plans)-1].Out.Pitch()
	if err := engine.Download(d.dev, d.logits, d.hostLogit[:b.N*pitch]); err != nil {
		return res, err
	}
	res.Logits = make([]float32, b.N*classes)
	for i := range b.N {
		copy(res.Logits[i*classes:][:classes], d.hostLogit[i*pitch:])
	}
	return res, nil
}

// prepareEval compiles what batches of that size need.
func (d *device) prepareEval(size int) error {
	if d.evals[size] != nil {
		return nil
	}
	p, err := d.compile(d.forBatches(size).recordEval)
	if err == nil {
		d.evals[size] = p
	}
	return err
}

// Prepare compiles what Eval needs for every size of batch, which otherwise
// happens when the first one comes. Executors that compile nothing are ready.
func Prepare(exec Executor) error {
	d, ok := exec.(*device)
	if !ok {
		return nil
	}
	for _, size := range d.sizes() {
		if err := d.prepareEval(size); err != nil {
			return err
		}
	}
	return nil
}

func (d *device) result(n int) (BatchResult, error) {
	if err := errors.Join(engine.Download(d.dev, d.loss, d.hostLoss), engine.Download(d.dev, d.rank, d.hostRank)); err != nil {
		return BatchResult{}, err
	}
	res := newResult(n)
	copy(res.Loss, d.hostLoss)
	for i := range res.Rank {
		res.Rank[i] = int32(d.hostRank[i])
	}
	return res, nil
}

// repeat runs the program of the last Train or Eval again, on the pictures and
// numbers that are on the device.
func (d *device) repeat(train bool, n int) (BatchResult, error) {
	program := d.evals[d.size(n)]
	if train {
		program = d.train
	}
	if err := program.Run(); err != nil {
		return BatchResult{}, err
	}
	return d.result(n)
}

// Params implements Executor.
func (d *device) Params() ([]weights.Tensor, error) { return d.read(d.params) }

// Momentum implements Executor.
func (d *device) Momentum() ([]weights.Tensor, error) {
	if d.opt.Inference {
		return nil, ErrInference
	}
	return d.read(d.momentum)
}

// SetParams implements Executor.
func (d *device) SetParams(tensors []weights.Tensor) error { return d.write(d.params, d.half, tensors) }

// SetMomentum implements Executor.
func (d *device) SetMomentum(tensors []weights.Tensor) error {
	if d.opt.Inference {
		return ErrInference
	}
	return d.write(d.momentum, nil, tensors)
}

func (d *device) read(from []engine.Buffer) ([]weights.Tensor, error) {
	tensors := zeros(d.specs)
	var scratch []float32
	for i, s := range d.specs {
		if from[i].IsZero() { // a frozen layer's momentum
			continue
		}
		scratch = slices.Grow(scratch[:0], s.Len())[:s.Len()]
		if err := engine.Download(d.dev, from[i], scratch); err != nil {
			return nil, err
		}
		d.plans[s.Layer].UnpackParam(s.Param, tensors[i].Data, scratch)
	}
	return tensors, nil
}

// write fills the buffers, and the copies in 16 bits where there are any.
func (d *device) write(to, half []engine.Buffer, tensors []weights.Tensor) error {
	matched, err := d.net.MatchTensors(tensors)
	if err != nil {
		return err
	}
	for i, s := range d.specs {
		if to[i].IsZero() { // a frozen layer's momentum
			continue
		}
		pack := func(words []float32) {
			d.plans[s.Layer].PackParam(s.Param, words, matched[i].Data)
			clear(words[s.Len():])
		}
		if half == nil || half[i].IsZero() {
			if err := engine.Write(d.dev, to[i], pack); err != nil {
				return err
			}
			continue
		}
		packed := make([]float32, to[i].Len())
		pack(packed)
		if err := engine.Upload(d.dev, to[i], packed); err != nil {
			return err
		}
		words := make([]uint32, half[i].Len())
		d.opt.Precision.Pack(words, packed)
		if err := engine.Upload(d.dev, half[i], words); err != nil {
			return err
		}
	}
	return nil
}
