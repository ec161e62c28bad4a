package optim

import (
	"vkalexnet/engine"
	"vkalexnet/layers"
)

type sgd struct {
	W, V, G, Step               engine.Buffer
	Copy, Overflow              engine.Buffer
	Quads                       uint32
	Momentum, Decay, RateFactor float32
	Pytorch, Checked            bool
	Format                      uint32 // layers.Precision of Copy
}

var sgdKernel = engine.Declare[sgd]("sgd")

// Parameter is one trainable tensor on a device. W, V (the momentum) and G (the
// gradient) are float32 and equally long, a multiple of 128 words.
type Parameter struct {
	W, V, G engine.Buffer
	// Copy, if it is a buffer, is what matrix products read: W in the precision.
	Copy      engine.Buffer
	Precision layers.Precision
	// Overflow, if it is a buffer, says that G is multiplied by the step's loss
	// scale: it is divided, and elements that are then no finite number move
	// nothing and leave a 1 in the buffer's first word.
	Overflow engine.Buffer
}

// Update records one step of a parameter as UpdateCPU defines it; the learning
// rate comes from the step buffer.
func (s SGD) Update(r *engine.Recording, p Parameter, step engine.Buffer, lrMult, decayMult float32) {
	words := p.W.Len()
	most := r.MaxWords() &^ 127
	for first := 0; first < words; first += most {
		n := min(most, words-first)
		call := sgd{W: p.W.Slice(first, n), V: p.V.Slice(first, n), G: p.G.Slice(first, n), Step: step,
			Quads: uint32(n / 4), Momentum: s.Momentum, Decay: s.WeightDecay * decayMult, RateFactor: lrMult, Pytorch: s.Form == PyTorch}
		if !p.Copy.IsZero() {
			call.Format = uint32(p.Precision)
			call.Copy = p.Copy.Slice(p.Precision.Words(first), p.Precision.Words(n))
		}
		if !p.Overflow.IsZero() {
			call.Checked, call.Overflow = true, p.Overflow
		}
		sgdKernel.Record(r, engine.Threads(n/4), call)
	}
}
