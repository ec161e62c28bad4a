package alexnet

import (
	"math"
	"slices"

	"vkalexnet/layers"
	"vkalexnet/loader"
	"vkalexnet/optim"
	"vkalexnet/weights"
)

// reference is the Executor on the CPU: the plain loops of package layers, one
// after the other. It is what a device's results are compared with.
type reference struct {
	net   *Network
	opt   ExecOptions
	batch int
	plans []layers.Plan
	specs []ParamSpec
	// slots[i] are layer i's tensors, for a whole batch; X of one layer is Y
	// of the one before.
	slots []layers.Slots[[]float32]
	// half are the weights as products read them, rounded to opt.Precision, in the
	// order of specs; nil for float32 and for what is no product's weight.
	half [][]float32
	// gradients of two neighbouring activations, used in turn
	scratch [2][]float32
	// params, momentum and grads are in the order of specs; frozen layers have
	// no data in the last two.
	params, momentum, grads []weights.Tensor
	first                   int // the first layer that learns
}

// NewReference makes an executor on the CPU for batches of up to batch
// pictures. It computes what devices do, slowly, to the same definition: what they
// store in opt.Precision is rounded to it here, too, and is otherwise float32.
func NewReference(net *Network, batch int, opt ExecOptions) (Executor, error) {
	if err := CheckBatchSize(batch); err != nil {
		return nil, err
	}
	if err := opt.check(net); err != nil {
		return nil, err
	}
	plans, err := net.Plans()
	if err != nil {
		return nil, err
	}
	specs, err := net.ParamSpecs()
	if err != nil {
		return nil, err
	}
	opt.Precision = opt.Precision.Stored()
	r := &reference{net: net, opt: opt, batch: batch, plans: plans, specs: specs}
	r.params = zeros(specs)
	if !opt.Inference {
		r.momentum, r.grads = make([]weights.Tensor, len(specs)), make([]weights.Tensor, len(specs))
		for i, s := range specs {
			if !s.Frozen() {
				r.momentum[i] = zeros(specs[i : i+1])[0]
			}
			if trains(specs, s.Layer) {
				r.grads[i] = zeros(specs[i : i+1])[0]
			}
		}
	}
	r.half = make([][]float32, len(specs))
	if opt.Precision != layers.FP32 {
		for i, s := range specs {
			if s.Param == 0 {
				r.half[i] = make([]float32, s.Len())
			}
		}
	}
	r.allocate()
	return r, nil
}

// round rounds what a device stores in 16 bits.
func (r *reference) round(x []float32) {
	if p := r.opt.Precision; p != layers.FP32 {
		for i, v := range x {
			x[i] = p.Round(v)
		}
	}
}

// roundParam makes the copy of parameter i that products read.
func (r *reference) roundParam(i int) {
	if r.half[i] != nil {
		copy(r.half[i], r.params[i].Data)
		r.round(r.half[i])
	}
}

// zeros makes one tensor for each of the parameters.
func zeros(specs []ParamSpec) []weights.Tensor {
	tensors := make([]weights.Tensor, len(specs))
	for i, s := range specs {
		tensors[i] = weights.Tensor{Name: s.Name, Shape: slices.Clone(s.Shape), Data: make([]float32, s.Len())}
	}
	return tensors
}

// allocate gives the layers their tensors. Without gradients two buffers, used
// in turn, hold all activations.
func (r *reference) allocate() {
	r.slots = make([]layers.Slots[[]float32], len(r.plans))
	largest := r.net.InputShape().Len()
	for _, p := range r.plans {
		largest = max(largest, p.Out.Len())
	}
	turn := [2][]float32{make([]float32, r.batch*largest), make([]float32, r.batch*largest)}
	x := turn[1]
	if !r.opt.Inference {
		r.scratch = turn
		x = make([]float32, r.batch*r.net.InputShape().Len())
	}
	for i, p := range r.plans {
		y := turn[i%2]
		if !r.opt.Inference {
			y = make([]float32, r.batch*p.Out.Len())
		}
		r.slots[i] = layers.Slots[[]float32]{Plan: p, X: x, Y: y, Stream: uint32(i)}
		x = y
	}
	r.first = firstTrained(r.specs)
	for i, s := range r.specs {
		slots := &r.slots[s.Layer]
		if r.half[i] != nil {
			slots.Params = append(slots.Params, r.half[i])
		} else {
			slots.Params = append(slots.Params, r.params[i].Data)
		}
		if r.grads != nil && r.grads[i].Data != nil {
			slots.Grads = append(slots.Grads, r.grads[i].Data)
		}
	}
}

func (r *reference) Name() string { return "cpu" }

func (r *reference) Close() {}

// load makes the first layer's input of the batch's bytes.
func (r *reference) load(b *loader.Batch) {
	x := r.slots[0].X[:b.N*r.net.InputShape().Len()]
	layers.AugmentCPU(x, b.Pixels, r.net.Input.MeanTerms(), b.N, b.Stored, r.net.Input.Size, b.Geometry[:b.N], b.Colour[:b.N])
	r.round(x)
}

// forward runs n loaded pictures through all layers and gives the logits.
func (r *reference) forward(n int, step layers.Step, train bool) []float32 {
	var y []float32
	for i := range r.slots {
		y = r.forwardLayer(i, n, step, train)
	}
	return y
}

// forwardLayer runs layer i and gives its output.
func (r *reference) forwardLayer(i, n int, step layers.Step, train bool) []float32 {
	s := r.slice(i, n)
	s.StepValues, s.Train = step, train
	r.net.Layers[i].Layer.ForwardCPU(&s)
	if i < len(r.slots)-1 { // logits are float32
		r.round(s.Y)
	}
	return s.Y
}

// slice is layer i's tensors for the first n pictures of the batch.
func (r *reference) slice(i, n int) layers.Slots[[]float32] {
	s := r.slots[i]
	s.Batch = n
	s.X, s.Y = s.X[:n*s.Plan.In.Len()], s.Y[:n*s.Plan.Out.Len()]
	return s
}

func (r *reference) Eval(b *loader.Batch) (BatchResult, error) {
	classes := r.net.NumClasses()
	if err := r.net.CheckBatch(b, r.batch, classes); err != nil {
		return BatchResult{}, err
	}
	r.load(b)
	res := newResult(b.N)
	res.Logits = slices.Clone(r.forward(b.N, layers.Step{}, false))
	layers.SoftmaxLossCPU(res.Logits, b.N, classes, b.Labels[:b.N], nil, 0, res.Loss, res.Rank, nil)
	return res, nil
}

func newResult(n int) BatchResult {
	return BatchResult{Loss: make([]float32, n), Rank: make([]int32, n)}
}

func (r *reference) Train(b *loader.Batch, step TrainStep) (BatchResult, error) {
	if r.opt.Inference {
		return BatchResult{}, ErrInference
	}
	if err := r.net.CheckBatch(b, r.batch, r.net.NumClasses()); err != nil {
		return BatchResult{}, err
	}
	r.load(b)
	return r.train(b.N, b.Labels[:b.N], step), nil
}

// train is Train for n loaded pictures.
func (r *reference) train(n int, labels []int32, step TrainStep) BatchResult {
	values := layers.Step{Seed: r.opt.Seed, Count: step.Count}
	res := newResult(n)
	logits := r.forward(n, values, r.opt.Dropout)
	last := len(r.slots) - 1
	dy := r.scratch[last%2][:len(logits)]
	layers.SoftmaxLossCPU(logits, n, r.net.NumClasses(), labels, r.opt.ClassWeights, step.GradScale*r.lossScale(step), res.Loss, res.Rank, dy)
	r.round(dy)

	if !step.Accumulate {
		for _, g := range r.grads {
			clear(g.Data)
		}
	}
	for i := last; i >= r.first; i-- {
		s := r.slice(i, n)
		s.StepValues, s.Train, s.DY = values, r.opt.Dropout, dy
		if i > r.first {
			s.DX = r.scratch[(i+1)%2][:len(s.X)]
		}
		r.net.Layers[i].Layer.BackwardCPU(&s)
		r.round(s.DX)
		dy = s.DX
	}
	if step.Update {
		res.Overflow = r.update(step)
	}
	return res
}

// lossScale multiplies gradients in fp16, until the update divides by it.
func (r *reference) lossScale(step TrainStep) float32 {
	if r.opt.Precision != layers.FP16 {
		return 1
	}
	return step.lossScale()
}

// update moves all parameters by one step, but for those whose gradients
// overflowed, and says whether there are any.
func (r *reference) update(step TrainStep) (overflow bool) {
	sgd := optim.SGD{LR: step.LR, Momentum: r.opt.SGD.Momentum, WeightDecay: r.opt.SGD.WeightDecay, Form: r.opt.SGD.Form}
	scale := r.lossScale(step)
	for i, s := range r.specs {
		if s.Frozen() {
			continue
		}
		w, v, g := r.params[i].Data, r.momentum[i].Data, r.grads[i].Data
		type stay struct {
			at   int
			w, v float32
		}
		var bad []stay
		if r.opt.Precision == layers.FP16 {
			for j := range g {
				if g[j] /= scale; math.IsNaN(float64(g[j])) || math.IsInf(float64(g[j]), 0) {
					bad = append(bad, stay{j, w[j], v[j]})
				}
			}
		}
		sgd.UpdateCPU(w, v, g, s.LR, s.Decay)
		for _, b := range bad {
			w[b.at], v[b.at], overflow = b.w, b.v, true
		}
		r.roundParam(i)
	}
	return overflow
}

func (r *reference) Params() ([]weights.Tensor, error) { return copies(r.params), nil }

func (r *reference) Momentum() ([]weights.Tensor, error) {
	if r.opt.Inference {
		return nil, ErrInference
	}
	return thawed(r.specs, copies(r.momentum)), nil
}

func (r *reference) SetParams(tensors []weights.Tensor) error {
	return r.set(r.params, tensors)
}

func (r *reference) SetMomentum(tensors []weights.Tensor) error {
	if r.opt.Inference {
		return ErrInference
	}
	return r.set(r.momentum, tensors)
}

func (r *reference) set(dst, src []weights.Tensor) error {
	ordered, err := r.net.MatchTensors(src)
	if err != nil {
		return err
	}
	for i, t := range ordered {
		copy(dst[i].Data, t.Data) // nothing into a frozen layer's momentum
		r.roundParam(i)
	}
	return nil
}

// copies shares nothing with the tensors that it copies.
func copies(tensors []weights.Tensor) []weights.Tensor {
	c := slices.Clone(tensors)
	for i := range c {
		c[i].Shape, c[i].Data = slices.Clone(c[i].Shape), slices.Clone(c[i].Data)
	}
	return c
}
