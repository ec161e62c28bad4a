package layers

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// pooled runs a layer on one channel with all output gradients 1.
func pooled(t *testing.T, l MaxPool, in Shape, x ...float32) *Slots[[]float32] {
	t.Helper()
	plan, err := l.Plan(in)
	require.NoError(t, err)
	s := newSlots(plan, 1)
	copy(s.X, x)
	for i := range s.DY {
		s.DY[i] = 1
	}
	l.ForwardCPU(s)
	l.BackwardCPU(s)
	return s
}

func TestMaxPoolFirstOfEqualsWins(t *testing.T) {
	s := pooled(t, MaxPool{Size: 2, Stride: 1}, Shape{1, 2, 3},
		5, 5, 5,
		5, 5, 5)
	require.Equal(t, []float32{5, 5}, s.Y)
	require.Equal(t, []float32{1, 1, 0, 0, 0, 0}, s.DX)
}

func TestMaxPoolOverlappingWindowsAdd(t *testing.T) {
	s := pooled(t, MaxPool{Size: 3, Stride: 2}, Shape{1, 3, 5},
		0, 1, 0, 1, 0,
		1, 0, 9, 0, 1,
		0, 1, 0, 1, 0)
	require.Equal(t, []float32{9, 9}, s.Y)
	require.Equal(t, float32(2), s.DX[7])
}

func TestMaxPoolPaddingNeverWins(t *testing.T) {
	s := pooled(t, MaxPool{Size: 3, Stride: 2, Pad: 1, Ceil: true}, Shape{1, 2, 2},
		-4, -3,
		-2, float32(math.Inf(-1)))
	require.Equal(t, []float32{-2}, s.Y[:1])
	require.Len(t, s.Y, 4)
	require.Equal(t, float32(math.Inf(-1)), s.Y[3], "a window of one element, clipped")
}

func TestNotANumberShows(t *testing.T) {
	nan := float32(math.NaN())
	for _, x := range [][]float32{{nan, 1, 2, 3}, {1, 2, nan, 3}, {1, 2, 3, nan}} {
		require.True(t, math.IsNaN(float64(pooled(t, MaxPool{Size: 2, Stride: 2}, Shape{1, 2, 2}, x...).Y[0])), "maxpool of %v", x)
	}
	s := newSlots(Plan{In: Shape{1, 1, 2}, Out: Shape{1, 1, 2}}, 1)
	s.X = []float32{nan, -1}
	ReLU{}.ForwardCPU(s)
	require.True(t, math.IsNaN(float64(s.Y[0])), "relu")
	require.Equal(t, float32(0), s.Y[1])
}

func TestReLUGradientAtZeroIsZero(t *testing.T) {
	s := newSlots(Plan{In: Shape{1, 1, 3}, Out: Shape{1, 1, 3}}, 1)
	s.X, s.DY = []float32{-1, 0, 1}, []float32{2, 3, 4}
	ReLU{}.ForwardCPU(s)
	ReLU{}.BackwardCPU(s)
	require.Equal(t, []float32{0, 0, 1}, s.Y)
	require.Equal(t, []float32{0, 0, 4}, s.DX)
}
