package layers

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// dropped runs a layer on ones and returns its slots.
func dropped(t *testing.T, l Dropout, batch int, in Shape, step Step, stream uint32, train bool) *Slots[[]float32] {
	t.Helper()
	plan, err := l.Plan(in)
	require.NoError(t, err)
	s := newSlots(plan, batch)
	s.StepValues, s.Stream, s.Train = step, stream, train
	for i := range s.X {
		s.X[i], s.DY[i] = 1, 1
	}
	l.ForwardCPU(s)
	l.BackwardCPU(s)
	return s
}

func TestDropoutKeepsTheRightShare(t *testing.T) {
	in := Shape{64, 9, 9}
	for _, p := range []float32{0, 0.1, 0.5, 0.9} {
		s := dropped(t, Dropout{P: p}, 3, in, Step{Seed: 1, Count: 2}, 3, true)
		kept := 0
		for _, y := range s.Y {
			if y != 0 {
				kept++
				require.InEpsilon(t, 1/(1-float64(p)), y, 1e-6)
			}
		}
		n := float64(len(s.Y))
		require.InDelta(t, 1-float64(p), float64(kept)/n, 5*math.Sqrt(float64(p*(1-p))/n), "P %v", p)
		require.Equal(t, s.Y, s.DX, "the gradient has the same mask and factor")
	}
}

func TestDropoutOfThePaper(t *testing.T) {
	in, step := Shape{33, 1, 1}, Step{Seed: 1}
	inverted := dropped(t, Dropout{P: 0.75}, 2, in, step, 0, true)
	paper := dropped(t, Dropout{P: 0.75, Paper: true}, 2, in, step, 0, true)
	for i := range paper.Y {
		require.Equal(t, inverted.Y[i], 4*paper.Y[i])
	}
	require.Contains(t, paper.Y, float32(1))
	require.Contains(t, paper.Y, float32(0))
}

func TestDropoutInInference(t *testing.T) {
	for _, y := range dropped(t, Dropout{P: 0.75}, 2, Shape{33, 1, 1}, Step{}, 0, false).Y {
		require.Equal(t, float32(1), y)
	}
	paper := dropped(t, Dropout{P: 0.75, Paper: true}, 2, Shape{33, 1, 1}, Step{}, 0, false)
	for i := range paper.Y {
		require.Equal(t, float32(0.25), paper.Y[i])
		require.Equal(t, float32(0.25), paper.DX[i])
	}
}

// The device computes the same mask from the same words, so their place is fixed.
func TestDropoutMaskIsPhilox(t *testing.T) {
	const p, stream = 0.375, 6
	in := Shape{5, 3, 2}
	s := dropped(t, Dropout{P: p, Paper: true}, 3, in, Step{Seed: 0x1122334455667788, Count: 0x900000007}, stream, true)
	for b := range 3 {
		for e := range in.Len() {
			words := Philox([4]uint32{uint32(e / 4), stream, 7, uint32(b)}, [2]uint32{0x55667788, 0x11223344})
			want := float32(0)
			if float64(words[e%4]>>8)/(1<<24) >= p {
				want = 1
			}
			require.Equal(t, want, s.Y[b*in.Len()+e], "example %d element %d", b, e)
		}
	}
}

func TestDropoutMasksDiffer(t *testing.T) {
	in, layer := Shape{128, 1, 1}, Dropout{P: 0.5}
	base := dropped(t, layer, 2, in, Step{Seed: 1, Count: 1}, 1, true).Y
	require.NotEqual(t, base[:128], base[128:], "between examples")
	require.NotEqual(t, base, dropped(t, layer, 2, in, Step{Seed: 2, Count: 1}, 1, true).Y, "between seeds")
	require.NotEqual(t, base, dropped(t, layer, 2, in, Step{Seed: 1, Count: 2}, 1, true).Y, "between passes")
	require.NotEqual(t, base, dropped(t, layer, 2, in, Step{Seed: 1, Count: 1}, 2, true).Y, "between layers")
	require.Equal(t, base, dropped(t, layer, 2, in, Step{Seed: 1, Count: 1}, 1, true).Y, "the same again")
}
