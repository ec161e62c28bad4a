package loader

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"io"
	"math/bits"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"
)

// flatJPEG is a baseline JPEG of 8×8 pixels, each component one value. Adobe is
// the colour transform of an Adobe marker, or -1 for none.
func flatJPEG(adobe int, values ...int) []byte {
	var b bytes.Buffer
	segment := func(marker byte, body ...byte) {
		b.Write([]byte{0xff, marker, byte((len(body) + 2) >> 8), byte(len(body) + 2)})
		b.Write(body)
	}
	b.Write([]byte{0xff, 0xd8})
	if adobe >= 0 {
		segment(0xee, append([]byte("Adobe\x00\x64\x00\x00\x00\x00"), byte(adobe))...)
	}
	segment(0xdb, append([]byte{0}, bytes.Repeat([]byte{1}, 64)...)...) // all steps 1
	frame := []byte{8, 0, 8, 0, 8, byte(len(values))}
	scan := []byte{byte(len(values))}
	for i := range values {
		frame = append(frame, byte(i+1), 0x11, 0)
		scan = append(scan, byte(i+1), 0)
	}
	segment(0xc0, frame...)
	// DC: the sizes 0..11 as codes of 4 bits; AC: end of block as "0".
	segment(0xc4, append([]byte{0x00, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)...)
	segment(0xc4, 0x10, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	segment(0xda, append(scan, 0, 63, 0)...)
	var acc, n uint64
	put := func(v uint64, size int) { acc, n = acc<<size|v, n+uint64(size) }
	flush := func() {
		for n >= 8 {
			c := byte(acc >> (n - 8))
			b.WriteByte(c)
			if c == 0xff {
				b.WriteByte(0)
			}
			n -= 8
		}
	}
	for _, v := range values {
		dc := (v - 128) * 8
		size := bits.Len(uint(max(dc, -dc)))
		put(uint64(size), 4)
		if dc < 0 {
			dc += 1<<size - 1
		}
		put(uint64(dc), size)
		put(0, 1)
		flush()
	}
	put(0x7f, 7)
	flush()
	b.Write([]byte{0xff, 0xd9})
	return b.Bytes()
}

func storedPixel(t *testing.T, data []byte) []byte {
	t.Helper()
	img, err := Decode(bytes.NewReader(data))
	require.NoError(t, err)
	dst := make([]byte, 4*4*3)
	require.NoError(t, Store(dst, img, 4, "warp"))
	return dst[:3]
}

func TestDecodeJPEGColours(t *testing.T) {
	near := func(want [3]int, got []byte) {
		t.Helper()
		for c := range 3 {
			require.InDelta(t, want[c], int(got[c]), 2)
		}
	}
	near([3]int{77, 77, 77}, storedPixel(t, flatJPEG(-1, 77)))
	near([3]int{100, 100, 100}, storedPixel(t, flatJPEG(-1, 100, 128, 128)))
	near([3]int{77, 34, 200}, storedPixel(t, flatJPEG(0, 77, 34, 200))) // Adobe's RGB
	// CMYK as Adobe writes it: 255 is no ink.
	near([3]int{200, 100, 50}, storedPixel(t, flatJPEG(0, 200, 100, 50, 255)))
	near([3]int{100, 50, 25}, storedPixel(t, flatJPEG(0, 200, 100, 50, 128)))
	// YCCK, where libjpeg takes the RGB of the YCC part as the inks.
	near([3]int{155, 155, 155}, storedPixel(t, flatJPEG(2, 100, 128, 128, 255)))
	near([3]int{78, 78, 78}, storedPixel(t, flatJPEG(2, 100, 128, 128, 128)))
}

// A progressive JPEG of 8×8 pixels, luma 128 but for its DC scan's value.
func progressiveJPEG() []byte {
	data := flatJPEG(-1, 77)
	i := bytes.Index(data, []byte{0xff, 0xc0})
	data[i+1] = 0xc2
	// A DC scan covers coefficient 0 alone and has no end-of-block codes.
	i = bytes.Index(data, []byte{0xff, 0xda})
	data[i+8] = 0
	return data
}

func TestDecodeProgressiveJPEG(t *testing.T) {
	require.InDelta(t, 77, int(storedPixel(t, progressiveJPEG())[0]), 1)
}

func TestDecodeEveryFormatByContent(t *testing.T) {
	img := testImage(9, 7, 1)
	palette := image.NewPaletted(img.Rect, color.Palette{color.Black, color.RGBA{200, 100, 50, 255}})
	palette.SetColorIndex(8, 6, 1)
	deep := image.NewRGBA64(img.Rect)
	deep.SetRGBA64(8, 6, color.RGBA64{0x8123, 0x4000, 0xffff, 0xffff})
	encode := func(f func(io.Writer) error) []byte {
		var b bytes.Buffer
		require.NoError(t, f(&b))
		return b.Bytes()
	}
	for name, data := range map[string][]byte{
		"png":      pngBytes(t, img),
		"png16":    pngBytes(t, deep),
		"png8":     pngBytes(t, palette),
		"jpeg":     encode(func(w io.Writer) error { return jpeg.Encode(w, img, nil) }),
		"gif":      encode(func(w io.Writer) error { return gif.Encode(w, palette, nil) }),
		"bmp":      encode(func(w io.Writer) error { return bmp.Encode(w, img) }),
		"tiff":     encode(func(w io.Writer) error { return tiff.Encode(w, img, nil) }),
		"tiff-lzw": encode(func(w io.Writer) error { return tiff.Encode(w, deep, &tiff.Options{Compression: tiff.Deflate}) }),
		"webp":     lossyWebP,
		"ppm":      ppmOf(img),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "wrong.jpg") // the name must not count
			require.NoError(t, os.WriteFile(path, data, 0o644))
			got, err := ReadImage(path)
			require.NoError(t, err)
			if name == "webp" {
				require.Equal(t, image.Pt(1, 1), got.Bounds().Size())
				return
			}
			require.Equal(t, img.Rect, got.Bounds())
			wantR, wantG, wantB, _ := img.At(8, 6).RGBA()
			switch name {
			case "png8", "gif":
				wantR, wantG, wantB, _ = palette.At(8, 6).RGBA()
			case "png16", "tiff-lzw":
				wantR, wantG, wantB, _ = deep.At(8, 6).RGBA()
			case "jpeg":
				return
			}
			r, g, b, _ := got.At(8, 6).RGBA()
			require.Equal(t, [3]uint32{wantR, wantG, wantB}, [3]uint32{r, g, b})
		})
	}
}

// lossyWebP is a picture of one pixel.
var lossyWebP = []byte("RIFF\x24\x00\x00\x00WEBPVP8 \x18\x00\x00\x00\x30\x01\x00\x9d\x01\x2a\x01\x00\x01\x00\x01\x40\x26\x25\xa4\x00\x03\x70\x00\xfe\xfd\x36\x68\x00")

func ppmOf(img *image.RGBA) []byte {
	b := fmt.Appendf(nil, "P6\n# made by a test\n%d %d\n255\n", img.Rect.Dx(), img.Rect.Dy())
	for i := 0; i < len(img.Pix); i += 4 {
		b = append(b, img.Pix[i:i+3]...)
	}
	return b
}

func TestDecodePNM(t *testing.T) {
	for text, want := range map[string][4]byte{
		"P5 2 1 255\n\x07\x09":           {9, 9, 9, 255},
		"P5\t2 1 15\n\x00\x0f":           {255, 255, 255, 255},
		"P5 2 1 65535\n\x00\x00\x80\x80": {128, 128, 128, 255},
		"P6 2 1 255\nabcdef":             {'d', 'e', 'f', 255},
		"P6 2 1 1000\n\x00\x00\x00\x00\x00\x00\x03\xe8\x00\x00\x01\xf4": {255, 0, 128, 255},
		"P2 2 1 # comment\n9\n3 9":                                      {255, 255, 255, 255},
		"P3\n2 1\n255\n1 2 3\n4 5 6":                                    {4, 5, 6, 255},
	} {
		img, err := Decode(strings.NewReader(text))
		require.NoError(t, err, "%q", text)
		require.Equal(t, image.Pt(2, 1), img.Bounds().Size())
		c := color.RGBAModel.Convert(img.At(1, 0)).(color.RGBA)
		require.Equal(t, want, [4]byte{c.R, c.G, c.B, c.A}, "%q", text)
	}
	for text, want := range map[string]string{
		"P6 2 1 255\nabcde":       "row 0 of 1",
		"P6 2":                    "unexpected EOF",
		"P6 0 1 255\n":            "0×1",
		"P6 1 1 70000\n":          "70000",
		"P5 1 1 7\n\x09":          "above the largest",
		"P6 -1 1 255\n":           "0x2d",
		"P3 1 1 255 1 2 x":        "0x78",
		"P5 9999999999 1 255\n":   "too large",
		"P5 # comment at the end": "unexpected EOF",
		"P5 20000 20000 255\nabc": "20000×20000 pixels",
	} {
		_, err := Decode(strings.NewReader(text))
		require.ErrorContains(t, err, want, "%q", text)
	}
}

func TestDecodeRefusesBadData(t *testing.T) {
	whole := pngBytes(t, testImage(20, 20, 1))
	var jpg bytes.Buffer
	require.NoError(t, jpeg.Encode(&jpg, testImage(64, 64, 1), nil))
	for want, data := range map[string][]byte{
		"empty":                           {},
		"begins with 3c 68 00":            []byte("<h\x00"),
		`the text "404 page not found\n"`: []byte("404 page not found\n"),
		"PNG of 20×20 pixels in":          whole[:len(whole)/2],
		"PNG header":                      whole[:20],
		"JPEG of 64×64 pixels":            jpg.Bytes()[:jpg.Len()/2],
		"JPEG header":                     jpg.Bytes()[:10],
	} {
		_, err := Decode(bytes.NewReader(data))
		require.ErrorContains(t, err, want)
	}
}

// What is no picture that is read says what it is and what to do.
func TestDecodeNamesWhatItDoesNotRead(t *testing.T) {
	animated := append([]byte("RIFF\x16\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x02\x00\x00\x00"), make([]byte, 64)...)
	var inks bytes.Buffer
	require.NoError(t, tiff.Encode(&inks, image.NewGray(image.Rect(0, 0, 3, 3)), nil))
	cmyk := bytes.Replace(inks.Bytes(), []byte{6, 1, 3, 0, 1, 0, 0, 0, 1, 0}, []byte{6, 1, 3, 0, 1, 0, 0, 0, 5, 0}, 1)
	require.NotEqual(t, inks.Bytes(), cmyk, "the photometric interpretation was not found")
	for want, data := range map[string][]byte{
		"it is HEIC, none of JPEG.*: convert it to PNG or JPEG": []byte("\x00\x00\x00\x18ftypheic\x00\x00\x00\x00"),
		"it is AVIF, none of":                                     []byte("\x00\x00\x00\x18ftypavif\x00\x00\x00\x00"),
		"it is a web page, .*: download the picture itself":       []byte("<html><body>not found"),
		"a pointer of Git LFS, .*: fetch .* with `git lfs pull`":  []byte("version https://git-lfs.github.com/spec/v1\n"),
		"it is animated WebP, .*: convert it to PNG or JPEG":      animated,
		"TIFF .*unsupported feature.*: convert it to PNG or JPEG": cmyk,
	} {
		_, err := Decode(bytes.NewReader(data))
		require.Error(t, err)
		require.Regexp(t, want, err.Error())
	}
}

// A header's claim costs nothing before it is believed.
func TestDecodeLimitsPixels(t *testing.T) {
	data := pngBytes(t, testImage(1, 1, 1))
	binary.BigEndian.PutUint32(data[16:], 60000)
	binary.BigEndian.PutUint32(data[20:], 60000)
	binary.BigEndian.PutUint32(data[29:], crc32.ChecksumIEEE(data[12:29]))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := Decode(bytes.NewReader(data))
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20))
	require.ErrorContains(t, err, "60000×60000")
}

func TestReadImageNamesTheFile(t *testing.T) {
	_, err := ReadImage(filepath.Join(t.TempDir(), "absent.png"))
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "absent.png")
}

func FuzzDecode(f *testing.F) {
	img := testImage(9, 7, 1)
	var b bytes.Buffer
	require.NoError(f, jpeg.Encode(&b, img, nil))
	f.Add(b.Bytes())
	f.Add(pngBytes(f, img))
	f.Add(flatJPEG(0, 200, 100, 50, 255))
	f.Add(flatJPEG(2, 200, 100, 50, 255))
	f.Add(progressiveJPEG())
	f.Add(lossyWebP)
	f.Add(ppmOf(img))
	for _, encode := range []func(io.Writer) error{
		func(w io.Writer) error { return gif.Encode(w, img, nil) },
		func(w io.Writer) error { return bmp.Encode(w, img) },
		func(w io.Writer) error { return tiff.Encode(w, img, nil) },
	} {
		b := new(bytes.Buffer)
		require.NoError(f, encode(b))
		f.Add(b.Bytes())
	}
	stored := make([]byte, 8*8*3)
	f.Fuzz(func(t *testing.T, data []byte) {
		img, err := decode(data, 1<<16)
		if err != nil {
			return
		}
		for _, mode := range []string{"warp", "short", "letterbox"} {
			require.NoError(t, Store(stored, img, 8, mode))
		}
	})
}

func FuzzPNM(f *testing.F) {
	for _, s := range []string{"P6 2 1 255\nabcdef", "P5 2 1 65535\nabcd", "P2 2 1 # c\n9\n3 9", "P3 1 1 1 1 0 1", "P5 1"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := pnmConfig(bytes.NewReader(data))
		if err != nil || c.Width > 1<<16/c.Height {
			return
		}
		img, err := pnmDecode(bytes.NewReader(data))
		if err != nil {
			return
		}
		require.Equal(t, image.Pt(c.Width, c.Height), img.Bounds().Size())
	})
}
