package layers

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// The known answers come with the authors' library, Random123 (kat_vectors).
func TestPhiloxKnownAnswers(t *testing.T) {
	const all = math.MaxUint32
	for _, c := range []struct {
		counter [4]uint32
		key     [2]uint32
		want    [4]uint32
	}{
		{want: [4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{[4]uint32{all, all, all, all}, [2]uint32{all, all}, [4]uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
		{
			[4]uint32{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, [2]uint32{0xa4093822, 0x299f31d0},
			[4]uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1},
		},
	} {
		require.Equal(t, c.want, Philox(c.counter, c.key))
	}
}

// moments returns mean, variance and fourth central moment.
func moments(v []float32) (mean, variance, fourth float64) {
	for _, x := range v {
		mean += float64(x) / float64(len(v))
	}
	for _, x := range v {
		d := (float64(x) - mean) * (float64(x) - mean)
		variance += d / float64(len(v))
		fourth += d * d / float64(len(v))
	}
	return mean, variance, fourth
}

func TestInitGaussian(t *testing.T) {
	const n, std = 100_001, 0.01
	v := make([]float32, n)
	InitGaussian(v, std, 1<<40+3, 2)
	mean, variance, fourth := moments(v)
	// Five standard errors of each moment of a normal distribution.
	require.InDelta(t, 0, mean, 5*std/math.Sqrt(n))
	require.InDelta(t, 1, variance/(std*std), 5*math.Sqrt(2.0/n))
	require.InDelta(t, 3, fourth/(variance*variance), 5*math.Sqrt(24.0/n))
	neighbours := 0.0
	for i := range n - 1 {
		neighbours += float64(v[i]) * float64(v[i+1]) / (std * std * n)
	}
	require.InDelta(t, 0, neighbours, 5/math.Sqrt(n), "neighbours correlate")
}

func TestInitUniform(t *testing.T) {
	const n, bound = 100_001, 0.25
	v := make([]float32, n)
	InitUniform(v, bound, 9, 4)
	mean, variance, _ := moments(v)
	require.InDelta(t, 0, mean, 5*bound/math.Sqrt(3*n))
	require.InDelta(t, bound*bound/3, variance, 5*bound*bound*math.Sqrt(4.0/45/n))
	for _, x := range v {
		require.LessOrEqual(t, math.Abs(float64(x)), bound)
	}
	words := Philox([4]uint32{1, 4, math.MaxUint32, math.MaxUint32}, [2]uint32{9, 0})
	require.InDelta(t, bound*(float64(words[2])/(1<<31)-1), v[6], 1e-7, "element 6 is word 2 of block 1")
}

func TestInitDependsOnSeedStreamAndIndexOnly(t *testing.T) {
	for name, init := range map[string]func([]float32, float32, uint64, uint32){"gaussian": InitGaussian, "uniform": InitUniform} {
		t.Run(name, func(t *testing.T) {
			values := func(n int, seed uint64, stream uint32) []float32 {
				v := make([]float32, n)
				init(v, 1, seed, stream)
				return v
			}
			want := values(11, 1, 0)
			require.Equal(t, want[:6], values(6, 1, 0), "a shorter tensor")
			require.NotEqual(t, want, values(11, 1, 1), "another stream")
			require.NotEqual(t, want, values(11, 2, 0), "another seed")
			require.NotEqual(t, want, values(11, 1+1<<32, 0), "a seed with another upper half")
		})
	}
}
