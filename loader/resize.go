package loader

import (
	"fmt"
	"image"
	"math"
	"sync"
)

// Store scales img to stored×stored pixels in one of Input's Resize modes and
// writes them to dst as interleaved RGB bytes [stored, stored, 3].
//
// The filter is bilinear, widened when shrinking so that every source pixel
// counts (PIL's and torchvision's antialiased BILINEAR, x/image's
// draw.BiLinear). "short" samples the centre square straight from the source,
// at its exact, fractional position. Transparent pixels are laid over black;
// 16-bit samples keep their upper 8 bits. The chroma of a YCbCr picture is
// scaled from its own resolution, and colours are converted afterwards.
func Store(dst []byte, img image.Image, stored int, mode string) error {
	if stored < 1 || stored > maxSide || len(dst) != stored*stored*3 {
		return fmt.Errorf("store picture: %d bytes do not hold %d×%d pixels of 3", len(dst), stored, stored)
	}
	w, h := img.Bounds().Dx(), img.Bounds().Dy()
	if w < 1 || h < 1 {
		return fmt.Errorf("store picture: it has %d×%d pixels", w, h)
	}
	switch n := float64(stored); mode {
	case "warp":
		scaleTo(dst, 3*stored, img, span{stored, 0, float64(w) / n}, span{stored, 0, float64(h) / n})
	case "short":
		side := float64(min(w, h))
		scaleTo(dst, 3*stored, img,
			span{stored, (float64(w) - side) / 2, side / n}, span{stored, (float64(h) - side) / 2, side / n})
	case "letterbox":
		side := float64(max(w, h))
		nx := max(1, int(math.Round(float64(w)*n/side)))
		ny := max(1, int(math.Round(float64(h)*n/side)))
		clear(dst)
		scaleTo(dst[3*((stored-ny)/2*stored+(stored-nx)/2):], 3*stored, img,
			span{nx, 0, float64(w) / float64(nx)}, span{ny, 0, float64(h) / float64(ny)})
	default:
		return fmt.Errorf("store picture: resize is %q: it must be one of warp, short, letterbox", mode)
	}
	return nil
}

// span is where n output pixels lie on one axis of the source: output pixel i
// covers [origin+i*scale, origin+(i+1)*scale).
type span struct {
	n             int
	origin, scale float64
}

// Weights are fixed-point numbers that add up to 1<<weightBits. Rows scaled in
// one direction keep 7 bits below the byte; both passes fit 32 bits.
const (
	weightBits = 15
	rowBits    = 7
)

// axis holds, for each output pixel, the first of the source pixels that count
// and their weights [len(first), taps]; some may be 0.
type axis struct {
	first   []int32
	weights []int32
	taps    int
	lo, hi  int // the range of source pixels that are read
}

// newAxis is the tent filter of a span over src source pixels.
func newAxis(s span, src int) axis {
	support := max(1, s.scale)
	reach := func(i int) (centre float64, from, to int) {
		centre = s.origin + (float64(i)+0.5)*s.scale - 0.5
		return centre, max(0, int(math.Floor(centre-support))+1), min(src, int(math.Ceil(centre+support)))
	}
	a := axis{first: make([]int32, s.n), lo: src}
	for i := range s.n {
		_, from, to := reach(i)
		a.taps = max(a.taps, to-from)
	}
	a.weights = make([]int32, s.n*a.taps)
	tent := make([]float64, a.taps)
	for i := range s.n {
		centre, from, _ := reach(i)
		from = min(from, src-a.taps) // at the far edge, leading weights are 0
		sum := 0.0
		for k := range tent {
			tent[k] = max(0, 1-math.Abs(float64(from+k)-centre)/support)
			sum += tent[k]
		}
		// Rounding must not change the sum: a flat picture stays flat.
		left, largest := int32(1)<<weightBits, 0
		weights := a.weights[i*a.taps:][:a.taps]
		for k, w := range tent {
			weights[k] = int32(math.Round(w / sum * (1 << weightBits)))
			left -= weights[k]
			if w > tent[largest] {
				largest = k
			}
		}
		weights[largest] += left
		a.first[i] = int32(from)
		a.lo, a.hi = min(a.lo, from), max(a.hi, from+a.taps)
	}
	return a
}

// scratch is a worker's memory between pictures.
type scratch struct {
	row    []byte
	rows   []uint16
	sum    []int32
	planes [3][]byte
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

func grow[T any](s *[]T, n int) []T {
	if cap(*s) < n {
		*s = make([]T, n)
	}
	*s = (*s)[:n]
	return *s
}

// scaleTo writes the spans x and y of img to dst, rows stride bytes apart.
func scaleTo(dst []byte, stride int, img image.Image, x, y span) {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	b := img.Bounds()
	switch src := img.(type) {
	case *image.YCbCr:
		if b.Min == (image.Point{}) {
			s.scaleYCbCr(dst, stride, src, x, y)
			return
		}
	case *image.Gray:
		ax, ay := newAxis(x, b.Dx()), newAxis(y, b.Dy())
		plane := grow(&s.planes[0], x.n*y.n)
		s.scalePlane(plane, src.Pix[src.PixOffset(b.Min.X, b.Min.Y):], src.Stride, ax, ay)
		for j := range y.n {
			out := dst[j*stride:][:3*x.n]
			for i, v := range plane[j*x.n:][:x.n] {
				out[3*i], out[3*i+1], out[3*i+2] = v, v, v
			}
		}
		return
	}
	ax, ay := newAxis(x, b.Dx()), newAxis(y, b.Dy())
	width := 3 * x.n
	rows := grow(&s.rows, (ay.hi-ay.lo)*width)
	row := grow(&s.row, 3*b.Dx())
	read := rowReader(img)
	for r := ay.lo; r < ay.hi; r++ {
		read(row, r)
		out := rows[(r-ay.lo)*width:][:width]
		for i, first := range ax.first {
			p := row[3*first:]
			var red, green, blue int32
			for k, w := range ax.weights[i*ax.taps:][:ax.taps] {
				q := p[3*k:][:3]
				red += w * int32(q[0])
				green += w * int32(q[1])
				blue += w * int32(q[2])
			}
			o := out[3*i:][:3]
			o[0], o[1], o[2] = toRow(red), toRow(green), toRow(blue)
		}
	}
	s.columns(dst, stride, width, ay)
}

func toRow(sum int32) uint16 {
	return uint16((sum + 1<<(weightBits-rowBits-1)) >> (weightBits - rowBits))
}

// scalePlane scales one plane of bytes to dst [len(ay), len(ax)].
func (s *scratch) scalePlane(dst, src []byte, stride int, ax, ay axis) {
	width := len(ax.first)
	rows := grow(&s.rows, (ay.hi-ay.lo)*width)
	for r := ay.lo; r < ay.hi; r++ {
		row := src[r*stride:]
		out := rows[(r-ay.lo)*width:][:width]
		// Two and three taps are what usual photographs need.
		switch w := ax.weights; ax.taps {
		case 2:
			for i, first := range ax.first {
				p, w := row[first:][:2], w[2*i:][:2]
				out[i] = toRow(w[0]*int32(p[0]) + w[1]*int32(p[1]))
			}
		case 3:
			for i, first := range ax.first {
				p, w := row[first:][:3], w[3*i:][:3]
				out[i] = toRow(w[0]*int32(p[0]) + w[1]*int32(p[1]) + w[2]*int32(p[2]))
			}
		default:
			for i, first := range ax.first {
				w := w[i*ax.taps:][:ax.taps]
				p := row[first:][:len(w)]
				var sum int32
				for k, w := range w {
					sum += w * int32(p[k])
				}
				out[i] = toRow(sum)
			}
		}
	}
	s.columns(dst, width, width, ay)
}

// columns is the second pass: it combines s.rows into rows of dst.
func (s *scratch) columns(dst []byte, stride, width int, ay axis) {
	const (
		shift = weightBits + rowBits
		half  = 1 << (shift - 1)
	)
	sum := grow(&s.sum, width)
	for j, first := range ay.first {
		weights := ay.weights[j*ay.taps:][:ay.taps]
		row := func(k int) []uint16 { return s.rows[(int(first)-ay.lo+k)*width:][:width] }
		out := dst[j*stride:][:width]
		switch ay.taps {
		case 2:
			w0, w1, r0, r1 := weights[0], weights[1], row(0)[:len(out)], row(1)[:len(out)]
			for i := range out {
				out[i] = byte((w0*int32(r0[i]) + w1*int32(r1[i]) + half) >> shift)
			}
		case 3:
			w0, w1, w2 := weights[0], weights[1], weights[2]
			r0, r1, r2 := row(0)[:len(out)], row(1)[:len(out)], row(2)[:len(out)]
			for i := range out {
				out[i] = byte((w0*int32(r0[i]) + w1*int32(r1[i]) + w2*int32(r2[i]) + half) >> shift)
			}
		default:
			for i := range sum {
				sum[i] = half
			}
			for k, w := range weights {
				for i, v := range row(k)[:len(sum)] {
					sum[i] += w * int32(v)
				}
			}
			for i, v := range sum {
				out[i] = byte(v >> shift)
			}
		}
	}
}

// scaleYCbCr scales the three planes, each from its own resolution, and
// converts the result.
func (s *scratch) scaleYCbCr(dst []byte, stride int, img *image.YCbCr, x, y span) {
	w, h := img.Rect.Dx(), img.Rect.Dy()
	subX, subY := 1, 1
	switch img.SubsampleRatio {
	case image.YCbCrSubsampleRatio422:
		subX = 2
	case image.YCbCrSubsampleRatio420:
		subX, subY = 2, 2
	case image.YCbCrSubsampleRatio440:
		subY = 2
	case image.YCbCrSubsampleRatio411:
		subX = 4
	case image.YCbCrSubsampleRatio410:
		subX, subY = 4, 2
	}
	ax, ay := newAxis(x, w), newAxis(y, h)
	cx, cy := ax, ay
	if subX > 1 {
		cx = newAxis(span{x.n, x.origin / float64(subX), x.scale / float64(subX)}, (w+subX-1)/subX)
	}
	if subY > 1 {
		cy = newAxis(span{y.n, y.origin / float64(subY), y.scale / float64(subY)}, (h+subY-1)/subY)
	}
	n := x.n * y.n
	luma, cb, cr := grow(&s.planes[0], n), grow(&s.planes[1], n), grow(&s.planes[2], n)
	s.scalePlane(luma, img.Y, img.YStride, ax, ay)
	s.scalePlane(cb, img.Cb, img.CStride, cx, cy)
	s.scalePlane(cr, img.Cr, img.CStride, cx, cy)
	for j := range y.n {
		ycbcrToRGB(dst[j*stride:][:3*x.n], luma[j*x.n:][:x.n], cb[j*x.n:][:x.n], cr[j*x.n:][:x.n])
	}
}
