package alexnet

import (
	"image"
	"image/color"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"vkalexnet/engine"
	"vkalexnet/layers"
	"vkalexnet/loader"
	"vkalexnet/shaders"
)

// eachExecutor runs a test with the CPU reference, for training and for
// inference, and with every Vulkan device; want tells the first from the others.
func eachExecutor(t *testing.T, net *Network, batch int, f func(t *testing.T, exec Executor)) {
	run := func(name string, open func(opt ExecOptions) (Executor, error)) {
		for _, opt := range []ExecOptions{{SGD: net.Solver.SGD()}, {Inference: true}} {
			label := name
			if opt.Inference {
				label += " for inference"
			}
			t.Run(label, func(t *testing.T) {
				exec, err := open(opt)
				require.NoError(t, err)
				defer exec.Close()
				params, err := net.InitialParams(1)
				require.NoError(t, err)
				require.NoError(t, exec.SetParams(params))
				f(t, exec)
			})
		}
	}
	run("cpu", func(opt ExecOptions) (Executor, error) { return NewReference(net, batch, opt) })
	for _, info := range usableDevices(t) {
		dev, err := engine.Open(info, shaders.FS)
		require.NoError(t, err)
		run(info.Name, func(opt ExecOptions) (Executor, error) { return NewDevice(dev, net, batch, opt) })
		dev.Close()
	}
}

// someBatch is one batch of generated pictures.
func someBatch(t *testing.T, net *Network, n int) *loader.Batch {
	l, err := loader.NewLoader(loader.Synthetic(n, 3), net.Input, loader.Options{Batch: n, Workers: 1})
	require.NoError(t, err)
	l.Start(t.Context(), 0, 0)
	defer l.Stop()
	b, err := l.Next()
	require.NoError(t, err)
	return b
}

// nearly compares two tensors by the spread of the first.
func nearly(t *testing.T, want, got []float32, limit float64, what string) {
	t.Helper()
	require.Len(t, got, len(want), what)
	spread, worst := 0.0, 0.0
	for i := range want {
		spread = max(spread, math.Abs(float64(want[i])))
		worst = max(worst, math.Abs(float64(want[i])-float64(got[i])))
	}
	require.Greater(t, spread, 0.0, what)
	require.LessOrEqual(t, worst/spread, limit, what)
}

// TestInspectors compares every layer's output, and the gradient at some of
// them, with the CPU reference's, for a batch that does not fill the executor.
func TestInspectors(t *testing.T) {
	net, err := Load("alexnet-small")
	require.NoError(t, err)
	params, err := net.InitialParams(1)
	require.NoError(t, err)
	ref, err := NewReference(net, 3, ExecOptions{SGD: net.Solver.SGD()})
	require.NoError(t, err)
	require.NoError(t, ref.SetParams(params))
	b := someBatch(t, net, 3)
	dlogits := make([]float32, b.N*net.NumClasses())
	for i := range dlogits {
		dlogits[i] = float32(i%7) - 3
	}
	want := ref.(Inspector)
	eachExecutor(t, net, 4, func(t *testing.T, exec Executor) {
		got := exec.(Inspector)
		for i, l := range net.Layers {
			y, err := want.Outputs(b, i)
			require.NoError(t, err)
			own, err := got.Outputs(b, i)
			require.NoError(t, err)
			nearly(t, y, own, 1e-5, "output of "+l.Name)
			if i+1 < len(net.Layers) && net.Layers[i+1].Layer == (layers.ReLU{}) {
				_, _, err := got.Gradients(b, i, dlogits)
				require.ErrorContains(t, err, "ask for the gradient at \""+net.Layers[i+1].Name+"\"")
				continue
			}
			if !slices.Contains([]string{"pool1", "norm2", "relu5", "drop6", "relu7", "fc8"}, l.Name) {
				continue // each is compiled anew
			}
			y, dy, err := want.Gradients(b, i, dlogits)
			require.NoError(t, err)
			own, ownGradient, err := got.Gradients(b, i, dlogits)
			require.NoError(t, err)
			nearly(t, y, own, 1e-5, "output of "+l.Name)
			nearly(t, dy, ownGradient, 1e-4, "gradient at "+l.Name)
		}
		_, err := got.Outputs(b, len(net.Layers))
		require.ErrorContains(t, err, "it has layers 0 to")
		_, _, err = got.Gradients(b, 0, dlogits[1:])
		require.Error(t, err)
		res, err := exec.Eval(b) // and evaluation is as before
		require.NoError(t, err)
		y, err := want.Outputs(b, len(net.Layers)-1)
		require.NoError(t, err)
		nearly(t, y, res.Logits, 1e-5, "logits")
	})
}

// TestGradientsAreSlopes checks the reference's gradient against differences of
// the logits: a fully connected layer's output moves them linearly.
func TestGradientsAreSlopes(t *testing.T) {
	net, err := Load("alexnet-small")
	require.NoError(t, err)
	exec, err := NewReference(net, 1, ExecOptions{Inference: true})
	require.NoError(t, err)
	params, err := net.InitialParams(1)
	require.NoError(t, err)
	require.NoError(t, exec.SetParams(params))
	b := someBatch(t, net, 1)
	dlogits := make([]float32, net.NumClasses())
	dlogits[4] = 1
	// The input of the last layer: its gradient is a row of the weight.
	_, dy, err := exec.(Inspector).Gradients(b, len(net.Layers)-2, dlogits)
	require.NoError(t, err)
	weight := params[len(params)-2]
	n := weight.Shape[1]
	nearly(t, weight.Data[4*n:][:n], dy, 1e-6, "gradient of the last layer's input")
}

// TestGradCAM explains a picture on every executor as the CPU reference does.
func TestGradCAM(t *testing.T) {
	net, err := Load("alexnet-small")
	require.NoError(t, err)
	picture, err := loader.Synthetic(5, 9).Open(3)
	require.NoError(t, err)
	ref, err := NewReference(net, 1, ExecOptions{Inference: true})
	require.NoError(t, err)
	params, err := net.InitialParams(1)
	require.NoError(t, err)
	require.NoError(t, ref.SetParams(params))
	want := make([]*HeatMap, 3)
	for class := range want {
		want[class], err = GradCAM(ref, net, picture, class)
		require.NoError(t, err)
	}
	top, err := GradCAM(ref, net, picture, -1)
	require.NoError(t, err)
	occluded, err := Occlusion(t.Context(), ref, net, picture, -1, 1)
	require.NoError(t, err)
	eachExecutor(t, net, 3, func(t *testing.T, exec Executor) {
		some := false
		for class, w := range want {
			h, err := GradCAM(exec, net, picture, class)
			require.NoError(t, err)
			require.Equal(t, class, h.Class)
			require.InDelta(t, w.Prob, h.Prob, 1e-5)
			if w.Peak > 0 {
				some = true
				nearly(t, w.Values, h.Values, 1e-4, "map")
			}
			require.Equal(t, w.Picture, h.Picture)
		}
		require.True(t, some, "no class has a map")
		h, err := GradCAM(exec, net, picture, -1)
		require.NoError(t, err)
		require.Equal(t, top.Class, h.Class)
		require.Equal(t, image.Rect(0, 0, net.Input.Size, net.Input.Size), h.Overlay().Rect)
		_, err = GradCAM(exec, net, picture, net.NumClasses())
		require.ErrorContains(t, err, "from 0")
		o, err := Occlusion(t.Context(), exec, net, picture, -1, 3)
		require.NoError(t, err)
		nearly(t, occluded.Values, o.Values, 1e-3, "occlusion")
	})
}

// TestCAMFormula is the paper's formula on numbers that can be checked by hand.
func TestCAMFormula(t *testing.T) {
	shape := layers.Shape{C: 2, H: 1, W: 2}
	got := cam([]float32{1, 2, 3, 4}, []float32{1, 3, -1, -1}, shape) // α = 2, −1
	require.Equal(t, []float32{0, 0}, got)                            // 2−3, 4−4
	got = cam([]float32{1, 2, 1, 4}, []float32{1, 3, -1, 1}, shape)   // α = 2, 0
	require.Equal(t, []float32{2, 4}, got)
	require.Equal(t, []float32{2, 2.5, 3.5, 4, 2, 2.5, 3.5, 4, 2, 2.5, 3.5, 4, 2, 2.5, 3.5, 4}, enlarge(got, shape, 4))
}

// lit is an executor that gives class 1 the brightness of one pixel.
type lit struct {
	Executor
	stored, x, y int
}

func (l *lit) Eval(b *loader.Batch) (BatchResult, error) {
	res := newResult(b.N)
	for i := range b.N {
		v := float32(b.Pixels[(i*l.stored*l.stored+l.y*l.stored+l.x)*3]) / 50
		res.Logits = append(res.Logits, 0, v, 0)
	}
	return res, nil
}

// TestOcclusionFindsThePlace has a network that looks at one pixel only.
func TestOcclusionFindsThePlace(t *testing.T) {
	net := parse(t, goldenTOML).WithClasses(3)
	in := net.Input.WithDefaults()
	white := image.NewRGBA(image.Rect(0, 0, 40, 40))
	for i := range white.Pix {
		white.Pix[i] = 255
	}
	white.Set(0, 0, color.White)
	at := in.CentreGeometry().Col(2)
	h, err := Occlusion(t.Context(), &lit{stored: in.Stored, x: int(at[0]) + in.Size - 1, y: int(at[1])}, net, white, 1, 4)
	require.NoError(t, err)
	require.Equal(t, float32(1), h.Values[in.Size-1])
	require.Zero(t, h.Values[(in.Size-1)*in.Size])
	require.Greater(t, h.Peak, float32(0.5))
}
