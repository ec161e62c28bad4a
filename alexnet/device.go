package alexnet

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sort"
	"sync"

	"vkalexnet/engine"
	"vkalexnet/layers"
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

// slot is a place for a batch's input on its way to the device: while one
// batch is computed from the device's copy, the next is packed.
type slot struct {
	words []uint32 // all but the pictures
	host  engine.Buffer
	copy  map[int]*engine.Program // host → the device's input, by the size of the batch
	batch *loader.Batch           // what is in it, nil when it is free
}

// deviceNet is a network's lasting buffers on a device, real or only planned,
// and the recordings that use them.
type deviceNet struct {
	net   *Network
	opt   ExecOptions
	batch int
	info  engine.Info
	plans []layers.Plan
	specs []ParamSpec

	params, momentum, grads []engine.Buffer  // as specs; grads only when they are kept
	half                    []engine.Buffer  // of weights: what products read, where the precision is not FP32
	overflow, hostOverflow  engine.Buffer    // with loss scaling: a page for each of specs
	hostInput               [2]engine.Buffer // the words of inputLayout
	devInput, mean          engine.Buffer
	loss, rank, logits      engine.Buffer
	classWeights            engine.Buffer // of the loss in training, where the options have them
	layout                  inputLayout
	pictures                engine.Buffer  // replaces the input stage, for tests
	tuning                  *layers.Tuning // replaces the device's row of the tuning table
	split                   bool           // products are those of layers.BF16x3; opt.Precision is how it stores
	recompute               bool           // FusePool and FuseDropout on every device, for tests
	allocate                func(name string, words int, place engine.Place) (engine.Buffer, error)
}

// inputLayout says at which word each part of a batch's input begins.
type inputLayout struct{ step, labels, transforms, pixels, words, pitch int }

// end is where the input of a batch of n pictures ends.
func (l inputLayout) end(n int) int { return l.pixels + n*l.pitch }

func alignPage(words int) int { return (words + 63) &^ 63 }

func layoutInput(batch, stored int) inputLayout {
	var l inputLayout
	l.labels = alignPage(8)
	l.transforms = l.labels + alignPage(batch)
	l.pixels = l.transforms + alignPage(batch*layers.TransformWords)
	l.pitch = layers.PicturePitch(stored)
	l.words = l.end(batch)
	return l
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

// first are the recordings that the executor is made for.
func (n *deviceNet) first() []*engine.Recording {
	if !n.opt.Inference {
		r := engine.NewRecording(n.info)
		n.recordTrain(r)
		if len(n.grads) > 0 {
			n.recordUpdates(r)
		}
		return []*engine.Recording{r}
	}
	var all []*engine.Recording
	for _, size := range n.sizes() {
		r := engine.NewRecording(n.info)
		n.forBatches(size).recordEval(r)
		all = append(all, r)
	}
	return all
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

func newDeviceNet(info engine.Info, net *Network, batch int, opt ExecOptions,
	allocate func(name string, words int, place engine.Place) (engine.Buffer, error)) (*deviceNet, error) {
	plans, err := net.Plans()
	if err != nil {
		return nil, err
	}
	specs, err := net.ParamSpecs()
	if err != nil {
		return nil, err
	}
	if opt.Apart, err = opt.apart(); err != nil {
		return nil, err
	}
	split := opt.Precision == layers.BF16x3
	opt.Precision = opt.Precision.Stored()
	n := &deviceNet{net: net, opt: opt, split: split, batch: batch, info: info, plans: plans, specs: specs, allocate: allocate,
		layout: layoutInput(batch, net.Input.WithDefaults().Stored)}
	take := func(into *engine.Buffer, name string, words int, place engine.Place) {
		if err == nil {
			*into, err = allocate(name, alignPage(words), place)
		}
	}
	for _, s := range specs {
		var w, v, half engine.Buffer
		take(&w, s.Name, alignParam(s.Len()), engine.OnDevice)
		n.params = append(n.params, w)
		if opt.Precision != layers.FP32 && len(s.Shape) > 1 {
			take(&half, s.Name+" in "+opt.Precision.String(), opt.Precision.Words(alignParam(s.Len())), engine.OnDevice)
		}
		n.half = append(n.half, half)
		if !opt.Inference && !s.Frozen() {
			take(&v, "momentum of "+s.Name, alignParam(s.Len()), engine.OnDevice)
		}
		n.momentum = append(n.momentum, v)
	}
	for i := range n.hostInput {
		take(&n.hostInput[i], "input from the host", n.layout.words, engine.HostWrites)
	}
	take(&n.devInput, "input", n.layout.words, engine.OnDevice)
	if mean := net.Input.MeanPicture; mean != nil {
		take(&n.mean, "mean picture", len(mean), engine.OnDevice)
	}
	if n.scaled() {
		take(&n.overflow, "overflow", alignPage(1)*len(specs), engine.OnDevice)
		take(&n.hostOverflow, "overflow", alignPage(1)*len(specs), engine.HostReads)
	}
	if n.weighted() {
		take(&n.classWeights, "class weights", net.NumClasses(), engine.OnDevice)
	}
	take(&n.loss, "loss", batch, engine.HostReads)
	take(&n.rank, "rank", batch, engine.HostReads)
	take(&n.logits, "logits", batch*plans[len(plans)-1].Out.Pitch(), engine.HostReads)
	if err == nil && opt.KeepGrads && !opt.Inference {
		err = n.keepGrads()
	}
	return n, err
}

// alignParam is the length of a parameter's buffers: a page in any precision.
func alignParam(words int) int { return (words + 127) &^ 127 }

// sizes are the batches, in rising order, that have programs of their own.
func (n *deviceNet) sizes() []int {
	var all []int
	for size := 1; n.opt.ShortBatches && size < n.batch; size *= 2 {
		all = append(all, size)
	}
	return append(all, n.batch)
}

// size is the one that runs a batch of pictures.
func (n *deviceNet) size(pictures int) int {
	for _, size := range n.sizes() {
		if size >= pictures {
			return size
		}
	}
	return n.batch
}

// forBatches is the network on the same buffers for batches of that size.
func (n *deviceNet) forBatches(size int) *deviceNet {
	m := *n
	m.batch = size
	return &m
}

// scaled says that gradients are computed of a multiple of the loss.
func (n *deviceNet) scaled() bool { return n.opt.Precision == layers.FP16 && !n.opt.Inference }

// weighted says that the loss in training weighs classes.
func (n *deviceNet) weighted() bool { return len(n.opt.ClassWeights) > 0 && !n.opt.Inference }

// keepGrads takes memory for gradients that outlive a batch.
func (n *deviceNet) keepGrads() error {
	for len(n.grads) < len(n.specs) {
		s := n.specs[len(n.grads)]
		if !trains(n.specs, s.Layer) {
			n.grads = append(n.grads, engine.Buffer{})
			continue
		}
		g, err := n.allocate("gradient of "+s.Name, alignParam(s.Len()), engine.OnDevice)
		if err != nil {
			return err
		}
		n.grads = append(n.grads, g)
	}
	return nil
}

// activations are the tensors of one recorded forward pass.
type activations struct {
	slots  []layers.Slots[engine.Buffer]
	passes []passes
}

// recordForward records the input stage and all layers.
func (n *deviceNet) recordForward(r *engine.Recording, train bool) activations {
	r.Label("input")
	l := n.layout
	shape := n.net.InputShape()
	x := n.pictures
	if x.IsZero() {
		x = r.Temp("input of "+n.net.Layers[0].Name, n.batch*n.opt.Precision.Pitch(shape))
		layers.Augment(r, n.devInput.Slice(l.pixels, l.words-l.pixels), n.devInput.Slice(l.transforms, l.pixels-l.transforms), n.mean, x,
			n.batch, n.net.Input.WithDefaults().Stored, n.net.Input.Size, n.opt.Precision)
	}
	a := activations{slots: make([]layers.Slots[engine.Buffer], len(n.plans)), passes: n.passes(train)}
	for i, p := range n.plans {
		spec := n.net.Layers[i]
		s := layers.Slots[engine.Buffer]{Batch: n.batch, Plan: p, X: x, Tuning: n.tuning, Choices: n.opt.Choices, Precision: n.opt.Precision, Split: n.split, FloatY: i == len(n.plans)-1,
			Step: n.devInput.Slice(l.step, l.labels), Train: train && n.opt.Dropout, Stream: uint32(i),
			WithReLU: a.passes[i].withReLU, MaskFactor: a.passes[i].maskFactor, Norm: a.passes[i].norm, Dropout: a.passes[i].dropout}
		for j, ps := range n.specs {
			if ps.Layer == i {
				s.Params = append(s.Params, n.params[j])
				if ps.Param == 0 {
					s.Half = n.half[j]
				}
			}
		}
		drop, isDrop := spec.Layer.(layers.Dropout)
		switch {
		case a.passes[i].noForward || isDrop && !s.Train && drop.Identity():
			s.Y = x
		default:
			s.Y = n.logits
			if i < len(n.plans)-1 {
				s.Y = r.Temp(spec.Name, n.batch*n.opt.Precision.Pitch(p.Out))
			}
			if p.KeepWords > 0 {
				s.Keep = r.Temp("kept by "+spec.Name, n.batch*p.KeepPitch())
			}
			r.Label(spec.Name + " forward")
			spec.Layer.Forward(r, &s)
		}
		x = s.Y
		a.slots[i] = s
	}
	return a
}

// recordLoss records the loss: of an evaluation, or with the gradient of the
// logits that of a training step, which weighs classes.
func (n *deviceNet) recordLoss(r *engine.Recording, dlogits engine.Buffer) {
	var weights engine.Buffer
	if !dlogits.IsZero() {
		weights = n.classWeights
	}
	r.Label("softmax")
	l := n.layout
	layers.SoftmaxLoss(r, n.logits, n.devInput.Slice(l.labels, l.transforms-l.labels), weights, n.loss, n.rank, dlogits,
		n.devInput.Slice(l.step, l.labels), n.batch, n.net.NumClasses(), n.opt.Precision)
}

// recordTrain records a step: forward, loss, and from the last layer back each
// one's gradients. Unless gradients are kept, each layer's parameters move as
// soon as its gradients are known, or by the very calls that compute them.
func (n *deviceNet) recordTrain(r *engine.Recording) {
	a := n.recordForward(r, true)
	last := len(n.plans) - 1
	dy := r.Temp("gradient of the logits", n.batch*n.opt.Precision.Pitch(n.plans[last].Out))
	n.recordLoss(r, dy)
	first := firstTrained(n.specs)
	keep := len(n.grads) > 0
	if !keep {
		n.recordNoOverflow(r)
	}
	for i := last; i >= first; i-- {
		var own []int
		var grads []engine.Buffer
		var updates []*layers.Update
		for j, ps := range n.specs {
			switch {
			case ps.Layer != i || !trains(n.specs, i):
			case keep:
				grads = append(grads, n.grads[j])
			case n.fusesUpdate(i):
				updates = append(updates, n.update(j))
			default:
				own = append(own, j)
				grads = append(grads, r.Temp("gradient of "+ps.Name, alignParam(ps.Len())))
			}
		}
		dy = n.recordBackward(r, &a, i, dy, i == first, grads, updates)
		n.recordUpdate(r, own, grads)
	}
	if !keep {
		n.recordOverflow(r)
	}
}

// recordNoOverflow and recordOverflow go around the updates of a step: the words
// that say whether a gradient overflowed are cleared before and read after.
func (n *deviceNet) recordNoOverflow(r *engine.Recording) {
	if n.scaled() {
		r.Label("overflow")
		r.Fill(n.overflow, 0)
	}
}

func (n *deviceNet) recordOverflow(r *engine.Recording) {
	if n.scaled() {
		r.Label("overflow")
		r.Copy(n.hostOverflow, n.overflow)
	}
}

// recordBackward records the way back through layer i, whose output's gradient
// is dy, and gives the gradient of its input. Gradients of its parameters go to
// grads; without them the layer only passes the gradient on.
func (n *deviceNet) recordBackward(r *engine.Recording, a *activations, i int, dy engine.Buffer, noDX bool, grads []engine.Buffer, updates []*layers.Update) engine.Buffer {
	if a.passes[i].noBackward {
		return dy
	}
	spec, s := n.net.Layers[i], a.slots[i]
	s.DY, s.NoDX, s.Accumulate, s.Grads, s.Updates = dy, noDX, len(n.grads) > 0, grads, updates
	if !s.NoDX {
		switch spec.Layer.(type) {
		case layers.ReLU, layers.Dropout:
			s.DX = dy // in place
		default:
			s.DX = r.Temp("gradient of the input of "+spec.Name, n.batch*n.opt.Precision.Pitch(s.Plan.In))
		}
	}
	r.Label(spec.Name + " backward")
	if drop, ok := spec.Layer.(layers.Dropout); !ok || s.Train || !drop.Identity() {
		spec.Layer.Backward(r, &s)
	}
	return s.DX
}

// recordUpdates records the end of a step whose gradients are kept: SGD for all
// parameters.
func (n *deviceNet) recordUpdates(r *engine.Recording) {
	all := make([]int, len(n.specs))
	for i := range all {
		all[i] = i
	}
	n.recordNoOverflow(r)
	n.recordUpdate(r, all, n.grads)
	n.recordOverflow(r)
}

// recordUpdate records SGD for some of the parameters.
func (n *deviceNet) recordUpdate(r *engine.Recording, which []int, grads []engine.Buffer) {
	for k, j := range which {
		if u := n.update(j); u != nil {
			r.Label(n.specs[j].Name + " update")
			u.Record(r, grads[k])
		}
	}
}

// update is how a parameter moves, nil when it is frozen.
func (n *deviceNet) update(j int) *layers.Update {
	s := n.specs[j]
	if s.Frozen() {
		return nil
	}
	u := layers.Update{W: n.params[j], V: n.momentum[j], Elements: s.Len(), Copy: n.half[j], Precision: n.opt.Precision,
		Step: n.devInput.Slice(n.layout.step, n.layout.labels)}
	if n.scaled() { // a page each, so that no update waits for another
		u.Overflow = n.overflow.Slice(j*alignPage(1), alignPage(1))
	}
	return n.opt.SGD.Update(u, s.LR, s.Decay)
}

func (d *device) compile(record func(r *engine.Recording)) (*engine.Program, error) {
	if d.warming != nil { // what it fails with, compiling tells
		_ = d.warming.Wait()
	}
	r := engine.NewRecording(d.dev.Info)
	record(r)
	return d.dev.Compile(r, engine.Options{Timing: d.timing})
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

// Stage packs a batch's pictures into a free slot, for a Train or Eval of the
// same batch to come; without one it does nothing. It may run beside Train.
func (d *device) Stage(b *loader.Batch) error {
	d.staging.Lock()
	defer d.staging.Unlock()
	for i := range d.slots {
		if s := &d.slots[i]; s.batch == nil {
			s.batch = b
			return d.pack(s, b)
		}
	}
	return nil
}

// pack sends everything but the step's numbers to the slot. Pictures go straight
// from the batch to the memory that the device reads, on all processors, so that the
// host keeps up with a fast device.
func (d *device) pack(s *slot, b *loader.Batch) error {
	l, size := d.layout, d.size(b.N)
	bytes := b.Stored * b.Stored * 3
	clear(s.words[l.transforms:l.pixels])
	pieces := min(size, runtime.GOMAXPROCS(0))
	failed := make([]error, pieces)
	var done sync.WaitGroup
	for piece := range pieces {
		done.Go(func() {
			for i := piece * size / pieces; i < (piece+1)*size/pieces; i++ {
				label := int32(-1) // a place that this batch leaves empty
				if i < b.N {
					label = b.Labels[i]
					packFloats(s.words[l.transforms+i*layers.TransformWords:], b.Geometry[i][:])
					packFloats(s.words[l.transforms+i*layers.TransformWords+9:], b.Colour[i][:])
					if err := engine.Upload(d.dev, s.host.Slice(l.end(i), l.pitch), b.Pixels[i*bytes:][:bytes]); err != nil {
						failed[piece] = err
						return
					}
				}
				s.words[l.labels+i] = uint32(label)
			}
		})
	}
	done.Wait()
	if err := errors.Join(failed...); err != nil {
		return err
	}
	return engine.Upload(d.dev, s.host.Slice(l.labels, l.pixels-l.labels), s.words[l.labels:l.pixels])
}

// load gives the slot with the batch, staged before or now, and the step's
// numbers in it.
func (d *device) load(b *loader.Batch, step TrainStep) (*slot, error) {
	d.staging.Lock()
	defer d.staging.Unlock()
	var s *slot
	for i := range d.slots {
		if d.slots[i].batch == b {
			s = &d.slots[i]
		}
	}
	if s == nil {
		for i := range d.slots { // the last one if none is free: its batch is packed again later
			if s = &d.slots[i]; s.batch == nil {
				break
			}
		}
		s.batch = b
		if err := d.pack(s, b); err != nil {
			return nil, err
		}
	}
	return s, d.loadStep(s, step)
}

func (d *device) loadStep(s *slot, step TrainStep) error {
	words := layers.StepWords(layers.Step{Seed: d.opt.Seed, Count: step.Count}, step.LR, step.GradScale, step.lossScale())
	return engine.Upload(d.dev, s.host.Slice(d.layout.step, d.layout.labels), words)
}

// run copies n pictures of a slot to the device and runs programs on them; then
// the slot is free.
func (d *device) run(s *slot, n int, programs ...*engine.Program) error {
	defer func() {
		d.staging.Lock()
		s.batch = nil
		d.staging.Unlock()
	}()
	if err := d.dev.Start(append([]*engine.Program{s.copy[d.size(n)]}, programs...)...); err != nil {
		return err
	}
	return programs[len(programs)-1].Wait()
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

func (n *deviceNet) recordEval(r *engine.Recording) {
	n.recordForward(r, false)
	n.recordLoss(r, engine.Buffer{})
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

// PlanMemory says what an executor of the network would take on a device,
// without taking any.
func PlanMemory(info engine.Info, net *Network, batch int, opt ExecOptions) (MemoryPlan, error) {
	m := MemoryPlan{Batch: batch}
	n, err := newDeviceNet(info, net, batch, opt, func(name string, words int, _ engine.Place) (engine.Buffer, error) {
		return engine.PlannedBuffer(name, words), nil
	})
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
