package alexnet

import (
	"bytes"
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

	_, _, _, err = Adopt(file, weights.Caffe, nil)
	require.ErrorContains(t, err, "conv1.weight has shape [2 3 3 3], the network's conv1.weight is")
}

func TestImageNetClasses(t *testing.T) {
	names := ImageNetClasses()
	require.Len(t, names, 1000)
	require.Equal(t, []string{"tench", "toilet tissue"}, []string{names[0], names[999]})
}
