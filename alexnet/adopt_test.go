package alexnet

import (
	"bytes"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"vkalexnet/weights"
)

// smallNet has the layers of a network that ONNX can express.
const smallNet = `
name = "small"
[input]
size = 8
order = "BGR"
[[layers]]
name = "conv1"
kind = "conv"
out = 2
kernel = 3
[[layers]]
name = "norm1"
kind = "lrn"
size = 5
alpha = 1e-4
beta = 0.75
k = 1
[[layers]]
name = "fc8"
kind = "linear"
out = 4
`

func TestAdoptFollowsTheSource(t *testing.T) {
	net, err := ParseNetwork([]byte(smallNet), "test")
	require.NoError(t, err)
	params, err := net.InitialParams(1)
	require.NoError(t, err)

	var b bytes.Buffer
	require.NoError(t, net.WriteONNX(&b, params))
	file, format, err := weights.Parse(b.Bytes(), ".onnx")
	require.NoError(t, err)
	require.Equal(t, params, file.Tensors)
	got, ours, _, err := Adopt(file, format, net)
	require.NoError(t, err)
	require.Equal(t, net.Layers, got.Layers)
	require.Equal(t, params, ours.Tensors, "our own ONNX has the network's order of channels")

	_, ours, notes, err := Adopt(file, weights.Torch, net)
	require.NoError(t, err)
	require.Len(t, notes, 1)
	require.Equal(t, params[0].Data[:9], ours.Tensors[0].Data[18:27], "RGB became BGR")
	require.Equal(t, params[0].Data[9:18], ours.Tensors[0].Data[9:18])

	own, ours, notes, err := Adopt(file, format, nil)
	require.NoError(t, err)
	require.Empty(t, notes)
	require.Equal(t, []any{net, params}, []any{own, ours.Tensors}, "our own file says what it is")
	_, _, _, err = Adopt(&weights.File{Tensors: file.Tensors}, weights.Caffe, nil)
	require.ErrorContains(t, err, "conv1.weight has shape [2 3 3 3], the network's conv1.weight is")
}

// Under torchvision's names a network that sees BGR becomes one that sees RGB: its
// scores stay, with means and deviations of the channels or a mean picture.
func TestTorchNamesKeepTheScores(t *testing.T) {
	const twoMore = "\n[[layers]]\nname = \"fc9\"\nkind = \"linear\"\nout = 4\n[[layers]]\nname = \"fc10\"\nkind = \"linear\"\nout = 3\n"
	net := parse(t, smallNet+twoMore)
	net.Input.Mean, net.Input.Std = []float32{104, 117, 123}, []float32{50, 60, 70}
	scores := func(net *Network, params []weights.Tensor) []float32 {
		exec := ready(t, net, 2, ExecOptions{Inference: true})
		require.NoError(t, exec.SetParams(params))
		res, err := exec.Eval(tinyBatch(t, net, 2))
		require.NoError(t, err)
		return res.Logits
	}
	for _, mean := range [][]float32{nil, make([]float32, 3*8*8)} {
		for i := range mean {
			mean[i] = float32(i % 251)
		}
		net.Input.MeanPicture = mean
		params, err := net.InitialParams(1)
		require.NoError(t, err)
		rgb, renamed, err := net.TorchNames(params)
		require.NoError(t, err)
		require.Equal(t, "features.0.weight", renamed[0].Name)
		require.Equal(t, "classifier.6.bias", renamed[len(renamed)-1].Name)
		require.Equal(t, "RGB", rgb.Input.Order)
		again, err := pair(rgb, renamed)
		require.NoError(t, err)
		want, got := scores(net, params), scores(rgb, again)
		for i := range want {
			require.InDelta(t, want[i], got[i], 1e-4)
		}
	}
	_, _, err := parse(t, smallNet).TorchNames(nil)
	require.ErrorContains(t, err, "torchvision's names are for three")
}

func TestImageNetClasses(t *testing.T) {
	names := ImageNetClasses()
	require.Len(t, names, 1000)
	require.Equal(t, []string{"tench", "toilet tissue"}, []string{names[0], names[999]})
}

// The ONNX zoo's bvlcalexnet: 224 pixels without padding, pool5 padded to 6×6.
func TestFollowsTheZoosGeometry(t *testing.T) {
	net, err := Load("alexnet")
	require.NoError(t, err)
	node := func(kind string, ints ...[]int) weights.Node {
		n := weights.Node{Kind: kind, Ints: map[string][]int{}, Floats: map[string]float32{}}
		for i, name := range []string{"kernel_shape", "strides", "pads", "group"}[:len(ints)] {
			n.Ints[name] = ints[i]
		}
		return n
	}
	lrn := node("LRN")
	lrn.Ints["size"] = []int{5}
	lrn.Floats = map[string]float32{"alpha": 1e-4, "beta": 0.75, "bias": 1}
	three, two, one := []int{3, 3}, []int{2, 2}, []int{1, 1}
	nodes := []weights.Node{
		node("Conv", []int{11, 11}, []int{4, 4}, []int{0, 0, 0, 0}), node("Relu"), lrn, node("MaxPool", three, two, []int{0, 0, 0, 0}),
		node("Conv", []int{5, 5}, one, []int{2, 2, 2, 2}, []int{2}), node("Relu"), lrn, node("MaxPool", three, two, []int{0, 0, 0, 0}),
		node("Conv", three, one, []int{1, 1, 1, 1}, []int{1}), node("Conv", three, one, []int{1, 1, 1, 1}, []int{2}),
		node("Conv", three, one, []int{1, 1, 1, 1}, []int{2}), node("MaxPool", three, two, []int{0, 0, 1, 1}),
		node("Reshape"), node("Gemm"), node("Dropout"), node("Gemm"), node("Dropout"), node("Gemm"), node("Softmax"),
	}
	got, notes, err := net.followONNX(nodes, []int{1, 3, 224, 224})
	require.NoError(t, err)
	require.Equal(t, 224, got.Input.Size)
	require.Equal(t, 256, got.Input.Stored)
	require.Contains(t, notes, "input: 224×224, as the ONNX model has it")
	plans, err := got.Plans()
	require.NoError(t, err)
	sides := map[string]int{}
	for i, l := range got.Layers {
		sides[l.Name] = plans[i].Out.H
	}
	for name, side := range map[string]int{"conv1": 54, "pool1": 26, "pool2": 12, "conv5": 12, "pool5": 6} {
		require.Equal(t, side, sides[name], name)
	}

	same, notes, err := net.followONNX(nodes[:0], nil) // nothing to follow
	require.ErrorContains(t, err, "where that has conv1")
	require.Nil(t, same)
	require.Empty(t, notes)
	odd := slices.Clone(nodes)
	odd[3] = node("MaxPool", three, two, []int{1, 1, 4, 4})
	_, _, err = net.followONNX(odd, []int{1, 3, 224, 224})
	require.ErrorContains(t, err, "pool1: its pads [1 1 4 4] make an output of 29×29")
	odd[3] = node("AveragePool", three, two, []int{0, 0, 0, 0})
	_, _, err = net.followONNX(odd, []int{1, 3, 224, 224})
	require.ErrorContains(t, err, "where that has pool1 its graph has another layer")
	_, _, err = net.followONNX(append(nodes, node("Gemm")), []int{1, 3, 224, 224})
	require.ErrorContains(t, err, "after its last layer its graph has Gemm")
	_, _, err = net.followONNX(nodes, []int{1, 3, 1 << 30, 1 << 30})
	require.Error(t, err)
}
