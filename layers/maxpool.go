package layers

import (
	"vkalexnet/engine"

	"fmt"
	"math"
)

// MaxPool takes the largest element of every Size×Size window, in steps of
// Stride (Krizhevsky et al. 2012, section 3.4: overlapping when Stride < Size).
// Windows see only the picture: padding and what lies beyond it never wins.
// Of equal elements the first in raster order is the largest, and it alone
// gets the gradient, as in Caffe and PyTorch; NaN counts as the largest, so
// that a diverged run shows. X is [batch, C, H, W], Y [batch, C, OH, OW].
type MaxPool struct {
	Size, Stride, Pad int
	// Ceil rounds the output's extent up, as the code of 2012 and Caffe do: the
	// last windows are clipped, and one that would start in the padding is
	// dropped. Otherwise it is rounded down, as in PyTorch.
	Ceil bool
}

// maxPoolSize is the largest window whose places a byte can number.
const maxPoolSize = 16

// Kind is "maxpool".
func (MaxPool) Kind() string { return "maxpool" }

// Plan implements Layer.
func (l MaxPool) Plan(in Shape) (Plan, error) {
	fail := func(err error) (Plan, error) { return Plan{}, fmt.Errorf("maxpool: %w", err) }
	if err := checkInput(in); err != nil {
		return fail(err)
	}
	if err := checkWindow(l.Size, l.Size, l.Stride, l.Pad); err != nil {
		return fail(err)
	}
	if l.Size > maxPoolSize {
		return fail(fmt.Errorf("a window of %d×%d is too large: at most %d×%d", l.Size, l.Size, maxPoolSize, maxPoolSize))
	}
	if l.Pad >= l.Size {
		return fail(fmt.Errorf("pad %d leaves windows of size %d without any element: choose a pad below %d", l.Pad, l.Size, l.Size))
	}
	height, err := l.positions("high", in.H)
	if err != nil {
		return fail(err)
	}
	width, err := l.positions("wide", in.W)
	if err != nil {
		return fail(err)
	}
	out := Shape{in.C, height, width}
	if err := checkShape("output", out.C, out.H, out.W); err != nil {
		return fail(err)
	}
	return Plan{
		In: in, Out: out,
		// One byte per output: the winner's place in its window. A word holds
		// four channels.
		KeepWords: (in.C + 3) / 4 * out.H * out.W,
	}, nil
}

// positions is the number of windows along an axis of n elements.
func (l MaxPool) positions(axis string, n int) (int, error) {
	out, err := positions(axis, n, l.Size, l.Stride, l.Pad, l.Ceil)
	if err == nil && (out-1)*l.Stride >= n+l.Pad {
		out-- // the last window would start beyond the picture
	}
	return out, err
}

// winner is the index in plane, one channel [H, W], of the largest element in
// the window at (oy, ox).
func (l MaxPool) winner(plane []float32, in Shape, oy, ox int) int {
	top, left := oy*l.Stride-l.Pad, ox*l.Stride-l.Pad
	best, winner := float32(math.Inf(-1)), -1
	for y := max(0, top); y < min(in.H, top+l.Size); y++ {
		for x := max(0, left); x < min(in.W, left+l.Size); x++ {
			at := y*in.W + x
			if v := plane[at]; winner < 0 || v > best || v != v && best == best {
				best, winner = v, at
			}
		}
	}
	return winner
}

// ForwardCPU implements Layer.
func (l MaxPool) ForwardCPU(s *Slots[[]float32]) {
	in, out := s.Plan.In, s.Plan.Out
	inPlane, outPlane := in.H*in.W, out.H*out.W
	parallel(s.Batch*in.C, func(first, last int) {
		for c := first; c < last; c++ {
			x, y := s.X[c*inPlane:][:inPlane], s.Y[c*outPlane:][:outPlane]
			for at := range y {
				y[at] = x[l.winner(x, in, at/out.W, at%out.W)]
			}
		}
	})
}

// BackwardCPU implements Layer: dx of an element is the sum of dy over the
// windows that it won.
func (l MaxPool) BackwardCPU(s *Slots[[]float32]) {
	if s.DX == nil {
		return
	}
	in, out := s.Plan.In, s.Plan.Out
	inPlane, outPlane := in.H*in.W, out.H*out.W
	parallel(s.Batch*in.C, func(first, last int) {
		dx := make([]float64, inPlane)
		for c := first; c < last; c++ {
			x, dy := s.X[c*inPlane:][:inPlane], s.DY[c*outPlane:][:outPlane]
			clear(dx)
			for at := range dy {
				dx[l.winner(x, in, at/out.W, at%out.W)] += float64(dy[at])
			}
			store(s.DX[c*inPlane:], dx)
		}
	})
}

type maxpool struct {
	X, Y, Winner                                               engine.Buffer
	Batch, XPitch, YPitch, KeepPitch                           uint32
	Pad                                                        int32
	Window                                                     uint32
	Size, Stride, Channels, Height, Width, OutHeight, OutWidth uint32
	Backward, Quads, Masked, Rolled                            bool
	Format                                                     uint32 // Precision
}

var maxpoolKernel = engine.Declare[maxpool]("maxpool")

func (l MaxPool) record(r *engine.Recording, s *Slots[engine.Buffer], x, y engine.Buffer, backward bool) {
	in, out := s.Plan.In, s.Plan.Out
	keep := s.Plan.KeepPitch()
	from, to := in, out
	if backward {
		from, to = out, in
	}
	xPitch, yPitch := s.Precision.Pitch(from), s.Precision.Pitch(to)
	for _, at := range batchSlices(r, s.Batch, max(xPitch, yPitch, keep)) {
		n := at[1] - at[0]
		maxpoolKernel.Record(r, engine.Threads(n*ceilDiv(to.Len(), 4)), maxpool{
			X: examples(x, at, xPitch), Y: examples(y, at, yPitch), Winner: examples(s.Keep, at, keep),
			Batch: uint32(n), XPitch: uint32(s.Precision.elementPitch(from)), YPitch: uint32(s.Precision.elementPitch(to)), KeepPitch: uint32(keep), Pad: int32(l.Pad),
			Size: uint32(l.Size), Stride: uint32(l.Stride), Channels: uint32(in.C),
			Height: uint32(in.H), Width: uint32(in.W), OutHeight: uint32(out.H), OutWidth: uint32(out.W),
			Backward: backward, Masked: !backward && s.MaskFactor != 0, Quads: in.C%4 == 0, Format: uint32(s.Precision),
			Rolled: r.Info().Type == engine.Software, Window: uint32(l.Size),
		})
	}
}

// Forward records the layer; it leaves each window's winner in s.Keep.
func (l MaxPool) Forward(r *engine.Recording, s *Slots[engine.Buffer]) {
	if s.Norm != nil {
		l.recordNormalised(r, s, false)
		return
	}
	l.record(r, s, s.X, s.Y, false)
}

// Backward records the gradient: every input collects from the windows it won.
func (l MaxPool) Backward(r *engine.Recording, s *Slots[engine.Buffer]) {
	switch {
	case s.NoDX:
	case s.Norm != nil:
		l.recordNormalised(r, s, true)
	default:
		l.record(r, s, s.DY, s.DX, true)
	}
}
