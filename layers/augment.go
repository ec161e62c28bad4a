package layers

import (
	"vkalexnet/engine"

	"math"

	"github.com/go-gl/mathgl/mgl32"
)

// AugmentCPU is the input stage: it cuts a size×size picture out of each stored
// one, flips, stretches and turns it as geometry says, and changes its colours
// as colour says, which includes taking the mean away.
//
// pixels holds batch pictures of stored×stored interleaved RGB bytes. Output
// pixel (x, y) of picture b is sampled at (u/w, v/w), where (u, v, w) =
// geometry[b] · (x, y, 1), in stored pixels whose centres are at integers: zero
// in all channels outside the stored picture, else interpolated between the
// four neighbours, the border pixels continuing outwards by half a pixel. Then
// (o0, o1, o2, _) = colour[b] · (R, G, B, 1) with R, G, B in 0..255, and o_j is
// channel j of dst, [batch, 3, size, size]. Where there is a mean picture, mean,
// [stored, stored, 3] in the channels of dst, its sample at the same place is
// taken off.
func AugmentCPU(dst []float32, pixels []byte, mean []float32, batch, stored, size int, geometry []mgl32.Mat3, colour []mgl32.Mat4) {
	parallel(batch*size, func(first, last int) {
		for row := first; row < last; row++ {
			b, y := row/size, row%size
			picture := pixels[b*stored*stored*3:][:stored*stored*3]
			for x := range size {
				at := geometry[b].Mul3x1(mgl32.Vec3{float32(x), float32(y), 1})
				var out mgl32.Vec4
				if rgb, inside := sample(picture, stored, at[0]/at[2], at[1]/at[2]); inside {
					out = colour[b].Mul4x1(rgb.Vec4(1))
					if mean != nil {
						m, _ := sample(mean, stored, at[0]/at[2], at[1]/at[2])
						out = out.Sub(m.Vec4(0))
					}
				}
				for channel := range 3 {
					dst[((b*3+channel)*size+y)*size+x] = out[channel]
				}
			}
		}
	})
}

// sample is the colour of a stored×stored picture at (u, v), and whether that
// lies on the picture.
func sample[T byte | float32](picture []T, stored int, u, v float32) (rgb mgl32.Vec3, inside bool) {
	far := float32(stored) - 0.5
	if !(u >= -0.5 && u < far && v >= -0.5 && v < far) { // NaN is outside
		return rgb, false
	}
	left, top := float32(math.Floor(float64(u))), float32(math.Floor(float64(v)))
	right, down := u-left, v-top
	pixel := func(x, y int) mgl32.Vec3 {
		x, y = min(max(x, 0), stored-1), min(max(y, 0), stored-1)
		p := picture[(y*stored+x)*3:][:3]
		return mgl32.Vec3{float32(p[0]), float32(p[1]), float32(p[2])}
	}
	x, y := int(left), int(top)
	above := lerp(pixel(x, y), pixel(x+1, y), right)
	below := lerp(pixel(x, y+1), pixel(x+1, y+1), right)
	return lerp(above, below, down), true
}

// lerp goes from a to b by t in 0..1. It is exactly a at 0.
func lerp(a, b mgl32.Vec3, t float32) mgl32.Vec3 {
	return a.Add(b.Sub(a).Mul(t))
}

type augment struct {
	Pixels, Transforms, Mean, Y                     engine.Buffer
	Batch, First, Size, Stored, PixelsPitch, YPitch uint32
	Format                                          uint32 // Precision of Y
	WithMean                                        bool
}

var augmentKernel = engine.Declare[augment]("augment")

// TransformWords is the size of one picture's transforms on a device: its
// geometry and its colour matrix, by columns.
const TransformWords = 9 + 16

// Augment records the input stage, as AugmentCPU defines it. pixels holds each
// picture from a multiple of PicturePitch(stored) words on, transforms
// TransformWords per picture; mean is a mean picture, or nothing; y is of
// Shape{3, size, size} in the precision.
func Augment(r *engine.Recording, pixels, transforms, mean, y engine.Buffer, batch, stored, size int, precision Precision) {
	shape := Shape{3, size, size}
	pitch := precision.Pitch(shape)
	pixelsPitch := PicturePitch(stored)
	for _, at := range batchSlices(r, batch, max(pitch, pixelsPitch)) {
		n := at[1] - at[0]
		augmentKernel.Record(r, engine.Threads(n*ceilDiv(size*size, 4)), augment{
			Pixels: examples(pixels, at, pixelsPitch), Transforms: transforms, Mean: mean, WithMean: !mean.IsZero(), First: uint32(at[0]), Y: examples(y, at, pitch),
			Batch: uint32(n), Size: uint32(size), Stored: uint32(stored), PixelsPitch: uint32(pixelsPitch), YPitch: uint32(precision.elementPitch(shape)), Format: uint32(precision),
		})
	}
}

// PicturePitch is the number of words from one stored picture of stored ×
// stored RGB pixels to the next on a device.
func PicturePitch(stored int) int {
	words := (stored*stored*3 + engine.WordBytes - 1) / engine.WordBytes
	return (words + exampleAlign - 1) / exampleAlign * exampleAlign
}
