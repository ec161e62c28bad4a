package alexnet

import (
	"errors"
	"fmt"
	"image"
	"image/color"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"vkalexnet/engine"
	"vkalexnet/layers"
	"vkalexnet/loader"
	"vkalexnet/shaders"
)

// picturesOf is a set of small pictures of three classes, each a colour.
type picturesOf struct {
	count int
	bad   map[int]bool // cannot be read
	label func(i int) int
}

// pictures are n of them, all good.
func pictures(n int) *picturesOf {
	return &picturesOf{count: n, label: func(i int) int { return i % 3 }}
}

var errTorn = errors.New("torn in two")

func (p *picturesOf) Len() int          { return p.count }
func (p *picturesOf) Classes() []string { return []string{"red", "green", "blue"} }
func (p *picturesOf) Label(i int) int   { return p.label(i) }
func (p *picturesOf) Name(i int) string { return fmt.Sprintf("picture-%d", i) }

func (p *picturesOf) Open(i int) (image.Image, error) {
	if p.bad[i] {
		return nil, errTorn
	}
	img := image.NewRGBA(image.Rect(0, 0, 14, 14))
	for y := range 14 {
		for x := range 14 {
			v := [3]uint8{uint8(13*i + 3*x*y), uint8(40 + 7*i*x), uint8(90 + 5*y)}
			v[i%3] = 220
			img.Set(x, y, color.RGBA{v[0], v[1], v[2], 255})
		}
	}
	return img, nil
}

// hooked is an executor that tests can look into and break.
type hooked struct {
	Executor
	train func(step TrainStep, res *BatchResult) error
}

func (h *hooked) Train(b *loader.Batch, step TrainStep) (BatchResult, error) {
	res, err := h.Executor.Train(b, step)
	if err == nil && h.train != nil {
		err = h.train(step, &res)
	}
	return res, err
}

// scripted is an executor whose logits are a function of the picture and of
// where the view begins.
type scripted struct {
	Executor
	logits func(index int, x, y float32) []float32
}

func (s *scripted) Eval(b *loader.Batch) (BatchResult, error) {
	res := newResult(b.N)
	for i, index := range b.Indices {
		origin := b.Geometry[i].Col(2)
		res.Logits = append(res.Logits, s.logits(index, origin[0], origin[1])...)
	}
	layers.SoftmaxLossCPU(res.Logits, b.N, len(res.Logits)/b.N, b.Labels, nil, 0, res.Loss, res.Rank, nil)
	return res, nil
}

// softmaxOf is the textbook's formula.
func softmaxOf(logits ...float64) []float64 {
	sum := 0.0
	p := make([]float64, len(logits))
	for j, l := range logits {
		p[j] = math.Exp(l)
		sum += p[j]
	}
	for j := range p {
		p[j] /= sum
	}
	return p
}

// openDevice opens a Vulkan device for the time of a test.
func openDevice(t *testing.T, info engine.Info) *engine.Device {
	dev, err := engine.Open(info, shaders.FS)
	require.NoError(t, err)
	t.Cleanup(dev.Close)
	return dev
}

// usableDevices are the Vulkan devices of this machine; without any the test is
// skipped, but fails in continuous integration.
func usableDevices(t *testing.T) (usable []engine.Info) {
	t.Helper()
	infos, err := engine.Devices()
	for _, info := range infos {
		if info.Rejected == "" {
			usable = append(usable, info)
		}
	}
	if os.Getenv("CI") != "" {
		require.NoError(t, err)
		require.NotEmpty(t, usable, "CI needs Vulkan devices")
	}
	if len(usable) == 0 {
		t.Skipf("needs a Vulkan device: %v", err)
	}
	return usable
}
