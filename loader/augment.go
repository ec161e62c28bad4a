package loader

import (
	"math"
	"math/rand/v2"

	"github.com/go-gl/mathgl/mgl32"
)

// centreOffset is where the centre crop begins on each axis: Caffe's rounding.
func (in Input) centreOffset() int {
	return int(math.Floor(float64(in.Stored-in.Size) / 2))
}

// CentreGeometry maps the pixels (x, y, 1) of the centre crop to pixels of the
// stored picture, pixel centres at whole numbers. It is the identity when
// Stored equals Size.
func (in Input) CentreGeometry() mgl32.Mat3 {
	in = in.WithDefaults()
	o := float32(in.centreOffset())
	return mgl32.Translate2D(o, o)
}

// mirror turns the x axis of a picture of n pixels around.
func mirror(n int) mgl32.Mat3 {
	return mgl32.Translate2D(float32(n-1), 0).Mul3(mgl32.Scale2D(-1, 1))
}

// geometry draws the map from output pixels to stored pixels for training.
func (in Input) geometry(r *rand.Rand) mgl32.Mat3 {
	a := in.Augment
	var m mgl32.Mat3
	switch a.Crop {
	case "random":
		room := in.Stored + 2*a.Pad - in.Size + 1
		m = mgl32.Translate2D(float32(r.IntN(room)-a.Pad), float32(r.IntN(room)-a.Pad))
	case "resized":
		x, y, w, h := resizedCrop(r, in.Stored, float64(a.MinArea), float64(a.MaxAspect))
		sx, sy := float32(w)/float32(in.Size), float32(h)/float32(in.Size)
		m = mgl32.Translate2D(float32(x)+sx/2-0.5, float32(y)+sy/2-0.5).Mul3(mgl32.Scale2D(sx, sy))
	default:
		m = in.CentreGeometry()
	}
	if a.Flip && r.IntN(2) == 1 {
		m = m.Mul3(mirror(in.Size))
	}
	if a.Vertical && r.IntN(2) == 1 {
		m = m.Mul3(mgl32.Translate2D(0, float32(in.Size-1)).Mul3(mgl32.Scale2D(1, -1)))
	}
	if a.Rotate90 {
		quarter := mgl32.Mat3{0, 1, 0, -1, 0, 0, float32(in.Size - 1), 0, 1} // (x, y) -> (size-1-y, x)
		for range r.IntN(4) {
			m = m.Mul3(quarter)
		}
	}
	return m
}

// resizedCrop draws a rectangle of the side×side picture as torchvision's
// RandomResizedCrop does: an area uniform in [minArea, 1], an aspect
// log-uniform in [1/maxAspect, maxAspect], ten attempts to fit, else all of it.
func resizedCrop(r *rand.Rand, side int, minArea, maxAspect float64) (x, y, w, h int) {
	for range 10 {
		area := float64(side*side) * (minArea + (1-minArea)*r.Float64())
		aspect := math.Exp((2*r.Float64() - 1) * math.Log(maxAspect))
		w = int(math.Round(math.Sqrt(area * aspect)))
		h = int(math.Round(math.Sqrt(area / aspect)))
		if w >= 1 && w <= side && h >= 1 && h <= side {
			return r.IntN(side - w + 1), r.IntN(side - h + 1), w, h
		}
	}
	return 0, 0, side, side
}

// Luma weighs red, green and blue as ITU-R BT.601 does.
var luma = mgl32.Vec3{0.299, 0.587, 0.114}

// The principal components of the RGB values (0..255) of ImageNet's training
// pictures: standard deviations and unit vectors, as in the metadata of the
// original code's data. The paper calls the former eigenvalues; its code, and
// this, uses their square roots.
var (
	pcaDeviation = [3]float32{19.720833049, 37.093888533, 121.780060993}
	pcaVector    = [3]mgl32.Vec3{
		{0.417955132, -0.816980618, 0.397311184},
		{-0.712579453, -0.023541671, 0.701196344},
		{-0.563510454, -0.576184397, -0.592002964},
	}
)

// Normalise maps (R, G, B, 1), 0..255, to the network's three channels:
// ordered, less the mean, divided by the standard deviation.
func (in Input) Normalise() mgl32.Mat4 {
	in = in.WithDefaults()
	order := mgl32.Ident4()
	if in.Order == "BGR" {
		order = mgl32.Mat4FromCols(mgl32.Vec4{0, 0, 1, 0}, mgl32.Vec4{0, 1, 0, 0}, mgl32.Vec4{1, 0, 0, 0}, mgl32.Vec4{0, 0, 0, 1})
	}
	scale := mgl32.Scale3D(1/in.Std[0], 1/in.Std[1], 1/in.Std[2])
	if in.MeanPicture != nil { // which MeanTerms are for
		return scale.Mul4(order)
	}
	return scale.Mul4(mgl32.Translate3D(-in.Mean[0], -in.Mean[1], -in.Mean[2])).Mul4(order)
}

// MeanTerms are what is taken off the pixels of the stored picture after
// Normalise: the mean picture by the deviation, [Stored, Stored, 3]. nil where
// there is none.
func (in Input) MeanTerms() []float32 {
	if in.MeanPicture == nil {
		return nil
	}
	in = in.WithDefaults()
	terms, size := make([]float32, len(in.MeanPicture)), in.Stored*in.Stored
	for c := range 3 {
		for i, v := range in.MeanPicture[c*size:][:size] {
			terms[3*i+c] = v / in.Std[c]
		}
	}
	return terms
}

// needsMean says whether the colour matrix depends on the picture.
func (a Augment) needsMean() bool {
	return a.Contrast > 0 && (a.Colour == "jitter" || a.Colour == "jitter+pca")
}

// colour draws the colour matrix for training. Mean is the picture's mean
// colour, which contrast is changed around. Values beyond 0..255 are not cut
// off between the steps: the whole is one matrix.
func (in Input) colour(r *rand.Rand, mean mgl32.Vec3) mgl32.Mat4 {
	a := in.Augment
	m := mgl32.Ident4()
	if a.Colour == "jitter" || a.Colour == "jitter+pca" {
		around := func(x float32) float32 { return 1 + x*(2*r.Float32()-1) }
		for _, step := range r.Perm(4) {
			switch {
			case step == 0 && a.Brightness > 0:
				f := around(a.Brightness)
				m = mgl32.Scale3D(f, f, f).Mul4(m)
			case step == 1 && a.Contrast > 0:
				f := around(a.Contrast)
				grey := (1 - f) * luma.Dot(m.Mul4x1(mean.Vec4(1)).Vec3())
				m = mgl32.Translate3D(grey, grey, grey).Mul4(mgl32.Scale3D(f, f, f)).Mul4(m)
			case step == 2 && a.Saturation > 0:
				m = saturation(around(a.Saturation)).Mul4(m)
			case step == 3 && a.Hue > 0:
				m = hue(a.Hue * (2*r.Float32() - 1)).Mul4(m)
			}
		}
	}
	if a.Colour == "pca" || a.Colour == "jitter+pca" {
		var noise mgl32.Vec3
		for k, v := range pcaVector {
			noise = noise.Add(v.Mul(a.PCA * pcaDeviation[k] * float32(r.NormFloat64())))
		}
		m = mgl32.Translate3D(noise[0], noise[1], noise[2]).Mul4(m)
	}
	return in.Normalise().Mul4(m)
}

// saturation blends a pixel with its own grey: 0 is grey, 1 leaves it.
func saturation(f float32) mgl32.Mat4 {
	g := luma.Mul(1 - f)
	col := func(c int) mgl32.Vec4 {
		v := mgl32.Vec4{g[c], g[c], g[c], 0}
		v[c] += f
		return v
	}
	return mgl32.Mat4FromCols(col(0), col(1), col(2), mgl32.Vec4{0, 0, 0, 1})
}

// toYIQ is the NTSC transform; a turn of its (I, Q) plane changes the hue and
// keeps the luma.
var toYIQ = mgl32.Mat3FromRows(luma, mgl32.Vec3{0.5959, -0.2746, -0.3213}, mgl32.Vec3{0.2115, -0.5227, 0.3112})

func hue(turns float32) mgl32.Mat4 {
	angle := float32(2 * math.Pi * float64(turns))
	return toYIQ.Inv().Mul3(mgl32.Rotate3DX(angle)).Mul3(toYIQ).Mat4()
}

// meanColour is the mean of interleaved RGB bytes.
func meanColour(pixels []byte) mgl32.Vec3 {
	var r, g, b uint64
	for i := 0; i+2 < len(pixels); i += 3 {
		r += uint64(pixels[i])
		g += uint64(pixels[i+1])
		b += uint64(pixels[i+2])
	}
	n := float32(max(1, len(pixels)/3))
	return mgl32.Vec3{float32(r) / n, float32(g) / n, float32(b) / n}
}
