package loader

import (
	"testing"

	"github.com/go-gl/mathgl/mgl32"
	"github.com/stretchr/testify/require"
)

func TestViews(t *testing.T) {
	in := Input{Size: 224, Stored: 256}
	one, err := Views(in, 1)
	require.NoError(t, err)
	require.Equal(t, []mgl32.Mat3{in.CentreGeometry()}, one)

	ten, err := Views(in, 10)
	require.NoError(t, err)
	five, err := Views(in, 5)
	require.NoError(t, err)
	require.Equal(t, five, ten[:5])
	for i, want := range [][2]float32{{0, 0}, {32, 0}, {16, 16}, {0, 32}, {32, 32}} {
		require.Equal(t, want, at(ten[i], 0, 0))
		require.Equal(t, [2]float32{want[0] + 223, want[1] + 5}, at(ten[i+5], 0, 5), "its mirror")
		require.Equal(t, [2]float32{want[0], want[1] + 5}, at(ten[i+5], 223, 5))
	}
	padded, err := Views(Input{Size: 32, Augment: Augment{Pad: 4}}, 5)
	require.NoError(t, err)
	require.Equal(t, [2]float32{-4, 4}, at(padded[3], 0, 0))
}

func TestViewsRefuses(t *testing.T) {
	_, err := Views(Input{Size: 32}, 10)
	require.ErrorContains(t, err, "need room for crops")
	_, err = Views(Input{Size: 32}, 3)
	require.ErrorContains(t, err, "1, 5 or 10")
	_, err = Views(Input{}, 1)
	require.ErrorContains(t, err, "input.size")
}
