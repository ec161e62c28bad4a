package alexnet

import (
	"context"
	"errors"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEvaluateCounts(t *testing.T) {
	net := parse(t, tinyTOML)
	src := pictures(7)
	src.bad = map[int]bool{5: true}
	src.label = func(i int) int { return []int{0, 1, 2, 0, 1, 2, -1}[i] }
	exec := &scripted{logits: func(i int, _, _ float32) []float32 {
		return [][]float32{
			{2, 1, 0},  // right
			{2, 1, 0},  // second
			{0, 0, -1}, // last
			{1, 1, 1},  // equal scores: the lower index wins, which is right
			{1, 1, 1},  // and here it is not
			{9, 9, 9},  // cannot be read
			{9, 0, 0},  // has no label
		}[i]
	}}
	var progress []int
	r, err := Evaluate(t.Context(), exec, net, src, EvalOptions{Batch: 3, Workers: 2, Progress: func(done, total int) {
		require.Equal(t, 7, total)
		progress = append(progress, done)
	}})
	require.NoError(t, err)
	require.Equal(t, []int{3, 6, 7}, progress)
	require.Equal(t, 5, r.Images)
	require.Equal(t, 3, r.K)
	require.InDelta(t, 2.0/5, r.Top1, 1e-15)
	require.InDelta(t, 1.0, r.Top5, 1e-15)
	loss := -math.Log(softmaxOf(2, 1, 0)[0]) - math.Log(softmaxOf(2, 1, 0)[1]) - math.Log(softmaxOf(0, 0, -1)[2]) + 2*math.Log(3)
	require.InEpsilon(t, loss/5, r.Loss, 1e-6)
	require.Equal(t, [][]int{{2, 0, 0}, {2, 0, 0}, {1, 0, 0}}, r.Confusion)
	require.Len(t, r.Bad, 1)
	require.ErrorIs(t, r.Bad[0], errTorn)
	require.Equal(t, "short side 14, centre 14×14 (antialiased bilinear), centre crop 12, RGB, mean 128/128/128, std 64/64/64", r.Protocol)
}

func TestTopFiveOfManyClasses(t *testing.T) {
	net := parse(t, tinyTOML).WithClasses(8)
	src := pictures(8)
	src.label = func(i int) int { return i }
	exec := &scripted{logits: func(int, float32, float32) []float32 { return []float32{8, 7, 6, 5, 4, 3, 2, 1} }}
	r, err := Evaluate(t.Context(), exec, net, src, EvalOptions{Batch: 8})
	require.NoError(t, err)
	require.Equal(t, 5, r.K)
	require.Equal(t, 1.0/8, r.Top1)
	require.Equal(t, 5.0/8, r.Top5)
}

func TestTenViewsAreAveragedAsProbabilities(t *testing.T) {
	net := parse(t, tinyTOML)
	seen := map[[2]float32]int{}
	exec := &scripted{logits: func(i int, x, y float32) []float32 {
		seen[[2]float32{x, y}]++
		if x == 0 && y == 0 { // one view in ten is very sure
			return []float32{0, 100, 0}
		}
		return []float32{1, 0, 0}
	}}
	r, err := Evaluate(t.Context(), exec, net, pictures(2), EvalOptions{Batch: 2, Crops: 10})
	require.NoError(t, err)
	// corners and centre, then the same from their right ends, 11 pixels on
	require.Equal(t, map[[2]float32]int{{0, 0}: 2, {2, 0}: 2, {1, 1}: 2, {0, 2}: 2, {2, 2}: 2,
		{11, 0}: 2, {13, 0}: 2, {12, 1}: 2, {11, 2}: 2, {13, 2}: 2}, seen)
	p := softmaxOf(1, 0, 0)
	right := []float64{0.9 * p[0], 0.9*p[1] + 0.1}
	require.InEpsilon(t, -(math.Log(right[0])+math.Log(right[1]))/2, r.Loss, 1e-6)
	require.Equal(t, 0.5, r.Top1)
	require.Contains(t, r.Protocol, "10 crops of 12, probabilities averaged")

	_, err = Evaluate(t.Context(), exec, net, pictures(2), EvalOptions{Batch: 2, Crops: 3})
	require.ErrorContains(t, err, "3 views are not defined")
}

func TestEvaluateIsTheSameForEveryBatchAndWorker(t *testing.T) {
	net := parse(t, tinyTOML)
	exec := ready(t, net, 8, ExecOptions{})
	want, err := Evaluate(t.Context(), exec, net, pictures(11), EvalOptions{Batch: 1, Workers: 1})
	require.NoError(t, err)
	for _, batch := range []int{3, 8} {
		got, err := Evaluate(t.Context(), exec, net, pictures(11), EvalOptions{Batch: batch, Workers: 3})
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

func TestEvaluateErrors(t *testing.T) {
	net := parse(t, tinyTOML)
	nan := &scripted{logits: func(int, float32, float32) []float32 { return []float32{0, float32(math.NaN()), 0} }}
	_, err := Evaluate(t.Context(), nan, net, pictures(2), EvalOptions{Batch: 2})
	require.ErrorContains(t, err, "scores of picture-0 are not numbers")

	exec := ready(t, net, 2, ExecOptions{})
	unlabelled := pictures(2)
	unlabelled.label = func(int) int { return -1 }
	_, err = Evaluate(t.Context(), exec, net, unlabelled, EvalOptions{Batch: 2})
	require.ErrorContains(t, err, "none of the 2 pictures has a label")

	torn := pictures(4)
	torn.bad = map[int]bool{1: true}
	_, err = Evaluate(t.Context(), exec, net, torn, EvalOptions{Batch: 2, OnBadImage: "fail"})
	require.ErrorIs(t, err, errTorn)

	ctx, cancel := context.WithCancel(t.Context())
	_, err = Evaluate(ctx, exec, net, pictures(8), EvalOptions{Batch: 2, Progress: func(int, int) { cancel() }})
	require.ErrorIs(t, err, context.Canceled)
}

func TestClassify(t *testing.T) {
	net := parse(t, tinyTOML)
	src := pictures(5)
	src.bad = map[int]bool{2: true}
	exec := &scripted{logits: func(i int, _, _ float32) []float32 { return []float32{float32(i), 0, 1} }}
	var got []Prediction
	err := Classify(t.Context(), exec, net, src, EvalOptions{Batch: 2}, func(p Prediction) error {
		got = append(got, p)
		return nil
	})
	require.NoError(t, err)
	require.Len(t, got, 5)
	for i, p := range got {
		require.Equal(t, i, p.Index)
		require.Equal(t, src.Name(i), p.Name)
		if i == 2 {
			require.ErrorIs(t, p.Err, errTorn)
			require.Empty(t, p.Probs)
			continue
		}
		require.NoError(t, p.Err)
		require.Equal(t, []float32{float32(i), 0, 1}, p.Logits)
		for j, want := range softmaxOf(float64(i), 0, 1) {
			require.InDelta(t, want, float64(p.Probs[j]), 1e-6)
		}
	}
	enough := errors.New("enough")
	err = Classify(t.Context(), exec, net, src, EvalOptions{Batch: 2}, func(Prediction) error { return enough })
	require.ErrorIs(t, err, enough)
}
