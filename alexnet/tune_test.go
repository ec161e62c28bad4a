package alexnet

import (
	"context"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"vkalexnet/engine"
	"vkalexnet/layers"
	"vkalexnet/shaders"
)

// TestCandidates: every tile that a GPU is tried with is one that the kernel can
// be built for, and each product has some beside the safe one.
func TestCandidates(t *testing.T) {
	gpu := engine.Info{Type: engine.Discrete, Limits: engine.Limits{StorageRange: 1<<32 - 1, Shared: 48 << 10, Invocations: 1024, GroupCount: 65535}}
	sizes := []engine.MatrixSize{{M: 16, N: 16, K: 16}, {M: 16, N: 8, K: 16}, {M: 16, N: 8, K: 8}}
	gpu.Features = engine.Features{SubgroupSize: 32, Matrices: sizes, MatricesBF16: sizes}
	// What NVIDIA's driver lists: matrices that workgroups of 128 and 256 invocations hold.
	gpu.Features.Flexible = []engine.FlexibleSize{{MatrixSize: engine.MatrixSize{M: 32, N: 16, K: 16}, Invocations: 128}, {MatrixSize: engine.MatrixSize{M: 32, N: 32, K: 16}, Invocations: 256}}
	gpu.Features.FlexibleBF16, gpu.Limits.MatrixSize = gpu.Features.Flexible, 1024
	for _, c := range []struct {
		model     string
		precision layers.Precision
	}{{"alexnet", layers.FP32}, {"alexnet", layers.FP16}, {"alexnet", layers.BF16}, {"alexnet", layers.BF16x3}, {"alexnet-owt", layers.FP32}, {"alexnet-cifar", layers.FP16}} {
		net, err := Load(c.model)
		require.NoError(t, err)
		n, err := newDeviceNet(gpu, net, 128, ExecOptions{Precision: c.precision}, func(name string, words int, _ engine.Place) (engine.Buffer, error) {
			return engine.PlannedBuffer(name, words), nil
		})
		require.NoError(t, err)
		products := n.products()
		require.NotEmpty(t, products)
		for _, p := range products {
			candidates := p.Candidates(&gpu)
			require.Greater(t, len(candidates), 2, p.String())
			matrices := slices.ContainsFunc(candidates, func(t layers.Tuning) bool { return t.MatrixM > 0 })
			require.Equal(t, c.precision != layers.FP32, matrices, p.String())
			flexible := slices.ContainsFunc(candidates, func(t layers.Tuning) bool { return t.Flexible })
			require.Equal(t, c.precision == layers.FP16 || c.precision == layers.BF16, flexible, p.String())
			for _, candidate := range candidates {
				require.True(t, candidate.Sound(), "%s: %+v", p, candidate)
				require.True(t, candidate.Fits(&gpu), "%s: %+v", p, candidate)
				require.Equal(t, candidate.MatrixM > 0 && c.precision != layers.FP16, candidate.BF16, "%s: %+v", p, candidate)
				require.Equal(t, candidate.MatrixM > 0 && c.precision == layers.BF16x3, candidate.Split, "%s: %+v", p, candidate)
			}
		}
	}
}

// TestFlexible: rows with matrices of many sizes are for devices that list those and leave
// them the shared memory.
func TestFlexible(t *testing.T) {
	flexible := func(reserved, invocations uint32) (names []string) {
		gpu := engine.Info{Type: engine.Discrete, Limits: engine.Limits{StorageRange: 1<<32 - 1, Shared: 48 << 10, Invocations: 1024, GroupCount: 65535, MatrixSize: 1024, MatrixShared: reserved}}
		gpu.Features = engine.Features{SubgroupSize: 32, Matrices: []engine.MatrixSize{{M: 16, N: 16, K: 16}}, Flexible: []engine.FlexibleSize{{MatrixSize: engine.MatrixSize{M: 32, N: 16, K: 16}, Invocations: invocations}}}
		for _, a := range layers.Alternatives(&gpu, layers.FP16) {
			if a.Flexible {
				names = append(names, a.Name)
			}
		}
		return names
	}
	require.Equal(t, []string{"flexible128x128x32:64x64"}, flexible(8<<10, 256))
	require.Equal(t, []string{"flexible256x128x16:64x64"}, flexible(8<<10+1, 256), "128 × 128 takes 40 KiB")
	require.Equal(t, []string{"flexible128x128x16:32x64"}, flexible(24<<10, 256))
	require.Equal(t, []string{"flexible128x64x32:64x64"}, flexible(0, 128))
	require.Empty(t, flexible(24<<10+1, 256))
	require.Empty(t, flexible(0, 0), "those of subgroups gain nothing beyond sizes that are listed")
}

// TestAlternatives: verify computes small batches of linear layers by tiles too, where the
// table says vector.
func TestAlternatives(t *testing.T) {
	gpu := engine.Info{Type: engine.Discrete, Limits: engine.Limits{StorageRange: 1<<32 - 1, Shared: 48 << 10, Invocations: 1024, GroupCount: 65535}}
	var names []string
	for _, a := range layers.Alternatives(&gpu, layers.FP32) {
		names = append(names, a.Name)
	}
	require.Equal(t, []string{layers.Tunings(&gpu)[0].Name, "winograd"}, names)
}

// TestTune tunes a small network on every device: what is chosen fits, is kept
// on disk, and computes a step like the CPU's.
func TestTune(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	infos := usableDevices(t)
	net := parse(t, tuneTOML)
	for _, info := range infos {
		dev, err := engine.Open(info, shaders.FS)
		require.NoError(t, err)
		defer dev.Close()
		opt := ExecOptions{SGD: net.Solver.SGD()}
		choices, tuned, err := Tune(context.Background(), dev, net, 3, opt, nil, TuneOptions{})
		require.NoError(t, err)
		require.NotEmpty(t, tuned)
		for _, r := range tuned {
			require.Empty(t, r.Rejected, r.Product)
			require.NotEmpty(t, r.Candidates)
			require.Equal(t, choices[r.Product], r.Chosen)
		}
		require.NoError(t, StoreChoices(&dev.Info, choices))
		require.Equal(t, choices, ReadChoices(&dev.Info))

		again, tuned, err := Tune(context.Background(), dev, net, 3, opt, choices, TuneOptions{})
		require.NoError(t, err)
		require.Empty(t, tuned, "what was chosen before is not measured again")
		require.Equal(t, choices, again)
	}
}

const tuneTOML = `
name = "two products"
[input]
size = 9
stored = 9
[[layers]]
name = "conv1"
kind = "conv"
out = 12
kernel = 3
[[layers]]
name = "fc2"
kind = "linear"
out = 5
`

// TestChoicesOfOtherKernels: choices that were measured with another driver, or
// that make no sense, are not used.
func TestChoicesOfOtherKernels(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	info := engine.Info{Name: "a", DriverKey: "one", Limits: engine.Limits{Shared: 48 << 10, Invocations: 1024}}
	sound := layers.Tuning{Name: "sound", TileM: 64, TileN: 64, TileK: 8, EachM: 8, EachN: 8}
	require.NoError(t, StoreChoices(&info, layers.Choices{"p": sound, "q": {Name: "odd", TileM: 64, TileN: 60, TileK: 8, EachM: 7, EachN: 8}, "r": {Lanes: 8}}))
	require.Equal(t, layers.Choices{"p": sound}, ReadChoices(&info))
	other := info
	other.DriverKey = "two"
	require.Empty(t, ReadChoices(&other))
}
