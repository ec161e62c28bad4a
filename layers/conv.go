package layers

import "fmt"

// Conv is a convolution with bias (Krizhevsky et al. 2012, section 3.5): it
// slides Out kernels of KernelH×KernelW over the input in steps of Stride,
// with Pad zeros on every side. With Groups > 1 the channels of input and
// output fall into that many equal groups which do not see each other: the two
// towers of the paper. Groups 0 means 1.
//
//	y[b,o,oy,ox] = bias[o] + Σ_{c,ky,kx} w[o,c,ky,kx] · x[b, g·C/G+c, oy·Stride+ky-Pad, ox·Stride+kx-Pad]
//
// where g is the group of o and x is 0 outside the picture. X is [batch, C, H,
// W], the weight [Out, C/Groups, KernelH, KernelW], Y [batch, Out, OH, OW].
type Conv struct {
	Out, KernelH, KernelW, Stride, Pad, Groups int
	// Ceil rounds the output's extent up, as the code of 2012 did (224 → 55
	// without padding): the last windows hang off the right and bottom.
	// Otherwise it is rounded down, as in Caffe and PyTorch.
	Ceil bool
}

// Kind is "conv".
func (Conv) Kind() string { return "conv" }

func (l Conv) groups() int { return max(1, l.Groups) }

// Plan implements Layer.
func (l Conv) Plan(in Shape) (Plan, error) {
	fail := func(err error) (Plan, error) { return Plan{}, fmt.Errorf("conv: %w", err) }
	if err := checkInput(in); err != nil {
		return fail(err)
	}
	if err := checkWindow(l.KernelH, l.KernelW, l.Stride, l.Pad); err != nil {
		return fail(err)
	}
	switch groups := l.groups(); {
	case l.Groups < 0:
		return fail(fmt.Errorf("%d groups: there must be at least 1", l.Groups))
	case l.Out < 1:
		return fail(fmt.Errorf("%d output channels: there must be at least 1", l.Out))
	case in.C%groups != 0:
		return fail(fmt.Errorf("%d input channels do not divide into %d groups: choose a divisor of %d", in.C, groups, in.C))
	case l.Out%groups != 0:
		return fail(fmt.Errorf("%d output channels do not divide into %d groups: choose a multiple of %d", l.Out, groups, groups))
	}
	height, err := positions("high", in.H, l.KernelH, l.Stride, l.Pad, l.Ceil)
	if err != nil {
		return fail(err)
	}
	width, err := positions("wide", in.W, l.KernelW, l.Stride, l.Pad, l.Ceil)
	if err != nil {
		return fail(err)
	}
	out := Shape{l.Out, height, width}
	if err := checkShape("output", out.C, out.H, out.W); err != nil {
		return fail(err)
	}
	weight := Param{"weight", []int{l.Out, in.C / l.groups(), l.KernelH, l.KernelW}}
	if err := checkShape("weight", weight.Shape...); err != nil {
		return fail(err)
	}
	return Plan{
		In: in, Out: out,
		Params: []Param{weight, {"bias", []int{l.Out}}},
		NeedsX: true,
		MACs:   int64(out.H) * int64(out.W) * int64(weight.Len()),
	}, nil
}

// window is the number of inputs that one output sums over.
func (l Conv) window(in Shape) int { return in.C / l.groups() * l.KernelH * l.KernelW }

// eachTap calls f for every input under the window of group g at (oy, ox) that
// lies inside the picture, with its index in the window [C/Groups, KernelH,
// KernelW] and in the example [C, H, W]; taps with the same ky come as one run.
func (l Conv) eachTap(in Shape, g, oy, ox int, f func(tap, at, run int)) {
	top, left := oy*l.Stride-l.Pad, ox*l.Stride-l.Pad
	firstX, lastX := max(0, -left), min(l.KernelW, in.W-left)
	if firstX >= lastX {
		return
	}
	channels := in.C / l.groups()
	for c := range channels {
		for ky := max(0, -top); ky < min(l.KernelH, in.H-top); ky++ {
			f((c*l.KernelH+ky)*l.KernelW+firstX, ((g*channels+c)*in.H+top+ky)*in.W+left+firstX, lastX-firstX)
		}
	}
}

// gatherRow copies what the windows of group g see along output row oy of
// example x into rows of taps: [OW, window], zero outside the picture.
func (l Conv) gatherRow(taps []float64, x []float32, p *Plan, g, oy int) {
	window := l.window(p.In)
	clear(taps)
	for ox := range p.Out.W {
		row := taps[ox*window:][:window]
		l.eachTap(p.In, g, oy, ox, func(tap, at, run int) {
			for i, v := range x[at : at+run] {
				row[tap+i] = float64(v)
			}
		})
	}
}

// ForwardCPU implements Layer.
func (l Conv) ForwardCPU(s *Slots[[]float32]) {
	in, out, window := s.Plan.In, s.Plan.Out, l.window(s.Plan.In)
	weight, bias := s.Params[0], s.Params[1]
	perGroup := l.Out / l.groups()
	parallel(s.Batch*out.H, func(first, last int) {
		taps := make([]float64, out.W*window)
		for row := first; row < last; row++ {
			b, oy := row/out.H, row%out.H
			x, y := s.X[b*in.Len():][:in.Len()], s.Y[b*out.Len():][:out.Len()]
			for g := range l.groups() {
				l.gatherRow(taps, x, &s.Plan, g, oy)
				for o := g * perGroup; o < (g+1)*perGroup; o++ {
					w := weight[o*window:][:window]
					for ox := range out.W {
						sum := float64(bias[o]) + dot(w, taps[ox*window:][:window])
						y[(o*out.H+oy)*out.W+ox] = float32(sum)
					}
				}
			}
		}
	})
}

// BackwardCPU implements Layer.
//
//	dw[o,c,ky,kx] += Σ_{b,oy,ox} dy[b,o,oy,ox] · x under that tap;  dbias[o] += Σ_{b,oy,ox} dy[b,o,oy,ox]
//	dx under a tap = Σ_{o,oy,ox} dy[b,o,oy,ox] · w of that tap
func (l Conv) BackwardCPU(s *Slots[[]float32]) {
	if len(s.Grads) > 0 {
		l.backwardParams(s)
	}
	if s.DX != nil {
		l.backwardInput(s)
	}
}

func (l Conv) backwardParams(s *Slots[[]float32]) {
	in, out, window := s.Plan.In, s.Plan.Out, l.window(s.Plan.In)
	perGroup := l.Out / l.groups()
	parallel(l.Out, func(first, last int) {
		taps := make([]float64, out.W*window)
		dw, db := make([]float64, (last-first)*window), make([]float64, last-first)
		for row := range s.Batch * out.H {
			b, oy := row/out.H, row%out.H
			x, dy := s.X[b*in.Len():][:in.Len()], s.DY[b*out.Len():][:out.Len()]
			for g := first / perGroup; g*perGroup < last; g++ {
				l.gatherRow(taps, x, &s.Plan, g, oy)
				for o := max(first, g*perGroup); o < min(last, (g+1)*perGroup); o++ {
					sum := dw[(o-first)*window:][:window]
					for ox, d := range dy[(o*out.H+oy)*out.W:][:out.W] {
						addScaled(sum, d, taps[ox*window:][:window])
						db[o-first] += float64(d)
					}
				}
			}
		}
		accumulate(s.Grads[0][first*window:], dw)
		accumulate(s.Grads[1][first:], db)
	})
}

func (l Conv) backwardInput(s *Slots[[]float32]) {
	in, out, window := s.Plan.In, s.Plan.Out, l.window(s.Plan.In)
	weight := s.Params[0]
	perGroup, groupLen := l.Out/l.groups(), in.Len()/l.groups()
	parallel(s.Batch*l.groups(), func(first, last int) {
		taps := make([]float64, window)
		dx := make([]float64, in.Len())
		for i := first; i < last; i++ {
			b, g := i/l.groups(), i%l.groups()
			dy := s.DY[b*out.Len():][:out.Len()]
			clear(dx)
			for at := range out.H * out.W {
				clear(taps)
				for o := g * perGroup; o < (g+1)*perGroup; o++ {
					addScaled(taps, dy[o*out.H*out.W+at], weight[o*window:][:window])
				}
				l.eachTap(in, g, at/out.W, at%out.W, func(tap, to, run int) {
					for i, v := range taps[tap : tap+run] {
						dx[to+i] += v
					}
				})
			}
			store(s.DX[b*in.Len()+g*groupLen:][:groupLen], dx[g*groupLen:][:groupLen])
		}
	})
}
