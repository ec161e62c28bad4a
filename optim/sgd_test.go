package optim

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// The trace of both forms was worked out by hand in float64: one weight of 1,
// a gradient of 0.1, and a learning rate that falls by ten after two steps.
func TestTraceOfBothForms(t *testing.T) {
	for form, want := range map[string][4]float64{
		Paper:   {0.998995000, 0.997085505, 0.995266461, 0.993528824},
		"":      {0.998995000, 0.997085505, 0.995266461, 0.993528824},
		PyTorch: {0.998995000, 0.997085505, 0.996813152, 0.996467536},
	} {
		w, v, g := []float32{1}, []float32{0}, []float32{0.1}
		for step, lr := range []float32{0.01, 0.01, 0.001, 0.001} {
			SGD{LR: lr, Momentum: 0.9, WeightDecay: 5e-4, Form: form}.UpdateCPU(w, v, g, 1, 1)
			require.InDelta(t, want[step], float64(w[0]), 3e-7, "%s, step %d", form, step)
		}
		require.Equal(t, float32(0.1), g[0], "gradients are not changed")
	}
}

func TestFactorsOfATensor(t *testing.T) {
	for _, form := range []string{Paper, PyTorch} {
		s := SGD{LR: 0.5, Momentum: 0, WeightDecay: 0.25, Form: form}
		w, v := []float32{2, 2, 2}, []float32{0, 0, 0}
		s.UpdateCPU(w[:1], v[:1], []float32{1}, 1, 1) // 2 − 0.5·(1 + 0.25·2)
		s.UpdateCPU(w[1:2], v[1:2], []float32{1}, 2, 0)
		s.UpdateCPU(w[2:], v[2:], []float32{1}, 0, 1)
		require.Equal(t, []float32{1.25, 1, 2}, w, form)
	}
}

func TestNumbersThatCannotBeMeant(t *testing.T) {
	good := SGD{LR: 0.1, Momentum: 0.9}
	require.NoError(t, good.Check())
	for says, s := range map[string]SGD{
		"learning rate -1":   {LR: -1},
		"learning rate NaN":  {LR: float32(math.NaN())},
		"momentum 1":         {Momentum: 1},
		"momentum -0.5":      {Momentum: -0.5},
		"weight decay -0.01": {WeightDecay: -0.01},
		`form "adam"`:        {Form: "adam"},
	} {
		require.ErrorContains(t, s.Check(), says)
	}
}
