package loader

import (
	"image"
	"image/color"
)

// rowReader returns a function that writes row y of img, counted from its top,
// to dst as interleaved RGB bytes over black.
func rowReader(img image.Image) func(dst []byte, y int) {
	b := img.Bounds()
	w := b.Dx()
	switch src := img.(type) {
	case *image.RGBA: // already multiplied by its alpha
		return func(dst []byte, y int) {
			p := src.Pix[src.PixOffset(b.Min.X, b.Min.Y+y):][:4*w]
			for i := range w {
				o, s := dst[3*i:][:3], p[4*i:][:3]
				o[0], o[1], o[2] = s[0], s[1], s[2]
			}
		}
	case *image.NRGBA:
		return func(dst []byte, y int) {
			p := src.Pix[src.PixOffset(b.Min.X, b.Min.Y+y):][:4*w]
			for i := range w {
				o, s := dst[3*i:][:3], p[4*i:][:4]
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
				o, s := dst[3*i:][:3], p[4*i:][:4]
				o[0], o[1], o[2] = color.CMYKToRGB(s[0], s[1], s[2], s[3])
			}
		}
	case *image.Paletted:
		var palette [256][3]byte
		for i, c := range src.Palette[:min(len(src.Palette), 256)] {
			palette[i] = overBlack(c.RGBA())
		}
		return func(dst []byte, y int) {
			p := src.Pix[src.PixOffset(b.Min.X, b.Min.Y+y):][:w]
			for i, index := range p {
				copy(dst[3*i:][:3], palette[index][:])
			}
		}
	case image.RGBA64Image:
		return func(dst []byte, y int) {
			for i := range w {
				c := src.RGBA64At(b.Min.X+i, b.Min.Y+y)
				o := dst[3*i:][:3]
				o[0], o[1], o[2] = byte(c.R>>8), byte(c.G>>8), byte(c.B>>8)
			}
		}
	}
	return func(dst []byte, y int) {
		for i := range w {
			c := overBlack(img.At(b.Min.X+i, b.Min.Y+y).RGBA())
			copy(dst[3*i:][:3], c[:])
		}
	}
}

// overBlack takes what color.Color's RGBA returns: colours multiplied by alpha.
func overBlack(r, g, b, _ uint32) [3]byte {
	return [3]byte{byte(r >> 8), byte(g >> 8), byte(b >> 8)}
}
