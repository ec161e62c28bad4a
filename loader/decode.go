package loader

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"os"

	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"
	"golang.org/x/image/webp"
)

const (
	// maxPixels bounds what a header can claim before memory is taken for it.
	maxPixels = 200_000_000
	// maxFileBytes bounds one encoded picture.
	maxFileBytes = 1 << 30
)

// format is one way to store a picture, recognised by its first bytes, where
// "?" stands for any byte.
type format struct {
	name, magic string
	config      func(io.Reader) (image.Config, error)
	decode      func(io.Reader) (image.Image, error)
}

var formats = []format{
	{"JPEG", "\xff\xd8", jpeg.DecodeConfig, jpeg.Decode},
	{"PNG", "\x89PNG\r\n\x1a\n", png.DecodeConfig, png.Decode},
	{"GIF", "GIF8?a", gif.DecodeConfig, gif.Decode},
	{"BMP", "BM", bmp.DecodeConfig, bmp.Decode},
	{"TIFF", "II*\x00", tiff.DecodeConfig, tiff.Decode},
	{"TIFF", "MM\x00*", tiff.DecodeConfig, tiff.Decode},
	{"WebP", "RIFF????WEBP", webp.DecodeConfig, webp.Decode},
	{"PPM", "P6", pnmConfig, pnmDecode},
	{"PGM", "P5", pnmConfig, pnmDecode},
	{"PPM", "P3", pnmConfig, pnmDecode},
	{"PGM", "P2", pnmConfig, pnmDecode},
}

// foreign are the beginnings of files that people take for pictures and that are
// not read, with what to do about them.
var foreign = []struct{ magic, name, cure string }{
	{"????ftyphei", "HEIC", convert}, {"????ftypmif1", "HEIC", convert}, {"????ftypmsf1", "HEIC", convert},
	{"????ftypavi", "AVIF", convert},
	{"\x00\x00\x00\x0cJXL ", "JPEG XL", convert}, {"\xff\x0a", "JPEG XL", convert},
	{"\x00\x00\x00\x0cjP  ", "JPEG 2000", convert}, {"\xff\x4f\xff\x51", "JPEG 2000", convert},
	{"8BPS", "Photoshop's", convert}, {"%PDF", "PDF", convert}, {"<svg", "SVG", convert}, {"<?xml", "XML, perhaps SVG", convert},
	{"II+\x00", "BigTIFF", convert}, {"MM\x00+", "BigTIFF", convert},
	{"version https://git-lfs", "a pointer of Git LFS", "fetch the file itself with `git lfs pull`"},
	{"<!DOCTYPE", "a web page", "download the picture itself"}, {"<!doctype", "a web page", "download the picture itself"}, {"<html", "a web page", "download the picture itself"},
}

const convert = "convert it to PNG or JPEG"

// Decode reads one picture: JPEG (baseline or progressive; grey, YCbCr, RGB,
// CMYK or YCCK), PNG, GIF (its first frame), BMP, TIFF, WebP, PPM or PGM,
// recognised by content. Orientation tags are not applied: no published
// AlexNet pipeline does. An error says what was found, and that a header
// claims more than 200 megapixels before memory is taken for them.
func Decode(r io.Reader) (image.Image, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read picture: %w", err)
	}
	if len(data) > maxFileBytes {
		return nil, fmt.Errorf("decode picture: it has more than %d bytes", int64(maxFileBytes))
	}
	img, err := decode(data, maxPixels)
	if err != nil {
		return nil, fmt.Errorf("decode picture: %w", err)
	}
	return img, nil
}

// DecodeBytes does the same for a picture in memory, with a bound of its own on
// width times height.
func DecodeBytes(data []byte, pixels int) (image.Image, error) {
	return decode(data, min(pixels, maxPixels))
}

// ReadImage decodes the picture in a file, as Decode does.
func ReadImage(path string) (image.Image, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read picture: %w", err)
	}
	if info.Mode().IsRegular() && info.Size() > maxFileBytes {
		return nil, fmt.Errorf("read %s: it has %d bytes: the most read is %d", path, info.Size(), int64(maxFileBytes))
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read picture: %w", err)
	}
	img, err := decode(data, maxPixels)
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", path, err)
	}
	return img, nil
}

func decode(data []byte, most int) (img image.Image, err error) {
	f := formatOf(data)
	if f == nil {
		if len(data) == 0 {
			return nil, errors.New("the file is empty")
		}
		for _, k := range foreign {
			if begins(data, k.magic) {
				return nil, fmt.Errorf("not a picture of a known kind: it is %s, none of %s: %s", k.name, known, k.cure)
			}
		}
		begin := fmt.Sprintf("% x", data[:min(len(data), 8)])
		if text := data[:min(len(data), 24)]; !bytes.ContainsFunc(text, func(r rune) bool { return r > '~' || r < ' ' && r != '\n' && r != '\r' && r != '\t' }) {
			begin = fmt.Sprintf("the text %q", text)
		}
		return nil, fmt.Errorf("not a picture of a known kind: it begins with %s, none of %s", begin, known)
	}
	defer func() {
		switch {
		case err == nil:
		case begins(data, "RIFF????WEBPVP8X????") && len(data) > 20 && data[20]&2 != 0:
			err = fmt.Errorf("it is animated WebP, of which nothing is read: %s", convert)
		case errors.As(err, new(png.UnsupportedError)), errors.As(err, new(jpeg.UnsupportedError)), errors.As(err, new(tiff.UnsupportedError)),
			errors.Is(err, bmp.ErrUnsupported):
			err = fmt.Errorf("%w: %s", err, convert)
		}
	}()
	// Other people's decoders have had index errors on damaged files; such a
	// file is a bad picture and not the end of the run.
	defer func() {
		if r := recover(); r != nil {
			img, err = nil, fmt.Errorf("%s: the decoder failed on damaged data: %v", f.name, r)
		}
	}()
	c, err := f.config(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("%s header of a file of %d bytes: %w", f.name, len(data), err)
	}
	if c.Width < 1 || c.Height < 1 || c.Width > most/c.Height {
		return nil, fmt.Errorf("%s header claims %d×%d pixels in a file of %d bytes: between 1 and %d in all are read: scale it down, unless it is damaged",
			f.name, c.Width, c.Height, len(data), most)
	}
	if f.name == "JPEG" {
		if img, err := turboJPEG(data, most); err == nil {
			return img, nil
		}
	}
	img, err = f.decode(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("%s of %d×%d pixels in %d bytes: %w", f.name, c.Width, c.Height, len(data), err)
	}
	if b := img.Bounds(); b.Empty() {
		return nil, fmt.Errorf("%s holds no pixels", f.name)
	}
	return img, nil
}

// known lists the formats for errors.
const known = "JPEG, PNG, GIF, BMP, TIFF, WebP, PPM, PGM"

func formatOf(data []byte) *format {
	for i := range formats {
		if begins(data, formats[i].magic) {
			return &formats[i]
		}
	}
	return nil
}

// begins says whether data begin with magic, in which "?" is any byte.
func begins(data []byte, magic string) bool {
	if len(data) < len(magic) {
		return false
	}
	for i := range len(magic) {
		if magic[i] != '?' && magic[i] != data[i] {
			return false
		}
	}
	return true
}
