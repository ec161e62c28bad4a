package layers

import "vkalexnet/engine"

// A convolution in steps of s over few channels, such as a network's first, reads
// pieces of rows that begin anywhere. Where the picture is cut into blocks of s × s
// pixels, each block's pixels taken for channels, it is a convolution in steps of 1
// over s·s times as many channels, whose kernel is as many blocks large as it takes
// to cover it, zero where it covers more. Loads are aligned then. AlexNet's first layer, 11 × 11
// in steps of 4 over 227 × 227 × 3, becomes 3 × 3 over 57 × 57 × 48: 432 terms to a
// sum where there were 363.

type blocks struct {
	X, Y                                              engine.Buffer
	Count, XPitch, YPitch                             uint32
	Pad                                               int32
	Back                                              bool
	Height, Width, Channels, Stride, BlocksH, BlocksW uint32
	FormatX, FormatY                                  uint32 // Precision
}

var blocksKernel = engine.Declare[blocks]("blocks")

// inBlocks is the convolution on blocks, its plan, and whether it is what a
// device's kernels should compute: in 16 bits, where an aligned load has eight
// elements and a first layer's three channels are never one.
func (l Conv) inBlocks(r *engine.Recording, s *Slots[engine.Buffer]) (Conv, Plan, bool) {
	in, out := s.Plan.In, s.Plan.Out
	if tuning(r, s).Lanes > 0 || s.Precision == FP32 || l.groups() > 1 || l.Stride == 1 || in.C%8 == 0 || in.C*l.Stride*l.Stride%4 != 0 {
		return Conv{}, Plan{}, false
	}
	inner := Conv{Out: l.Out, KernelH: ceilDiv(l.KernelH, l.Stride), KernelW: ceilDiv(l.KernelW, l.Stride), Stride: 1}
	plan, err := inner.Plan(Shape{in.C * l.Stride * l.Stride, out.H + inner.KernelH - 1, out.W + inner.KernelW - 1})
	return inner, plan, err == nil && max(s.Precision.Pitch(plan.In), plan.Params[0].Len()) <= r.MaxWords()
}

// gemmFor is the geometry of one of the layer's products.
func (l Conv) gemmFor(r *engine.Recording, s *Slots[engine.Buffer], op gemmOp) *gemmLayer {
	if inner, plan, ok := l.inBlocks(r, s); ok && op != opBackwardInput {
		b := *s
		b.Plan = plan
		return inner.gemm(&b)
	}
	return l.gemm(s)
}

// Forward records the layer; with s.WithReLU it applies the ReLU that follows.
func (l Conv) Forward(r *engine.Recording, s *Slots[engine.Buffer]) {
	inner, plan, ok := l.inBlocks(r, s)
	if !ok {
		l.gemm(s).forward(r, s)
		return
	}
	l.recordInBlocks(r, s, plan)
	b := *s
	b.Plan, b.X, b.Half = plan, s.Blocks, r.Temp("weight in blocks", s.Precision.Words(alignElements(plan.Params[0].Len(), s.Precision)))
	l.recordWeight(r, plan, blocks{X: s.Half, Y: b.Half, FormatX: uint32(s.Precision), FormatY: uint32(s.Precision)})
	inner.gemm(&b).forward(r, &b)
}

// Backward records the gradients of the parameters and of the input.
func (l Conv) Backward(r *engine.Recording, s *Slots[engine.Buffer]) {
	inner, plan, ok := l.inBlocks(r, s)
	if !ok || len(s.Grads) == 0 && len(s.Updates) == 0 {
		l.gemm(s).backward(r, s)
		return
	}
	rest := *s
	rest.Grads, rest.Updates = nil, nil
	l.gemm(s).backward(r, &rest) // the input's gradient takes the weight as it was
	grads := s.Grads
	if len(s.Updates) > 0 {
		grads = []engine.Buffer{r.Temp("gradient of a weight", alignElements(s.Plan.Params[0].Len(), FP16)), r.Temp("gradient of a bias", s.Params[1].Len())}
	}
	if s.Blocks.IsZero() {
		l.recordInBlocks(r, s, plan)
	}
	b := *s
	b.Plan, b.X, b.NoDX = plan, s.Blocks, true
	gradient := r.Temp("gradient of the weight in blocks", alignElements(plan.Params[0].Len(), FP32))
	b.Grads, b.Updates = []engine.Buffer{gradient, grads[1]}, nil
	if s.Accumulate {
		l.recordWeight(r, plan, blocks{X: grads[0], Y: gradient})
	}
	inner.gemm(&b).backward(r, &b)
	l.recordWeight(r, plan, blocks{X: gradient, Y: grads[0], Back: true})
	weight, bias := s.updates()
	for i, u := range []*Update{weight, bias} {
		if u != nil {
			u.Record(r, grads[i])
		}
	}
}

// recordInBlocks records the cutting of s.X into s.Blocks.
func (l Conv) recordInBlocks(r *engine.Recording, s *Slots[engine.Buffer], plan Plan) {
	from, to := s.Precision.Pitch(s.Plan.In), s.Precision.Pitch(plan.In)
	s.Blocks = r.Temp("input in blocks", s.Batch*to)
	for _, at := range batchSlices(r, s.Batch, max(from, to)) {
		b := blocks{X: examples(s.X, at, from), Y: examples(s.Blocks, at, to), Pad: int32(l.Pad),
			XPitch: uint32(s.Precision.elementPitch(s.Plan.In)), YPitch: uint32(s.Precision.elementPitch(plan.In)),
			FormatX: uint32(s.Precision), FormatY: uint32(s.Precision)}
		b.record(r, l.Stride, s.Plan.In, plan.In, b.Y.Len()*s.Precision.PerWord())
	}
}

// recordWeight does the same, or the opposite, with a weight, whose rows of the
// kernel are those of a picture with as many channels as there are weights at one of
// its places.
func (l Conv) recordWeight(r *engine.Recording, plan Plan, b blocks) {
	kernel := plan.Params[0].Shape
	cut := Shape{C: plan.In.C * l.Out, H: kernel[2], W: kernel[3]}
	whole := Shape{C: cut.C / (l.Stride * l.Stride), H: l.KernelH, W: l.KernelW}
	count := b.Y.Len() * Precision(b.FormatY).PerWord()
	if b.Back {
		count = whole.Len()
	}
	b.XPitch, b.YPitch = uint32(b.X.Len()*Precision(b.FormatX).PerWord()), uint32(count)
	b.record(r, l.Stride, whole, cut, count)
}

func (b blocks) record(r *engine.Recording, stride int, picture, cut Shape, count int) {
	b.Count, b.Stride = uint32(count), uint32(stride)
	b.Height, b.Width, b.Channels = uint32(picture.H), uint32(picture.W), uint32(picture.C)
	b.BlocksH, b.BlocksW = uint32(cut.H), uint32(cut.W)
	if b.FormatY != uint32(FP32) {
		count /= 4
	}
	blocksKernel.Record(r, engine.Threads(count), b)
}

// alignElements is n rounded up to where a buffer may begin.
func alignElements(n int, p Precision) int { return ceilDiv(n, p.align()) * p.align() }
