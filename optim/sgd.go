// Package optim holds the optimiser: stochastic gradient descent with momentum
// and weight decay, in the two forms found in AlexNet's sources, and the
// schedules of its learning rate.
package optim

import "fmt"

// The forms of the update; see [SGD].
const (
	Paper   = "paper"
	PyTorch = "pytorch"
)

// SGD is stochastic gradient descent with momentum and weight decay.
//
// In the paper's form (section 5 of "ImageNet Classification with Deep
// Convolutional Neural Networks", 2012; Caffe's is the same but for the sign
// of v) the velocity is in units of the parameters:
//
//	v ← m·v − wd·lr·w − lr·g
//	w ← w + v
//
// In PyTorch's form it is in units of the gradients, and v starts as 0:
//
//	v ← m·v + g + wd·w
//	w ← w − lr·v
//
// At a constant learning rate both walk the same path. After the learning rate
// has changed by a factor, PyTorch's form scales what momentum has gathered by
// that factor at once, the paper's lets it fade.
type SGD struct {
	LR, Momentum, WeightDecay float32
	Form                      string // Paper or PyTorch; "" is Paper
}

// Check says whether the numbers can be meant.
func (s SGD) Check() error {
	switch {
	case s.Form != "" && s.Form != Paper && s.Form != PyTorch:
		return fmt.Errorf("form %q of SGD is not known: use %q or %q", s.Form, Paper, PyTorch)
	case !(s.LR >= 0):
		return fmt.Errorf("learning rate %g: it must not be negative", s.LR)
	case !(s.Momentum >= 0 && s.Momentum < 1):
		return fmt.Errorf("momentum %g: it must be at least 0 and below 1", s.Momentum)
	case !(s.WeightDecay >= 0):
		return fmt.Errorf("weight decay %g: it must not be negative", s.WeightDecay)
	}
	return nil
}

// UpdateCPU moves the parameters w and their velocities v by one step along
// the gradients g, which it does not change. lrMult and decayMult are the
// tensor's factors of learning rate and weight decay. All arithmetic is in
// float32, one rounding per operation, as the definition for devices.
func (s SGD) UpdateCPU(w, v, g []float32, lrMult, decayMult float32) {
	lr, decay := s.LR*lrMult, s.WeightDecay*decayMult
	if s.Form == PyTorch {
		for i := range w {
			d := g[i] + float32(decay*w[i])
			v[i] = float32(s.Momentum*v[i]) + d
			w[i] -= float32(lr * v[i])
		}
		return
	}
	shrink := decay * lr
	for i := range w {
		v[i] = float32(s.Momentum*v[i]) - float32(shrink*w[i]) - float32(lr*g[i])
		w[i] += v[i]
	}
}
