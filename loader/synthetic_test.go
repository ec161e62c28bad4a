package loader

import (
	"image"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSyntheticSizes(t *testing.T) {
	for path, want := range map[string][2]int{"synthetic": {2000, 500}, "synthetic:37": {37, 500}} {
		train, err := OpenSource(path, "train")
		require.NoError(t, err)
		val, err := OpenSource(path, "val")
		require.NoError(t, err)
		require.Equal(t, want, [2]int{train.Len(), val.Len()})
		require.Len(t, train.Classes(), 10)
		require.Equal(t, train.Classes(), val.Classes())
	}
}

func TestSyntheticIsDeterministicAndVaried(t *testing.T) {
	train, err := OpenSource("synthetic", "train")
	require.NoError(t, err)
	again, err := OpenSource("synthetic:100", "train")
	require.NoError(t, err)
	val, err := OpenSource("synthetic", "val")
	require.NoError(t, err)
	seen := map[string]bool{}
	for i := range 100 {
		a, err := train.Open(i)
		require.NoError(t, err)
		b, err := again.Open(i)
		require.NoError(t, err)
		require.Equal(t, a, b)
		v, err := val.Open(i)
		require.NoError(t, err)
		require.Equal(t, image.Rect(0, 0, 96, 96), a.Bounds())
		seen[string(a.(*image.RGBA).Pix)] = true
		seen[string(v.(*image.RGBA).Pix)] = true
	}
	require.Len(t, seen, 200, "no picture comes twice, none is in both splits")
}

// Every shape has pixels well inside and well outside it, within the picture.
func TestShapesAreVisible(t *testing.T) {
	for label, class := range syntheticClasses {
		for i := range uint64(50) {
			r := random(1, uint64(label), i)
			draw := shape(class, func(lo, hi float64) float64 { return lo + (hi-lo)*r.Float64() })
			inside := 0
			for y := range syntheticSide {
				for x := range syntheticSide {
					if draw(float64(x), float64(y)) > 0 {
						inside++
					}
				}
			}
			share := float64(inside) / (syntheticSide * syntheticSide)
			require.True(t, share > 0.03 && share < 0.75, "%s %d covers %.2f", class, i, share)
		}
	}
}
