package layers

import (
	"fmt"

	"vkalexnet/engine"
)

// Dropout sets each element to zero with probability P while training
// (Krizhevsky et al. 2012, section 4.2). What is kept is divided by 1-P, and
// inference changes nothing, as in Caffe and PyTorch. With Paper it is as in
// the paper: training leaves what is kept alone, and inference multiplies by
// 1-P. X and Y are [batch, C, H, W].
//
// Which elements are kept is a function of the run's seed, the layer's stream,
// the count of training passes and the element's place (see dropoutUniform): it
// needs no memory, and is the same on every device.
type Dropout struct {
	P     float32
	Paper bool
}

// Kind is "dropout".
func (Dropout) Kind() string { return "dropout" }

// Plan implements Layer.
func (l Dropout) Plan(in Shape) (Plan, error) {
	if err := checkInput(in); err != nil {
		return Plan{}, fmt.Errorf("dropout: %w", err)
	}
	if !(l.P >= 0 && l.P < 1) {
		return Plan{}, fmt.Errorf("dropout: probability %v: it must be at least 0 and less than 1", l.P)
	}
	return Plan{In: in, Out: in}, nil
}

// factors are what kept elements are multiplied by in training, and all
// elements in inference.
func (l Dropout) factors() (training, inference float32) {
	if l.Paper {
		return 1, 1 - l.P
	}
	return 1 / (1 - l.P), 1
}

// Factor is what elements are multiplied by: those kept in training, all in inference.
func (l Dropout) Factor(train bool) float32 {
	training, inference := l.factors()
	if train {
		return training
	}
	return inference
}

// apply writes src times the mask (in training) and the factor to dst.
func (l Dropout) apply(dst, src []float32, s *Slots[[]float32]) {
	training, inference := l.factors()
	n := s.Plan.In.Len()
	parallel(s.Batch, func(first, last int) {
		for b := first; b < last; b++ {
			for e := range n {
				at := b*n + e
				switch {
				case !s.Train:
					dst[at] = src[at] * inference
				case dropoutUniform(s.StepValues, s.Stream, b, e) >= l.P:
					dst[at] = src[at] * training
				default:
					dst[at] = 0
				}
			}
		}
	})
}

// ForwardCPU implements Layer.
func (l Dropout) ForwardCPU(s *Slots[[]float32]) { l.apply(s.Y, s.X, s) }

// BackwardCPU implements Layer: the same mask and factor on the gradient.
func (l Dropout) BackwardCPU(s *Slots[[]float32]) {
	if s.DX != nil {
		l.apply(s.DX, s.DY, s)
	}
}

// dropoutUniform is the random number in [0, 1) that decides on element e (in
// [C, H, W] order) of example b: the upper 24 bits of word e mod 4 of
// Philox({e/4, stream, count, b}, seed). The element is kept when it is not
// below P.
func dropoutUniform(step Step, stream uint32, b, e int) float32 {
	words := Philox([4]uint32{uint32(e >> 2), stream, uint32(step.Count), uint32(b)}, philoxKey(step.Seed))
	return float32(words[e&3]>>8) * 0x1p-24
}

type dropout struct {
	X, Y, Step                                    engine.Buffer
	Batch, First, Pixels, Channels, Pitch, Stream uint32
	P, Factor                                     float32
	Masked                                        bool
	Format                                        uint32 // Precision
}

var dropoutKernel = engine.Declare[dropout]("dropout")

func (l Dropout) record(r *engine.Recording, s *Slots[engine.Buffer], x, y engine.Buffer) {
	in := s.Plan.In
	pitch := s.Precision.Pitch(in)
	factor, inference := l.factors()
	if !s.Train {
		factor = inference
	}
	for _, at := range batchSlices(r, s.Batch, pitch) {
		dropout{
			X: examples(x, at, pitch), Y: examples(y, at, pitch), Step: s.Step,
			Batch: uint32(at[1] - at[0]), First: uint32(at[0]), Pixels: uint32(in.H * in.W), Channels: uint32(in.C), Pitch: uint32(s.Precision.elementPitch(in)),
			Stream: s.Stream, P: l.P, Factor: float32(factor), Masked: s.Train, Format: uint32(s.Precision),
		}.record(r)
	}
}

func (d dropout) record(r *engine.Recording) {
	dropoutKernel.Record(r, engine.Threads(int(d.Batch)*ceilDiv(int(d.Pixels*d.Channels), 4)), d)
}

// DropoutAfter is a dropout of a training step that a linear layer applies to its result.
type DropoutAfter struct {
	Dropout
	Stream uint32 // the dropout's own, as in Slots
}

// of is the dropout of examples from first on, for the products that make them.
func (d *DropoutAfter) of(step engine.Buffer, first int) *dropout {
	if d == nil {
		return nil
	}
	return &dropout{Step: step, First: uint32(first), Stream: d.Stream, P: d.P, Factor: d.Factor(true), Masked: true}
}

// Identity reports whether the layer does nothing in inference.
func (l Dropout) Identity() bool { _, inference := l.factors(); return inference == 1 }

// Forward records the layer. X and Y may be the same.
func (l Dropout) Forward(r *engine.Recording, s *Slots[engine.Buffer]) { l.record(r, s, s.X, s.Y) }

// Backward records the gradient with the mask of the forward pass, made again.
// DX and DY may be the same.
func (l Dropout) Backward(r *engine.Recording, s *Slots[engine.Buffer]) {
	if !s.NoDX {
		l.record(r, s, s.DY, s.DX)
	}
}
