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
	"strings"
	"sync"
)

// Store scales img to stored×stored pixels in one of Input's Resize modes and
// writes them to dst as interleaved RGB bytes [stored, stored, 3].
//
// The filter is bilinear, widened when shrinking so that every source pixel
// counts, with the numbers and the rounding of PIL's BILINEAR (Pillow,
// src/libImaging/Resample.c), so that the bytes are those of torchvision's
// Resize. "short" is its Resize of the short side and CenterCrop, with their
// roundings. "opencv" is cv::resize of OpenCV 4.6, which does not widen the
// filter. Transparent pixels are
// laid over black; 16-bit samples keep their upper 8 bits.
func Store(dst []byte, img image.Image, stored int, mode string) error {
	return storeOf(dst, img, img.Bounds().Size(), stored, mode)
}

// storeOf is Store for a picture of the given size that was decoded to img,
// which may be smaller.
func storeOf(dst []byte, img image.Image, size image.Point, stored int, mode string) error {
	if stored < 1 || stored > maxSide || len(dst) != stored*stored*3 {
		return fmt.Errorf("store picture: %d bytes do not hold %d×%d pixels of 3", len(dst), stored, stored)
	}
	w, h := size.X, size.Y
	if b := img.Bounds(); b.Empty() || w < 1 || h < 1 {
		return fmt.Errorf("store picture: it has %d×%d pixels", b.Dx(), b.Dy())
	}
	have := img.Bounds().Size()
	along := func(out, from, n int) axis { return newAxis(have.X, w, out, from, n) }
	down := func(out, from, n int) axis { return newAxis(have.Y, h, out, from, n) }
	switch mode {
	case "warp":
		scaleTo(dst, 3*stored, img, along(stored, 0, stored), down(stored, 0, stored))
	case "opencv":
		scaleTo(dst, 3*stored, img, fourAxis(have.X, w, stored, true), fourAxis(have.Y, h, stored, false))
	case "short":
		// The length that torchvision gives a side, and where its crop begins.
		length := func(side int) int { return int(int64(stored) * int64(side) / int64(min(w, h))) }
		begin := func(out int) int { return int(math.RoundToEven(float64(out-stored) / 2)) }
		nx, ny := length(w), length(h)
		scaleTo(dst, 3*stored, img, along(nx, begin(nx), stored), down(ny, begin(ny), stored))
	case "letterbox":
		n, side := float64(stored), float64(max(w, h))
		nx := max(1, int(math.Round(float64(w)*n/side)))
		ny := max(1, int(math.Round(float64(h)*n/side)))
		clear(dst)
		scaleTo(dst[3*((stored-ny)/2*stored+(stored-nx)/2):], 3*stored, img, along(nx, 0, nx), down(ny, 0, ny))
	default:
		return fmt.Errorf("store picture: resize is %q: it must be one of %s", mode, strings.Join(resizeModes, ", "))
	}
	return nil
}

// axis holds, for each output pixel, the first of the source pixels that count
// and the weights of taps of them, as resize.h says.
type axis struct {
	first, weights []int32
	taps           int
	four           bool // the arithmetic is that of OpenCV
	clip           bool // sums may exceed 255, because many weights are rounded up
	lo, hi         int  // the range of source pixels that are read
}

// newAxis is the tent filter that makes out pixels of a side of size, of which
// the n from the given one on are wanted, from its have pixels: fewer where it
// was decoded at a part of its size. A tent reaches to the centres of the
// neighbours of an output pixel where the source has more pixels, else to those
// of a source pixel.
func newAxis(have, size, out, from, n int) axis {
	// Conversions of products keep the compiler from fusing them with sums,
	// which would round another way than PIL.
	scale := scaleOf(have, size, out)
	support := max(1, scale)
	reach := func(i int) (centre float64, lo, hi int) {
		centre = float64((float64(from+i) + 0.5) * scale)
		return centre, max(0, int(centre-support+0.5)), min(have, int(centre+support+0.5))
	}
	a := axis{first: make([]int32, n), lo: have}
	for i := range n {
		_, lo, hi := reach(i)
		a.taps = max(a.taps, hi-lo)
	}
	a.weights = make([]int32, a.taps*n)
	tent := make([]float64, a.taps)
	for i := range n {
		centre, lo, hi := reach(i)
		sum, narrow := 0.0, 1/support
		for k := range hi - lo {
			tent[k] = max(0, 1-math.Abs(float64((float64(k+lo)-centre+0.5)*narrow)))
			sum += tent[k]
		}
		first := min(lo, have-a.taps) // at the far edge, leading weights are 0
		weights := a.weights[a.taps*i:][:a.taps][lo-first:]
		total := 0
		for k := range hi - lo {
			weights[k] = int32(0.5 + float64(tent[k]/sum*(1<<C.RESIZE_BITS)))
			total += int(weights[k])
		}
		a.clip = a.clip || 255*total+1<<(C.RESIZE_BITS-1) >= 256<<C.RESIZE_BITS
		a.first[i] = int32(first)
		a.lo, a.hi = min(a.lo, first), max(a.hi, first+a.taps)
	}
	return a
}

// scaleOf is how many of the have pixels of a side an output pixel spans.
func scaleOf(have, size, out int) float64 {
	scale := float64(size) / float64(out)
	if have < size {
		scale /= math.Round(float64(size) / float64(have))
	}
	return scale
}

// fourAxis is the axis of resize_four: the two neighbours of each output
// pixel's centre, with the weights of OpenCV's cv::resize. Beyond the edges it
// weighs columns anew, as columns says, and rows not, which rounds another way.
func fourAxis(have, size, out int, columns bool) axis {
	scale := scaleOf(have, size, out)
	a := axis{first: make([]int32, out), weights: make([]int32, 2*out), taps: min(2, have), four: true, hi: have}
	for i := range out {
		at := float32(float64((float64(i)+0.5)*scale) - 0.5)
		first := int(math.Floor(float64(at)))
		part := at - float32(first) // of the second neighbour
		if columns && first < 0 {
			first, part = 0, 0
		}
		if last := have - a.taps; columns && first > last {
			first, part = last, float32(a.taps-1)
		}
		a.first[i] = int32(first)
		for k, w := range [2]float32{1 - part, part} {
			a.weights[2*i+k] = int32(math.RoundToEven(float64(w * (1 << C.RESIZE_FOUR_BITS))))
		}
	}
	return a
}

// vectors is which of its vector instructions the processor computes with.
var vectors = C.resize_vectors()

// scratch is a worker's memory between pictures.
type scratch struct {
	pixels []byte // the source as pixels of 4 bytes
	rows   []byte // as C.resize wants it
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

func grow[T any](s *[]T, n int) []T {
	if cap(*s) < n {
		*s = make([]T, n)
	}
	*s = (*s)[:n]
	return *s
}

// scaleTo writes img, scaled along x and down y, to dst, rows stride bytes apart.
func scaleTo(dst []byte, stride int, img image.Image, x, y axis) {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	b := img.Bounds()
	var pixels []byte
	var width int
	if src, ok := img.(*image.RGBA); ok {
		pixels, width = src.Pix[src.PixOffset(b.Min.X, b.Min.Y+y.lo):], src.Stride
	} else {
		width = 4 * b.Dx()
		pixels = grow(&s.pixels, width*(y.hi-y.lo))
		read := rowReader(img)
		for r := y.lo; r < y.hi; r++ {
			read(pixels[(r-y.lo)*width:][:width], r)
		}
	}
	nx, ny := len(x.first), len(y.first)
	if x.lo < 0 || y.lo < 0 || x.hi > b.Dx() || y.hi > b.Dy() || len(pixels) < (y.hi-y.lo-1)*width+4*x.hi || len(dst) < (ny-1)*stride+3*nx {
		panic(fmt.Sprintf("loader: %d bytes of %d×%d pixels do not hold columns %d..%d and rows %d..%d", len(pixels), b.Dx(), b.Dy(), x.lo, x.hi, y.lo, y.hi))
	}
	var pinned runtime.Pinner
	defer pinned.Unpin()
	cx, cy := x.pin(&pinned), y.pin(&pinned)
	if x.four {
		C.resize_four((*C.uint8_t)(&dst[0]), C.long(stride), (*C.uint8_t)(&pixels[0]), C.long(width), &cx, &cy)
		return
	}
	const lanes = C.RESIZE_LANES
	rows := grow(&s.rows, 4*lanes*max(x.taps, C.RESIZE_COLUMNS)+int(C.resize_pitch(C.long(nx)))*lanes*ceilDiv(y.hi-y.lo, lanes))
	C.resize(vectors, (*C.uint8_t)(&dst[0]), C.long(stride), (*C.uint8_t)(&pixels[0]), C.long(width), &cx, &cy, (*C.uint8_t)(&rows[0]))
}

// pin describes the axis to C for as long as the pinner holds it.
func (a axis) pin(p *runtime.Pinner) C.resize_axis {
	p.Pin(&a.first[0])
	p.Pin(&a.weights[0])
	axis := C.resize_axis{first: (*C.int32_t)(&a.first[0]), weights: (*C.int32_t)(&a.weights[0]),
		n: C.int32_t(len(a.first)), taps: C.int32_t(a.taps), lo: C.int32_t(a.lo), hi: C.int32_t(a.hi)}
	if a.clip {
		axis.clip = 1
	}
	return axis
}
