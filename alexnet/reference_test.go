package alexnet

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vkalexnet/layers"
	"vkalexnet/loader"
	"vkalexnet/optim"
	"vkalexnet/weights"

	"github.com/stretchr/testify/require"
)

// sharedData is the folder of test data beside the module.
func sharedData(t *testing.T) string {
	t.Helper()
	for dir, err := filepath.Abs("."); err == nil && dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		data := filepath.Join(dir, "..", "shared", "data")
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
			continue
		}
		if _, err := os.Stat(data); err == nil {
			return data
		}
	}
	missing := "needs the shared test data: ../shared/data not found beside the module"
	if os.Getenv("CI") == "true" {
		t.Fatal(missing)
	}
	t.Skip(missing)
	return ""
}

// goldenTOML is the network of golden/training.safetensors.
const goldenTOML = `name = "golden"
[input]
size = 33
[solver]
lr = 0.02
[[layers]]
name = "conv1"
kind = "conv"
out = 16
kernel = 5
stride = 2
pad = 2
bias_lr = 2
bias_decay = 0
[[layers]]
name = "relu1"
kind = "relu"
[[layers]]
name = "norm1"
kind = "lrn"
size = 5
alpha = 1e-4
beta = 0.75
k = 1
[[layers]]
name = "pool1"
kind = "maxpool"
size = 3
stride = 2
[[layers]]
name = "conv2"
kind = "conv"
out = 32
kernel = 3
pad = 1
groups = 2
bias_lr = 2
bias_decay = 0
[[layers]]
name = "relu2"
kind = "relu"
[[layers]]
name = "pool2"
kind = "maxpool"
size = 3
stride = 2
ceil = true
[[layers]]
name = "fc3"
kind = "linear"
out = 64
bias_lr = 2
bias_decay = 0
[[layers]]
name = "relu3"
kind = "relu"
[[layers]]
name = "fc4"
kind = "linear"
out = 10
bias_lr = 2
bias_decay = 0
`

// parse is a network that is known to be good.
func parse(t testing.TB, toml string) *Network {
	t.Helper()
	n, err := ParseNetwork([]byte(toml), "test.toml")
	require.NoError(t, err)
	return n
}

// named are a golden file's tensors whose names begin with a prefix, without it.
func named(f *weights.File, prefix string) []weights.Tensor {
	var found []weights.Tensor
	for _, t := range f.Tensors {
		if name, ok := strings.CutPrefix(t.Name, prefix); ok {
			t.Name = name
			found = append(found, t)
		}
	}
	return found
}

// goldenSteps trains the golden network with train and compares every loss
// and the last parameters with what another framework computed in float64.
func goldenSteps(t *testing.T, exec Executor, share float64, train func(x []float32, labels []int32, step TrainStep) BatchResult, first func(want []weights.Tensor)) {
	file, err := weights.ReadSafetensors(filepath.Join(sharedData(t), "golden", "training.safetensors"))
	require.NoError(t, err)
	get := func(name string) []float32 {
		tensor, ok := file.Get(name)
		require.True(t, ok, name)
		return tensor.Data
	}
	require.NoError(t, exec.SetParams(named(file, "init.")))
	x, labels, losses := get("x"), get("labels"), get("loss")
	size := len(x) / 4
	for step := range losses {
		own := make([]int32, goldenBatch)
		for i := range own {
			own[i] = int32(labels[step%4*goldenBatch+i])
		}
		lr := float32(0.02)
		if step >= 8 {
			lr = 0.002
		}
		res := train(x[step%4*size:][:size], own, TrainStep{LR: lr, Update: true, GradScale: 1.0 / goldenBatch})
		mean := 0.0
		for _, l := range res.Loss {
			mean += float64(l) / goldenBatch
		}
		require.InEpsilon(t, float64(losses[step]), mean, share, "step %d", step)
		if step == 0 && first != nil {
			first(named(file, "grad0."))
		}
	}
	params, err := exec.Params()
	require.NoError(t, err)
	requireClose(t, named(file, "final."), params, share)
}

const goldenBatch = 8

// Twelve steps of training as another framework computed them in float64.
func TestReferenceTrainsAsTheGoldenFile(t *testing.T) {
	net := parse(t, goldenTOML)
	exec, err := NewReference(net, goldenBatch, ExecOptions{SGD: net.Solver.SGD()})
	require.NoError(t, err)
	r := exec.(*reference)
	goldenSteps(t, exec, 2e-6, func(x []float32, labels []int32, step TrainStep) BatchResult {
		// The golden pictures are numbers that no byte can hold: they go in
		// behind the input stage.
		copy(r.slots[0].X, x)
		return r.train(goldenBatch, labels, step)
	}, func(want []weights.Tensor) { requireClose(t, want, r.grads, 2e-6) })
}

// requireClose compares tensors by name, within share of each one's largest value.
func requireClose(t *testing.T, want, got []weights.Tensor, share float64) {
	t.Helper()
	f := weights.File{Tensors: got}
	require.Len(t, got, len(want))
	for _, w := range want {
		g, ok := f.Get(w.Name)
		require.True(t, ok, w.Name)
		require.Equal(t, w.Shape, g.Shape, w.Name)
		largest := float32(0)
		for _, v := range w.Data {
			largest = max(largest, v, -v)
		}
		require.NotZero(t, largest, w.Name)
		for i := range w.Data {
			require.InDelta(t, float64(w.Data[i]), float64(g.Data[i]), share*float64(largest), "%s[%d]", w.Name, i)
		}
	}
}

// tinyBatch loads n pictures for a network of three classes.
func tinyBatch(t testing.TB, net *Network, n int) *loader.Batch {
	t.Helper()
	l, err := loader.NewLoader(pictures(n), net.Input, loader.Options{Batch: n, Workers: 1})
	require.NoError(t, err)
	l.Start(t.Context(), 0, 0)
	defer l.Stop()
	b, err := l.Next()
	require.NoError(t, err)
	return b
}

// ready is a tiny network's executor with initial parameters.
func ready(t testing.TB, net *Network, batch int, opt ExecOptions) Executor {
	t.Helper()
	opt.SGD = net.Solver.SGD()
	exec, err := NewReference(net, batch, opt)
	require.NoError(t, err)
	params, err := net.InitialParams(1)
	require.NoError(t, err)
	require.NoError(t, exec.SetParams(params))
	return exec
}

func paramsOf(t testing.TB, exec Executor) []weights.Tensor {
	t.Helper()
	p, err := exec.Params()
	require.NoError(t, err)
	return p
}

func TestAccumulatedHalvesAreTheWhole(t *testing.T) {
	net := parse(t, tinyTOML)
	whole, halves := ready(t, net, 6, ExecOptions{}), ready(t, net, 6, ExecOptions{})
	b := tinyBatch(t, net, 6)
	first, second := *b, *b
	first.N, second.N = 4, 2
	size := b.Stored * b.Stored * 3
	second.Pixels, second.Labels = b.Pixels[4*size:], b.Labels[4:]
	second.Geometry, second.Colour = b.Geometry[4:], b.Colour[4:]
	for range 3 {
		_, err := whole.Train(b, TrainStep{LR: 0.1, Update: true, GradScale: 1.0 / 6})
		require.NoError(t, err)
		before := paramsOf(t, halves)
		_, err = halves.Train(&first, TrainStep{LR: 0.1, GradScale: 1.0 / 6})
		require.NoError(t, err)
		require.Equal(t, before, paramsOf(t, halves), "nothing moves before the update")
		_, err = halves.Train(&second, TrainStep{LR: 0.1, Accumulate: true, Update: true, GradScale: 1.0 / 6})
		require.NoError(t, err)
	}
	// conv1's bias of 0 would make its largest value as small as its error.
	requireClose(t, paramsOf(t, whole), paramsOf(t, halves), 1e-5)
}

func TestDropoutIsOnlyInTraining(t *testing.T) {
	net := parse(t, tinyTOML)
	b := tinyBatch(t, net, 4)
	with, without := ready(t, net, 4, ExecOptions{Dropout: true, Seed: 3}), ready(t, net, 4, ExecOptions{})
	plain, err := without.Eval(b)
	require.NoError(t, err)
	eval, err := with.Eval(b)
	require.NoError(t, err)
	require.Equal(t, plain, eval)
	require.Len(t, eval.Logits, 4*3)

	still := TrainStep{GradScale: 1} // moves nothing
	a, err := with.Train(b, still)
	require.NoError(t, err)
	require.NotEqual(t, plain.Loss, a.Loss)
	again, err := with.Train(b, still)
	require.NoError(t, err)
	require.Equal(t, a.Loss, again.Loss, "the masks depend on the count alone")
	later, err := with.Train(b, TrainStep{GradScale: 1, Count: 1})
	require.NoError(t, err)
	require.NotEqual(t, a.Loss, later.Loss)
	trained, err := without.Train(b, still)
	require.NoError(t, err)
	require.Equal(t, plain.Loss, trained.Loss)
}

func TestInferenceHoldsNoGradients(t *testing.T) {
	net := parse(t, tinyTOML)
	b := tinyBatch(t, net, 4)
	want, err := ready(t, net, 4, ExecOptions{}).Eval(b)
	require.NoError(t, err)
	exec := ready(t, net, 4, ExecOptions{Inference: true})
	got, err := exec.Eval(b)
	require.NoError(t, err)
	require.Equal(t, want, got)
	_, err = exec.Train(b, TrainStep{})
	require.ErrorIs(t, err, ErrInference)
	_, err = exec.Momentum()
	require.ErrorIs(t, err, ErrInference)
	require.ErrorIs(t, exec.SetMomentum(nil), ErrInference)
	require.Equal(t, "cpu", exec.Name())
	exec.Close()
}

func TestSetParamsListsAllProblems(t *testing.T) {
	net := parse(t, tinyTOML)
	exec := ready(t, net, 1, ExecOptions{})
	before := paramsOf(t, exec)
	wrong := paramsOf(t, exec)
	for i := range wrong {
		for j := range wrong[i].Data {
			wrong[i].Data[j] = 9
		}
	}
	wrong[4].Shape, wrong[4].Data = []int{10, 16}, make([]float32, 160)
	wrong[5].Name = "fc8.bias"
	err := exec.SetParams(wrong)
	require.ErrorContains(t, err, `do not fit network "tiny"`)
	require.ErrorContains(t, err, "fc3.weight has shape [10 16], the network's is [3 16]")
	require.ErrorContains(t, err, "fc3.bias [3] is missing")
	require.ErrorContains(t, err, "fc8.bias [3] is in no layer")
	require.Equal(t, before, paramsOf(t, exec), "nothing was replaced")

	right := []weights.Tensor{before[5], before[0], before[3], before[2], before[1], before[4]}
	require.NoError(t, exec.SetParams(right), "the order does not matter")
	require.Equal(t, before, paramsOf(t, exec))
	file := &weights.File{Tensors: append(right, weights.Tensor{Name: "momentum/conv1.weight"})}
	require.NoError(t, LoadWeights(exec, file))

	before[0].Data[0]++
	require.NotEqual(t, before, paramsOf(t, exec), "Params are copies")
}

func TestBatchesThatCannotBeRun(t *testing.T) {
	net := parse(t, tinyTOML)
	exec := ready(t, net, 4, ExecOptions{})
	good := tinyBatch(t, net, 4)
	_, err := exec.Eval(good)
	require.NoError(t, err)
	for says, change := range map[string]func(b *loader.Batch){
		"a batch of 0 pictures":        func(b *loader.Batch) { b.N = 0 },
		"a batch of 5 pictures":        func(b *loader.Batch) { b.N = 5 },
		"stored at 12×12":              func(b *loader.Batch) { b.Stored = 12 },
		"is incomplete":                func(b *loader.Batch) { b.Pixels = b.Pixels[1:] },
		"3 labels":                     func(b *loader.Batch) { b.Labels = b.Labels[1:] },
		"label 3, but the network has": func(b *loader.Batch) { b.Labels = []int32{0, 1, 2, 3} },
	} {
		b := *good
		change(&b)
		_, err := exec.Eval(&b)
		require.ErrorContains(t, err, says)
		_, err = exec.Train(&b, TrainStep{})
		require.ErrorContains(t, err, says)
	}
}

func TestUnlabelledPicturesTeachNothing(t *testing.T) {
	net := parse(t, tinyTOML)
	b := tinyBatch(t, net, 4)
	one := *b
	one.N = 1
	alone, among := ready(t, net, 4, ExecOptions{}), ready(t, net, 4, ExecOptions{})
	_, err := alone.Train(&one, TrainStep{LR: 0.1, Update: true, GradScale: 1})
	require.NoError(t, err)
	b.Labels = []int32{b.Labels[0], -1, -1, -1}
	res, err := among.Train(b, TrainStep{LR: 0.1, Update: true, GradScale: 1})
	require.NoError(t, err)
	require.Equal(t, []float32{0, 0, 0}, res.Loss[1:])
	require.Equal(t, []int32{3, 3, 3}, res.Rank[1:])
	requireClose(t, paramsOf(t, alone), paramsOf(t, among), 1e-6)
}

func TestReferencesThatCannotBeMade(t *testing.T) {
	net := parse(t, tinyTOML)
	_, err := NewReference(net, 0, ExecOptions{})
	require.ErrorContains(t, err, "batch of 0")
	_, err = NewReference(net, 1, ExecOptions{SGD: optim.SGD{Momentum: 2}})
	require.ErrorContains(t, err, "momentum 2")
	net.Layers[0].Layer = layers.Conv{Out: 4, KernelH: 99, KernelW: 99, Stride: 1}
	_, err = NewReference(net, 1, ExecOptions{})
	require.ErrorContains(t, err, `layer "conv1"`)
}
