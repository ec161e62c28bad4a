package optim

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Schedule gives the learning rate of each step. Time is counted in epochs:
// step / (steps per epoch), so 1.5 is the middle of the second one. A schedule
// is asked once per step and told once per epoch.
type Schedule interface {
	// LR is the learning rate at that time; base is the configured one.
	LR(base, epoch float64) float64
	// Observe is told the validation loss after each epoch.
	Observe(loss float64)
	// State is all that Observe has changed; SetState brings it back.
	State() State
	SetState(State)
}

// State is what a schedule remembers of the run: nothing, for all but
// [Plateau]. It is kept in checkpoints as JSON.
type State struct {
	// Best is the lowest loss seen; it counts when Seen is set.
	Best float64 `json:"best,omitempty"`
	Seen bool    `json:"seen,omitempty"`
	// Bad is how many epochs in a row did not better it.
	Bad int `json:"bad,omitempty"`
	// Drops is how often the learning rate has been lowered.
	Drops int `json:"drops,omitempty"`
}

// stateless is embedded in schedules that depend on the time alone.
type stateless struct{}

func (stateless) Observe(float64) {}
func (stateless) State() State    { return State{} }
func (stateless) SetState(State)  {}

// Constant keeps the learning rate.
type Constant struct{ stateless }

// LR is base.
func (Constant) LR(base, _ float64) float64 { return base }

// Step multiplies the learning rate by Gamma after every Size epochs.
type Step struct {
	stateless
	Size, Gamma float64
}

// LR is base · Gamma^⌊epoch / Size⌋.
func (s Step) LR(base, epoch float64) float64 {
	return base * math.Pow(s.Gamma, math.Floor(epoch/s.Size))
}

// MultiStep multiplies the learning rate by Gamma at each of the Milestones
// (epochs, ascending).
type MultiStep struct {
	stateless
	Milestones []float64
	Gamma      float64
}

// LR is base · Gamma^(milestones passed).
func (s MultiStep) LR(base, epoch float64) float64 {
	passed := 0
	for _, m := range s.Milestones {
		if epoch >= m {
			passed++
		}
	}
	return base * math.Pow(s.Gamma, float64(passed))
}

// Poly lets the learning rate fall to Min as a power of what remains of Total
// epochs (Caffe's "poly").
type Poly struct {
	stateless
	Power, Total, Min float64
}

// LR is Min + (base − Min) · (1 − epoch/Total)^Power.
func (s Poly) LR(base, epoch float64) float64 {
	return s.Min + (base-s.Min)*math.Pow(1-min(epoch/s.Total, 1), s.Power)
}

// Cosine lets the learning rate fall to Min along half a cosine over Total
// epochs (Loshchilov and Hutter, "SGDR", 2017, without restarts).
type Cosine struct {
	stateless
	Total, Min float64
}

// LR is Min + (base − Min) · (1 + cos(π · epoch/Total)) / 2.
func (s Cosine) LR(base, epoch float64) float64 {
	return s.Min + (base-s.Min)*(1+math.Cos(math.Pi*min(epoch/s.Total, 1)))/2
}

// Plateau multiplies the learning rate by Factor, but not below Min, when the
// validation loss has not become lower for more than Patience epochs: what the
// authors of AlexNet did by hand.
type Plateau struct {
	Factor   float64
	Patience int
	Min      float64
	state    State
}

// LR is base · Factor^(drops so far), at least Min.
func (s *Plateau) LR(base, _ float64) float64 {
	return max(base*math.Pow(s.Factor, float64(s.state.Drops)), min(s.Min, base))
}

// Observe counts the epochs that brought nothing. A gain of less than one part
// in 10,000 counts as nothing.
func (s *Plateau) Observe(loss float64) {
	const threshold = 1e-4
	if !s.state.Seen || loss < s.state.Best*(1-threshold) {
		s.state.Best, s.state.Seen, s.state.Bad = loss, true, 0
		return
	}
	s.state.Bad++
	if s.state.Bad > s.Patience {
		s.state.Bad = 0
		s.state.Drops++
	}
}

// State is what has been observed so far.
func (s *Plateau) State() State { return s.state }

// SetState replaces what has been observed.
func (s *Plateau) SetState(state State) { s.state = state }

// Warmup lets the learning rate rise in a straight line over the first Epochs,
// then follows Then, whose time starts where the rise ends.
type Warmup struct {
	Schedule
	Epochs float64
	// StepsPerEpoch makes the first step's learning rate that of one step of
	// the rise instead of 0.
	StepsPerEpoch float64
}

// LR is base · (step+1)/(steps of the rise) during the rise.
func (s Warmup) LR(base, epoch float64) float64 {
	if epoch < s.Epochs {
		return base * min((epoch+1/s.StepsPerEpoch)/s.Epochs, 1)
	}
	return s.Schedule.LR(base, epoch-s.Epochs)
}

// Schedulers are the names that [NewSchedule] knows.
var Schedulers = []string{"constant", "step", "multistep", "poly", "cosine", "plateau"}

// Config names a schedule and its numbers; those that the schedule does not
// use are ignored. Times are in epochs.
type Config struct {
	Scheduler    string    // one of Schedulers
	StepSize     float64   // step
	Gamma        float64   // step, multistep, plateau
	Milestones   []float64 // multistep
	Power        float64   // poly
	Patience     int       // plateau
	Min          float64   // poly, cosine, plateau: the lowest learning rate
	WarmupEpochs float64   // any
	Total        float64   // poly, cosine: the whole run
	// StepsPerEpoch is needed with WarmupEpochs.
	StepsPerEpoch float64
}

// NewSchedule makes the schedule that c describes. Its errors say which number
// cannot be meant.
func NewSchedule(c Config) (Schedule, error) {
	s, err := c.schedule()
	if err != nil {
		return nil, fmt.Errorf("learning rate schedule %q: %w", c.Scheduler, err)
	}
	return s, nil
}

func (c Config) schedule() (Schedule, error) {
	if !(c.Min >= 0) {
		return nil, fmt.Errorf("lowest learning rate %g must not be negative", c.Min)
	}
	if !(c.WarmupEpochs >= 0) {
		return nil, fmt.Errorf("warm-up of %g epochs must not be negative", c.WarmupEpochs)
	}
	gamma := func() error {
		if !(c.Gamma > 0 && c.Gamma <= 1) {
			return fmt.Errorf("gamma %g must be above 0 and at most 1", c.Gamma)
		}
		return nil
	}
	rest := c.Total - c.WarmupEpochs
	total := func() error {
		if !(rest > 0) {
			return fmt.Errorf("a run of %g epochs with a warm-up of %g leaves nothing to schedule: more epochs or a shorter warm-up are needed", c.Total, c.WarmupEpochs)
		}
		return nil
	}
	var s Schedule
	var err error
	switch c.Scheduler {
	case "constant":
		s = Constant{}
	case "step":
		if !(c.StepSize > 0) {
			return nil, fmt.Errorf("step size of %g epochs must be positive", c.StepSize)
		}
		s, err = Step{Size: c.StepSize, Gamma: c.Gamma}, gamma()
	case "multistep":
		if len(c.Milestones) == 0 || !slices.IsSorted(c.Milestones) || !(c.Milestones[0] > 0) {
			return nil, fmt.Errorf("milestones %v must be positive epochs in ascending order", c.Milestones)
		}
		// The milestones are epochs of the run, so the warm-up does not move them.
		shifted := slices.Clone(c.Milestones)
		for i := range shifted {
			shifted[i] -= c.WarmupEpochs
		}
		s, err = MultiStep{Milestones: shifted, Gamma: c.Gamma}, gamma()
	case "poly":
		if !(c.Power > 0) {
			return nil, fmt.Errorf("power %g must be positive", c.Power)
		}
		s, err = Poly{Power: c.Power, Total: rest, Min: c.Min}, total()
	case "cosine":
		s, err = Cosine{Total: rest, Min: c.Min}, total()
	case "plateau":
		if c.Patience < 0 {
			return nil, fmt.Errorf("patience of %d epochs must not be negative", c.Patience)
		}
		s, err = &Plateau{Factor: c.Gamma, Patience: c.Patience, Min: c.Min}, gamma()
	default:
		return nil, fmt.Errorf("unknown; known are %s", strings.Join(Schedulers, ", "))
	}
	if err != nil {
		return nil, err
	}
	if c.WarmupEpochs > 0 {
		if !(c.StepsPerEpoch > 0) {
			return nil, fmt.Errorf("a warm-up needs the number of steps per epoch, not %g", c.StepsPerEpoch)
		}
		s = Warmup{Schedule: s, Epochs: c.WarmupEpochs, StepsPerEpoch: c.StepsPerEpoch}
	}
	return s, nil
}
