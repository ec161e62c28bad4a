package alexnet

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"vkalexnet/engine"
	"vkalexnet/layers"
)

// chosenDevice is the one that "auto" takes.
func chosenDevice(t *testing.T) *engine.Device {
	infos := usableDevices(t)
	info, err := engine.Select(infos, "auto")
	require.NoError(t, err)
	return openDevice(t, info)
}

// TestHalfPassesRoundAndNothingElse runs whole training passes in 16 bits against
// the CPU reference, which rounds where the device does. Without ReLU and pooling,
// which rounding turns over, every update is off by less than a unit of the format;
// with them it is within bench's limits.
func TestHalfPassesRoundAndNothingElse(t *testing.T) {
	dev := chosenDevice(t)
	whole, err := Load("alexnet-small")
	require.NoError(t, err)
	smooth := *whole
	smooth.Layers = slices.DeleteFunc(slices.Clone(whole.Layers), func(l LayerSpec) bool {
		return l.Layer.Kind() == "relu" || l.Layer.Kind() == "maxpool"
	})
	for _, p := range []layers.Precision{layers.FP16, layers.BF16} {
		for name, net := range map[string]*Network{"smooth": &smooth, "whole": whole} {
			t.Run(name+"/"+p.String(), func(t *testing.T) {
				_, limit := benchLimits(p)
				if name == "smooth" {
					limit = p.Unit()
				}
				b, err := NewBench(net)
				require.NoError(t, err)
				b.Precision = p
				r, err := b.Open(t.Context(), dev, 2, BenchTrain)
				require.NoError(t, err)
				defer r.Close()
				want, err := b.answer(r.batches[0], 2, true)
				require.NoError(t, err)
				got, err := b.once(r.exec, r.batches[0], true, 2)
				require.NoError(t, err)
				for i, m := range want.momentum {
					require.LessOrEqual(t, relativeError(got.momentum[i].Data, m.Data), limit, m.Name)
				}
			})
		}
	}
}

// TestOverflowMovesNothing trains a step with a loss scale that no gradient in
// fp16 survives: the result says so, and every number stays finite.
func TestOverflowMovesNothing(t *testing.T) {
	dev := chosenDevice(t)
	net, err := Load("alexnet-small")
	require.NoError(t, err)
	for _, accumulate := range []bool{false, true} {
		exec, err := NewDevice(dev, net, 2, ExecOptions{SGD: net.Solver.SGD(), Precision: layers.FP16})
		require.NoError(t, err)
		defer exec.Close()
		b, err := NewBench(net)
		require.NoError(t, err)
		require.NoError(t, exec.SetParams(b.params))
		batch, err := b.pictures(t.Context(), 2, true)
		require.NoError(t, err)
		train := func(scale float32) BatchResult {
			if accumulate {
				_, err := exec.Train(batch, TrainStep{LR: 0.01, GradScale: 0.25, LossScale: scale})
				require.NoError(t, err)
			}
			res, err := exec.Train(batch, TrainStep{LR: 0.01, Accumulate: accumulate, Update: true, GradScale: 0.25, LossScale: scale})
			require.NoError(t, err)
			return res
		}
		require.True(t, train(1<<30).Overflow)
		params, err := exec.Params()
		require.NoError(t, err)
		for i, p := range params {
			require.True(t, finite(p.Data), p.Name)
			if i == len(params)-2 { // the last weight's gradient comes from infinities alone
				require.Less(t, relativeError(p.Data, b.params[i].Data), 1e-2, p.Name)
			}
		}
		require.False(t, train(64).Overflow)
	}
}

func TestLossScaleMoves(t *testing.T) {
	s := newLossScale(layers.FP16)
	require.Equal(t, lossScale{Factor: 65536}, s)
	for range lossScaleSteps - 1 {
		s.after(false)
	}
	require.Equal(t, 65536.0, s.Factor)
	s.after(false)
	require.Equal(t, lossScale{Factor: 131072}, s)
	s.after(false)
	s.after(true)
	require.Equal(t, lossScale{Factor: 65536}, s)
	for range 100 {
		s.after(true)
	}
	require.Equal(t, 1.0, s.Factor)
	none := newLossScale(layers.BF16)
	none.after(true)
	require.Zero(t, none)
}

// TestAutoIsFP16OrFP32: what tuning found for other precisions is named, not chosen.
func TestAutoIsFP16OrFP32(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	sizes := []engine.MatrixSize{{M: 16, N: 16, K: 16}}
	dev := &engine.Device{Info: engine.Info{Name: "a GPU", DriverKey: "one", Limits: engine.Limits{Shared: 48 << 10, Invocations: 1024},
		Features: engine.Features{SubgroupSize: 32, Matrices: sizes, MatricesBF16: sizes}}}
	split, ok := layers.SplitTuning(&dev.Info)
	require.True(t, ok)
	choices := layers.Choices{"p, bf16x3": split}
	require.NoError(t, StoreChoices(&dev.Info, choices))
	p, why := ChoosePrecision(dev)
	require.Equal(t, layers.FP32, p)
	require.Contains(t, why, "; those of bf16x3 were faster for p, bf16x3 among others")
	fp16 := split
	fp16.Split, fp16.BF16 = false, false
	choices["q"] = fp16
	require.NoError(t, StoreChoices(&dev.Info, choices))
	p, why = ChoosePrecision(dev)
	require.Equal(t, layers.FP16, p)
	require.Equal(t, "matrix units were measured to be faster on a GPU, and right, for q among others; those of bf16x3 were faster for p, bf16x3 among others", why)
}
