package layers

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// convDefinition is the formula in Conv's documentation, one loop per index.
func convDefinition(l Conv, s *Slots[[]float32]) []float32 {
	in, out := s.Plan.In, s.Plan.Out
	channels := in.C / l.groups()
	y := make([]float32, len(s.Y))
	for i := range y {
		ox, oy, o, b := i%out.W, i/out.W%out.H, i/out.W/out.H%out.C, i/out.Len()
		g := o / (out.C / l.groups())
		sum := float64(s.Params[1][o])
		for c := range channels {
			for ky := range l.KernelH {
				for kx := range l.KernelW {
					iy, ix := oy*l.Stride+ky-l.Pad, ox*l.Stride+kx-l.Pad
					if iy >= 0 && iy < in.H && ix >= 0 && ix < in.W {
						w := s.Params[0][((o*channels+c)*l.KernelH+ky)*l.KernelW+kx]
						sum += float64(w) * float64(s.X[((b*in.C+g*channels+c)*in.H+iy)*in.W+ix])
					}
				}
			}
		}
		y[i] = float32(sum)
	}
	return y
}

func TestConvMatchesItsDefinition(t *testing.T) {
	for _, c := range append(gradientCases,
		gradientCase{layer: Conv{Out: 2, KernelH: 2, KernelW: 2, Stride: 1, Pad: 5}, in: Shape{1, 3, 1}, batch: 2},
		gradientCase{layer: Conv{Out: 1, KernelH: 1, KernelW: 1, Stride: 7, Ceil: true}, in: Shape{1, 9, 10}, batch: 1},
	) {
		if layer, ok := c.layer.(Conv); ok {
			t.Run(c.String(), func(t *testing.T) {
				s := c.slots(t)
				layer.ForwardCPU(s)
				// Both add in float64: they may differ in the last bit only.
				for i, want := range convDefinition(layer, s) {
					require.InDelta(t, want, s.Y[i], 1e-6, fmt.Sprint(i))
				}
			})
		}
	}
}
