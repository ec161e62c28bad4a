package layers

import "vkalexnet/engine"

// Update is one step of SGD that moves a parameter by its gradient on a device:
// optim.SGD makes it. Its record applies it to a gradient in memory; products of
// matrices apply it to their sums and never store the gradient, with the same bits.
type Update struct {
	// W and V (the momentum) are float32 and equally long, a multiple of 128 words,
	// of which the first Elements are used.
	W, V     engine.Buffer
	Elements int
	// Copy, if it is a buffer, is what matrix products read: W in the precision.
	Copy      engine.Buffer
	Precision Precision
	// Overflow, if it is a buffer, says that gradients are multiplied by the step's
	// loss scale: they are divided, and elements that are then no finite number move
	// nothing and leave a 1 in the buffer's first word.
	Overflow engine.Buffer
	// Step brings the learning rate, which RateFactor multiplies.
	Step                        engine.Buffer
	Momentum, Decay, RateFactor float32
	PyTorch                     bool // the form of the update
}

// sgdArgs is what shaders/include/sgd.glsl takes.
type sgdArgs struct {
	Copy, Step, Overflow        engine.Buffer
	Momentum, Decay, RateFactor float32
	Pytorch, Checked            bool
	FormatCopy                  uint32 // Precision
}

type sgd struct {
	W, V, G engine.Buffer
	Count   uint32
	sgdArgs
}

var sgdKernel = engine.Declare[sgd]("sgd")

// args are the kernels' arguments.
func (u *Update) args() sgdArgs {
	a := sgdArgs{Step: u.Step, Momentum: u.Momentum, Decay: u.Decay, RateFactor: u.RateFactor, Pytorch: u.PyTorch}
	if !u.Copy.IsZero() {
		a.Copy, a.FormatCopy = u.Copy, uint32(u.Precision)
	}
	if !u.Overflow.IsZero() {
		a.Checked, a.Overflow = true, u.Overflow
	}
	return a
}

// part is the update of the elements [first, first + elements).
func (u *Update) part(first, elements int) *Update {
	p := *u
	words := min(ceilDiv(elements, 128)*128, u.W.Len()-first)
	p.W, p.V, p.Elements = u.W.Slice(first, words), u.V.Slice(first, words), min(elements, u.Elements-first)
	if !u.Copy.IsZero() {
		p.Copy = u.Copy.Slice(u.Precision.Words(first), u.Precision.Words(words))
	}
	return &p
}

// Record appends the update by the gradient g, which is as long as W.
func (u *Update) Record(r *engine.Recording, g engine.Buffer) {
	most := r.MaxWords() &^ 127
	for first := 0; first < u.Elements; first += most {
		p := u.part(first, min(most, u.Elements-first))
		sgdKernel.Record(r, engine.Threads(ceilDiv(p.Elements, 4)), sgd{W: p.W, V: p.V, G: g.Slice(first, p.W.Len()), Count: uint32(p.Elements), sgdArgs: p.args()})
	}
}
