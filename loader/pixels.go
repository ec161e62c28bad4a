package loader

/*
#include "resize.h"
*/
import "C"

import (
	"image"
	"image/color"
)

// rowReader returns a function that writes row y of img, counted from its top,
// to dst as red, green, blue and 255, over black.
func rowReader(img image.Image) func(dst []byte, y int) {
	b := img.Bounds()
	w := b.Dx()
	switch src := img.(type) {
	case *image.RGBA: // already multiplied by its alpha
		return func(dst []byte, y int) {
			p := src.Pix[src.PixOffset(b.Min.X, b.Min.Y+y):][:4*w]
			for i := range w {
				o, s := dst[4*i:][:4], p[4*i:][:3]
				o[0], o[1], o[2], o[3] = s[0], s[1], s[2], 255
			}
		}
	case *image.NRGBA:
		return func(dst []byte, y int) {
			p := src.Pix[src.PixOffset(b.Min.X, b.Min.Y+y):][:4*w]
			for i := range w {
				o, s := dst[4*i:][:4], p[4*i:][:4]
				o[3] = 255
				if a := uint32(s[3]); a == 255 {
					o[0], o[1], o[2] = s[0], s[1], s[2]
				} else {
					for c := range 3 {
						o[c] = byte((uint32(s[c])*a + 127) / 255)
					}
				}
			}
		}
	case *image.CMYK: // the decoders have undone Adobe's inversion
		return func(dst []byte, y int) {
			p := src.Pix[src.PixOffset(b.Min.X, b.Min.Y+y):][:4*w]
			for i := range w {
				o, s := dst[4*i:][:4], p[4*i:][:4]
				o[0], o[1], o[2] = color.CMYKToRGB(s[0], s[1], s[2], s[3])
				o[3] = 255
			}
		}
	case *image.Gray:
		return func(dst []byte, y int) {
			for i, v := range src.Pix[src.PixOffset(b.Min.X, b.Min.Y+y):][:w] {
				o := dst[4*i:][:4]
				o[0], o[1], o[2], o[3] = v, v, v, 255
			}
		}
	case *image.YCbCr:
		if b.Min == (image.Point{}) {
			return newUpsampler(src).row
		}
	case *image.Paletted:
		var palette [256][4]byte
		for i, c := range src.Palette[:min(len(src.Palette), 256)] {
			palette[i] = overBlack(c.RGBA())
		}
		return func(dst []byte, y int) {
			p := src.Pix[src.PixOffset(b.Min.X, b.Min.Y+y):][:w]
			for i, index := range p {
				copy(dst[4*i:][:4], palette[index][:])
			}
		}
	case image.RGBA64Image:
		return func(dst []byte, y int) {
			for i := range w {
				c := src.RGBA64At(b.Min.X+i, b.Min.Y+y)
				o := dst[4*i:][:4]
				o[0], o[1], o[2], o[3] = byte(c.R>>8), byte(c.G>>8), byte(c.B>>8), 255
			}
		}
	}
	return func(dst []byte, y int) {
		for i := range w {
			c := overBlack(img.At(b.Min.X+i, b.Min.Y+y).RGBA())
			copy(dst[4*i:][:4], c[:])
		}
	}
}

// overBlack takes what color.Color's RGBA returns: colours multiplied by alpha.
func overBlack(r, g, b, _ uint32) [4]byte {
	return [4]byte{byte(r >> 8), byte(g >> 8), byte(b >> 8), 255}
}

// upsampler converts the rows of a YCbCr picture to RGB as libjpeg does: where a
// chroma sample spans two pixels on an axis, a pixel gets three parts of its own
// and one of the nearer neighbour ("fancy upsampling", jdsample.c).
type upsampler struct {
	img        *image.YCbCr
	subX, subY int
	fancy      bool
	sums       []int // of one row of chroma samples, with that above or below
	chroma     [2][]byte
}

func newUpsampler(img *image.YCbCr) *upsampler {
	u := &upsampler{img: img}
	u.subX, u.subY = subsampling(img.SubsampleRatio)
	w := ceilDiv(img.Rect.Dx(), u.subX)
	u.fancy = u.subX <= 2 && u.subY <= 2 && (u.subX == 1 || w > 2)
	u.sums = make([]int, w)
	u.chroma = [2][]byte{make([]byte, w*u.subX), make([]byte, w*u.subX)}
	return u
}

// row writes row y to dst, 4 bytes a pixel.
func (u *upsampler) row(dst []byte, y int) {
	w := u.img.Rect.Dx()
	u.upsample(u.chroma[0], u.img.Cb, y)
	u.upsample(u.chroma[1], u.img.Cr, y)
	luma := u.img.Y[y*u.img.YStride:][:w]
	C.ycc_to_rgb((*C.uint8_t)(&dst[:4*w][0]), (*C.uint8_t)(&luma[0]), (*C.uint8_t)(&u.chroma[0][0]), (*C.uint8_t)(&u.chroma[1][0]), C.int(w))
}

func (u *upsampler) upsample(dst, plane []byte, y int) {
	s, stride := u.sums, u.img.CStride
	at := y / u.subY
	near := plane[at*stride:][:len(s)]
	if !u.fancy {
		for i, v := range near {
			for k := range u.subX {
				dst[i*u.subX+k] = v
			}
		}
		return
	}
	// A sum is one times the sample, or four times it where rows are mixed.
	one := 1
	for i, v := range near {
		s[i] = int(v)
	}
	if u.subY == 2 {
		other := at - 1 + 2*(y%2)
		other = min(max(other, 0), ceilDiv(u.img.Rect.Dy(), 2)-1)
		one = 4
		for i, v := range plane[other*stride:][:len(s)] {
			s[i] = 3*s[i] + int(v)
		}
	}
	if u.subX == 1 {
		for i, v := range s {
			dst[i] = byte((v + (1+y%2)*(one/4)) / one)
		}
		return
	}
	left, right := 1, 2 // what rounds, of 4
	if one == 4 {
		left, right = 8, 7 // of 16
	}
	last := len(s) - 1
	for i, v := range s {
		before, after := s[max(i-1, 0)], s[min(i+1, last)]
		dst[2*i], dst[2*i+1] = byte((3*v+before+left)/(4*one)), byte((3*v+after+right)/(4*one))
	}
}
