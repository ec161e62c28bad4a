package main

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"vkalexnet/alexnet"
	"vkalexnet/engine"
	"vkalexnet/layers"
)

func newTune() *cobra.Command {
	var model, device, format, precision string
	var batches []int
	var budget float64
	var again, inference bool
	cmd := &cobra.Command{
		Use:   "tune",
		Short: "Find the fastest kernels for a network on a device",
		Long: `Measures which tiles compute each matrix product of a network fastest on the device,
compares each candidate's result with that of the safe kernel, and keeps the choices on
disk, by device, driver, kernels and shape. A kernel that loses the device, hangs or ends
the process is not tried again (--again does). train and bench tune by themselves on a
GPU the first time they meet a shape; on software drivers, where little is gained, only
this command does.`,
		Example: "  vkalexnet tune --model alexnet --batch-size 128",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkBatches("batch-size", batches...); err != nil {
				return err
			}
			if device == cpuDevice {
				return usagef("--device cpu has nothing to choose from: choose a Vulkan device")
			}
			if !(budget >= 0) || budget > 1e6 {
				return usagef("--budget %g: it must be from 0 to a million seconds", budget)
			}
			net, t, stored, err := openModel(cmd, model, device, precision)
			if err != nil {
				return err
			}
			defer t.close()
			if lacks := alexnet.LacksMatrices(&t.device.Info, stored); lacks != "" {
				warn(cmd, "%s", lacks)
			}
			ctx, stop := interruptible(cmd, "stopping; what was found is kept (again: stop at once)")
			defer stop()
			var known layers.Choices
			if !again {
				known = alexnet.ReadChoices(&t.device.Info)
			}
			var all []alexnet.Tuned
			for _, batch := range batches {
				opt := alexnet.ExecOptions{SGD: net.Solver.SGD(), Dropout: true, Inference: inference, Precision: stored}
				var tuned []alexnet.Tuned
				known, tuned, err = tuneFor(ctx, cmd, t.device, known, time.Duration(budget*float64(time.Second)), func(how alexnet.TuneOptions) (layers.Choices, []alexnet.Tuned, error) {
					how.Again = again
					return alexnet.Tune(ctx, t.device, net, batch, opt, known, how)
				})
				all = append(all, tuned...)
				if err != nil {
					return err
				}
			}
			if format == "json" {
				return writeJSON(cmd.OutOrStdout(), all)
			}
			return writeTuned(cmd, all)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&model, "model", "alexnet", "preset or path of a network's TOML file")
	flags.IntSliceVarP(&batches, "batch-size", "b", []int{128}, "batch sizes, in pictures")
	flags.Float64Var(&budget, "budget", 0, "seconds after which products keep the fixed table's tuning, 0: 20 on a GPU, 60 on a software driver")
	flags.BoolVar(&again, "again", false, "measure products that were tuned before, too, and try kernels that ended a process")
	flags.BoolVar(&inference, "inference", false, "only the forward pass")
	addDevice(cmd, &device)
	addPrecision(cmd, &precision)
	addFormat(cmd, &format, "text", "json")
	_ = cmd.RegisterFlagCompletionFunc("model", completeModel)
	return cmd
}

// tuneFor tunes with progress and stores what is found. Where tuning fails, the
// choices of before serve.
func tuneFor(ctx context.Context, cmd *cobra.Command, dev *engine.Device, known layers.Choices, budget time.Duration,
	tune func(alexnet.TuneOptions) (layers.Choices, []alexnet.Tuned, error)) (layers.Choices, []alexnet.Tuned, error) {
	if budget == 0 {
		budget = 20 * time.Second
		if dev.Software() {
			budget = time.Minute
		}
	}
	var p *progress
	start := time.Now()
	choices, tuned, err := tune(alexnet.TuneOptions{Budget: budget, Progress: func(done, total int, product string) {
		if p == nil {
			warn(cmd, "tuning %d matrix products for %s, once:", total, dev.Name)
			p = newProgress(cmd.ErrOrStderr(), "product", 0, total)
		}
		p.update(done, product)
	}, Warn: func(text string) { warn(cmd, "WARNING: %s", text) }})
	if p != nil {
		p.stop()
	}
	if len(tuned) == 0 {
		return known, nil, err
	}
	gained, table := time.Duration(0), time.Duration(0)
	for _, t := range tuned {
		gained, table = gained+t.Time, table+t.TableIs
	}
	warn(cmd, "tuned %d products in %.1f s: %.2f ms together, %.2f ms with the fixed table", len(tuned), time.Since(start).Seconds(),
		1e3*gained.Seconds(), 1e3*table.Seconds())
	if storeErr := alexnet.StoreChoices(&dev.Info, choices); storeErr != nil {
		warn(cmd, "WARNING: %v", storeErr)
	}
	if err != nil && ctx.Err() == nil {
		warn(cmd, "WARNING: %v; the fixed table serves for the rest", err)
		err = nil
	}
	return choices, tuned, err
}

func writeTuned(cmd *cobra.Command, all []alexnet.Tuned) error {
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PRODUCT\tCHOSEN\tPARTS FILL\tMS\tGFLOP/S\tTABLE MS\tTRIED\tREJECTED")
	for _, t := range all {
		fmt.Fprintf(w, "%s\t%s\t%d\t%.3f\t%.0f\t%.3f\t%d\t%d\n", t.Product, t.Chosen.Name, t.Chosen.Fill, 1e3*t.Time.Seconds(), float64(t.FLOPs)/t.Time.Seconds()/1e9,
			1e3*t.TableIs.Seconds(), len(t.Candidates)+len(t.Rejected), len(t.Rejected))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, t := range all {
		for _, r := range t.Rejected {
			warn(cmd, "rejected for %s: %s", t.Product, r)
		}
	}
	return nil
}
