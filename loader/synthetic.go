package loader

import (
	"fmt"
	"image"
	"math"
	"strings"
)

const (
	syntheticSide  = 96
	syntheticTrain = 2000
	syntheticVal   = 500
)

var syntheticClasses = []string{
	"checker", "cross", "diagonal", "disc", "dots", "horizontal", "ring", "square", "triangle", "vertical",
}

// synthetic is a set of drawn pictures.
type synthetic struct {
	name string
	n    int
	seed uint64
}

// Synthetic is a source of n pictures of 96×96 pixels that needs no download:
// ten classes of light shapes and patterns whose colours, size, place and noise are
// drawn at random from (seed, index). Picture i has label i mod 10.
func Synthetic(n int, seed uint64) Source {
	return &synthetic{name: "synthetic", n: n, seed: seed}
}

func openSynthetic(path, split string) (Source, error) {
	s := &synthetic{name: "synthetic/" + split, n: syntheticTrain, seed: 1}
	if _, count, ok := strings.Cut(path, ":"); ok {
		n, err := parseCount(path, count)
		if err != nil {
			return nil, err
		}
		s.n = n
	}
	if split == "val" {
		s.n, s.seed = syntheticVal, 2
	}
	return s, nil
}

func (s *synthetic) Len() int          { return s.n }
func (s *synthetic) Classes() []string { return syntheticClasses }
func (s *synthetic) Label(i int) int   { return i % len(syntheticClasses) }
func (s *synthetic) Name(i int) string {
	return fmt.Sprintf("%s/%s/%d", s.name, syntheticClasses[s.Label(i)], i)
}

func (s *synthetic) Open(i int) (image.Image, error) {
	r := random(s.seed, purposeSynthetic, uint64(i))
	uniform := func(lo, hi float64) float64 { return lo + (hi-lo)*r.Float64() }

	// Light shapes on a darker ground: a small network learns that in minutes.
	var front, back [3]float64
	for {
		for c := range 3 {
			front[c], back[c] = uniform(20, 235), uniform(20, 235)
		}
		if 0.299*(front[0]-back[0])+0.587*(front[1]-back[1])+0.114*(front[2]-back[2]) > 80 {
			break
		}
	}
	const side = syntheticSide
	draw := shape(syntheticClasses[s.Label(i)], uniform)
	noise := uniform(4, 20)
	tiltX, tiltY := uniform(-30, 30), uniform(-30, 30) // light from one side
	img := image.NewRGBA(image.Rect(0, 0, side, side))
	for y := range side {
		for x := range side {
			// The distance inside the shape's edge, in pixels, softens the edge.
			cover := min(max(draw(float64(x), float64(y))+0.5, 0), 1)
			shade := tiltX*(float64(x)/side-0.5) + tiltY*(float64(y)/side-0.5)
			p := img.Pix[img.PixOffset(x, y):][:4]
			for c := range 3 {
				v := back[c] + cover*(front[c]-back[c]) + shade + noise*(2*r.Float64()-1)
				p[c] = byte(min(max(math.Round(v), 0), 255))
			}
			p[3] = 255
		}
	}
	return img, nil
}

// shape returns the class's signed distance: above 0 inside, in pixels.
func shape(class string, uniform func(lo, hi float64) float64) func(x, y float64) float64 {
	const side = syntheticSide
	size := uniform(0.25, 0.42) * side // half the extent of a shape
	cx, cy := uniform(size, side-size), uniform(size, side-size)
	period := uniform(0.13, 0.23) * side
	phaseX, phaseY := uniform(0, period), uniform(0, period)
	// wave is the distance inside the nearest stripe, half as wide as the period.
	wave := func(t float64) float64 {
		t = math.Mod(t, period)
		if t < 0 {
			t += period
		}
		return period/4 - math.Abs(t-period/2)
	}
	switch class {
	case "disc":
		return func(x, y float64) float64 { return size - math.Hypot(x-cx, y-cy) }
	case "ring":
		width := uniform(0.25, 0.4) * size
		return func(x, y float64) float64 { return width/2 - math.Abs(size-width/2-math.Hypot(x-cx, y-cy)) }
	case "square":
		return func(x, y float64) float64 { return 0.9*size - max(math.Abs(x-cx), math.Abs(y-cy)) }
	case "triangle": // pointing up
		return func(x, y float64) float64 {
			slope := (y - cy + size) / 2 * 0.9
			return min((slope-math.Abs(x-cx))*0.91, size-(y-cy))
		}
	case "cross":
		width := uniform(0.25, 0.4) * size
		return func(x, y float64) float64 {
			dx, dy := math.Abs(x-cx), math.Abs(y-cy)
			return max(min(width-dx, size-dy), min(width-dy, size-dx))
		}
	case "horizontal":
		return func(_, y float64) float64 { return wave(y + phaseY) }
	case "vertical":
		return func(x, _ float64) float64 { return wave(x + phaseX) }
	case "diagonal":
		turn := 1.0
		if uniform(0, 1) < 0.5 {
			turn = -1
		}
		return func(x, y float64) float64 { return wave((x+turn*y)/math.Sqrt2 + phaseX + 2*side) }
	case "checker":
		return func(x, y float64) float64 {
			u, v := wave(x+phaseX), wave(y+phaseY)
			if (u > 0) == (v > 0) {
				return min(math.Abs(u), math.Abs(v))
			}
			return -min(math.Abs(u), math.Abs(v))
		}
	default: // dots
		return func(x, y float64) float64 {
			u, v := period/4-wave(x+phaseX), period/4-wave(y+phaseY)
			return 0.32*period - math.Hypot(u, v)
		}
	}
}
