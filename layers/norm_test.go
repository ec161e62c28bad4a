package layers

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// The numbers were computed in double precision from the formulas of Caffe
// (k = 1), cuda-convnet (k = 2) and the paper's text (alpha not divided).
func TestLRNConventions(t *testing.T) {
	x := []float32{1, -2, 3, 4, -5, 60, 7}
	for name, c := range map[string]struct {
		layer LRN
		y, dx []float64
	}{
		"Caffe, PyTorch, ONNX": {
			LRN{Size: 5, Alpha: 1e-4, Beta: 0.75, K: 1},
			[]float64{0.999790051, -1.999100472, 2.997527380, 3.793900318, -4.739394486, 56.879883821, 6.637470011},
			[]float64{0.999730176, 0.999882118, 0.999075134, 0.942104330, 0.957069489, 0.843100577, 0.936714422},
		},
		"code of 2012": {
			LRN{Size: 5, Alpha: 1e-4, Beta: 0.75, K: 2},
			[]float64{0.594541132, -1.188939614, 1.783075205, 2.315250278, -2.893120891, 34.719710699, 4.051101756},
			[]float64{0.594523312, 0.594572455, 0.594329976, 0.576801287, 0.581520490, 0.545509988, 0.575095637},
		},
		"text of the paper": {
			LRN{Size: 5, Alpha: 1e-4, Beta: 0.75, K: 2, PlainAlpha: true},
			[]float64{0.594291582, -1.187871011, 1.780140394, 2.097159910, -2.617715766, 31.421539162, 3.667704242},
			[]float64{0.594202854, 0.594378941, 0.593212033, 0.516285831, 0.535155061, 0.392338090, 0.509564017},
		},
	} {
		t.Run(name, func(t *testing.T) {
			plan, err := c.layer.Plan(Shape{len(x), 1, 1})
			require.NoError(t, err)
			s := newSlots(plan, 1)
			copy(s.X, x)
			for i := range s.DY {
				s.DY[i] = 1
			}
			c.layer.ForwardCPU(s)
			c.layer.BackwardCPU(s)
			// Alpha and the results are rounded to float32: 1 in 2^24 each.
			for i := range x {
				require.InEpsilon(t, c.y[i], s.Y[i], 2e-7, "y[%d]", i)
				require.InEpsilon(t, c.dx[i], s.DX[i], 2e-7, "dx[%d]", i)
			}
		})
	}
}

// A window that respects groups is the same as one layer for each group.
func TestLRNGroupsAreApart(t *testing.T) {
	in := Shape{12, 2, 3}
	layer := LRN{Size: 5, Alpha: 0.5, Beta: 0.75, K: 1}
	run := func(l LRN, in Shape, x, dy []float32) (y, dx []float32) {
		plan, err := l.Plan(in)
		require.NoError(t, err)
		s := newSlots(plan, 1)
		s.X, s.DY = x, dy
		l.ForwardCPU(s)
		l.BackwardCPU(s)
		return s.Y, s.DX
	}
	r := rand.New(rand.NewPCG(3, 4))
	x, dy := make([]float32, in.Len()), make([]float32, in.Len())
	randomFill(r, x)
	randomFill(r, dy)
	half := in.Len() / 2
	y0, dx0 := run(layer, Shape{6, 2, 3}, x[:half], dy[:half])
	y1, dx1 := run(layer, Shape{6, 2, 3}, x[half:], dy[half:])
	towers := layer
	towers.Groups = 2
	y, dx := run(towers, in, x, dy)
	require.Equal(t, append(y0, y1...), y)
	require.Equal(t, append(dx0, dx1...), dx)
	whole, _ := run(layer, in, x, dy)
	require.NotEqual(t, y, whole)
}

// In a picture of ones s_i counts the places of the window inside the picture.
func TestMapNormCountsItsWindow(t *testing.T) {
	layer := MapNorm{Size: 5, Alpha: 25, Beta: 1, K: 1}
	plan, err := layer.Plan(Shape{2, 5, 7})
	require.NoError(t, err)
	s := newSlots(plan, 1)
	for i := range s.X {
		s.X[i] = 1
	}
	layer.ForwardCPU(s)
	high, wide := []int{3, 4, 5, 4, 3}, []int{3, 4, 5, 5, 5, 4, 3}
	for i, y := range s.Y {
		want := 1 / float64(1+high[i/7%5]*wide[i%7])
		require.InEpsilon(t, want, y, 1e-6, "element %d", i)
	}
}
