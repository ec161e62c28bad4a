package main

import (
	"fmt"
	"io"
	"time"

	"vkalexnet/alexnet"
)

// drawEvery keeps drawing from slowing down short epochs.
const drawEvery = 10 * time.Second

// trainProgress shows the events of a run.
type trainProgress struct {
	w       io.Writer
	options *alexnet.Options
	bar     *progress
	first   int64 // the step that this run resumed from
	drawn   time.Time

	loss, secondsPerImage, wait float64 // moving averages
	seen                        bool
}

// withProgress are the options with their events shown on w.
func withProgress(o *alexnet.Options, w io.Writer) alexnet.Options {
	p := &trainProgress{w: w, options: o, drawn: time.Now()}
	if o.Resume != nil {
		p.first = o.Resume.State.Step
	}
	o.Progress = p.show
	return *o
}

func (p *trainProgress) show(e alexnet.Event) {
	if p.bar == nil {
		p.bar = newProgress(p.w, "step", int(p.first), int(e.Steps))
	}
	where := fmt.Sprintf("epoch %d/%d", e.Epoch+1, e.Epochs)
	switch e.Kind {
	case "step":
		p.average(e.StepMetrics)
		text := fmt.Sprintf("%s  loss %.4f  %s images/s", where, p.loss, threeDigits(1/p.secondsPerImage))
		if e.Remaining > 0 {
			text += "  " + roundTime(e.Remaining) + " left"
		}
		text += fmt.Sprintf("  data %.0f %%", 100*p.wait)
		p.bar.update(int(e.Step), text)
	case "evaluating":
		p.bar.update(int(e.Step), fmt.Sprintf("%s  evaluating %d/%d", where, e.Done, e.Total))
	case "epoch":
		text := fmt.Sprintf("%s: train loss %.4f", where, e.TrainLoss)
		if e.Eval != nil {
			text += "; validation " + evalText(e.Eval)
		}
		p.bar.say("%s", text)
		if time.Since(p.drawn) < drawEvery {
			return // and once more at the run's end
		}
		if err := drawRun(*p.options); err != nil {
			p.bar.say("warning: %v", err) // the run itself is unharmed
		}
		p.drawn = time.Now()
	case "bad":
		p.bar.say("skipped: %s", visible(e.Bad.Error()))
	case "note":
		p.bar.say("note: %s", e.Note)
	}
	if e.Step >= e.Steps && e.Kind != "evaluating" {
		p.bar.stop()
	}
}

// average smooths what jumps from step to step.
func (p *trainProgress) average(m alexnet.StepMetrics) {
	keep := 0.9
	if !p.seen {
		p.seen, keep = true, 0
	}
	mix := func(average *float64, now float64) { *average = keep**average + (1-keep)*now }
	mix(&p.loss, m.Loss)
	mix(&p.secondsPerImage, 1/m.ImagesPerSecond)
	mix(&p.wait, m.DataWait)
}

// threeDigits writes a positive number without more digits than mean something.
func threeDigits(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}
