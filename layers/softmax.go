package layers

import (
	"math"

	"vkalexnet/engine"
)

// SoftmaxLossCPU computes the multinomial logistic loss of Krizhevsky et al.
// 2012, section 3, with a weight w for every class, as PyTorch's CrossEntropyLoss
// has it: with p = softmax(logits), for every example
//
//	loss    = -w[label] · ln p[label]
//	rank    = number of classes that beat the label: a higher score, or the
//	          same score and a lower index; top-k counts rank < k as right
//	dlogits = w[label] · (p - onehot(label)) · scale
//
// logits and dlogits are [batch, classes], weights [classes] and the others
// [batch]. Without weights (nil) all are 1; a nil dlogits is skipped. The mean
// over examples is PyTorch's when scale is 1 over the sum of their w[label]. An example whose label is negative counts as nothing: its loss and
// gradient are 0, and its rank is classes. A score that is not a number makes
// rank classes too, and the loss not a number. Labels must be below classes.
func SoftmaxLossCPU(logits []float32, batch, classes int, labels []int32, weights []float32, scale float32, loss []float32, rank []int32, dlogits []float32) {
	parallel(batch, func(first, last int) {
		for b := first; b < last; b++ {
			var gradient []float32
			if dlogits != nil {
				gradient = dlogits[b*classes:][:classes]
			}
			weight := float32(1)
			if weights != nil && labels[b] >= 0 {
				weight = weights[labels[b]]
			}
			loss[b], rank[b] = softmaxLoss(logits[b*classes:][:classes], int(labels[b]), weight, scale, gradient)
		}
	})
}

// softmaxLoss is SoftmaxLossCPU for one example.
func softmaxLoss(scores []float32, label int, weight, scale float32, gradient []float32) (loss float32, rank int32) {
	if label < 0 {
		clear(gradient)
		return 0, int32(len(scores))
	}
	own := scores[label]
	highest, broken := math.Inf(-1), false
	for j, v := range scores {
		highest = math.Max(highest, float64(v))
		broken = broken || v != v
		if v > own || v == own && j < label {
			rank++
		}
	}
	if broken {
		rank = int32(len(scores))
	}
	// Subtracting the highest score keeps exp from overflowing.
	sum := 0.0
	for _, v := range scores {
		sum += math.Exp(float64(v) - highest)
	}
	for j := range gradient {
		p := math.Exp(float64(scores[j])-highest) / sum
		if j == label {
			p--
		}
		gradient[j] = float32(p * float64(weight) * float64(scale))
	}
	return float32(float64(weight) * (math.Log(sum) - (float64(own) - highest))), rank
}

type softmax struct {
	X, Labels, Loss, Rank, DX, Step, W engine.Buffer
	Classes, Pitch, DXPitch            uint32
	WithGradient, Weighted             bool
	Format                             uint32 // Precision of DX
}

var softmaxKernel = engine.Declare[softmax]("softmax")

// SoftmaxLoss records softmax with cross-entropy for a batch of logits in
// float32: loss and rank per example as SoftmaxLossCPU defines them, and the
// gradient dlogits (if it is a buffer) in the precision, times the step's gradient
// scale; weights of the classes if they are a buffer.
func SoftmaxLoss(r *engine.Recording, logits, labels, weights, loss, rank, dlogits, step engine.Buffer, batch, classes int, precision Precision) {
	shape := Shape{C: classes, H: 1, W: 1}
	softmaxKernel.Record(r, engine.Groups(batch, 1, 1), softmax{X: logits, Labels: labels, Loss: loss, Rank: rank, DX: dlogits, Step: step, W: weights,
		Classes: uint32(classes), Pitch: uint32(shape.Pitch()), DXPitch: uint32(precision.elementPitch(shape)),
		WithGradient: !dlogits.IsZero(), Weighted: !weights.IsZero(), Format: uint32(precision)})
}
