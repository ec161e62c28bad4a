package layers

// exampleAlign is the number of words that the start of every example on a
// device is a multiple of: 256 bytes, the largest offset alignment that
// Vulkan lets a device ask for.
const exampleAlign = 64

// Pitch is the number of words from one example to the next on a device in
// float32: Len rounded up to a multiple of 64.
func (s Shape) Pitch() int { return FP32.Pitch(s) }

// PackExamples copies pictures from the host's layout, src [batch, C, H, W], to
// the device's, dst [batch][H, W, C] with s.Pitch() words per example. The words
// between examples become zero.
func PackExamples(dst, src []float32, batch int, s Shape) {
	packExamples(dst, src, batch, s, s.Pitch())
}

// PackExamples is the same in the precision's words, p.Pitch(s) per example.
func (p Precision) PackExamples(src []float32, batch int, s Shape) []uint32 {
	pitch := p.elementPitch(s)
	elements := make([]float32, batch*pitch)
	packExamples(elements, src, batch, s, pitch)
	words := make([]uint32, batch*p.Pitch(s))
	p.Pack(words, elements)
	return words
}

// UnpackExamples undoes Precision.PackExamples.
func (p Precision) UnpackExamples(words []uint32, batch int, s Shape) []float32 {
	pitch := p.elementPitch(s)
	elements := make([]float32, batch*pitch)
	p.Unpack(elements, words)
	out := make([]float32, batch*s.Len())
	unpackExamples(out, elements, batch, s, pitch)
	return out
}

func packExamples(dst, src []float32, batch int, s Shape, pitch int) {
	places := s.H * s.W
	parallel(batch, func(first, last int) {
		for b := first; b < last; b++ {
			to, from := dst[b*pitch:][:pitch], src[b*s.Len():][:s.Len()]
			for c := range s.C {
				for i, v := range from[c*places:][:places] {
					to[i*s.C+c] = v
				}
			}
			clear(to[s.Len():])
		}
	})
}

// UnpackExamples undoes PackExamples: dst is [batch, C, H, W], src [batch][H, W,
// C] with s.Pitch() words per example.
func UnpackExamples(dst, src []float32, batch int, s Shape) {
	unpackExamples(dst, src, batch, s, s.Pitch())
}

func unpackExamples(dst, src []float32, batch int, s Shape, pitch int) {
	places := s.H * s.W
	parallel(batch, func(first, last int) {
		for b := first; b < last; b++ {
			to, from := dst[b*s.Len():][:s.Len()], src[b*pitch:][:pitch]
			for c := range s.C {
				for i := range places {
					to[c*places+i] = from[i*s.C+c]
				}
			}
		}
	})
}

// PackParam copies parameter i of the plan from the host's layout to the
// device's, which has the same size: a convolution's weight [O, I/groups, kh,
// kw] → [kh, kw, I/groups, O], a fully connected weight [O, C*H*W] → [H, W, C,
// O] (so that its rows match a picture's layout there), a bias unchanged.
func (p Plan) PackParam(i int, dst, src []float32) {
	p.eachParam(i, func(device, host int) { dst[device] = src[host] })
}

// UnpackParam undoes PackParam.
func (p Plan) UnpackParam(i int, dst, src []float32) {
	p.eachParam(i, func(device, host int) { dst[host] = src[device] })
}

// eachParam calls f with the index of every element of parameter i on the
// device and on the host.
func (p Plan) eachParam(i int, f func(device, host int)) {
	var out, channels, places int
	switch shape := p.Params[i].Shape; len(shape) {
	case 4:
		out, channels, places = shape[0], shape[1], shape[2]*shape[3]
	case 2:
		out, channels, places = shape[0], p.In.C, p.In.H*p.In.W
	default:
		out, channels, places = 1, 1, p.Params[i].Len()
	}
	// Walking the device's order writes and reads whole cache lines in blocks
	// of outputs, which the large fully connected weights need.
	const block = 16
	blocks := (out + block - 1) / block
	parallel(blocks, func(first, last int) {
		for o0 := first * block; o0 < min(out, last*block); o0 += block {
			for c := range channels {
				for at := range places {
					for o := o0; o < min(out, o0+block); o++ {
						f((at*channels+c)*out+o, (o*channels+c)*places+at)
					}
				}
			}
		}
	})
}
