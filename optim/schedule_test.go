package optim

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSchedules(t *testing.T) {
	const base = 0.1
	type at struct{ epoch, lr float64 }
	for name, c := range map[string]struct {
		config Config
		want   []at
	}{
		"constant": {Config{Scheduler: "constant"}, []at{{0, 0.1}, {1000, 0.1}}},
		"step": {Config{Scheduler: "step", StepSize: 30, Gamma: 0.1},
			[]at{{0, 0.1}, {29.999, 0.1}, {30, 0.01}, {59.999, 0.01}, {60, 0.001}}},
		"multistep": {Config{Scheduler: "multistep", Milestones: []float64{25, 51, 79}, Gamma: 0.1},
			[]at{{0, 0.1}, {24.9, 0.1}, {25, 0.01}, {50.9, 0.01}, {51, 0.001}, {79, 0.0001}, {91, 0.0001}}},
		"poly": {Config{Scheduler: "poly", Power: 2, Total: 10, Min: 0.02},
			[]at{{0, 0.1}, {5, 0.02 + 0.08*0.25}, {10, 0.02}, {11, 0.02}}},
		"cosine": {Config{Scheduler: "cosine", Total: 10},
			[]at{{0, 0.1}, {2.5, 0.08535533905932738}, {5, 0.05}, {10, 0}, {12, 0}}},
		"cosine to a minimum": {Config{Scheduler: "cosine", Total: 10, Min: 0.05}, []at{{0, 0.1}, {5, 0.075}, {10, 0.05}}},
		"warm-up and cosine": {Config{Scheduler: "cosine", Total: 10, WarmupEpochs: 2, StepsPerEpoch: 4},
			[]at{{0, 0.1 / 8}, {0.25, 0.2 / 8}, {1.75, 0.1}, {2, 0.1}, {6, 0.05}, {10, 0}}},
		"warm-up keeps milestones": {Config{Scheduler: "multistep", Milestones: []float64{5}, Gamma: 0.5, WarmupEpochs: 1, StepsPerEpoch: 10},
			[]at{{1, 0.1}, {4.9, 0.1}, {5, 0.05}}},
	} {
		s, err := NewSchedule(c.config)
		require.NoError(t, err, name)
		for _, w := range c.want {
			require.InDelta(t, w.lr, s.LR(base, w.epoch), 1e-15, "%s at epoch %g", name, w.epoch)
		}
	}
}

// newPlateau is a schedule that halves after more than one bad epoch.
func newPlateau(t *testing.T) Schedule {
	s, err := NewSchedule(Config{Scheduler: "plateau", Gamma: 0.5, Patience: 1, Min: 0.03})
	require.NoError(t, err)
	return s
}

func TestPlateau(t *testing.T) {
	s := newPlateau(t)
	want := []struct{ loss, lr float64 }{
		{2, 0.1}, {1, 0.1}, // better
		{1, 0.1},                                // one bad epoch is allowed
		{0.99999, 0.05},                         // less than 1e-4 better is nothing
		{0.9, 0.05}, {0.95, 0.05}, {0.95, 0.03}, // 0.025 is below the minimum
		{0.8, 0.03},
	}
	for i, w := range want {
		s.Observe(w.loss)
		require.InDelta(t, w.lr, s.LR(0.1, float64(i)), 1e-15, "after epoch %d", i)
	}
	require.InDelta(t, 0.01, s.LR(0.01, 0), 1e-15, "a base below the minimum is not raised")
}

func TestPlateauGoesOnFromItsState(t *testing.T) {
	losses := []float64{2, 1, 1, 1, 0.5, 0.6, 0.7, 0.8, 0.9, 1}
	whole := newPlateau(t)
	for _, loss := range losses {
		whole.Observe(loss)
	}
	require.Equal(t, 3, whole.State().Drops)
	for stop := range losses {
		first := newPlateau(t)
		for _, loss := range losses[:stop] {
			first.Observe(loss)
		}
		text, err := json.Marshal(first.State())
		require.NoError(t, err)
		var state State
		require.NoError(t, json.Unmarshal(text, &state))
		second := newPlateau(t)
		second.SetState(state)
		for _, loss := range losses[stop:] {
			second.Observe(loss)
		}
		require.Equal(t, whole.State(), second.State(), "stopped after %d", stop)
	}
	require.Equal(t, State{}, Constant{}.State(), "the others remember nothing")
}

func TestSchedulesThatCannotBeMeant(t *testing.T) {
	for says, c := range map[string]Config{
		"known are constant, step":          {Scheduler: "linear"},
		"step size of 0 epochs":             {Scheduler: "step", Gamma: 0.1},
		"gamma 0 must":                      {Scheduler: "step", StepSize: 1},
		"gamma 2 must":                      {Scheduler: "plateau", Gamma: 2},
		"milestones [] must":                {Scheduler: "multistep", Gamma: 0.1},
		"milestones [3 2] must":             {Scheduler: "multistep", Gamma: 0.1, Milestones: []float64{3, 2}},
		"power 0 must":                      {Scheduler: "poly", Total: 1},
		"leaves nothing to schedule":        {Scheduler: "cosine", Total: 2, WarmupEpochs: 2, StepsPerEpoch: 1},
		"needs the number of steps":         {Scheduler: "constant", WarmupEpochs: 2},
		"lowest learning rate -1":           {Scheduler: "constant", Min: -1},
		"warm-up of -1":                     {Scheduler: "constant", WarmupEpochs: -1},
		"patience of -1":                    {Scheduler: "plateau", Gamma: 0.1, Patience: -1},
		`schedule "cosine": a run of 0 epo`: {Scheduler: "cosine"},
	} {
		_, err := NewSchedule(c)
		require.ErrorContains(t, err, says)
	}
	for _, name := range Schedulers {
		_, err := NewSchedule(Config{Scheduler: name, StepSize: 1, Gamma: 0.1, Milestones: []float64{1}, Power: 1, Total: 1})
		require.NoError(t, err, name)
	}
}
