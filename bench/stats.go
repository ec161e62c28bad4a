package bench

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// Stats sums samples up, in seconds. Medians are told rather than means: one
// sample that another program disturbed does not move them.
type Stats struct {
	N      int     `json:"n"`
	Median float64 `json:"median"`
	Q1     float64 `json:"q1"`
	Q3     float64 `json:"q3"`
	// MAD is the median absolute deviation from the median.
	MAD  float64 `json:"mad"`
	Min  float64 `json:"min"`
	Max  float64 `json:"max"`
	Mean float64 `json:"mean"`
	// Drift is the median of the last third over that of the first third, less
	// 1: above 0, the device became slower. Nil for fewer than 6 samples.
	Drift *float64 `json:"drift,omitempty"`
}

// driftSamples is how many samples it takes to speak of thirds.
const driftSamples = 6

// NewStats is nil where there are no samples.
func NewStats(samples []float64) *Stats {
	if len(samples) == 0 {
		return nil
	}
	sorted := slices.Clone(samples)
	slices.Sort(sorted)
	s := &Stats{N: len(sorted), Median: quantile(sorted, 0.5), Q1: quantile(sorted, 0.25), Q3: quantile(sorted, 0.75),
		Min: sorted[0], Max: sorted[len(sorted)-1]}
	deviations := make([]float64, len(sorted))
	for i, v := range sorted {
		s.Mean += v / float64(len(sorted))
		deviations[i] = math.Abs(v - s.Median)
	}
	slices.Sort(deviations)
	s.MAD = quantile(deviations, 0.5)
	if third := len(samples) / 3; len(samples) >= driftSamples {
		d := median(samples[len(samples)-third:])/median(samples[:third]) - 1
		s.Drift = &d
	}
	return s
}

// Drifts reports whether the drift is more than 5 % and more than the samples'
// own spread explains.
func (s *Stats) Drifts() bool {
	return s.Drift != nil && math.Abs(*s.Drift) > max(0.05, (s.Q3-s.Q1)/s.Median)
}

func median(samples []float64) float64 {
	sorted := slices.Clone(samples)
	slices.Sort(sorted)
	return quantile(sorted, 0.5)
}

// quantile interpolates between the two nearest of the sorted samples (type 7
// of Hyndman and Fan, "Sample Quantiles in Statistical Packages", 1996).
func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}

// Ratio is how many times faster b is than a, with a 95 % interval.
type Ratio struct {
	Value float64 `json:"ratio"` // median time of a over median time of b
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
	// Verdict is "faster", "slower" or "cannot tell".
	Verdict string `json:"verdict"`
	Why     string `json:"why,omitempty"`
}

// The verdicts on b.
const (
	Faster     = "faster"
	Slower     = "slower"
	CannotTell = "cannot tell"
)

const (
	bootstrapRounds = 4000
	fewestSamples   = 5
)

// Compare compares the times a and b. The interval is the percentile bootstrap
// of the ratio of medians (Efron and Tibshirani, "An Introduction to the
// Bootstrap", 1993, chapter 13); it knows of the spread within the two runs
// only, not of what changes from run to run.
func Compare(a, b []float64) Ratio {
	if len(a) == 0 || len(b) == 0 {
		return Ratio{Verdict: CannotTell, Why: "no samples"}
	}
	r := Ratio{Value: median(a) / median(b), Verdict: CannotTell}
	if len(a) < fewestSamples || len(b) < fewestSamples {
		r.Low, r.High = r.Value, r.Value
		r.Why = "fewer than 5 samples"
		return r
	}
	rng := rand.New(rand.NewPCG(1, 2)) // the same files give the same interval
	ratios := make([]float64, bootstrapRounds)
	drawA, drawB := make([]float64, len(a)), make([]float64, len(b))
	for i := range ratios {
		for j := range drawA {
			drawA[j] = a[rng.IntN(len(a))]
		}
		for j := range drawB {
			drawB[j] = b[rng.IntN(len(b))]
		}
		slices.Sort(drawA)
		slices.Sort(drawB)
		ratios[i] = quantile(drawA, 0.5) / quantile(drawB, 0.5)
	}
	slices.Sort(ratios)
	r.Low, r.High = quantile(ratios, 0.025), quantile(ratios, 0.975)
	switch {
	case r.Low > 1:
		r.Verdict = Faster
	case r.High < 1:
		r.Verdict = Slower
	}
	return r
}

// Sampling says how often to measure.
type Sampling struct {
	Repeat, Warmup int
	// WarmTime is for devices whose clock rises under load: warming up lasts at
	// least as long, however many runs that are, and goes on while runs become faster.
	WarmTime time.Duration
	// MaxTime ends a test early: warming up takes at most half of it, and after it
	// no sample is begun once there are three.
	MaxTime time.Duration
}

// steadyShare is the part of a run's time by which it may still become shorter
// from one half of WarmTime to the next when warming up ends.
const steadyShare = 0.02

// Sample calls once as often as s says and gives the times in seconds that it
// returns.
func (s Sampling) Sample(ctx context.Context, once func() (time.Duration, error)) ([]float64, error) {
	if err := s.warm(ctx, once); err != nil {
		return nil, err
	}
	start := time.Now()
	var samples []float64
	for i := 0; i < s.Repeat && (i < 3 || time.Since(start) < s.MaxTime); i++ {
		d, err := once()
		if err != nil {
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		// A clock too coarse for the test is no reason to divide by zero.
		samples = append(samples, max(d, time.Nanosecond).Seconds())
	}
	return samples, nil
}

// warm calls once until the samples that follow can be believed.
func (s Sampling) warm(ctx context.Context, once func() (time.Duration, error)) error {
	start := time.Now()
	begun, window, before := start, []float64(nil), 0.0 // the half of WarmTime under way, and the median of the one before
	steady := s.WarmTime <= 0
	for i := 0; i < s.Warmup || !steady; i++ {
		if i > 0 && time.Since(start) >= s.MaxTime/2 {
			return nil
		}
		d, err := once()
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		window = append(window, d.Seconds())
		if now := time.Now(); !steady && now.Sub(begun) >= s.WarmTime/2 {
			m := median(window)
			steady = before > 0 && m > (1-steadyShare)*before
			begun, window, before = now, window[:0], m
		}
	}
	return nil
}
