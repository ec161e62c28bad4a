package alexnet

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"vkalexnet/layers"
)

// TestVerifyFindsWrongNumbers checks the judge: one element beyond the limit is
// found and named, whatever the others are.
func TestVerifyFindsWrongNumbers(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	unit := layers.FP32.Unit() // of the largest element, which is 4 below
	limit := verifyLimit(100)
	off := func(units float64) float32 { return float32(1 + 4*units*unit) }
	for name, c := range map[string]struct {
		got   []float32
		error float64 // in units of the last place of the largest element
		at    int
		pass  bool
	}{
		"the same":          {[]float32{-4, 1, 0, 2}, 0, 0, true},
		"within the limit":  {[]float32{-4, off(limit - 1), 0, 2}, limit - 1, 1, true},
		"beyond it":         {[]float32{-4, off(limit + 1), 0, 2}, limit + 1, 1, false},
		"another sign":      {[]float32{4, 1, 0, 2}, 2 / unit, 0, false},
		"the worst of two":  {[]float32{-4, 1.5, 0, 1}, 0.25 / unit, 3, false},
		"no number":         {[]float32{-4, 1, nan, 2}, math.Inf(1), 2, false},
		"infinite":          {[]float32{-4, 1, 0, inf}, math.Inf(1), 3, false},
		"nothing but zeros": {[]float32{0, 0, 0, 0}, 1 / unit, 0, false},
	} {
		want := []float32{-4, 1, 0, 2}
		v := &verifier{}
		v.compare("fc6", "linear", "y", 100, layers.FP32, want, c.got)
		row := v.rows[0]
		require.Equal(t, c.pass, row.Pass, name)
		if math.IsInf(c.error, 1) {
			require.True(t, math.IsInf(row.Error, 1), name)
		} else {
			require.InDelta(t, c.error, row.Error, 0.1, name)
		}
		require.Equal(t, c.at, row.At, name)
		require.Equal(t, want[c.at], row.Want, name)
		require.Equal(t, math.Float32bits(c.got[c.at]), math.Float32bits(row.Got), name)
	}
	// The reference itself may not be a number either.
	v := &verifier{}
	v.compare("fc6", "linear", "y", 1, layers.FP32, []float32{nan}, []float32{nan})
	require.False(t, v.rows[0].Pass)
	// 16 bits are judged in their own units, and once more rounded.
	v.compare("fc6", "linear", "y", 1, layers.FP16, []float32{4}, []float32{4 + 4*0x1p-10})
	require.True(t, v.rows[1].Pass)
	v.compare("fc6", "linear", "y", 1, layers.FP16, []float32{4}, []float32{4 + 4*0x1p-9})
	require.False(t, v.rows[2].Pass)
}
