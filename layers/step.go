package layers

import "math"

// StepWords is the content of the step buffer on a device (see
// shaders/include/step.glsl): the random keys, the learning rate, and the factors
// of the loss's gradient: gradientScale (1 over the number of examples in a step)
// and lossScale, which the optimiser divides by.
func StepWords(step Step, learningRate, gradientScale, lossScale float32) []uint32 {
	return []uint32{uint32(step.Seed), uint32(step.Seed >> 32), uint32(step.Count),
		math.Float32bits(learningRate), math.Float32bits(gradientScale * lossScale), math.Float32bits(lossScale)}
}
