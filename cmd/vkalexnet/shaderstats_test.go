package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"vkalexnet/engine"
	"vkalexnet/layers"
)

// fakeStats are two rows' statistics of one kernel and one that no row concerns.
func fakeStats() *shaderStats {
	pipeline := func(kernel, constants string, vgprs, spilled, scratch, sgprSpills float64) engine.PipelineStatistics {
		return engine.PipelineStatistics{Kernel: kernel, Constants: constants, Local: [3]uint32{64, 1, 1}, Subgroup: 64,
			Labels: []string{"conv1 forward"}, Values: []engine.Statistic{{Name: "VGPRs", Value: vgprs},
				{Name: "Spilled VGPRs", Value: spilled}, {Name: "Scratch size", Value: scratch}, {Name: "Spilled SGPRs", Value: sgprSpills}}}
	}
	s := &shaderStats{Device: "fake", Models: []string{"net"}, Batches: []int{1}, rows: []layers.Tuning{{Name: "small"}, {Name: "large"}}}
	found := map[string]*kernelStats{}
	for _, row := range s.rows {
		s.add(found, pipeline("relu", "", 8, 0, 0, 0), "net", row.Name)
	}
	s.add(found, pipeline("gemm", "STRIDE=1", 40, 0, 0, 0), "net", "small")
	s.add(found, pipeline("gemm", "STRIDE=4", 48, 0, 0, 5), "net", "small")
	s.add(found, pipeline("gemm", "STRIDE=8", 96, 0, 0, 0), "net", "large")
	return s
}

func TestShaderStatsTable(t *testing.T) {
	s := fakeStats()
	s.Missing = []string{"gemm_other"}
	var out bytes.Buffer
	require.NoError(t, s.print(&out, false))
	require.Equal(t, `fake
net; batches [1]; 4 pipelines
KERNEL  ROW    PIPELINES  THREADS  SUBGROUP  VGPRS  SPILLED VGPRS  SCRATCH  SPILLED SGPRS
relu    any    1          64       64        8      0              0        0
gemm    small  2          64       64        40–48  0              0        0–5
gemm    large  1          64       64        96     0              0        0
not compiled, as nothing here uses them: gemm_other
`, out.String())
	out.Reset()
	require.NoError(t, s.print(&out, true))
	require.Contains(t, out.String(), "net conv1 forward (STRIDE=4)")
}

func TestShaderStatsNameCandidates(t *testing.T) {
	s := fakeStats()
	found := map[string]*kernelStats{}
	for _, row := range []string{"a", "b", "c", "d"} { // of no row of the table
		s.add(found, s.Kernels[1].PipelineStatistics, "net", row)
	}
	require.Equal(t, "a and 3 more", s.rowName(s.Kernels[len(s.Kernels)-1]))
	s.Kernels[0].Rows = append(s.Kernels[0].Rows, "a")
	require.Equal(t, "any", s.rowName(s.Kernels[0]), "every row of the table, and more")
}

func TestShaderStatsRefuseSpills(t *testing.T) {
	require.NoError(t, fakeStats().check(true), "spilled scalar registers are only reported")
	for at, problem := range map[int]string{1: "Spilled VGPRs 3", 2: "Scratch size 3"} {
		s := fakeStats()
		s.Kernels[2].Values[at].Value = 3
		require.EqualError(t, s.check(true), "1 of 4 pipelines spill vector registers on fake:\n  gemm, row small, net conv1 forward (STRIDE=4): "+problem)
	}
	s := fakeStats()
	s.Kernels[3].Values = s.Kernels[3].Values[:1]
	require.ErrorContains(t, s.check(true), "does not tell whether kernel gemm spills")
	s = fakeStats()
	s.Missing = []string{"gemm_other", "lrn"}
	require.ErrorContains(t, s.check(true), "kernel lrn is in no step of net")
	require.NoError(t, s.check(false), "of chosen networks")
	s.Missing, s.Candidates = []string{"gemm_matrix_forward"}, []string{"net"}
	require.NoError(t, s.check(true), "on a device without matrices")
	s.matrices = true
	require.ErrorContains(t, s.check(true), "gemm_matrix_forward is no candidate")
	s.Missing = []string{"gemm_matrix_bf16_forward"}
	require.NoError(t, s.check(true), "on a device with matrices of fp16 alone")
	s.matricesBF16 = true
	require.ErrorContains(t, s.check(true), "gemm_matrix_bf16_forward is no candidate")
}
