package alexnet

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vkalexnet/engine"
	"vkalexnet/layers"
)

// TestRecordingsFollowTheRow needs no device.
func TestRecordingsFollowTheRow(t *testing.T) {
	net, err := Load("alexnet-small")
	require.NoError(t, err)
	info := engine.Info{Type: engine.Discrete, Features: engine.Features{SubgroupBallot: true, SubgroupSize: 8},
		Limits: engine.Limits{StorageRange: 128 << 20, Allocation: 1 << 30, GroupCount: 65535, Invocations: 1024, Shared: 32768}}
	options := ExecOptions{SGD: net.Solver.SGD(), Dropout: true}
	rows := layers.Tunings(&info)
	require.Greater(t, len(rows), 1)
	for _, row := range rows {
		recordings, err := Recordings(info, net, 4, options, row)
		require.NoError(t, err)
		require.Len(t, recordings, 4)
		eval, train, kept, update := recordings[0].String(), recordings[1].String(), recordings[2].String(), recordings[3].String()
		lanes := "gemm_lanes"
		if row.Lanes == 0 {
			lanes = "gemm_tiles"
		}
		for _, text := range []string{eval, train, kept} {
			require.Contains(t, text, lanes, row.Name)
			for _, other := range []string{"gemm_lanes", "gemm_tiles"} {
				if other != lanes {
					require.NotContains(t, text, other, row.Name)
				}
			}
		}
		require.NotContains(t, eval, "backward")
		require.Contains(t, train, "backward")
		require.Contains(t, train, "sgd")
		require.NotContains(t, kept, "sgd", "gradients that are kept are applied by the update")
		require.Contains(t, update, "sgd")
	}
	// Dropout is applied by the layer before it, where it is not kept apart.
	for apart, calls := range map[Fusion]bool{0: false, FuseDropout: true, FuseMask: true} {
		options.Apart = apart
		recordings, err := Recordings(info, net, 4, options, rows[0])
		require.NoError(t, err)
		require.NotContains(t, recordings[0].String(), "drop")
		require.Equal(t, calls, strings.Contains(recordings[1].String(), "drop6 forward"), "apart: %d", apart)
	}
	options.Apart = 0
	// The row for small batches is that of linear layers' products alone.
	recordings, err := Recordings(info, net, 4, options, layers.VectorTuning())
	require.NoError(t, err)
	for _, r := range recordings[:3] {
		for _, line := range strings.Split(r.String(), "\n") {
			linear := strings.Contains(line, " fc") && !strings.Contains(line, "backward_weight")
			require.Equal(t, linear && strings.Contains(line, "gemm_"), strings.Contains(line, "gemm_vector_"), line)
		}
	}
	options.Inference = true
	recordings, err = Recordings(info, net, 4, options, rows[0])
	require.NoError(t, err)
	require.Len(t, recordings, 1)
}

// Every tuning that Tune tries is there, with every product that it is tried for.
func TestCandidateRecordings(t *testing.T) {
	net, err := Load("alexnet-small")
	require.NoError(t, err)
	info := engine.Info{Type: engine.Discrete, Features: engine.Features{SubgroupSize: 32, Matrices: []engine.MatrixSize{{M: 16, N: 16, K: 16}}, MatricesBF16: []engine.MatrixSize{{M: 16, N: 16, K: 16}}},
		Limits: engine.Limits{StorageRange: 128 << 20, Allocation: 1 << 30, GroupCount: 65535, Invocations: 1024, Shared: 65536}}
	info.Features.Flexible, info.Limits.MatrixSize = []engine.FlexibleSize{{MatrixSize: engine.MatrixSize{M: 32, N: 32, K: 16}, Invocations: 256}}, 1024
	for _, c := range []struct {
		precision layers.Precision
		batch     int
	}{{layers.FP32, 16}, {layers.FP16, 16}, {layers.BF16, 16}, {layers.BF16x3, 16}, {layers.FP32, 8}, {layers.FP16, 1}} {
		precision := c.precision
		options := ExecOptions{SGD: net.Solver.SGD(), Precision: precision}
		recordings, err := CandidateRecordings(info, net, c.batch, options)
		require.NoError(t, err)
		n, err := planNet(info, net, c.batch, options)
		require.NoError(t, err)
		tried, vectors, flexible := 0, 0, 0
		for _, p := range n.products() {
			for _, c := range p.Candidates(&info) {
				if precision == layers.BF16x3 && !c.Split {
					require.NotContains(t, recordings, c.Name, "it is fp32's")
					continue
				}
				tried++
				require.Contains(t, recordings, c.Name)
				require.Contains(t, recordings[c.Name].String(), p.String())
				kernel := "gemm_tiles_"
				switch {
				case c.Vector:
					kernel = "gemm_vector_"
					vectors++
				case c.Split:
					kernel = "gemm_matrix_bf16_"
					require.Contains(t, recordings, strings.Replace(c.Name, "split", "split-fp16-", 1))
				case c.Flexible:
					kernel = "gemm_flexible_" + precision.String()
					flexible++
				case c.Eights:
					kernel = "gemm_mma_" + precision.String()
				case c.MatrixM > 0:
					kernel = "gemm_matrix_"
				}
				require.Contains(t, recordings[c.Name].String(), kernel)
			}
		}
		require.Greater(t, tried, len(recordings))
		matrices := 0
		for name := range recordings {
			if strings.HasPrefix(name, "split") || strings.HasPrefix(name, "eights") {
				matrices++
			}
		}
		require.Equal(t, precision != layers.FP32, matrices > 0, precision)
		require.Equal(t, precision == layers.FP16, flexible > 0, precision)
		require.Equal(t, c.batch <= 8, vectors > 0, "batch %d", c.batch)
	}
}

// TestSplitChoicesAreOfBF16x3: no product has the same name in fp32 and in bf16x3, and
// one of fp32 splits nothing even where a file says so.
func TestSplitChoicesAreOfBF16x3(t *testing.T) {
	net, err := Load("alexnet-small")
	require.NoError(t, err)
	info := engine.Info{Type: engine.Discrete, Features: engine.Features{SubgroupSize: 32, MatricesBF16: []engine.MatrixSize{{M: 16, N: 16, K: 16}}},
		Limits: engine.Limits{StorageRange: 128 << 20, Allocation: 1 << 30, GroupCount: 65535, Invocations: 1024, Shared: 48 << 10}}
	split, ok := layers.SplitTuning(&info)
	require.True(t, ok)
	names, choices := map[string]bool{}, layers.Choices{}
	steps := map[layers.Precision]string{}
	for _, precision := range []layers.Precision{layers.FP32, layers.BF16x3} {
		n, err := planNet(info, net, 16, ExecOptions{SGD: net.Solver.SGD(), Precision: precision, Choices: choices})
		require.NoError(t, err)
		for _, p := range n.products() {
			require.False(t, names[p.String()], p.String())
			names[p.String()], choices[p.String()] = true, split
		}
		r := engine.NewRecording(info)
		n.recordTrain(r)
		steps[precision] = r.String()
	}
	require.NotContains(t, steps[layers.FP32], "gemm_matrix_")
	require.NotContains(t, steps[layers.BF16x3], "gemm_tiles_")
	for _, op := range []string{"forward", "backward_input", "backward_weight"} {
		require.Contains(t, steps[layers.BF16x3], "gemm_matrix_bf16_"+op)
	}
}
