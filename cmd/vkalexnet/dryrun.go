package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"vkalexnet/alexnet"
)

// dryRunSteps are measured, after dryRunWarmup that are not: pipelines are
// built, caches filled.
const (
	dryRunSteps  = 20
	dryRunWarmup = 3
)

// dryRun says what a run would take, from its plan and some steps of it whose
// results are thrown away.
func (r *trainRun) dryRun() error {
	out := r.cmd.OutOrStdout()
	o := r.options
	batch := o.Net.Solver.Batch
	if r.target.device != nil {
		info := r.target.device.Info
		plan, err := alexnet.PlanMemory(info, o.Net, batch, o.ExecOptions())
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "memory at batch %d, in MiB\n", batch)
		for _, part := range []struct {
			name  string
			bytes uint64
		}{{"weights", plan.Weights}, {"momentum", plan.Momentum}, {"input and results", plan.Input}, {"evaluation", plan.Inference},
			{"activations and gradients", plan.Temporary}, {"kept gradients", plan.Gradients}, {"total", plan.Total()}, {"free on the device", r.free}} {
			fmt.Fprintf(out, "  %-26s%10.1f\n", part.name, float64(part.bytes)/(1<<20))
		}
		largest := alexnet.LargestBatch(alexnet.MaxBatch, func(n int) bool {
			p, err := alexnet.PlanMemory(info, o.Net, n, o.ExecOptions())
			return err == nil && p.Total() <= r.free
		})
		fmt.Fprintf(out, "largest batch that fits: %d\n", largest)
	}
	return r.measure()
}

// measure makes the steps and tells how long the run takes, and why.
func (r *trainRun) measure() (err error) {
	folder, err := os.MkdirTemp("", "vkalexnet-dry-run-")
	if err != nil {
		return fmt.Errorf("dry run: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	o := r.options
	var seconds, waits []float64
	o.OutputDir, o.Config, o.Resume, o.CheckpointSteps = folder, nil, nil, 0
	o.MaxSteps, o.Val = dryRunWarmup+dryRunSteps, nil
	step := o.Net.Solver.Batch * o.Net.Solver.GradAccumSteps
	o.Progress = func(e alexnet.Event) {
		if e.Kind == "step" && e.Step > dryRunWarmup {
			seconds = append(seconds, float64(step)/e.StepMetrics.ImagesPerSecond)
			waits = append(waits, e.StepMetrics.DataWait)
		}
	}
	full, err := alexnet.NewTrainer(o)
	if err != nil {
		return err
	}
	epochs := o.Net.Solver.Epochs
	perEpoch := full.StepsPerEpoch()
	ctx, stop := interruptible(r.cmd, "stopping after this step; Ctrl-C again stops at once")
	defer stop()
	warn(r.cmd, "measuring %d steps of %d pictures; nothing is kept", dryRunSteps, step)
	if _, err := full.Run(ctx); err != nil {
		return err
	}
	if len(seconds) == 0 {
		return fmt.Errorf("dry run: the run ends within %d steps, before anything is measured", dryRunWarmup)
	}
	out := r.cmd.OutOrStdout()
	waited := 0.0
	for i, w := range waits {
		waited += w * seconds[i]
	}
	total := 0.0
	for _, s := range seconds {
		total += s
	}
	slices.Sort(seconds)
	per := total / float64(len(seconds))
	fmt.Fprintf(out, "a step of %d pictures: %.4f s (%.4f to %.4f in %d steps), %s images/s\n", step, per, seconds[0], seconds[len(seconds)-1], len(seconds), threeDigits(float64(step)/per))
	epoch := time.Duration(per * float64(perEpoch) * float64(time.Second))
	fmt.Fprintf(out, "an epoch of %d steps: %s; %d epochs: %s (without validation)\n", perEpoch, roundTime(epoch), epochs, roundTime(epoch*time.Duration(epochs)))
	share := waited / total
	verdict := "the device; data is ready in time"
	if share > 0.05 {
		verdict = "data: faster decoding, more --workers or a faster disk would help"
	}
	fmt.Fprintf(out, "waiting for data: %.1f %% of the time; the bottleneck is %s\n", 100*share, verdict)
	return nil
}
