package layers

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// gradientCase is a layer whose gradients are compared with differences of its
// outputs. All shapes are odd on purpose.
type gradientCase struct {
	layer cpuLayer
	in    Shape
	batch int
	// kink says that the layer has kinks, which differences must not straddle:
	// inputs are then multiples of kinkSpacing in random order, and inputs
	// within kinkRange of 0 are passed over, as Caffe's gradient checker does.
	kink bool
}

const (
	gradientStep = 0x1p-5
	kinkSpacing  = 8 * gradientStep
	kinkRange    = 4 * gradientStep
)

var gradientCases = []gradientCase{
	{layer: Conv{Out: 3, KernelH: 3, KernelW: 2, Stride: 2, Pad: 1}, in: Shape{2, 7, 5}, batch: 3},
	{layer: Conv{Out: 6, KernelH: 2, KernelW: 3, Stride: 1, Pad: 2, Groups: 3}, in: Shape{3, 4, 5}, batch: 2},
	{layer: Conv{Out: 2, KernelH: 4, KernelW: 5, Stride: 3, Ceil: true}, in: Shape{3, 9, 7}, batch: 2},
	{layer: Conv{Out: 4, KernelH: 1, KernelW: 3, Stride: 4, Pad: 1, Groups: 2, Ceil: true}, in: Shape{2, 4, 6}, batch: 1},
	{layer: Linear{Out: 5}, in: Shape{3, 2, 3}, batch: 3},
	{layer: Linear{Out: 1}, in: Shape{1, 1, 1}, batch: 1},
	{layer: ReLU{}, in: Shape{3, 3, 5}, batch: 2, kink: true},
	{layer: LRN{Size: 5, Alpha: 0.5, Beta: 0.75, K: 1}, in: Shape{7, 3, 1}, batch: 2},
	{layer: LRN{Size: 3, Alpha: 0.25, Beta: 0.5, K: 2, PlainAlpha: true, Groups: 3}, in: Shape{9, 1, 2}, batch: 3},
	{layer: LRN{Size: 9, Alpha: 0.5, Beta: 0.75, K: 2}, in: Shape{3, 2, 2}, batch: 1},
	{layer: MapNorm{Size: 5, Alpha: 2, Beta: 0.75, K: 1}, in: Shape{2, 7, 3}, batch: 2},
	{layer: MapNorm{Size: 1, Alpha: 0.5, Beta: 0.75, K: 1}, in: Shape{1, 1, 3}, batch: 3},
	{layer: MaxPool{Size: 3, Stride: 2}, in: Shape{3, 7, 5}, batch: 2, kink: true},
	{layer: MaxPool{Size: 3, Stride: 2, Ceil: true}, in: Shape{2, 6, 4}, batch: 3, kink: true},
	{layer: MaxPool{Size: 3, Stride: 2, Pad: 1, Ceil: true}, in: Shape{1, 6, 7}, batch: 2, kink: true},
	{layer: MaxPool{Size: 2, Stride: 3, Pad: 1}, in: Shape{5, 5, 8}, batch: 1, kink: true},
	{layer: Dropout{P: 0.5}, in: Shape{5, 3, 3}, batch: 3},
	{layer: Dropout{P: 0.25, Paper: true}, in: Shape{7, 1, 1}, batch: 3},
}

func (c gradientCase) String() string { return fmt.Sprintf("%s%+v", c.layer.Kind(), c.layer) }

// slots are the case's tensors, filled at random.
func (c gradientCase) slots(t *testing.T) *Slots[[]float32] {
	t.Helper()
	plan, err := c.layer.Plan(c.in)
	require.NoError(t, err)
	s := newSlots(plan, c.batch)
	s.StepValues, s.Stream = Step{Seed: 7, Count: 3}, 5
	r := rand.New(rand.NewPCG(1, 2))
	randomFill(r, s.X)
	if c.kink {
		for i, place := range r.Perm(len(s.X)) {
			s.X[i] = float32(place-len(s.X)/2) * kinkSpacing
		}
	}
	randomFill(r, s.DY)
	for _, p := range s.Params {
		randomFill(r, p)
	}
	return s
}

// difference is the derivative of Σ y·dy by *v: the five-point formula, exact
// for polynomials up to the fourth degree.
func (c gradientCase) difference(s *Slots[[]float32], v *float32) float64 {
	old := *v
	defer func() { *v = old }()
	at := func(steps float32) float64 {
		*v = old + steps*gradientStep
		c.layer.ForwardCPU(s)
		return dot(s.Y, s.DY)
	}
	return (8*(at(1)-at(-1)) - (at(2) - at(-2))) / (12 * gradientStep)
}

// tolerance of a difference, relative to its own size and absolute.
//
// Each y is rounded to float32 by up to 2^-24·|y|, and Σ y·dy adds these up over
// the outputs; the formula weighs them by (8+8+1+1)/(12·step). Its own error is
// f⁽⁵⁾·step⁴/30: about 1e-6 for these layers, whose derivatives are of order 10.
func (c gradientCase) tolerance(s *Slots[[]float32]) float64 {
	c.layer.ForwardCPU(s)
	square := 0.0
	for i := range s.Y {
		rounding := 0x1p-24 * float64(s.Y[i]) * float64(s.DY[i])
		square += rounding * rounding
	}
	return 4*math.Sqrt(square)*18/(12*gradientStep) + 1e-6
}

func TestGradientsMatchDifferences(t *testing.T) {
	for _, c := range gradientCases {
		t.Run(c.String(), func(t *testing.T) {
			s := c.slots(t)
			tolerance := c.tolerance(s)
			for i := range s.DX {
				s.DX[i] = float32(math.NaN()) // must be overwritten
			}
			for _, g := range s.Grads {
				for i := range g {
					g[i] = 1 // must be added to
				}
			}
			c.layer.ForwardCPU(s)
			c.layer.BackwardCPU(s)
			checked := 0
			for i := range s.X {
				if c.kink && math.Abs(float64(s.X[i])) < kinkRange {
					continue
				}
				checked++
				require.InDelta(t, c.difference(s, &s.X[i]), s.DX[i], tolerance, "dx[%d]", i)
			}
			require.GreaterOrEqual(t, checked, len(s.X)-1)
			for p, w := range s.Params {
				for i := range w {
					require.InDelta(t, 1+c.difference(s, &w[i]), s.Grads[p][i], tolerance, "%s[%d]", s.Plan.Params[p].Name, i)
				}
			}
		})
	}
}

func TestBackwardWithoutInputGradient(t *testing.T) {
	for _, c := range gradientCases {
		t.Run(c.String(), func(t *testing.T) {
			s := c.slots(t)
			c.layer.ForwardCPU(s)
			c.layer.BackwardCPU(s)
			want := s.Grads
			s.Grads = newSlots(s.Plan, s.Batch).Grads
			s.DX = nil
			c.layer.BackwardCPU(s)
			require.Equal(t, want, s.Grads)
		})
	}
}

func TestResultsDoNotDependOnProcessors(t *testing.T) {
	for _, c := range gradientCases {
		t.Run(c.String(), func(t *testing.T) {
			run := func(processors int) *Slots[[]float32] {
				withProcessors(t, processors)
				s := c.slots(t)
				c.layer.ForwardCPU(s)
				c.layer.BackwardCPU(s)
				return s
			}
			require.Equal(t, run(1), run(5))
		})
	}
}
