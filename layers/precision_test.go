package layers

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestHalvesRoundToTheNearest goes through all 65,536 values of both formats:
// each comes back from float32 as it was, and what lies between two neighbours
// goes to the nearer, in the middle to the even one.
func TestHalvesRoundToTheNearest(t *testing.T) {
	for _, f := range []struct {
		precision Precision
		to        func(float32) uint16
		from      func(uint16) float32
		infinity  uint16
	}{{FP16, ToFP16, FromFP16, 0x7c00}, {BF16, ToBF16, FromBF16, 0x7f80}} {
		t.Run(f.precision.String(), func(t *testing.T) {
			for h := range 1 << 16 {
				bits := uint16(h)
				v := f.from(bits)
				if bits&0x7fff > f.infinity {
					require.True(t, v != v, "%#04x is no NaN", bits)
					again := f.from(f.to(v))
					require.True(t, again != again, "%#04x does not stay a NaN", bits)
					continue
				}
				if f.to(v) != bits {
					require.Equal(t, bits, f.to(v), "%#04x (%g)", bits, v)
				}
				if bits&0x7fff >= f.infinity-1 {
					continue // no finite neighbour above
				}
				next := f.from(bits + 1)
				middle := float32((float64(v) + float64(next)) / 2)
				even := bits + bits&1
				toNext := math.Copysign(math.Inf(1), float64(next))
				below := math.Nextafter32(middle, float32(-toNext))
				above := math.Nextafter32(middle, float32(toNext))
				if f.to(middle) != even || f.to(below) != bits || f.to(above) != bits+1 {
					require.Fail(t, "rounding", "between %g and %g: the middle goes to %#04x, below it %#04x, above it %#04x", v, next, f.to(middle), f.to(below), f.to(above))
				}
			}
		})
	}
	require.Equal(t, uint16(0x7bff), ToFP16(65519.996))
	require.Equal(t, uint16(0x7c00), ToFP16(65520))
	require.Equal(t, uint16(0xfc00), ToFP16(-1e30))
	require.Equal(t, uint16(0x7f80), ToBF16(math.MaxFloat32))
	require.Equal(t, float32(1.0009765625), FP16.Round(1.001))
	require.Equal(t, float32(1), BF16.Round(1.001))
}

func TestPackedExamples(t *testing.T) {
	shape := Shape{C: 3, H: 5, W: 3}
	for _, p := range []Precision{FP32, FP16, BF16} {
		require.Zero(t, p.Pitch(shape)%64)
		src := make([]float32, 2*shape.Len())
		for i := range src {
			src[i] = float32(i) - 40
		}
		words := p.PackExamples(src, 2, shape)
		require.Len(t, words, 2*p.Pitch(shape))
		require.Equal(t, src, p.UnpackExamples(words, 2, shape), p.String())
	}
	require.Equal(t, 64, FP32.Pitch(Shape{C: 64, H: 1, W: 1}))
	require.Equal(t, 64, FP16.Pitch(Shape{C: 65, H: 1, W: 1}))
	require.Equal(t, 128, FP16.Pitch(Shape{C: 129, H: 1, W: 1}))
	_, err := ParsePrecision("fp8")
	require.ErrorContains(t, err, `precision "fp8" is not known: use fp32, fp16, bf16, bf16x3`)
}

// TestSplitError: no product of numbers split in two is off by more than SplitError,
// some are off by a quarter of it, and no sum by more of the largest of many; operands
// that are rounded once are 50 times as far off.
func TestSplitError(t *testing.T) {
	for _, p := range []Precision{FP16, BF16} {
		t.Run(p.String(), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(3, 4))
			draw := func() (whole, first, second float64) {
				v := float32(2*rng.Float64() - 1)
				hi := p.Round(v)
				return float64(v), float64(hi), float64(p.Round(v - hi))
			}
			worst, limit := 0.0, p.SplitError()
			for range 1 << 20 {
				a, a0, a1 := draw()
				b, b0, b1 := draw()
				if min(math.Abs(a), math.Abs(b)) < 0.25 {
					continue // second ones would be among fp16's smallest numbers, which have fewer bits
				}
				worst = max(worst, math.Abs((a0*b0+a1*b0+a0*b1-a*b)/(a*b)))
			}
			require.LessOrEqual(t, worst, limit)
			require.Greater(t, worst, limit/4)
			for _, terms := range []int{9, 363, 2000} {
				var largest, split, rounded float64
				for range 1000 {
					var sum, three, one float64
					for range terms {
						a, a0, a1 := draw()
						b, b0, b1 := draw()
						sum, three, one = sum+a*b, three+a0*b0+a1*b0+a0*b1, one+a0*b0
					}
					largest, split, rounded = max(largest, math.Abs(sum)), max(split, math.Abs(three-sum)), max(rounded, math.Abs(one-sum))
				}
				t.Logf("%d terms: %.3f of the limit, rounded once %.0f times the limit", terms, split/(limit*largest), rounded/(limit*largest))
				require.LessOrEqual(t, split, limit*largest)
				require.Greater(t, rounded, 50*limit*largest)
			}
		})
	}
}
