package loader

import (
	"math"
	"testing"

	"github.com/go-gl/mathgl/mgl32"
	"github.com/stretchr/testify/require"
)

// at applies a geometry to a pixel.
func at(m mgl32.Mat3, x, y float32) [2]float32 {
	v := m.Mul3x1(mgl32.Vec3{x, y, 1})
	return [2]float32{v[0] / v[2], v[1] / v[2]}
}

func TestCentreGeometry(t *testing.T) {
	require.Equal(t, mgl32.Ident3(), Input{Size: 32}.CentreGeometry())
	require.Equal(t, [2]float32{14, 15}, at(Input{Size: 227, Stored: 256}.CentreGeometry(), 0, 1), "Caffe's floor")
	require.Equal(t, [2]float32{16, 16}, at(Input{Size: 224, Stored: 256}.CentreGeometry(), 0, 0))
	require.Equal(t, [2]float32{0, 0}, at(Input{Size: 32, Augment: Augment{Pad: 4}}.CentreGeometry(), 0, 0), "the border is outside")
	require.Equal(t, [2]float32{-2, -2}, at(Input{Size: 35, Stored: 32, Augment: Augment{Pad: 2}}.CentreGeometry(), 0, 0))
}

func TestRandomCropVisitsEveryPosition(t *testing.T) {
	in := Input{Size: 224, Stored: 256, Augment: Augment{Crop: "random", Flip: true}}.WithDefaults()
	seen := map[[2]float32]int{}
	flips := 0
	const draws = 20000
	for i := range uint64(draws) {
		m := in.geometry(random(1, i))
		a, b := at(m, 0, 10), at(m, 223, 10)
		if a[0] > b[0] {
			flips++
			a, b = b, a
		}
		require.Equal(t, float32(223), b[0]-a[0])
		require.Equal(t, a[1], b[1])
		a[1] -= 10
		seen[a]++
	}
	require.Len(t, seen, 33*33, "33×33 positions, whole pixels")
	for p := range seen {
		require.True(t, p[0] >= 0 && p[0] <= 32 && p[1] >= 0 && p[1] <= 32)
		require.True(t, p[0] == float32(int(p[0])) && p[1] == float32(int(p[1])))
	}
	require.InDelta(t, draws/2, flips, 5*math.Sqrt(draws)/2)
}

func TestPaddedCrop(t *testing.T) {
	in := Input{Size: 32, Augment: Augment{Crop: "random", Pad: 4}}.WithDefaults()
	seen := map[[2]float32]bool{}
	for i := range uint64(3000) {
		seen[at(in.geometry(random(1, i)), 0, 0)] = true
	}
	require.Len(t, seen, 9*9)
	require.Contains(t, seen, [2]float32{-4, 4})
}

func TestResizedCrop(t *testing.T) {
	in := Input{Size: 50, Stored: 100, Augment: Augment{Crop: "resized"}}.WithDefaults()
	smallest, largest, tall, wide := 1.0, 0.0, 1.0, 1.0
	for i := range uint64(3000) {
		m := in.geometry(random(1, i))
		// The output's outer edges are the rectangle's.
		a, b := at(m, -0.5, -0.5), at(m, 49.5, 49.5)
		w, h := float64(b[0]-a[0]), float64(b[1]-a[1])
		require.InDelta(t, math.Round(float64(a[0])+0.5), float64(a[0])+0.5, 1e-4, "whole pixels")
		require.True(t, a[0] > -0.501 && a[1] > -0.501 && b[0] < 99.501 && b[1] < 99.501)
		area, aspect := w*h/1e4, w/h
		smallest, largest = min(smallest, area), max(largest, area)
		tall, wide = min(tall, aspect), max(wide, aspect)
	}
	require.InDelta(t, 0.08, smallest, 0.01)
	require.Greater(t, largest, 0.95)
	require.InDelta(t, 0.75, tall, 0.04)
	require.InDelta(t, 1.333, wide, 0.05)
	// Where nothing fits, the whole picture is taken.
	x, y, w, h := resizedCrop(random(1), 10, 1, 1)
	require.Equal(t, [4]int{0, 0, 10, 10}, [4]int{x, y, w, h})
}

func TestTurnsAndMirrorsKeepTheCorners(t *testing.T) {
	in := Input{Size: 10, Augment: Augment{Flip: true, Vertical: true, Rotate90: true}}.WithDefaults()
	corners := map[[2]float32]bool{{0, 0}: true, {9, 0}: true, {0, 9}: true, {9, 9}: true}
	seen := map[mgl32.Mat3]bool{}
	for i := range uint64(200) {
		m := in.geometry(random(1, i))
		seen[m] = true
		image := map[[2]float32]bool{}
		for c := range corners {
			image[at(m, c[0], c[1])] = true
		}
		require.Equal(t, corners, image)
	}
	require.Len(t, seen, 8, "the eight symmetries of the square")
}

func TestNormalise(t *testing.T) {
	in := Input{Size: 1, Order: "BGR", Mean: []float32{104, 117, 123}}
	require.Equal(t, mgl32.Vec4{30 - 104, 20 - 117, 10 - 123, 1}, in.Normalise().Mul4x1(mgl32.Vec4{10, 20, 30, 1}))
	in = Input{Size: 1, Mean: []float32{100, 50, 25}, Std: []float32{2, 4, 5}}
	require.Equal(t, mgl32.Vec4{-45, -7.5, 1, 1}, in.Normalise().Mul4x1(mgl32.Vec4{10, 20, 30, 1}))
}

func TestColourWithoutJitterIsNormalise(t *testing.T) {
	in := Input{Size: 1, Order: "BGR", Mean: []float32{104, 117, 123}}.WithDefaults()
	require.Equal(t, in.Normalise(), in.colour(random(1), mgl32.Vec3{}))
}

// The noise has Krizhevsky's covariance: 0.1 standard deviations along each
// principal component, the same for every pixel.
func TestPCANoise(t *testing.T) {
	in := Input{Size: 1, Augment: Augment{Colour: "pca"}}.WithDefaults()
	const draws = 20000
	var square [3]float64
	for i := range uint64(draws) {
		m := in.colour(random(3, i), mgl32.Vec3{})
		require.Equal(t, mgl32.Ident3(), m.Mat3(), "an offset only")
		offset := m.Col(3).Vec3()
		for k, v := range pcaVector {
			d := float64(offset.Dot(v))
			square[k] += d * d / draws
		}
	}
	for k, want := range []float64{1.972, 3.709, 12.178} {
		require.InEpsilon(t, want, math.Sqrt(square[k]), 0.03)
	}
	for i, v := range pcaVector {
		for j, w := range pcaVector {
			want := 0.0
			if i == j {
				want = 1
			}
			require.InDelta(t, want, float64(v.Dot(w)), 1e-6)
		}
	}
}

func jitter(a Augment, i uint64, mean mgl32.Vec3) mgl32.Mat4 {
	a.Colour = "jitter"
	return Input{Size: 1, Augment: a}.WithDefaults().colour(random(5, i), mean)
}

func TestJitterRanges(t *testing.T) {
	mean := mgl32.Vec3{100, 150, 50}
	grey := luma.Dot(mean)
	colour := mgl32.Vec4{200, 40, 90, 1}
	for i := range uint64(500) {
		m := jitter(Augment{Brightness: 0.3}, i, mean)
		f := m[0]
		require.True(t, f >= 0.7 && f <= 1.3)
		require.Equal(t, mgl32.Scale3D(f, f, f), m)

		m = jitter(Augment{Contrast: 0.3}, i, mean)
		require.InDelta(t, grey, m.Mul4x1(mgl32.Vec4{grey, grey, grey, 1})[1], 1e-3, "the mean grey stays")
		require.True(t, m[0] >= 0.7 && m[0] <= 1.3)

		m = jitter(Augment{Saturation: 0.3}, i, mean)
		require.InDelta(t, luma.Dot(colour.Vec3()), luma.Dot(m.Mul4x1(colour).Vec3()), 1e-3, "lightness stays")
		require.InDelta(t, 77, m.Mul4x1(mgl32.Vec4{77, 77, 77, 1})[2], 1e-3, "grey stays")

		m = jitter(Augment{Hue: 0.2}, i, mean)
		require.InDelta(t, luma.Dot(colour.Vec3()), luma.Dot(m.Mul4x1(colour).Vec3()), 0.1, "lightness stays")
		require.InDelta(t, 77, m.Mul4x1(mgl32.Vec4{77, 77, 77, 1})[2], 0.1, "grey stays")
	}
	m := hue(0.5).Mul4x1(colour)
	want := mgl32.Vec4{2*luma.Dot(colour.Vec3()) - 200, 0, 0, 0}
	require.InDelta(t, want[0], m[0], 0.1, "half a turn is the complement of equal lightness")
	one := hue(0.2).Mul4(hue(0.3)).Mul4x1(colour)
	require.InDelta(t, m[1], one[1], 0.1, "turns add up")
}

func TestJitterOrderVaries(t *testing.T) {
	// With one picture and four steps the order shows in the result: grey after
	// brightness differs from grey before it.
	a := Augment{Brightness: 0.5, Contrast: 0.5, Saturation: 0.5, Hue: 0.1}
	seen := map[mgl32.Mat4]bool{}
	for i := range uint64(100) {
		seen[jitter(a, i, mgl32.Vec3{100, 150, 50})] = true
		require.Equal(t, jitter(a, i, mgl32.Vec3{100, 150, 50}), jitter(a, i, mgl32.Vec3{100, 150, 50}))
	}
	require.Len(t, seen, 100)
}

func TestMeanColour(t *testing.T) {
	require.Equal(t, mgl32.Vec3{2, 20, 200}, meanColour([]byte{1, 10, 255, 3, 30, 145}))
}
