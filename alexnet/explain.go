package alexnet

import (
	"context"
	"errors"
	"fmt"
	"image"
	"math"
	"slices"

	"github.com/go-gl/mathgl/mgl32"

	"vkalexnet/layers"
	"vkalexnet/loader"
)

// HeatMap says which places of a picture speak for a class.
type HeatMap struct {
	// Size is the side, in pixels, of what the network saw: the centre crop.
	Size int
	// Values are [Size, Size], from 0 to 1: the share of Peak.
	Values []float32
	// Peak is the largest value before it became 1: for [GradCAM] in logits,
	// for [Occlusion] in probability. It is 0 where nothing speaks for the class.
	Peak float32
	// Class is the class that is explained, Prob the network's probability of it.
	Class int
	Prob  float32
	// Picture is what the network saw.
	Picture *image.RGBA
}

// GradCAM explains why the network takes the picture for a class (the one it
// thinks likeliest when class is negative) after Selvaraju et al. 2017,
// arXiv:1610.02391, equations 1 and 2: with A [C, H, W] the output of the last
// convolution, after its ReLU, and y the class's logit,
//
//	α_c = mean over places of ∂y/∂A_c;   map = max(0, Σ_c α_c · A_c),
//
// scaled up bilinearly to the crop. The gradient is that of the executor's own
// backward pass; executors made for inference will do. The executor must not be
// in use by another goroutine.
func GradCAM(exec Executor, net *Network, picture image.Image, class int) (*HeatMap, error) {
	at, err := lastConv(net)
	if err != nil {
		return nil, err
	}
	look, ok := exec.(Inspector)
	if !ok {
		return nil, fmt.Errorf("explain: %s does not give gradients of activations", exec.Name())
	}
	h, b, err := explained(exec, net, picture, class)
	if err != nil {
		return nil, err
	}
	dlogits := make([]float32, net.NumClasses())
	dlogits[h.Class] = 1
	y, dy, err := look.Gradients(b, at, dlogits)
	if err != nil {
		return nil, fmt.Errorf("explain: %w", err)
	}
	plans, err := net.Plans()
	if err != nil {
		return nil, err
	}
	shape := plans[at].Out
	h.set(enlarge(cam(y, dy, shape), shape, h.Size))
	return h, nil
}

// cam is the map [H, W] of GradCAM.
func cam(y, dy []float32, shape layers.Shape) []float32 {
	places := shape.H * shape.W
	sums := make([]float64, places)
	for c := range shape.C {
		alpha := 0.0
		for _, v := range dy[c*places:][:places] {
			alpha += float64(v)
		}
		alpha /= float64(places)
		for i, v := range y[c*places:][:places] {
			sums[i] += alpha * float64(v)
		}
	}
	for i, v := range sums {
		sums[i] = max(0, v)
	}
	return toFloat32(sums)
}

// enlarge scales a map [H, W] bilinearly to [size, size]; the centres of the
// outermost cells are the first and last places that are between two.
func enlarge(small []float32, shape layers.Shape, size int) []float32 {
	at := func(i, n int) (int, int, float32) {
		f := (float64(i)+0.5)*float64(n)/float64(size) - 0.5
		f = max(0, min(f, float64(n-1)))
		low := int(f)
		return low, min(low+1, n-1), float32(f - float64(low))
	}
	large := make([]float32, size*size)
	for i := range size {
		y0, y1, fy := at(i, shape.H)
		for j := range size {
			x0, x1, fx := at(j, shape.W)
			upper := small[y0*shape.W+x0]*(1-fx) + small[y0*shape.W+x1]*fx
			lower := small[y1*shape.W+x0]*(1-fx) + small[y1*shape.W+x1]*fx
			large[i*size+j] = upper*(1-fy) + lower*fy
		}
	}
	return large
}

// Occlusion explains the same by experiment (Zeiler & Fergus 2013,
// arXiv:1311.2901, section 4.2): a square of the mean colour, a quarter of the
// crop's side, is laid over the picture at steps of a quarter of its own side.
// A place's value is how much of the class's probability is lost on average
// under the squares that cover it. batch is what the executor was made for.
func Occlusion(ctx context.Context, exec Executor, net *Network, picture image.Image, class, batch int) (*HeatMap, error) {
	h, b, err := explained(exec, net, picture, class)
	if err != nil {
		return nil, err
	}
	in := net.Input.WithDefaults()
	side := max(1, in.Size/4)
	var squares []image.Point
	for y := range squareStarts(in.Size, side) {
		for x := range squareStarts(in.Size, side) {
			squares = append(squares, image.Pt(x, y))
		}
	}
	origin := in.CentreGeometry().Col(2)
	grey := meanRGB(in)
	lost, count := make([]float64, in.Size*in.Size), make([]float64, in.Size*in.Size)
	for part := range slices.Chunk(squares, max(1, batch)) {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("explain: %w", err)
		}
		covered := copiesOf(b, len(part))
		size := in.Stored * in.Stored * 3
		for i, p := range part {
			cover(covered.Pixels[i*size:][:size], in.Stored, p.Add(image.Pt(int(origin[0]), int(origin[1]))), side, grey)
		}
		res, err := exec.Eval(covered)
		if err != nil {
			return nil, fmt.Errorf("explain: %w", err)
		}
		classes := net.NumClasses()
		for i, p := range part {
			drop := float64(h.Prob - probability(res.Logits[i*classes:][:classes], h.Class))
			for y := p.Y; y < p.Y+side; y++ {
				for x := p.X; x < p.X+side; x++ {
					lost[y*in.Size+x] += drop
					count[y*in.Size+x]++
				}
			}
		}
	}
	values := make([]float32, len(lost))
	for i := range values {
		values[i] = float32(max(0, lost[i]/count[i]))
	}
	h.set(values)
	return h, nil
}

// squareStarts are the places where squares begin on one axis: every quarter of
// a side, and the last one flush with the edge.
func squareStarts(size, side int) func(func(int) bool) {
	return func(yield func(int) bool) {
		for at := 0; ; at += max(1, side/4) {
			at = min(at, size-side)
			if !yield(at) || at == size-side {
				return
			}
		}
	}
}

// cover paints a square of a stored picture; what is outside of it has no pixels.
func cover(pixels []byte, stored int, at image.Point, side int, colour [3]byte) {
	for y := max(0, at.Y); y < min(stored, at.Y+side); y++ {
		for x := max(0, at.X); x < min(stored, at.X+side); x++ {
			copy(pixels[(y*stored+x)*3:][:3], colour[:])
		}
	}
}

// meanRGB is the colour that the network's input stage makes 0.
func meanRGB(in loader.Input) [3]byte {
	var c [3]byte
	for i := range c {
		m := in.Mean[i]
		if in.Order == "BGR" {
			m = in.Mean[2-i]
		}
		c[i] = byte(max(0, min(255, math.Round(float64(m)))))
	}
	return c
}

// copiesOf is a batch of n times the only picture of b.
func copiesOf(b *loader.Batch, n int) *loader.Batch {
	c := &loader.Batch{N: n, Stored: b.Stored}
	for range n {
		c.Pixels = append(c.Pixels, b.Pixels...)
		c.Labels = append(c.Labels, b.Labels[0])
		c.Geometry = append(c.Geometry, b.Geometry[0])
		c.Colour = append(c.Colour, b.Colour[0])
		c.Indices = append(c.Indices, 0)
	}
	return c
}

// explained classifies the picture and begins the map for the class.
func explained(exec Executor, net *Network, picture image.Image, class int) (*HeatMap, *loader.Batch, error) {
	if class >= net.NumClasses() {
		return nil, nil, fmt.Errorf("explain class %d: the network has %d classes, from 0", class, net.NumClasses())
	}
	in := net.Input.WithDefaults()
	b := &loader.Batch{N: 1, Stored: in.Stored, Pixels: make([]byte, in.Stored*in.Stored*3), Labels: []int32{-1},
		Geometry: []mgl32.Mat3{in.CentreGeometry()}, Colour: []mgl32.Mat4{in.Normalise()}, Indices: []int{0}}
	if err := loader.Store(b.Pixels, picture, in.Stored, in.Resize); err != nil {
		return nil, nil, fmt.Errorf("explain: %w", err)
	}
	res, err := exec.Eval(b)
	if err != nil {
		return nil, nil, fmt.Errorf("explain: %w", err)
	}
	if !finite(res.Logits) {
		return nil, nil, errors.New("explain: the network's scores are not numbers: its weights are damaged")
	}
	if class < 0 {
		class = slices.Index(res.Logits, slices.Max(res.Logits))
	}
	h := &HeatMap{Size: in.Size, Class: class, Prob: probability(res.Logits, class), Picture: image.NewRGBA(image.Rect(0, 0, in.Size, in.Size))}
	origin := b.Geometry[0].Col(2)
	for y := range in.Size {
		for x := range in.Size {
			to := h.Picture.Pix[h.Picture.PixOffset(x, y):][:4]
			to[3] = 255
			if from := image.Pt(x+int(origin[0]), y+int(origin[1])); from.In(image.Rect(0, 0, in.Stored, in.Stored)) {
				copy(to[:3], b.Pixels[(from.Y*in.Stored+from.X)*3:][:3])
			}
		}
	}
	return h, b, nil
}

func probability(logits []float32, class int) float32 {
	probs, sums := make([]float64, len(logits)), make([]float64, len(logits))
	addSoftmax(probs, sums, logits, 1)
	return float32(probs[class])
}

func (h *HeatMap) set(values []float32) {
	h.Values, h.Peak = values, slices.Max(values)
	if h.Peak > 0 {
		for i := range values {
			values[i] /= h.Peak
		}
	}
}

// Overlay draws the map over the picture: where it is 0 the picture is as it
// was, from there it turns blue, green, yellow and red.
func (h *HeatMap) Overlay() *image.RGBA {
	drawn := image.NewRGBA(h.Picture.Rect)
	copy(drawn.Pix, h.Picture.Pix)
	for i, v := range h.Values {
		p := drawn.Pix[4*i:][:3]
		ink := heat(v)
		cover := 0.7 * math.Sqrt(float64(v))
		for c := range p {
			p[c] = byte(math.Round(float64(p[c])*(1-cover) + 255*ink[c]*cover))
		}
	}
	return drawn
}

// heat is the colour of a value: blue at 0, over green and yellow to red at 1.
func heat(v float32) [3]float64 {
	ramp := func(centre float64) float64 { return max(0, min(1, 1.5-math.Abs(4*float64(v)-centre))) }
	return [3]float64{ramp(3), ramp(2), ramp(1)}
}

// lastConv is the index of the last convolution's output: of the ReLU that
// follows it, where one does.
func lastConv(net *Network) (int, error) {
	for i, l := range slices.Backward(net.Layers) {
		if _, ok := l.Layer.(layers.Conv); !ok {
			continue
		}
		if i+1 < len(net.Layers) {
			if _, relu := net.Layers[i+1].Layer.(layers.ReLU); relu {
				return i + 1, nil
			}
		}
		return i, nil
	}
	return 0, fmt.Errorf("network %q has no convolution: there are no places to explain", net.Name)
}
