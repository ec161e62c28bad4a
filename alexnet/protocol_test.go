package alexnet

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestProtocols are the preparations of the published numbers.
func TestProtocols(t *testing.T) {
	for _, c := range []struct {
		model, protocol string
		resize          string
		size, stored    int
		crops           int
	}{
		{"caffenet", "caffe", "opencv", 227, 256, 1},
		{"alexnet-owt", "torchvision", "short", 224, 256, 1},
		{"alexnet", "paper10", "short", 227, 256, 10},
		{"alexnet-small", "torchvision", "short", 64, 73, 1},
	} {
		net, err := Load(c.model)
		require.NoError(t, err)
		if c.model == "alexnet-small" {
			c.size = net.Input.Size
			c.stored = (c.size*8 + 3) / 7
		}
		got, crops, err := net.WithProtocol(c.protocol)
		require.NoError(t, err)
		in := got.Input
		require.Equal(t, []any{c.resize, c.size, c.stored, c.crops}, []any{in.Resize, in.Size, in.Stored, crops}, c.model)
		require.Equal(t, net.Input.WithDefaults().Mean, in.Mean)
	}
	net, err := Load("alexnet")
	require.NoError(t, err)
	_, _, err = net.WithProtocol("torchvison")
	require.ErrorContains(t, err, `did you mean "torchvision"`)
}

// TestScores by hand: class 2 is never answered.
func TestScores(t *testing.T) {
	net := parse(t, goldenTOML)
	scores := net.Scores([][]int{{3, 1, 0}, {0, 4, 0}, {1, 1, 0}})
	for i, want := range [][5]float64{{4, 4, 0.75, 0.75, 0.75}, {4, 6, 4.0 / 6, 1, 0.8}, {2, 0, 0, 0, 0}} {
		s := scores[i]
		require.InDeltaSlice(t, want[:], []float64{float64(s.Images), float64(s.Answers), s.Precision, s.Recall, s.F1}, 1e-12, "class %d", i)
	}
}
