package layers

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// counted returns 1, 2, …, n.
func counted(n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(i + 1)
	}
	return v
}

func TestPitch(t *testing.T) {
	require.Equal(t, 64, Shape{1, 1, 1}.Pitch())
	require.Equal(t, 64, Shape{64, 1, 1}.Pitch())
	require.Equal(t, 128, Shape{13, 5, 1}.Pitch())
	require.Equal(t, 150528, Shape{3, 224, 224}.Pitch())
	require.Equal(t, 154624, Shape{3, 227, 227}.Pitch())
}

func TestPackExamples(t *testing.T) {
	const batch = 3
	for _, s := range []Shape{{1, 1, 1}, {3, 5, 7}, {10, 1, 1}, {4, 4, 4}} {
		t.Run(fmt.Sprint(s), func(t *testing.T) {
			host, device := counted(batch*s.Len()), make([]float32, batch*s.Pitch())
			for i := range device {
				device[i] = float32(math.NaN())
			}
			PackExamples(device, host, batch, s)
			for b := range batch {
				for i := range s.Pitch() {
					want := float32(0)
					if i < s.Len() {
						c, x, y := i%s.C, i/s.C%s.W, i/s.C/s.W
						want = host[((b*s.C+c)*s.H+y)*s.W+x]
					}
					require.Equal(t, want, device[b*s.Pitch()+i], "example %d word %d", b, i)
				}
			}
			back := make([]float32, len(host))
			UnpackExamples(back, device, batch, s)
			require.Equal(t, host, back)
		})
	}
}

func TestPackParam(t *testing.T) {
	in := Shape{6, 3, 2}
	for _, layer := range []cpuLayer{
		Conv{Out: 4, KernelH: 3, KernelW: 2, Stride: 1, Groups: 2},
		Conv{Out: 37, KernelH: 1, KernelW: 2, Stride: 1},
		Linear{Out: 5},
		Linear{Out: 33},
	} {
		t.Run(fmt.Sprintf("%s%v", layer.Kind(), layer), func(t *testing.T) {
			plan, err := layer.Plan(in)
			require.NoError(t, err)
			for i, p := range plan.Params {
				host, device := counted(p.Len()), make([]float32, p.Len())
				plan.PackParam(i, device, host)
				for at, v := range device {
					require.Equal(t, host[hostIndex(p, in, at)], v, "%s word %d", p.Name, at)
				}
				back := make([]float32, len(host))
				plan.UnpackParam(i, back, device)
				require.Equal(t, host, back)
			}
		})
	}
}

// hostIndex is where the word at of a parameter on the device lies on the host,
// as PackParam's documentation says.
func hostIndex(p Param, in Shape, at int) int {
	switch shape := p.Shape; len(shape) {
	case 4:
		out, channels, high, wide := shape[0], shape[1], shape[2], shape[3]
		o, c, kx, ky := at%out, at/out%channels, at/out/channels%wide, at/out/channels/wide
		return ((o*channels+c)*high+ky)*wide + kx
	case 2:
		out := shape[0]
		o, c, x, y := at%out, at/out%in.C, at/out/in.C%in.W, at/out/in.C/in.W
		return o*in.Len() + (c*in.H+y)*in.W + x
	}
	return at
}
