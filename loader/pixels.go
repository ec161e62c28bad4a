package loader

/*
#include "resize.h"
*/
import "C"

import (
	"image"
	"image/color"
)

// Picture shows red, green and blue bytes [height, width, 3], as [Store] writes
// them, as an image of its own.
func Picture(pixels []byte, width, height int) *image.RGBA {
	img := image.NewRGBA(image.Rect(0, 0, width, height))
	for i := range width * height {
		copy(img.Pix[4*i:], pixels[3*i:3*i+3])
		img.Pix[4*i+3] = 255
	}
	return img
}

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
			return yccReader(src)
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

// yccReader reads the rows of a YCbCr picture at the origin as libjpeg does: where
// a chroma sample spans two pixels on an axis, a pixel gets three parts of its own
// and one of the nearer neighbour ("fancy upsampling", jdsample.c).
func yccReader(img *image.YCbCr) func(dst []byte, y int) {
	w, h := img.Rect.Dx(), img.Rect.Dy()
	subX, subY := subsampling(img.SubsampleRatio)
	samples := ceilDiv(w, subX)
	smooth := C.int(0)
	if subX <= 2 && subY <= 2 && (subX == 1 || samples > 2) {
		smooth = 1
	}
	return func(dst []byte, y int) {
		at, far := y/subY, 0
		left, right := 4, 8
		if subY == 2 {
			far = min(max(at-1+2*(y%2), 0), ceilDiv(h, 2)-1) - at
			left, right = 8, 7
		}
		if subX == 1 {
			left = 1 + y%2
		}
		luma, row := img.Y[y*img.YStride:][:w], func(plane []byte, at int) *C.uint8_t { return (*C.uint8_t)(&plane[at*img.CStride:][:samples][0]) }
		row(img.Cb, at+far)
		row(img.Cr, at+far)
		C.ycc_to_rgb(vectors, (*C.uint8_t)(&dst[:4*w][0]), (*C.uint8_t)(&luma[0]), C.int(w), row(img.Cb, at), row(img.Cr, at),
			C.long(far*img.CStride), C.int(subX), smooth, C.int(left), C.int(right))
	}
}
