package layers

import "math/rand/v2"

// newSlots allocates everything that a plan needs on the CPU, all zero.
func newSlots(plan Plan, batch int) *Slots[[]float32] {
	in, out := batch*plan.In.Len(), batch*plan.Out.Len()
	s := &Slots[[]float32]{
		Batch: batch, Plan: plan, Train: true,
		X: make([]float32, in), DX: make([]float32, in),
		Y: make([]float32, out), DY: make([]float32, out),
	}
	for _, p := range plan.Params {
		s.Params = append(s.Params, make([]float32, p.Len()))
		s.Grads = append(s.Grads, make([]float32, p.Len()))
	}
	return s
}

// randomFill fills v with numbers between -1 and 1.
func randomFill(r *rand.Rand, v []float32) {
	for i := range v {
		v[i] = 2*r.Float32() - 1
	}
}
