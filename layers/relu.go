package layers

import (
	"fmt"

	"vkalexnet/engine"
)

// ReLU is the rectifier of Krizhevsky et al. 2012, section 3.1: y = max(0, x).
// Its gradient at 0 is 0; NaN stays NaN, so that a diverged run shows.
// X and Y are [batch, C, H, W].
type ReLU struct{}

// Kind is "relu".
func (ReLU) Kind() string { return "relu" }

// Plan implements Layer.
func (ReLU) Plan(in Shape) (Plan, error) {
	if err := checkInput(in); err != nil {
		return Plan{}, fmt.Errorf("relu: %w", err)
	}
	return Plan{In: in, Out: in, NeedsY: true}, nil
}

// ForwardCPU implements Layer.
func (ReLU) ForwardCPU(s *Slots[[]float32]) {
	parallel(s.Batch*s.Plan.In.Len(), func(first, last int) {
		for i := first; i < last; i++ {
			s.Y[i] = s.X[i]
			if s.X[i] < 0 {
				s.Y[i] = 0
			}
		}
	})
}

// BackwardCPU implements Layer: dx = dy where y > 0, else 0.
func (ReLU) BackwardCPU(s *Slots[[]float32]) {
	if s.DX == nil {
		return
	}
	parallel(s.Batch*s.Plan.In.Len(), func(first, last int) {
		for i := first; i < last; i++ {
			s.DX[i] = 0
			if s.Y[i] > 0 {
				s.DX[i] = s.DY[i]
			}
		}
	})
}

type relu struct {
	X, DY, Y engine.Buffer
	Quads    uint32
	Backward bool
	Format   uint32 // Precision
}

var reluKernel = engine.Declare[relu]("relu")

// Forward records the layer. X and Y may be the same.
func (ReLU) Forward(r *engine.Recording, s *Slots[engine.Buffer]) {
	pitch, format := s.Precision.Pitch(s.Plan.In), s.Precision
	for _, at := range batchSlices(r, s.Batch, pitch) {
		quads := (at[1] - at[0]) * pitch * format.PerWord() / 4
		reluKernel.Record(r, engine.Threads(quads), relu{X: examples(s.X, at, pitch), Y: examples(s.Y, at, pitch), Quads: uint32(quads), Format: uint32(format)})
	}
}

// Backward records the gradient. DX and DY may be the same.
func (ReLU) Backward(r *engine.Recording, s *Slots[engine.Buffer]) {
	if s.NoDX {
		return
	}
	pitch, format := s.Precision.Pitch(s.Plan.In), s.Precision
	for _, at := range batchSlices(r, s.Batch, pitch) {
		quads := (at[1] - at[0]) * pitch * format.PerWord() / 4
		reluKernel.Record(r, engine.Threads(quads), relu{X: examples(s.Y, at, pitch), DY: examples(s.DY, at, pitch), Y: examples(s.DX, at, pitch),
			Quads: uint32(quads), Backward: true, Format: uint32(format)})
	}
}
