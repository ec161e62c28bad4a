package layers

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSoftmaxLoss(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for name, c := range map[string]struct {
		scores []float32
		label  int32
		loss   float64
		rank   int32
	}{
		"all equal, first":       {[]float32{2, 2, 2, 2}, 0, math.Log(4), 0},
		"all equal, third":       {[]float32{2, 2, 2, 2}, 2, math.Log(4), 2},
		"a tie after the label":  {[]float32{0, 3, 3}, 1, math.Log(2 + math.Exp(-3)), 0},
		"the worst":              {[]float32{0, 1, 2}, 0, math.Log(1 + math.E + math.E*math.E), 2},
		"beyond exp of float32":  {[]float32{1000, 0}, 0, 0, 0},
		"and on the wrong label": {[]float32{1000, 0}, 1, 1000, 1},
		"very negative":          {[]float32{-1000, -1000}, 1, math.Log(2), 1},
		"ignored":                {[]float32{1, 2, nan}, -1, 0, 3},
		"label not a number":     {[]float32{1, nan, 2}, 1, math.NaN(), 3},
		"another not a number":   {[]float32{9, nan, 2}, 0, math.NaN(), 3},
		"infinity beside it":     {[]float32{9, nan, inf}, 2, math.NaN(), 3},
		"impossible label":       {[]float32{0, -inf}, 1, math.Inf(1), 1},
	} {
		t.Run(name, func(t *testing.T) {
			loss, rank := []float32{-1}, []int32{-1}
			dlogits := make([]float32, len(c.scores))
			SoftmaxLossCPU(c.scores, 1, len(c.scores), []int32{c.label}, nil, 0.5, loss, rank, dlogits)
			if math.IsNaN(c.loss) {
				require.True(t, math.IsNaN(float64(loss[0])), "loss %v", loss[0])
			} else {
				require.InDelta(t, c.loss, loss[0], 1e-6*max(1, c.loss))
				sum := 0.0
				for _, d := range dlogits {
					sum += float64(d)
				}
				require.InDelta(t, 0, sum, 1e-7, "the gradient adds up to zero")
			}
			require.Equal(t, c.rank, rank[0])
			SoftmaxLossCPU(c.scores, 1, len(c.scores), []int32{c.label}, nil, 0.5, loss, rank, nil)
			require.Equal(t, c.rank, rank[0], "without gradient")
		})
	}
}

// TestSoftmaxLossOfWeightedClasses compares with PyTorch's definition: the mean
// is sum(w[y]·l) / sum(w[y]), written out here for three examples.
func TestSoftmaxLossOfWeightedClasses(t *testing.T) {
	logits := []float32{1, 2, 0, 0.5, -1, 3, -2, 0, 1, 4, 4, 4}
	labels, w := []int32{1, 0, 2, -1}, []float32{0.5, 2, 1.25}
	sum, total, want := 0.0, 0.0, make([]float64, len(logits))
	for i, y := range labels[:3] {
		own, z := logits[3*i:][:3], 0.0
		for _, v := range own {
			z += math.Exp(float64(v))
		}
		sum += float64(w[y])
		total += float64(w[y]) * (math.Log(z) - float64(own[y]))
		for j, v := range own {
			want[3*i+j] = float64(w[y]) * math.Exp(float64(v)) / z
		}
		want[3*i+int(y)] -= float64(w[y])
	}
	loss, rank, dlogits := make([]float32, 4), make([]int32, 4), make([]float32, len(logits))
	SoftmaxLossCPU(logits, 4, 3, labels, w, float32(1/sum), loss, rank, dlogits)
	require.InDelta(t, total/sum, float64(loss[0]+loss[1]+loss[2])/sum, 1e-6)
	require.Zero(t, loss[3])
	for i := range want {
		require.InDelta(t, want[i]/sum, dlogits[i], 1e-6, "logit %d", i)
	}
	plain, plainRank := make([]float32, 4), make([]int32, 4)
	SoftmaxLossCPU(logits, 4, 3, labels, nil, 1, plain, plainRank, nil)
	require.Equal(t, plainRank, rank, "weights change no rank")
	for i, y := range labels[:3] {
		require.InDelta(t, w[y]*plain[i], loss[i], 1e-6)
	}
}

func TestSoftmaxLossIgnoredHasNoGradient(t *testing.T) {
	dlogits := []float32{7, 7, 7, 7}
	SoftmaxLossCPU([]float32{1, 2, 3, 4}, 2, 2, []int32{-1, 0}, nil, 1, make([]float32, 2), make([]int32, 2), dlogits)
	require.Equal(t, []float32{0, 0}, dlogits[:2])
	require.InDelta(t, 1/(1+math.E)-1, dlogits[2], 1e-6)
}

func TestSoftmaxGradientMatchesDifferences(t *testing.T) {
	const step, scale = 1e-2, 0.25
	scores := []float32{0.3, -1.2, 2.1, 0.7, -0.4}
	at := func() float64 {
		// In double precision: float32 losses would drown the difference.
		sum := 0.0
		for _, v := range scores {
			sum += math.Exp(float64(v))
		}
		return scale * (math.Log(sum) - float64(scores[3]))
	}
	loss, dlogits := make([]float32, 1), make([]float32, 5)
	SoftmaxLossCPU(scores, 1, 5, []int32{3}, nil, scale, loss, make([]int32, 1), dlogits)
	require.InDelta(t, at()/scale, loss[0], 1e-6)
	for i, old := range scores {
		scores[i] = old + step
		up, upAt := at(), scores[i]
		scores[i] = old - step
		down, downAt := at(), scores[i]
		scores[i] = old
		// The error of the central difference is step²/6 times a third
		// derivative below 0.1.
		require.InDelta(t, (up-down)/float64(upAt-downAt), dlogits[i], 2e-6, "logit %d", i)
	}
}
