package optim

import "vkalexnet/engine"

type sgd struct {
	W, V, G, Step               engine.Buffer
	Quads                       uint32
	Momentum, Decay, RateFactor float32
	Pytorch                     bool
}

var sgdKernel = engine.Declare[sgd]("sgd")

// Update records one step of the parameters w with the momentum v and the
// gradient g, as UpdateCPU defines it; the learning rate comes from the step
// buffer. All three are equally long, a multiple of 64 words.
func (s SGD) Update(r *engine.Recording, w, v, g, step engine.Buffer, lrMult, decayMult float32) {
	words := w.Len()
	for first := 0; first < words; first += r.MaxWords() {
		n := min(r.MaxWords(), words-first)
		sgdKernel.Record(r, engine.Threads(n/4), sgd{W: w.Slice(first, n), V: v.Slice(first, n), G: g.Slice(first, n), Step: step,
			Quads: uint32(n / 4), Momentum: s.Momentum, Decay: s.WeightDecay * decayMult, RateFactor: lrMult, Pytorch: s.Form == "pytorch"})
	}
}
