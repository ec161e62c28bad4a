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
// O] (so that its rows match a picture's layout there), a bias unchanged. dst
// is only written, in whole rows of outputs.
func (p Plan) PackParam(i int, dst, src []float32) {
	out, channels, places := p.paramLayout(i)
	eachTile(out, channels*places, func(o0, o1, k0, k1 int) {
		var tile [tileRows][tileColumns]float32 // [k][o], so that both sides are walked in their order
		for o := o0; o < o1; o++ {
			for k, v := range src[o*channels*places:][k0:k1] {
				tile[k][o-o0] = v
			}
		}
		for k := k0; k < k1; k++ {
			c, at := k/places, k%places
			copy(dst[(at*channels+c)*out:][o0:o1], tile[k-k0][:])
		}
	})
}

// UnpackParam undoes PackParam.
func (p Plan) UnpackParam(i int, dst, src []float32) {
	out, channels, places := p.paramLayout(i)
	eachTile(out, channels*places, func(o0, o1, k0, k1 int) {
		var tile [tileRows][tileColumns]float32
		for k := k0; k < k1; k++ {
			c, at := k/places, k%places
			copy(tile[k-k0][:], src[(at*channels+c)*out:][o0:o1])
		}
		for o := o0; o < o1; o++ {
			to := dst[o*channels*places:][k0:k1]
			for k := range to {
				to[k] = tile[k][o-o0]
			}
		}
	})
}

// paramLayout is parameter i as [out, channels, places] on the host and
// [places, channels, out] on a device.
func (p Plan) paramLayout(i int) (out, channels, places int) {
	switch shape := p.Params[i].Shape; len(shape) {
	case 4:
		return shape[0], shape[1], shape[2] * shape[3]
	case 2:
		return shape[0], p.In.C, p.In.H * p.In.W
	}
	return p.Params[i].Len(), 1, 1
}

// A tile of a parameter is a few cache lines on either side.
const tileRows, tileColumns = 16, 32

// eachTile calls f for every tile of a matrix of out × terms elements.
func eachTile(out, terms int, f func(o0, o1, k0, k1 int)) {
	// A strip is few enough outputs for the processor to keep their pages in mind.
	const strip = 8 * tileColumns
	strips := (out + strip - 1) / strip
	if strips < 8 { // small ones are shared out by their terms
		parallel((terms+tileRows-1)/tileRows, func(first, last int) {
			eachTileOf(0, out, first*tileRows, min(terms, last*tileRows), f)
		})
		return
	}
	parallel(strips, func(first, last int) {
		for s := first; s < last; s++ {
			eachTileOf(s*strip, min(out, (s+1)*strip), 0, terms, f)
		}
	})
}

func eachTileOf(o0, o1, k0, k1 int, f func(o0, o1, k0, k1 int)) {
	for k := k0; k < k1; k += tileRows {
		for o := o0; o < o1; o += tileColumns {
			f(o, min(o1, o+tileColumns), k, min(k1, k+tileRows))
		}
	}
}
