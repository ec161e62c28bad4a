package layers

import (
	"math"
	"testing"

	"github.com/go-gl/mathgl/mgl32"
	"github.com/stretchr/testify/require"
)

// storedPicture is a picture whose channels of pixel (x, y) are 10*y+x, that
// plus 100, and 200.
func storedPicture(size int) []byte {
	var p []byte
	for y := range size {
		for x := range size {
			p = append(p, byte(10*y+x), byte(10*y+x+100), 200)
		}
	}
	return p
}

// augmented cuts a size×size picture out of a stored 4×4 one.
func augmented(size int, geometry mgl32.Mat3, colour mgl32.Mat4) []float32 {
	dst := make([]float32, 3*size*size)
	for i := range dst {
		dst[i] = float32(math.NaN())
	}
	AugmentCPU(dst, storedPicture(4), nil, 1, 4, size, []mgl32.Mat3{geometry}, []mgl32.Mat4{colour})
	return dst
}

func TestAugmentCrop(t *testing.T) {
	require.Equal(t, []float32{
		12, 13, 22, 23,
		112, 113, 122, 123,
		200, 200, 200, 200,
	}, augmented(2, mgl32.Translate2D(2, 1), mgl32.Ident4()))
}

func TestAugmentFlip(t *testing.T) {
	flip := mgl32.Translate2D(3, 0).Mul3(mgl32.Scale2D(-1, 1))
	require.Equal(t, []float32{3, 2, 1, 0}, augmented(4, flip, mgl32.Ident4())[:4])
}

func TestAugmentInterpolates(t *testing.T) {
	between := augmented(2, mgl32.Translate2D(0.5, 0.25), mgl32.Ident4())
	require.Equal(t, []float32{3, 4, 13, 14}, between[:4])
	shrunk := augmented(2, mgl32.Mat3FromRows(mgl32.Vec3{2, 0, 0.5}, mgl32.Vec3{0, 2, 0.5}, mgl32.Vec3{0, 0, 1}), mgl32.Ident4())
	require.Equal(t, []float32{5.5, 7.5, 25.5, 27.5}, shrunk[:4])
}

func TestAugmentBorder(t *testing.T) {
	for u, want := range map[float32]float32{
		-0.51: 0, -0.5: 20, -0.25: 20, 0: 20, 3: 23, 3.25: 23, 3.49: 23, 3.5: 0, 9: 0, -1e30: 0, 1e30: 0,
		float32(math.Inf(1)): 0, float32(math.NaN()): 0,
	} {
		along := augmented(1, mgl32.Translate2D(u, 2), mgl32.Ident4())
		require.InDelta(t, want, along[0], 1e-5, "u = %v", u)
		outside := u < -0.5 || !(u < 3.5)
		require.Equal(t, outside, along[2] == 0, "u = %v: all channels are 0 outside and only there", u)
	}
	for v, want := range map[float32]float32{-0.51: 0, -0.5: 2, 3.49: 32, 3.5: 0} {
		require.InDelta(t, want, augmented(1, mgl32.Translate2D(2, v), mgl32.Ident4())[0], 1e-5, "v = %v", v)
	}
}

func TestAugmentPerspective(t *testing.T) {
	// (2, 2, 2) and (4, 2, 2) are the pixels (1, 1) and (2, 1).
	perspective := mgl32.Mat3FromRows(mgl32.Vec3{2, 0, 2}, mgl32.Vec3{0, 2, 2}, mgl32.Vec3{0, 0, 2})
	require.Equal(t, []float32{11, 12, 21, 22}, augmented(2, perspective, mgl32.Ident4())[:4])
}

func TestAugmentColour(t *testing.T) {
	// BGR minus a mean, as Caffe's networks want it.
	colour := mgl32.Mat4FromRows(mgl32.Vec4{0, 0, 1, -104}, mgl32.Vec4{0, 1, 0, -117}, mgl32.Vec4{1, 0, 0, -123}, mgl32.Vec4{0, 0, 0, 1})
	require.Equal(t, []float32{200 - 104, 123 - 117, 23 - 123}, augmented(1, mgl32.Translate2D(3, 2), colour))
	require.Equal(t, []float32{0, 0, 0}, augmented(1, mgl32.Translate2D(-7, 0), colour), "outside is the mean: 0")
}

func TestAugmentEveryPictureHasItsOwn(t *testing.T) {
	second := make([]byte, 4*4*3)
	for i := range second {
		second[i] = 50
	}
	dst := make([]float32, 2*3)
	AugmentCPU(dst, append(storedPicture(4), second...), nil, 2, 4, 1,
		[]mgl32.Mat3{mgl32.Translate2D(1, 0), mgl32.Ident3()},
		[]mgl32.Mat4{mgl32.Ident4(), mgl32.Scale3D(1, 2, 3)})
	require.Equal(t, []float32{1, 101, 200, 50, 100, 150}, dst)
}
