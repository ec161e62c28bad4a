package alexnet

import (
	"vkalexnet/engine"
	"vkalexnet/layers"
)

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

// newDeviceNet takes the buffers of a network for batches of up to batch pictures, by
// allocate, whose names are for errors and whose sizes are in words.
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

// alignPage rounds a length in words up to a multiple of 64: 256 bytes, at which every
// device lets a kernel's argument begin.
func alignPage(words int) int { return (words + 63) &^ 63 }

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

func (n *deviceNet) recordEval(r *engine.Recording) {
	n.recordForward(r, false)
	n.recordLoss(r, engine.Buffer{})
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
