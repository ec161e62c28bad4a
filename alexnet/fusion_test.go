package alexnet

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vkalexnet/engine"
	"vkalexnet/layers"
	"vkalexnet/loader"
	"vkalexnet/optim"
	"vkalexnet/weights"
)

// fusionTOML has every fusion, in conv1c that of Winograd's form on drivers that run on
// CPUs, and beside it what each has to leave alone: channels that are no quads, a bias that is frozen, dropout without a ReLU, layers of odd sizes.
const fusionTOML = `name = "fusion"
[input]
size = 31
[solver]
lr = 0.02
[[layers]]
name = "conv1"
kind = "conv"
out = 16
kernel = 5
stride = 2
pad = 1
bias_lr = 2
bias_decay = 0
[[layers]]
name = "relu1"
kind = "relu"
[[layers]]
name = "norm1"
kind = "lrn"
size = 5
alpha = 1
beta = 0.75
k = 1
[[layers]]
name = "pool1"
kind = "maxpool"
size = 3
stride = 2
ceil = true
[[layers]]
name = "conv1b"
kind = "conv"
out = 32
kernel = 1
[[layers]]
name = "relu1b"
kind = "relu"
[[layers]]
name = "conv1c"
kind = "conv"
out = 32
kernel = 3
pad = 1
[[layers]]
name = "relu1c"
kind = "relu"
[[layers]]
name = "conv2"
kind = "conv"
out = 14
kernel = 3
pad = 1
groups = 2
bias_lr = 0
[[layers]]
name = "relu2"
kind = "relu"
[[layers]]
name = "norm2"
kind = "lrn"
size = 3
alpha = 1
beta = 0.6
k = 1
[[layers]]
name = "pool2"
kind = "maxpool"
size = 2
stride = 2
[[layers]]
name = "conv4"
kind = "conv"
out = 20
kernel = 3
pad = 1
[[layers]]
name = "relu4"
kind = "relu"
[[layers]]
name = "pool4"
kind = "maxpool"
size = 3
stride = 2
ceil = true
[[layers]]
name = "fc5"
kind = "linear"
out = 301
[[layers]]
name = "relu5"
kind = "relu"
[[layers]]
name = "drop5"
kind = "dropout"
p = 0.3
[[layers]]
name = "fc6"
kind = "linear"
out = 288
[[layers]]
name = "relu6"
kind = "relu"
[[layers]]
name = "drop6"
kind = "dropout"
p = 0.4
[[layers]]
name = "fc7"
kind = "linear"
out = 12
[[layers]]
name = "drop7"
kind = "dropout"
p = 0.2
[[layers]]
name = "fc8"
kind = "linear"
out = 10
`

// fusionRun is all that a short training leaves.
type fusionRun struct {
	losses           []float32
	params, momentum []weights.Tensor
	logits           []float32
}

// bitsOf are the bits of numbers, so that NaN equals itself and 0 is not -0.
func bitsOf(v []float32) []uint32 {
	bits := make([]uint32, len(v))
	for i, x := range v {
		bits[i] = math.Float32bits(x)
	}
	return bits
}

func (want fusionRun) requireSame(t *testing.T, got fusionRun) {
	t.Helper()
	require.Equal(t, bitsOf(want.losses), bitsOf(got.losses), "losses")
	for i := range want.params {
		require.Equal(t, bitsOf(want.params[i].Data), bitsOf(got.params[i].Data), want.params[i].Name)
		require.Equal(t, bitsOf(want.momentum[i].Data), bitsOf(got.momentum[i].Data), "momentum of %s", want.params[i].Name)
	}
	require.Equal(t, bitsOf(want.logits), bitsOf(got.logits), "logits")
}

// matrixRows are rows with matrices of fp16, where the device has some: what the tuner tries
// on GPUs, or small ones of the sizes that a software driver lists.
func matrixRows(info *engine.Info) []layers.Tuning {
	rows := layers.Alternatives(info, layers.FP16)
	if sizes, subgroup := info.Features.Matrices, int(info.Features.SubgroupSize); len(rows) == 0 && len(sizes) > 0 {
		m, n, k := int(sizes[0].M), int(sizes[0].N), int(sizes[0].K)
		row := layers.Tuning{Name: "eights", Eights: true, TileM: 4 * m, TileN: 4 * n, TileK: 2 * k, EachM: 2 * m, EachN: 2 * n, MatrixM: m, MatrixN: n, MatrixK: k, Subgroup: subgroup, Fill: 1}
		rows = append(rows, row)
		row.Name, row.Flexible, row.MatrixM, row.MatrixK = "flexible", true, 2*m, 2*k
		rows = append(rows, row)
	}
	return slices.DeleteFunc(rows, func(row layers.Tuning) bool { return !row.Sound() || !row.Fits(info) })
}

// TestFusionsChangeNoBits trains with every fusion and with none, in every precision and
// form of the update, with the device's own kernels and with those that every device
// runs: all parameters, their momentum and the losses are the same, bit by bit. (In 16
// bits pooled normalisation is left out: fused, it rounds less. So does dropout, but for
// factors of 2 in bf16; in fp16 not even these, as small gradients have fewer bits.)
func TestFusionsChangeNoBits(t *testing.T) {
	whole := parse(t, fusionTOML)
	halves := parse(t, regexp.MustCompile(`(?m)^p = .*`).ReplaceAllString(fusionTOML, "p = 0.5"))
	batch := someBatch(t, whole, 5)
	const capacity = 6
	for _, info := range usableDevices(t) {
		t.Run(info.Name, func(t *testing.T) {
			dev := openDevice(t, info)
			rows := layers.Tunings(&dev.Info)
			run := func(net *Network, opt ExecOptions, row layers.Tuning, batch *loader.Batch) fusionRun {
				exec, err := NewDevice(dev, net, capacity, opt)
				require.NoError(t, err)
				defer exec.Close()
				exec.(*device).tuning, exec.(*device).recompute = &row, true
				step := engine.NewRecording(dev.Info)
				exec.(*device).recordTrain(step)
				require.Equal(t, row.Winograd && opt.Precision == layers.FP32, strings.Contains(step.String(), "winograd"))
				params, err := net.InitialParams(4)
				require.NoError(t, err)
				require.NoError(t, exec.SetParams(params))
				var all fusionRun
				scale := float32(1)
				if opt.Precision == layers.FP16 {
					scale = 256
				}
				for i := range 3 {
					res, err := exec.Train(batch, TrainStep{LR: 0.02, Count: uint64(i), Update: true, GradScale: 1.0 / 5, LossScale: scale})
					require.NoError(t, err)
					require.False(t, res.Overflow)
					all.losses = append(all.losses, res.Loss...)
				}
				all.params, err = exec.Params()
				require.NoError(t, err)
				all.momentum, err = exec.Momentum()
				require.NoError(t, err)
				res, err := exec.Eval(batch)
				require.NoError(t, err)
				all.logits = res.Logits
				require.True(t, finite(all.logits))
				return all
			}
			type fusionCase struct {
				row       layers.Tuning
				precision layers.Precision
				form      string
			}
			cases := []fusionCase{
				{rows[0], layers.FP32, optim.Paper},
				{rows[0], layers.FP16, optim.PyTorch},
				{rows[len(rows)-1], layers.FP32, optim.PyTorch},
				{rows[len(rows)-1], layers.BF16, optim.Paper},
				{layers.VectorTuning(), layers.BF16, optim.PyTorch},
			}
			for _, row := range matrixRows(&dev.Info) {
				cases = append(cases, fusionCase{row, layers.FP16, optim.Paper})
			}
			for _, c := range cases {
				t.Run(fmt.Sprintf("%s/%s/%s", c.row.Name, c.precision, c.form), func(t *testing.T) {
					net := whole
					opt := ExecOptions{SGD: net.Solver.SGD(), Seed: 7, Precision: c.precision, Dropout: c.precision != layers.FP16}
					if c.precision != layers.FP32 {
						net, opt.Apart = halves, FusePool
					}
					opt.SGD.Form = c.form
					fused := run(net, opt, c.row, batch)
					opt.Apart = fuseAll
					run(net, opt, c.row, batch).requireSame(t, fused)
				})
			}
		})
	}
}
