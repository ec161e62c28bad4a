package layers

import (
	"vkalexnet/engine"

	"fmt"
	"math"
)

// MapNorm normalises each element by its neighbours in the same channel. The
// network that won in 2012 had one after its second LRN (cuda-convnet's
// "rnorm", 5×5, scale 0.001); the paper does not mention it.
//
//	y_i = x_i · s_i^-Beta,  s_i = K + Alpha/Size² · Σ x_j²
//
// where j runs over the Size×Size window around i, 0 outside the picture: the
// divisor is Size² at the edges too. X and Y are [batch, C, H, W].
type MapNorm struct {
	Size           int // side of the window, odd
	Alpha, Beta, K float32
}

// Kind is "mapnorm".
func (MapNorm) Kind() string { return "mapnorm" }

// alpha is Alpha/Size² of the formula.
func (l MapNorm) alpha() float64 { return float64(l.Alpha) / (float64(l.Size) * float64(l.Size)) }

// Plan implements Layer.
func (l MapNorm) Plan(in Shape) (Plan, error) {
	if err := checkInput(in); err != nil {
		return Plan{}, fmt.Errorf("mapnorm: %w", err)
	}
	if err := checkNorm(l.Size, l.Alpha, l.Beta, l.K); err != nil {
		return Plan{}, fmt.Errorf("mapnorm: %w", err)
	}
	return Plan{In: in, Out: in, NeedsX: true, KeepWords: in.Len()}, nil
}

// eachPlane calls f for one channel [H, W] of one example after the other: the
// range of its elements and scratch space for as many numbers.
func eachPlane(s *Slots[[]float32], f func(first, last int, scratch []float64)) {
	n := s.Plan.In.H * s.Plan.In.W
	parallel(s.Batch*s.Plan.In.C, func(first, last int) {
		scratch := make([]float64, n)
		for c := first; c < last; c++ {
			f(c*n, (c+1)*n, scratch)
		}
	})
}

// windowSum is the sum of plane, [H, W], over the window around element i.
func (l MapNorm) windowSum(plane []float64, in Shape, i int) float64 {
	y, x, r := i/in.W, i%in.W, l.Size/2
	sum := 0.0
	for row := max(0, y-r); row < min(in.H, y+r+1); row++ {
		sum += sumAround(plane[row*in.W:][:in.W], x, r)
	}
	return sum
}

// scales fills scale with s_i of one channel x.
func (l MapNorm) scales(scale []float64, x []float32, in Shape) {
	square := make([]float64, len(x))
	for i, v := range x {
		square[i] = float64(v) * float64(v)
	}
	for i := range scale {
		scale[i] = float64(l.K) + l.alpha()*l.windowSum(square, in, i)
	}
}

// ForwardCPU implements Layer.
func (l MapNorm) ForwardCPU(s *Slots[[]float32]) {
	eachPlane(s, func(first, last int, scale []float64) {
		x, y := s.X[first:last], s.Y[first:last]
		l.scales(scale, x, s.Plan.In)
		for i := range x {
			y[i] = float32(float64(x[i]) * math.Pow(scale[i], -float64(l.Beta)))
		}
	})
}

// BackwardCPU implements Layer.
//
//	dx_i = dy_i · s_i^-Beta - 2 · Alpha/Size² · Beta · x_i · Σ dy_j · y_j / s_j
//
// where j runs over the window around i.
func (l MapNorm) BackwardCPU(s *Slots[[]float32]) {
	if s.DX == nil {
		return
	}
	beta := float64(l.Beta)
	eachPlane(s, func(first, last int, scale []float64) {
		x, dx, dy := s.X[first:last], s.DX[first:last], s.DY[first:last]
		l.scales(scale, x, s.Plan.In)
		ratio := make([]float64, len(x))
		for i := range x {
			ratio[i] = float64(dy[i]) * float64(x[i]) * math.Pow(scale[i], -beta-1)
		}
		for i := range x {
			dx[i] = float32(float64(dy[i])*math.Pow(scale[i], -beta) -
				2*l.alpha()*beta*float64(x[i])*l.windowSum(ratio, s.Plan.In, i))
		}
	})
}

type mapnorm struct {
	X, DY, Y, S                           engine.Buffer
	Batch, Height, Width, Channels, Pitch uint32
	KeepPitch                             uint32
	Radius                                int32
	K, Alpha, Beta                        float32
	Backward                              bool
	Format                                uint32 // Precision
}

var mapnormKernel = engine.Declare[mapnorm]("mapnorm")

func (l MapNorm) record(r *engine.Recording, s *Slots[engine.Buffer], dy, y engine.Buffer, backward bool) {
	in := s.Plan.In
	pitch, keep := s.Precision.Pitch(in), s.Plan.KeepPitch()
	for _, at := range batchSlices(r, s.Batch, max(pitch, keep)) {
		n := at[1] - at[0]
		args := mapnorm{
			X: examples(s.X, at, pitch), Y: examples(y, at, pitch), S: examples(s.Keep, at, keep),
			Batch: uint32(n), Height: uint32(in.H), Width: uint32(in.W), Channels: uint32(in.C), Pitch: uint32(s.Precision.elementPitch(in)), KeepPitch: uint32(keep),
			Radius: int32(l.Size / 2), K: l.K, Alpha: float32(l.alpha()), Beta: l.Beta, Backward: backward, Format: uint32(s.Precision),
		}
		if backward {
			args.DY = examples(dy, at, pitch)
		}
		mapnormKernel.Record(r, engine.Threads(n*ceilDiv(in.Len(), 4)), args)
	}
}

// Forward records the layer; it leaves the scales in s.Keep.
func (l MapNorm) Forward(r *engine.Recording, s *Slots[engine.Buffer]) {
	l.record(r, s, engine.Buffer{}, s.Y, false)
}

// Backward records the gradient.
func (l MapNorm) Backward(r *engine.Recording, s *Slots[engine.Buffer]) {
	if !s.NoDX {
		l.record(r, s, s.DY, s.DX, true)
	}
}
