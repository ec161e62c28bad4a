package layers

import (
	"fmt"

	"vkalexnet/engine"
)

// Linear is a fully connected layer with bias: every one of its Out outputs
// sums over all elements of the example, flattened in [C, H, W] order.
//
//	y[b,o] = bias[o] + Σ_i w[o,i] · x[b,i]
//
// X is [batch, C, H, W], the weight [Out, C*H*W], Y [batch, Out, 1, 1].
type Linear struct{ Out int }

// Kind is "linear".
func (Linear) Kind() string { return "linear" }

// Plan implements Layer.
func (l Linear) Plan(in Shape) (Plan, error) {
	if err := checkInput(in); err != nil {
		return Plan{}, fmt.Errorf("linear: %w", err)
	}
	if l.Out < 1 {
		return Plan{}, fmt.Errorf("linear: %d outputs: there must be at least 1", l.Out)
	}
	weight := Param{"weight", []int{l.Out, in.Len()}}
	if err := checkShape("weight", weight.Shape...); err != nil {
		return Plan{}, fmt.Errorf("linear: %w", err)
	}
	return Plan{
		In: in, Out: Shape{l.Out, 1, 1},
		Params: []Param{weight, {"bias", []int{l.Out}}},
		NeedsX: true,
		MACs:   int64(weight.Len()),
	}, nil
}

// ForwardCPU implements Layer.
func (l Linear) ForwardCPU(s *Slots[[]float32]) {
	n := s.Plan.In.Len()
	weight, bias := s.Params[0], s.Params[1]
	parallel(l.Out, func(first, last int) {
		for o := first; o < last; o++ {
			w := weight[o*n:][:n]
			for b := range s.Batch {
				s.Y[b*l.Out+o] = float32(float64(bias[o]) + dot(w, s.X[b*n:][:n]))
			}
		}
	})
}

// BackwardCPU implements Layer.
//
//	dw[o,i] += Σ_b dy[b,o] · x[b,i];  dbias[o] += Σ_b dy[b,o];  dx[b,i] = Σ_o dy[b,o] · w[o,i]
func (l Linear) BackwardCPU(s *Slots[[]float32]) {
	n := s.Plan.In.Len()
	if len(s.Grads) > 0 {
		l.backwardParams(s)
	}
	if s.DX == nil {
		return
	}
	weight := s.Params[0]
	// Split by columns, so that the weight is read once for all examples.
	parallel(n, func(first, last int) {
		columns := last - first
		dx := make([]float64, s.Batch*columns)
		for o := range l.Out {
			w := weight[o*n+first:][:columns]
			for b := range s.Batch {
				addScaled(dx[b*columns:][:columns], s.DY[b*l.Out+o], w)
			}
		}
		for b := range s.Batch {
			store(s.DX[b*n+first:], dx[b*columns:][:columns])
		}
	})
}

func (l Linear) backwardParams(s *Slots[[]float32]) {
	n := s.Plan.In.Len()
	parallel(l.Out, func(first, last int) {
		dw := make([]float64, n)
		for o := first; o < last; o++ {
			clear(dw)
			db := 0.0
			for b := range s.Batch {
				dy := s.DY[b*l.Out+o]
				addScaled(dw, dy, s.X[b*n:][:n])
				db += float64(dy)
			}
			accumulate(s.Grads[0][o*n:][:n], dw)
			accumulate(s.Grads[1][o:o+1], []float64{db})
		}
	})
}

func (l Linear) gemmFor(_ *engine.Recording, s *Slots[engine.Buffer], _ gemmOp) *gemmLayer {
	return l.gemm(s)
}

// Forward records the layer; with s.WithReLU it applies the ReLU that follows.
func (l Linear) Forward(r *engine.Recording, s *Slots[engine.Buffer]) { l.gemm(s).forward(r, s) }

// Backward records the gradients of the parameters and of the input.
func (l Linear) Backward(r *engine.Recording, s *Slots[engine.Buffer]) { l.gemm(s).backward(r, s) }
