package alexnet

import "vkalexnet/layers"

// The loss scale's first value, its bounds, and after how many steps without an
// overflow it is doubled: those of the mixed precision training that is common
// (Micikevicius et al., "Mixed precision training", 2018, section 3.2).
const (
	firstLossScale = 1 << 16
	leastLossScale = 1
	mostLossScale  = 1 << 24
	lossScaleSteps = 2000
)

// lossScale is the factor of the loss in fp16, whose small gradients would
// otherwise become zero. A power of two, so that it rounds nothing. The zero value
// stands for no scaling.
type lossScale struct {
	Factor float64 `json:"factor"`
	Good   int     `json:"good"` // steps since an overflow or a doubling
}

func newLossScale(p layers.Precision) lossScale {
	if p != layers.FP16 {
		return lossScale{}
	}
	return lossScale{Factor: firstLossScale}
}

// after moves the scale on by a step.
func (s *lossScale) after(overflow bool) {
	switch {
	case s.Factor == 0:
	case overflow:
		*s = lossScale{Factor: max(s.Factor/2, leastLossScale)}
	case s.Good+1 == lossScaleSteps:
		*s = lossScale{Factor: min(2*s.Factor, mostLossScale)}
	default:
		s.Good++
	}
}
