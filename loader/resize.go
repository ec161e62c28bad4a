package loader

/*
#cgo CFLAGS: -O3
#include "resize.h"
*/
import "C"

import (
	"fmt"
	"image"
	"math"
	"runtime"
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

// Weights are fixed-point numbers that add up to 1<<weightBits. What is scaled
// in one direction keeps 7 bits below the byte, so all factors fit 16 bits and
// their sums 32.
const weightBits = C.RESIZE_WEIGHT_BITS

// axis holds, for each output pixel, the first of the source pixels that count
// and their weights [len(first), taps]; some may be 0.
type axis struct {
	first   []int32
	weights []int16
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
	a.weights = make([]int16, s.n*a.taps)
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
		left, largest := int16(1)<<weightBits, 0
		weights := a.weights[i*a.taps:][:a.taps]
		for k, w := range tent {
			weights[k] = int16(math.Round(w / sum * (1 << weightBits)))
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

// padded fills every output's weights up with zeros to the number that the
// horizontal pass takes at once.
func (a axis) padded() axis {
	taps := ceilDiv(a.taps, C.RESIZE_GROUP) * C.RESIZE_GROUP
	weights := make([]int16, len(a.first)*taps)
	for i := range a.first {
		copy(weights[i*taps:], a.weights[i*a.taps:][:a.taps])
	}
	a.weights, a.taps = weights, taps
	return a
}

// scratch is a worker's memory between pictures.
type scratch struct {
	row    []byte
	whole  [3][]byte // the source's colours apart
	planes [3][]byte // the same, scaled
	line   []int16   // one row between the passes
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

func grow[T any](s *[]T, n int) []T {
	if cap(*s) < n {
		*s = make([]T, n)
	}
	*s = (*s)[:n]
	return *s
}

// scaleTo writes the spans x and y of img to dst, rows stride bytes apart. All
// pictures are scaled as planes: YCbCr in its own three, others in red, green
// and blue.
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
		plane := grow(&s.planes[0], x.n*y.n)
		s.scalePlane(plane, src.Pix[src.PixOffset(b.Min.X, b.Min.Y):], src.Stride, b.Dy(), newAxis(x, b.Dx()).padded(), newAxis(y, b.Dy()))
		interleave(dst, stride, x.n, y.n, plane, plane, plane)
		return
	}
	ax, ay := newAxis(x, b.Dx()).padded(), newAxis(y, b.Dy())
	w := b.Dx()
	row := grow(&s.row, 3*w)
	for c := range s.whole {
		grow(&s.whole[c], w*b.Dy())
		grow(&s.planes[c], x.n*y.n)
	}
	read := rowReader(img)
	for r := ay.lo; r < ay.hi; r++ {
		read(row, r)
		red, green, blue := s.whole[0][r*w:][:w], s.whole[1][r*w:][:w], s.whole[2][r*w:][:w]
		for i := range red {
			p := row[3*i:][:3]
			red[i], green[i], blue[i] = p[0], p[1], p[2]
		}
	}
	for c := range s.planes {
		s.scalePlane(s.planes[c], s.whole[c], w, b.Dy(), ax, ay)
	}
	interleave(dst, stride, x.n, y.n, s.planes[0], s.planes[1], s.planes[2])
}

// interleave puts three planes of width × height together to RGB.
func interleave(dst []byte, stride, width, height int, red, green, blue []byte) {
	for j := range height {
		out := dst[j*stride:][:3*width]
		r, g, b := red[j*width:][:width], green[j*width:][:width], blue[j*width:][:width]
		for i := range r {
			o := out[3*i:][:3]
			o[0], o[1], o[2] = r[i], g[i], b[i]
		}
	}
}

// scalePlane scales one plane of bytes, height rows of which are stride apart,
// to dst [len(y), len(x)]: first down the columns, then along the rows.
func (s *scratch) scalePlane(dst, src []byte, stride, height int, x, y axis) {
	if x.lo < 0 || y.lo < 0 || x.hi > stride || y.hi > height || len(src) < (height-1)*stride+x.hi || len(dst) < len(x.first)*len(y.first) {
		panic(fmt.Sprintf("loader: a plane of %d bytes, %d rows of %d, does not hold columns %d..%d and rows %d..%d", len(src), height, stride, x.lo, x.hi, y.lo, y.hi))
	}
	line := grow(&s.line, x.hi-x.lo+C.RESIZE_GROUP)
	var pinned runtime.Pinner
	defer pinned.Unpin()
	cx, cy := x.pin(&pinned), y.pin(&pinned)
	C.resize_plane((*C.uint8_t)(&dst[0]), (*C.uint8_t)(&src[0]), C.int(stride), &cx, &cy, (*C.int16_t)(&line[0]))
}

// pin describes the axis to C for as long as the pinner holds it.
func (a axis) pin(p *runtime.Pinner) C.resize_axis {
	p.Pin(&a.first[0])
	p.Pin(&a.weights[0])
	return C.resize_axis{first: (*C.int32_t)(&a.first[0]), weights: (*C.int16_t)(&a.weights[0]),
		n: C.int32_t(len(a.first)), taps: C.int32_t(a.taps), lo: C.int32_t(a.lo), hi: C.int32_t(a.hi)}
}

// ycbcrToRGB converts a row of full-range (JFIF) YCbCr to interleaved RGB.
func ycbcrToRGB(dst, luma, cb, cr []byte) {
	n := len(luma)
	cb, cr, dst = cb[:n], cr[:n], dst[:3*n]
	C.resize_ycbcr((*C.uint8_t)(&dst[0]), (*C.uint8_t)(&luma[0]), (*C.uint8_t)(&cb[0]), (*C.uint8_t)(&cr[0]), C.int(n))
}

// scaleYCbCr scales the three planes, each from its own resolution, and
// converts the result.
func (s *scratch) scaleYCbCr(dst []byte, stride int, img *image.YCbCr, x, y span) {
	w, h := img.Rect.Dx(), img.Rect.Dy()
	subX, subY := subsampling(img.SubsampleRatio)
	ax, ay := newAxis(x, w).padded(), newAxis(y, h)
	cx, cy := ax, ay
	if subX > 1 {
		cx = newAxis(span{x.n, x.origin / float64(subX), x.scale / float64(subX)}, ceilDiv(w, subX)).padded()
	}
	if subY > 1 {
		cy = newAxis(span{y.n, y.origin / float64(subY), y.scale / float64(subY)}, ceilDiv(h, subY))
	}
	n := x.n * y.n
	luma, cb, cr := grow(&s.planes[0], n), grow(&s.planes[1], n), grow(&s.planes[2], n)
	ch := ceilDiv(h, subY)
	s.scalePlane(luma, img.Y, img.YStride, h, ax, ay)
	s.scalePlane(cb, img.Cb, img.CStride, ch, cx, cy)
	s.scalePlane(cr, img.Cr, img.CStride, ch, cx, cy)
	if stride == 3*x.n {
		ycbcrToRGB(dst[:3*n], luma, cb, cr)
		return
	}
	for j := range y.n {
		ycbcrToRGB(dst[j*stride:][:3*x.n], luma[j*x.n:][:x.n], cb[j*x.n:][:x.n], cr[j*x.n:][:x.n])
	}
}
