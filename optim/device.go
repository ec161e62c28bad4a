package optim

import "vkalexnet/layers"

// Update completes the update of a parameter on a device, whose tensors the caller
// has filled in, by the numbers of UpdateCPU; the learning rate comes from the step
// buffer.
func (s SGD) Update(u layers.Update, lrMult, decayMult float32) *layers.Update {
	u.Momentum, u.Decay, u.RateFactor, u.PyTorch = s.Momentum, s.WeightDecay*decayMult, lrMult, s.Form == PyTorch
	return &u
}
