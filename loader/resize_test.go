package loader

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/image/draw"
)

// reference scales all of img to w×h with x/image's tent filter.
func reference(img image.Image, w, h int) *image.RGBA {
	dst := image.NewRGBA(image.Rect(0, 0, w, h))
	draw.BiLinear.Scale(dst, dst.Rect, img, img.Bounds(), draw.Src, nil)
	return dst
}

// requireNear compares stored pixels with the part of want at the offset.
func requireNear(t *testing.T, want *image.RGBA, x0, y0 int, got []byte, n, tolerance int) {
	t.Helper()
	for y := range n {
		for x := range n {
			w := want.Pix[want.PixOffset(x0+x, y0+y):]
			g := got[3*(y*n+x):]
			for c := range 3 {
				if d := int(w[c]) - int(g[c]); d > tolerance || d < -tolerance {
					t.Fatalf("pixel (%d, %d) channel %d: %d, want %d within %d", x, y, c, g[c], w[c], tolerance)
				}
			}
		}
	}
}

func TestWarpAgreesWithXImage(t *testing.T) {
	for _, c := range [][3]int{{100, 80, 32}, {31, 97, 24}, {32, 32, 32}, {10, 7, 24}, {500, 3, 16}, {1, 1, 8}, {641, 427, 256}} {
		img := testImage(c[0], c[1], 1)
		got := make([]byte, c[2]*c[2]*3)
		require.NoError(t, Store(got, img, c[2], "warp"))
		requireNear(t, reference(img, c[2], c[2]), 0, 0, got, c[2], 1)
	}
}

// A stored picture, too, stays what it is: serve explains stored ones.
func TestSameSizeIsACopy(t *testing.T) {
	img := testImage(17, 17, 3)
	for _, mode := range resizeModes {
		got, again := make([]byte, 17*17*3), make([]byte, 17*17*3)
		require.NoError(t, Store(got, img, 17, mode))
		requireNear(t, img, 0, 0, got, 17, 0)
		require.NoError(t, Store(again, Picture(got, 17, 17), 17, mode))
		require.Equal(t, got, again, mode)
	}
}

func TestShortKeepsTheCentre(t *testing.T) {
	for _, c := range [][2]int{{96, 64}, {64, 96}, {64, 64}} {
		img := testImage(c[0], c[1], 2)
		got := make([]byte, 16*16*3)
		require.NoError(t, Store(got, img, 16, "short"))
		w, h := c[0]/4, c[1]/4
		requireNear(t, reference(img, w, h), (w-16)/2, (h-16)/2, got, 16, 1)
	}
}

func TestLetterbox(t *testing.T) {
	img := testImage(64, 32, 4)
	got := bytes.Repeat([]byte{9}, 16*16*3)
	require.NoError(t, Store(got, img, 16, "letterbox"))
	want := image.NewRGBA(image.Rect(0, 0, 16, 16))
	draw.Draw(want, image.Rect(0, 4, 16, 12), reference(img, 16, 8), image.Point{}, draw.Src)
	requireNear(t, want, 0, 0, got, 16, 1)

	thin := image.NewGray(image.Rect(0, 0, 1, 4000)) // a side that rounds to 0
	for i := range thin.Pix {
		thin.Pix[i] = 200
	}
	require.NoError(t, Store(got, thin, 16, "letterbox"))
	require.EqualValues(t, 200, got[3*7])
	require.EqualValues(t, 0, got[3*6])
}

func TestFlatStaysFlat(t *testing.T) {
	for w := 1; w < 300; w += 13 {
		img := image.NewGray(image.Rect(0, 0, w, 301-w))
		for i := range img.Pix {
			img.Pix[i] = 255
		}
		got := make([]byte, 37*37*3)
		require.NoError(t, Store(got, img, 37, "short"))
		for i, v := range got {
			require.EqualValues(t, 255, v, "width %d, byte %d", w, i)
		}
	}
}

// onlyAt hides what a picture is, so that it takes the general way.
type onlyAt struct{ image.Image }

func TestEveryKindAgreesWithTheGeneralWay(t *testing.T) {
	r := image.Rect(3, 5, 43, 35) // not at the origin, as a sub-picture
	noise := testImage(64, 64, 5)
	fill := func(img draw.Image) image.Image {
		for y := r.Min.Y; y < r.Max.Y; y++ {
			for x := r.Min.X; x < r.Max.X; x++ {
				c := noise.RGBAAt(x, y)
				img.Set(x, y, color.NRGBA{c.R, c.G, c.B, uint8(4 * x)})
			}
		}
		return img
	}
	cmyk := image.NewCMYK(r)
	for i := range cmyk.Pix {
		cmyk.Pix[i] = noise.Pix[i]
	}
	var palette color.Palette
	for i := range 200 {
		palette = append(palette, color.NRGBA{uint8(i), uint8(255 - i), 77, uint8(55 + i)})
	}
	for _, img := range []image.Image{
		fill(image.NewRGBA(r)), fill(image.NewNRGBA(r)), fill(image.NewGray(r)), cmyk,
		fill(image.NewPaletted(r, palette)), fill(image.NewNRGBA64(r)), fill(image.NewGray16(r)), fill(image.NewRGBA64(r)),
	} {
		t.Run(fmt.Sprintf("%T", img), func(t *testing.T) {
			got, want := make([]byte, 16*16*3), make([]byte, 16*16*3)
			for _, mode := range []string{"warp", "short", "letterbox"} {
				require.NoError(t, Store(got, img, 16, mode))
				require.NoError(t, Store(want, onlyAt{img}, 16, mode))
				for i := range got {
					require.InDelta(t, int(want[i]), int(got[i]), 1)
				}
			}
		})
	}
}

func TestAlphaLiesOverBlack(t *testing.T) {
	img := image.NewNRGBA(image.Rect(0, 0, 1, 1))
	img.Set(0, 0, color.NRGBA{200, 100, 50, 128})
	got := make([]byte, 3)
	require.NoError(t, Store(got, img, 1, "warp"))
	require.Equal(t, []byte{100, 50, 25}, got)
}

// A YCbCr picture's chroma is interpolated; on a smooth picture that is nearly
// what its pixels as Go converts them give.
func TestYCbCrAgreesWithRGB(t *testing.T) {
	for _, ratio := range []image.YCbCrSubsampleRatio{
		image.YCbCrSubsampleRatio444, image.YCbCrSubsampleRatio422, image.YCbCrSubsampleRatio420,
		image.YCbCrSubsampleRatio440, image.YCbCrSubsampleRatio411, image.YCbCrSubsampleRatio410,
	} {
		for _, size := range []image.Point{{203, 151}, {64, 200}, {320, 320}} {
			img := image.NewYCbCr(image.Rectangle{Max: size}, ratio)
			for y := range size.Y {
				for x := range size.X {
					img.Y[img.YOffset(x, y)] = uint8(60 + 120*x/size.X)
					c := img.COffset(x, y)
					img.Cb[c] = uint8(100 + 50*y/size.Y)
					img.Cr[c] = uint8(110 + 40*x/size.X)
				}
			}
			for _, mode := range []string{"warp", "short"} {
				got, want := make([]byte, 32*32*3), make([]byte, 32*32*3)
				require.NoError(t, Store(got, img, 32, mode))
				require.NoError(t, Store(want, onlyAt{img}, 32, mode))
				for i := range got {
					require.InDelta(t, int(want[i]), int(got[i]), 3, "%v %v %s", ratio, size, mode)
				}
			}
			// A sub-picture is not at the origin and takes the general way.
			part := img.SubImage(image.Rect(1, 1, 33, 33))
			got := make([]byte, 32*32*3)
			require.NoError(t, Store(got, part, 32, "warp"))
			requireNear(t, reference(part, 32, 32), 0, 0, got, 32, 1)
		}
	}
}

func TestStoreRefuses(t *testing.T) {
	img := testImage(4, 4, 1)
	require.ErrorContains(t, Store(make([]byte, 47), img, 4, "warp"), "47 bytes")
	require.ErrorContains(t, Store(make([]byte, 48), img, 4, "fit"), `"fit"`)
	require.ErrorContains(t, Store(make([]byte, 48), image.NewGray(image.Rectangle{}), 4, "warp"), "0×0")
	require.Error(t, Store(nil, img, 0, "warp"))
}

func BenchmarkStore(b *testing.B) {
	y := image.NewYCbCr(image.Rect(0, 0, 500, 375), image.YCbCrSubsampleRatio420)
	dst := make([]byte, 256*256*3)
	for _, img := range []image.Image{y, testImage(500, 375, 1), image.NewGray(y.Rect)} {
		b.Run(fmt.Sprintf("%T", img), func(b *testing.B) {
			for range b.N {
				_ = Store(dst, img, 256, "short")
			}
		})
	}
}

// BenchmarkImageNet decodes and stores real photographs, one per operation.
func BenchmarkImageNet(b *testing.B) {
	src, err := OpenSource(sharedData(b, "imagenet-samples.tar"), "train")
	require.NoError(b, err)
	defer src.(io.Closer).Close()
	dst := make([]byte, 256*256*3)
	for _, store := range []bool{false, true} {
		b.Run(fmt.Sprintf("store=%v", store), func(b *testing.B) {
			for i := range b.N {
				img, err := src.Open(i % src.Len())
				require.NoError(b, err)
				if store {
					require.NoError(b, Store(dst, img, 256, "short"))
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "img/s")
		})
	}
}

// The bytes that others make of the same picture: Pillow 9.4.0 by Image.resize
// with BILINEAR, torchvision 0.14 by Resize and CenterCrop for "short", OpenCV
// 4.6.0 by cv::resize. The sums are those of tests/parity/witness.py golden.
func TestStoreIsPillowsAndOpenCVs(t *testing.T) {
	for _, c := range []struct {
		w, h, stored int
		mode, sum    string
	}{
		{100, 80, 32, "warp", "31b6ce1db502e74b"},
		{31, 97, 24, "short", "79d6c0200db084a2"},
		{500, 375, 256, "short", "7fcd589cb081087b"},
		{375, 501, 256, "short", "aec76d82684d54f6"},
		{641, 427, 227, "warp", "d939b5a2dffb3f01"},
		{10, 7, 24, "warp", "fb8cfa8884a65776"},
		{500, 3, 16, "short", "d5208761f1c9c9c4"},
		{3, 500, 17, "short", "22328a6d5a654dd9"},
		{1, 1, 8, "warp", "5d89f056865052bc"},
		{2, 300, 5, "warp", "e43f28592687406f"},
		{1237, 64, 9, "warp", "09cb6b7cb2cc1db4"},
		{64, 64, 64, "short", "97af24867c644a2a"},
		{100, 80, 32, "opencv", "d9f35469ca1bf9e0"},
		{31, 97, 24, "opencv", "eaeb0bf31e08fabd"},
		{500, 375, 256, "opencv", "72b40bc6bb20a16c"},
		{10, 7, 24, "opencv", "0460e0c2ee43e781"},
		{1, 1, 8, "opencv", "5d89f056865052bc"},
		{641, 427, 227, "opencv", "e0b52d7797e9a5d8"},
	} {
		img := image.NewRGBA(image.Rect(0, 0, c.w, c.h))
		for i := range img.Pix {
			x, y, channel := i/4%c.w, i/4/c.w, i%4
			img.Pix[i] = byte(x*(7+channel) ^ y*(13-channel))
			if channel == 3 {
				img.Pix[i] = 255
			}
		}
		got := make([]byte, c.stored*c.stored*3)
		require.NoError(t, Store(got, img, c.stored, c.mode))
		require.Equal(t, c.sum, fmt.Sprintf("%x", sha256.Sum256(got))[:16], "%d×%d to %d, %s", c.w, c.h, c.stored, c.mode)
	}
}

// "opencv" makes a pixel of the four around its centre.
func TestOpenCVTakesFourPixels(t *testing.T) {
	img := testImage(90, 41, 6)
	got := make([]byte, 16*16*3)
	require.NoError(t, Store(got, img, 16, "opencv"))
	for y := range 16 {
		for x := range 16 {
			fx, fy := (float64(x)+0.5)*90/16-0.5, (float64(y)+0.5)*41/16-0.5
			x0, y0 := int(fx), int(fy)
			dx, dy := fx-float64(x0), fy-float64(y0)
			for c := range 3 {
				at := func(x, y int) float64 { return float64(img.Pix[img.PixOffset(x, y)+c]) }
				want := (at(x0, y0)*(1-dx)+at(x0+1, y0)*dx)*(1-dy) + (at(x0, y0+1)*(1-dx)+at(x0+1, y0+1)*dx)*dy
				require.InDelta(t, want, float64(got[3*(16*y+x)+c]), 1.01)
			}
		}
	}
}

// Go's decoder and then the upsampling here give what libjpeg gives, but for the
// roundings of the two DCTs; in flat chroma with sharp luma nothing else differs.
func TestUpsamplingIsLibjpegs(t *testing.T) {
	needTurbo(t)
	for _, size := range []image.Point{{203, 151}, {64, 33}, {5, 5}, {4, 4}, {2, 7}, {1, 1}} {
		data := jpegBytes(t, testImage(size.X, size.Y, 8))
		want, _, err := newTurboDecoder().decode(data, maxPixels, 0)
		require.NoError(t, err)
		img, err := jpeg.Decode(bytes.NewReader(data))
		require.NoError(t, err)
		require.IsType(t, &image.YCbCr{}, img)
		row, read := make([]byte, 4*size.X), rowReader(img)
		for y := range size.Y {
			read(row, y)
			for i, v := range row {
				require.InDelta(t, int(want.(*image.RGBA).Pix[4*size.X*y+i]), int(v), 4, "%v, row %d, byte %d", size, y, i)
			}
		}
	}
}

// eachVectors runs the test with every kind of vectors that the processor has.
func eachVectors(t *testing.T, test func(t *testing.T)) {
	best := vectors
	defer func() { vectors = best }()
	for vectors = 0; vectors <= best; vectors++ {
		t.Run(fmt.Sprintf("vectors=%d", vectors), test)
	}
}

// scaled is what scaleTo writes, in plain loops: both passes on bytes, rounded and
// bounded after each.
func scaled(img *image.RGBA, x, y axis) []byte {
	w := img.Rect.Dx()
	pass := func(src []byte, at, step int, a axis, i int) byte {
		sum := 1 << 21
		for k, weight := range a.weights[i*a.taps:][:a.taps] {
			sum += int(weight) * int(src[at+(int(a.first[i])+k)*step])
		}
		return byte(min(sum>>22, 255))
	}
	nx, ny := len(x.first), len(y.first)
	rows, dst := make([]byte, 3*nx*img.Rect.Dy()), make([]byte, 3*nx*ny)
	for i := range rows {
		rows[i] = pass(img.Pix, i/(3*nx)*4*w+i%3, 4, x, i/3%nx)
	}
	for i := range dst {
		dst[i] = pass(rows, i%(3*nx), 3*nx, y, i/(3*nx))
	}
	return dst
}

// Pictures wider than the columns taken at once, filters wider than them, rows and
// bytes that fill no vector, sums beyond 255, and nothing written beside the rows.
func TestScaleToIsItsDefinition(t *testing.T) {
	eachVectors(t, func(t *testing.T) {
		for _, c := range []struct{ w, h, nx, ny, crop int }{
			{1, 1, 1, 1, 0}, {1, 1, 3, 40, 0}, {37, 9, 11, 5, 0}, {500, 37, 256, 19, 20}, {1400, 17, 900, 9, 100},
			{3000, 3, 2, 2, 0}, {2, 1100, 1, 7, 0}, {64, 31, 128, 62, 5}, {5, 8, 33, 16, 1}, {640, 16, 640, 16, 0},
		} {
			img := testImage(c.w, c.h, uint64(c.w))
			x, y := newAxis(c.w, c.w, c.nx, c.crop, c.nx-2*c.crop), newAxis(c.h, c.h, c.ny, 0, c.ny)
			n := 3 * len(x.first)
			stride := n + 7
			got := bytes.Repeat([]byte{99}, stride*c.ny)
			scaleTo(got, stride, img, x, y)
			want := scaled(img, x, y)
			for j := range c.ny {
				row := got[j*stride:][:stride]
				require.Equal(t, want[j*n:][:n], row[:n], "%v, row %d", c, j)
				require.Equal(t, bytes.Repeat([]byte{99}, 7), row[n:], "%v, behind row %d", c, j)
			}
		}
	})
}

// The weights of millions of pixels are rounded up to more than one together; PIL
// bounds what they make of white.
func TestSumsBeyondWhite(t *testing.T) {
	img := image.NewGray(image.Rect(0, 0, 6_000_000, 1))
	for i := range img.Pix {
		img.Pix[i] = 255
	}
	require.True(t, newAxis(6_000_000, 6_000_000, 1, 0, 1).clip)
	require.False(t, newAxis(9000, 9000, 1, 0, 1).clip)
	eachVectors(t, func(t *testing.T) {
		got := make([]byte, 3)
		require.NoError(t, Store(got, img, 1, "warp"))
		require.Equal(t, []byte{255, 255, 255}, got)
	})
}

// libjpegRow is a row of a YCbCr picture as libjpeg words it (jdsample.c, jdcolor.c).
func libjpegRow(img *image.YCbCr, y int) []byte {
	w, h := img.Rect.Dx(), img.Rect.Dy()
	subX, subY := subsampling(img.SubsampleRatio)
	cw, ch := ceilDiv(w, subX), ceilDiv(h, subY)
	chroma := func(plane []byte, x int) int {
		cx, cy := x/subX, y/subY
		if subX > 2 || subX == 2 && cw <= 2 {
			return int(plane[cy*img.CStride+cx])
		}
		bound := func(v, n int) int { return min(max(v, 0), n-1) }
		sum := func(cx int) int { // of four parts of the rows
			near := int(plane[cy*img.CStride+bound(cx, cw)])
			if subY == 1 {
				return 4 * near
			}
			return 3*near + int(plane[bound(cy-1+2*(y%2), ch)*img.CStride+bound(cx, cw)])
		}
		switch {
		case subX == 1 && subY == 1:
			return sum(cx) / 4
		case subX == 1:
			return (sum(cx) + 1 + y%2) / 4
		case subY == 1:
			return (3*sum(cx)/4 + sum(cx-1+2*(x%2))/4 + 1 + x%2) / 4
		}
		return (3*sum(cx) + sum(cx-1+2*(x%2)) + 8 - x%2) / 16
	}
	row := make([]byte, 0, 4*w)
	for x := range w {
		luma, cb, cr := int(img.Y[y*img.YStride+x]), chroma(img.Cb, x)-128, chroma(img.Cr, x)-128
		for _, v := range []int{(91881*cr + 32768) >> 16, (-22554*cb - 46802*cr + 32768) >> 16, (116130*cb + 32768) >> 16} {
			row = append(row, byte(min(max(luma+v, 0), 255)))
		}
		row = append(row, 255)
	}
	return row
}

func TestYCbCrRowsAreLibjpegs(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	eachVectors(t, func(t *testing.T) {
		for ratio := image.YCbCrSubsampleRatio444; ratio <= image.YCbCrSubsampleRatio410; ratio++ {
			for _, size := range []image.Point{{1, 1}, {2, 3}, {4, 4}, {5, 5}, {511, 3}, {512, 2}, {513, 4}, {1100, 3}} {
				img := image.NewYCbCr(image.Rectangle{Max: size}, ratio)
				for _, plane := range [][]byte{img.Y, img.Cb, img.Cr} {
					for i := range plane {
						plane[i] = byte(r.Uint32())
					}
				}
				row, read := make([]byte, 4*size.X), rowReader(img)
				for y := range size.Y {
					read(row, y)
					require.Equal(t, libjpegRow(img, y), row, "%v %v, row %d", ratio, size, y)
				}
			}
		}
	})
}
