package layers

import (
	"vkalexnet/engine"

	"fmt"
	"math"
)

// LRN is local response normalisation across channels (Krizhevsky et al. 2012,
// section 3.3): each element is divided by a power of the squares of its
// neighbours in the Size channels around it.
//
//	y_i = x_i · s_i^-Beta,  s_i = K + A · Σ_{j=i-r}^{i+r} x_j²,  r = (Size-1)/2,  x_j = 0 outside
//
// A is Alpha/Size: so divide the code of 2012, Caffe, PyTorch and ONNX. With
// PlainAlpha it is Alpha itself, as the paper and TensorFlow write. With
// Groups > 1 the window never leaves a channel's group: the towers of the paper
// normalised apart. Groups 0 means 1. X and Y are [batch, C, H, W].
type LRN struct {
	Size           int // channels in the window, odd: 5
	Alpha, Beta, K float32
	PlainAlpha     bool
	Groups         int
}

// Kind is "lrn".
func (LRN) Kind() string { return "lrn" }

func (l LRN) groups() int { return max(1, l.Groups) }

// alpha is A of the formula.
func (l LRN) alpha() float64 {
	if l.PlainAlpha {
		return float64(l.Alpha)
	}
	return float64(l.Alpha) / float64(l.Size)
}

// Plan implements Layer.
func (l LRN) Plan(in Shape) (Plan, error) {
	if err := checkInput(in); err != nil {
		return Plan{}, fmt.Errorf("lrn: %w", err)
	}
	if err := checkNorm(l.Size, l.Alpha, l.Beta, l.K); err != nil {
		return Plan{}, fmt.Errorf("lrn: %w", err)
	}
	if l.Groups < 0 || in.C%l.groups() != 0 {
		return Plan{}, fmt.Errorf("lrn: %d channels do not divide into %d groups: choose a divisor of %d", in.C, l.Groups, in.C)
	}
	return Plan{In: in, Out: in, NeedsX: true}, nil
}

// checkNorm refuses the constants of a normalisation that could divide by zero
// or whose window is not centred.
func checkNorm(size int, alpha, beta, k float32) error {
	switch finite := func(v float32) bool { return !math.IsNaN(float64(v)) && !math.IsInf(float64(v), 0) }; {
	case size < 1 || size%2 == 0 || size > maxElements:
		return fmt.Errorf("a window of size %d has no centre: choose an odd number, such as 5", size)
	case !(k > 0) || !finite(k):
		return fmt.Errorf("k is %v: it must be positive, or zeros in the input would divide by zero", k)
	case !(alpha >= 0) || !finite(alpha):
		return fmt.Errorf("alpha is %v: it must be a number that is not negative", alpha)
	case !finite(beta):
		return fmt.Errorf("beta is %v: it must be a number", beta)
	}
	return nil
}

// ForwardCPU implements Layer.
func (l LRN) ForwardCPU(s *Slots[[]float32]) {
	// A column is the channels of one group at one place of one example.
	places, channels := s.Plan.In.H*s.Plan.In.W, s.Plan.In.C/l.groups()
	parallel(s.Batch*l.groups()*places, func(first, last int) {
		square := make([]float64, channels)
		for column := first; column < last; column++ {
			start := column/places*channels*places + column%places
			for i := range channels {
				x := float64(s.X[start+i*places])
				square[i] = x * x
			}
			for i := range channels {
				at := start + i*places
				scale := float64(l.K) + l.alpha()*sumAround(square, i, l.Size/2)
				s.Y[at] = float32(float64(s.X[at]) * math.Pow(scale, -float64(l.Beta)))
			}
		}
	})
}

// BackwardCPU implements Layer.
//
//	dx_i = dy_i · s_i^-Beta - 2 · A · Beta · x_i · Σ_{j=i-r}^{i+r} dy_j · y_j / s_j
func (l LRN) BackwardCPU(s *Slots[[]float32]) {
	if s.DX == nil {
		return
	}
	beta := float64(l.Beta)
	places, channels := s.Plan.In.H*s.Plan.In.W, s.Plan.In.C/l.groups()
	parallel(s.Batch*l.groups()*places, func(first, last int) {
		square, power, ratio := make([]float64, channels), make([]float64, channels), make([]float64, channels)
		for column := first; column < last; column++ {
			start := column/places*channels*places + column%places
			for i := range channels {
				x := float64(s.X[start+i*places])
				square[i] = x * x
			}
			for i := range channels {
				at := start + i*places
				scale := float64(l.K) + l.alpha()*sumAround(square, i, l.Size/2)
				power[i] = math.Pow(scale, -beta)
				ratio[i] = float64(s.DY[at]) * float64(s.X[at]) * power[i] / scale
			}
			for i := range channels {
				at := start + i*places
				s.DX[at] = float32(float64(s.DY[at])*power[i] -
					2*l.alpha()*beta*float64(s.X[at])*sumAround(ratio, i, l.Size/2))
			}
		}
	})
}

// sumAround is the sum of v from i-r to i+r, as far as v reaches.
func sumAround(v []float64, i, r int) float64 {
	sum := 0.0
	for _, x := range v[max(0, i-r):min(len(v), i+r+1)] {
		sum += x
	}
	return sum
}

type lrn struct {
	X, DY, Y                 engine.Buffer
	Batch, Pixels, Pitch     uint32
	K, Alpha, Beta           float32
	Radius, Channels, Groups uint32
	Backward, Quads, Beta075 bool
	MaskedX                  bool   // dx is 0 where x is not positive
	Format                   uint32 // Precision
}

var lrnKernel = engine.Declare[lrn]("lrn")

// quads reports whether the kernels can take four channels at a time.
func (l LRN) quads(in Shape) bool { return in.C/l.groups()%4 == 0 && l.Size/2 <= 2 }

func (l LRN) record(r *engine.Recording, s *Slots[engine.Buffer], dy, y engine.Buffer, backward bool) {
	in := s.Plan.In
	pitch := s.Precision.Pitch(in)
	quads := l.quads(in)
	for _, at := range batchSlices(r, s.Batch, pitch) {
		n := at[1] - at[0]
		args := lrn{
			X: examples(s.X, at, pitch), Y: examples(y, at, pitch),
			Batch: uint32(n), Pixels: uint32(in.H * in.W), Pitch: uint32(s.Precision.elementPitch(in)),
			K: l.K, Alpha: float32(l.alpha()), Beta: l.Beta,
			Radius: uint32(l.Size / 2), Channels: uint32(in.C), Groups: uint32(l.groups()),
			Backward: backward, Quads: quads, Beta075: l.Beta == 0.75, Format: uint32(s.Precision),
		}
		if backward {
			args.DY, args.MaskedX = examples(dy, at, pitch), s.MaskFactor != 0
		}
		lrnKernel.Record(r, engine.Threads(n*ceilDiv(in.Len(), 4)), args)
	}
}

// Forward records the layer.
func (l LRN) Forward(r *engine.Recording, s *Slots[engine.Buffer]) {
	l.record(r, s, engine.Buffer{}, s.Y, false)
}

// Backward records the gradient.
func (l LRN) Backward(r *engine.Recording, s *Slots[engine.Buffer]) {
	if !s.NoDX {
		l.record(r, s, s.DY, s.DX, true)
	}
}
