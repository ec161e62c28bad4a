package loader

import (
	"bytes"
	"image"
	"image/jpeg"
	"io"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// needTurbo skips a test where libjpeg-turbo is not installed.
func needTurbo(t testing.TB) {
	t.Helper()
	if err := loadTurbo(); err != nil {
		t.Skip(err)
	}
}

func jpegBytes(t testing.TB, img image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, jpeg.Encode(&b, img, &jpeg.Options{Quality: 92}))
	return b.Bytes()
}

// useJPEG chooses a decoder for one test.
func useJPEG(t testing.TB, which string) {
	require.NoError(t, SetJPEG(which))
	t.Cleanup(func() { require.NoError(t, SetJPEG(JPEGAuto)) })
}

func TestSetJPEG(t *testing.T) {
	require.ErrorContains(t, SetJPEG("fast"), `"fast" is none of auto, turbo, go`)
	useJPEG(t, JPEGGo)
	require.Equal(t, GoJPEG, JPEGDecoder())
	needTurbo(t)
	require.NoError(t, SetJPEG(JPEGTurbo))
	require.Regexp(t, `^libjpeg-turbo (\d+\.\d+|\()`, JPEGDecoder())
}

// Both decoders give nearly the same stored pictures, at odd sizes, grey and
// in colour; and what libjpeg-turbo does not take, Go's decoder does.
func TestDecodersAgree(t *testing.T) {
	needTurbo(t)
	grey := image.NewGray(image.Rect(0, 0, 77, 41))
	for i := range grey.Pix {
		grey.Pix[i] = byte(i % 77 * 3)
	}
	for name, data := range map[string][]byte{
		"odd": jpegBytes(t, testImage(333, 251, 1)), "even": jpegBytes(t, testImage(320, 240, 2)), "one pixel": jpegBytes(t, testImage(1, 1, 3)),
		"grey": jpegBytes(t, grey), "cmyk": flatJPEG(0, 200, 100, 50, 128), "ycck": flatJPEG(2, 100, 128, 128, 255),
		"rgb": flatJPEG(0, 77, 34, 200), "444": flatJPEG(-1, 100, 90, 140), "progressive": progressiveJPEG(), "png": pngBytes(t, testImage(50, 60, 4)),
	} {
		got, want := make([]byte, 64*64*3), make([]byte, 64*64*3)
		useJPEG(t, JPEGGo)
		require.NoError(t, StoreEncoded(want, data, 64, "short", true), name)
		require.NoError(t, SetJPEG(JPEGTurbo))
		require.NoError(t, StoreEncoded(got, data, 64, "short", true), name)
		for i := range got {
			require.InDelta(t, int(want[i]), int(got[i]), 3, name)
		}
		// Open's way keeps its pictures' memory apart.
		a, err := Decode(bytes.NewReader(data))
		require.NoError(t, err, name)
		first := make([]byte, 64*64*3)
		require.NoError(t, Store(first, a, 64, "short"))
		_, err = Decode(bytes.NewReader(jpegBytes(t, testImage(400, 300, 9))))
		require.NoError(t, err)
		require.NoError(t, Store(got, a, 64, "short"))
		require.Equal(t, first, got, name)
	}
	// Damage that libjpeg-turbo would paper over is for both a bad picture.
	whole := jpegBytes(t, testImage(333, 251, 1))
	require.ErrorContains(t, StoreEncoded(make([]byte, 12), whole[:len(whole)/2], 2, "short", true), "JPEG of 333×251")
	require.ErrorContains(t, StoreEncoded(make([]byte, 12), nil, 2, "short", true), "empty")
}

// A scaled DCT is used only where it is all but invisible in the result.
func TestScaledDCTKeepsQuality(t *testing.T) {
	needTurbo(t)
	data, err := os.ReadFile(sharedData(t, "imagenet-samples.tar"))
	require.NoError(t, err)
	members, err := indexTar(bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)
	d := newTurboDecoder()
	scaled, worst := 0, math.Inf(1)
	const side = 64
	for _, m := range members {
		file := data[m.offset:][:m.size]
		full, _, err := d.decode(file, maxPixels, 0)
		require.NoError(t, err, m.path)
		want, got := make([]byte, side*side*3), make([]byte, side*side*3)
		require.NoError(t, Store(want, full, side, "short"))
		small, size, err := d.decode(file, maxPixels, side)
		require.NoError(t, err, m.path)
		if small.Bounds().Size() == size {
			continue
		}
		scaled++
		require.NoError(t, storeOf(got, small, size, side, "short"))
		sum := 0.0
		for i := range got {
			e := float64(int(got[i]) - int(want[i]))
			sum += e * e
		}
		psnr := 10 * math.Log10(255*255/(sum/float64(len(got))))
		worst = min(worst, psnr)
	}
	t.Logf("%d of %d pictures scaled; the worst differs by %.1f dB", scaled, len(members), worst)
	require.Greater(t, scaled, 10)
	require.Greater(t, worst, 38.0)
}

func TestScaleFor(t *testing.T) {
	for _, c := range []struct{ w, h, least, want int }{
		{500, 375, 256, 1}, {2000, 1535, 256, 1}, {1536, 1536, 256, 2}, {3072, 6000, 256, 4}, {9000, 9000, 256, 8}, {9000, 9000, 0, 1},
	} {
		require.Equal(t, c.want, scaleFor(c.w, c.h, c.least))
	}
}

// BenchmarkStoreEncoded is the whole way of an ImageNet picture to 256×256.
func BenchmarkStoreEncoded(b *testing.B) {
	src, err := OpenSource(sharedData(b, "imagenet-samples.tar"), "train")
	require.NoError(b, err)
	defer src.(io.Closer).Close()
	a := src.(*archive)
	var files [][]byte
	for i := range a.members {
		data := make([]byte, a.members[i].size)
		_, err := a.files[0].ReadAt(data, a.members[i].offset)
		require.NoError(b, err)
		files = append(files, data)
	}
	dst := make([]byte, 256*256*3)
	for _, which := range []string{JPEGTurbo, JPEGGo} {
		b.Run(which, func(b *testing.B) {
			needTurbo(b)
			useJPEG(b, which)
			for i := range b.N {
				require.NoError(b, StoreEncoded(dst, files[i%len(files)], 256, "short", false))
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "img/s")
		})
	}
	b.Run("resize alone", func(b *testing.B) {
		needTurbo(b)
		useJPEG(b, JPEGTurbo)
		var images []image.Image
		for _, file := range files {
			img, err := Decode(bytes.NewReader(file))
			require.NoError(b, err)
			images = append(images, img)
		}
		b.ResetTimer()
		for i := range b.N {
			require.NoError(b, Store(dst, images[i%len(images)], 256, "short"))
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "img/s")
	})
	b.Run("decode turbo", func(b *testing.B) {
		needTurbo(b)
		d := newTurboDecoder()
		for i := range b.N {
			_, _, err := d.decode(files[i%len(files)], maxPixels, 256)
			require.NoError(b, err)
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "img/s")
	})
}
