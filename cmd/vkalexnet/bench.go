package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vkalexnet/alexnet"
	"vkalexnet/bench"
	"vkalexnet/engine"
	"vkalexnet/shaders"
	"vkalexnet/weights"
)

// benchModes are the words of --mode, in the order in which they are run.
var benchModes = []string{bench.Peak, bench.GEMM, bench.Infer, bench.Train, bench.Layers, bench.Loader}

// benchFormats write a report, by the words of -o.
var benchFormats = map[string]func(*bench.Report, io.Writer) error{
	"md": (*bench.Report).WriteMarkdown, "json": (*bench.Report).WriteJSON, "jsonl": (*bench.Report).WriteJSONL, "csv": (*bench.Report).WriteCSV,
}

type benchFlags struct {
	devices, models, modes []string
	batches                []int
	size, workers          int
	data, format, out      string
	precisions             []string
	maxTime, warmTime      float64
	tuneBudget             float64
	noTune                 bool
	bench.Sampling
}

func newBench() *cobra.Command {
	f := benchFlags{}
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure how fast devices are",
		Long: `Measures how fast devices classify and train, and what they could do at best.

Modes, several with commas: infer and train measure whole batches of generated
pictures by the wall clock; layers times every layer and pass of a training step by the
device's own timestamps; peak measures multiply-adds in registers, the bandwidth of
memory and copies; gemm the product of square matrices; loader reading and scaling of
pictures.

infer and train give two rows each. The first is what a real run does: the pictures of
each batch, as bytes, are written to the device while it computes the batch before, and
losses and logits are read back; where the device is faster than the host can write
(stored² × 3 bytes a picture), it measures the host. The second, "resident", computes
pictures that are on the device already, as benchmarks of frameworks do.

A GPU's clock rises during the first second of work and falls when it is idle. So a GPU
is kept busy for 1.5 s before its first test, and every test is first run --warmup times,
for --warmup-time seconds at least, and until runs no longer become faster (for half of
--max-time at most). A test that still drifts is reported.

Before it is timed, every result is compared with the CPU reference; a wrong one is
refused, and the exit code is 1. Times are medians; json and csv have all samples. What
cannot be measured is "n/a" with the reason, never 0.`,
		Example: `  vkalexnet bench --device all --mode infer,train,layers --out result.json
  vkalexnet bench --device 0 --model alexnet-owt -b 1,8,64 -r 20
  vkalexnet bench compare before.json after.json --fail-if-slower 5%
  vkalexnet bench report result.json -o report.html`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(cmd); err != nil {
				return err
			}
			return runBench(cmd, &f)
		},
	}
	flags := cmd.Flags()
	addAlias(cmd, "batch", "batch-size")
	flags.StringSliceVar(&f.devices, "device", []string{"auto"}, `devices: "all", "auto", "cpu" (the slow reference), or indices, beginnings of UUIDs or parts of names`)
	flags.StringSliceVar(&f.models, "model", []string{"alexnet"}, "presets or paths of networks' TOML files")
	flags.IntSliceVarP(&f.batches, "batch-size", "b", []int{1, 16, 128}, "batch sizes, in pictures; also --batch")
	flags.BoolVar(&f.noTune, "no-tune", false, "use the fixed table of tiles, not the fastest for the device")
	flags.Float64Var(&f.tuneBudget, "tune-budget", 20, "seconds for tuning a model's batch size on a GPU, 0: take only what was found before")
	flags.StringSliceVar(&f.modes, "mode", []string{bench.Infer, bench.Train}, "what to measure: "+strings.Join(benchModes, ", ")+", or all")
	flags.StringSliceVar(&f.precisions, "precision", []string{"fp32"}, "precisions of modes infer, train and layers: "+strings.Join(precisions, ", "))
	flags.IntVarP(&f.Repeat, "repeat", "r", 10, "samples of each test")
	flags.IntVar(&f.Warmup, "warmup", 2, "runs before them that do not count")
	flags.Float64Var(&f.warmTime, "warmup-time", 0.5, "seconds that those runs take at least, on GPUs; 0: no matter how short")
	flags.Float64Var(&f.maxTime, "max-time", 30, "seconds after which a test takes no more samples than 3")
	flags.IntVar(&f.size, "size", 1024, "side of the matrices of mode gemm")
	flags.StringVar(&f.data, "data", "", "pictures for mode loader, as train takes them (default: generated JPEG files of 500×375)")
	flags.IntVarP(&f.workers, "workers", "j", 0, "goroutines of mode loader, 0: one per processor")
	flags.StringVar(&f.out, "out", "", "file for the results, in the form of its ending; the table still goes to standard output")
	flags.StringVarP(&f.format, "output", "o", "md", "form of the results: md, json, jsonl, csv; or a file, as --out")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"md", "json", "jsonl", "csv"}, cobra.ShellCompDirectiveDefault))
	addDeviceCompletion(cmd, "all")
	_ = cmd.RegisterFlagCompletionFunc("model", completeModel)
	_ = cmd.RegisterFlagCompletionFunc("mode", cobra.FixedCompletions(append(benchModes, "all"), cobra.ShellCompDirectiveNoFileComp))
	cmd.AddCommand(newBenchCompare(), newBenchReport())
	return cmd
}

func (f *benchFlags) check(cmd *cobra.Command) error {
	for _, m := range f.modes {
		if m != "all" && !slices.Contains(benchModes, m) {
			return usagef("--mode %s: it must be %s or all%s", m, strings.Join(benchModes, ", "), alexnet.DidYouMean(m, benchModes))
		}
	}
	if slices.Contains(f.modes, "all") {
		f.modes = benchModes
	}
	if err := checkBatches("batch-size", f.batches...); err != nil {
		return err
	}
	for _, p := range f.precisions {
		if !slices.Contains(precisions, p) {
			return usagef("--precision %s: it must be %s%s", p, strings.Join(precisions, ", "), alexnet.DidYouMean(p, precisions))
		}
	}
	switch {
	case len(f.modes) == 0 || len(f.devices) == 0 || len(f.models) == 0 || len(f.batches) == 0 || len(f.precisions) == 0:
		return usagef("--mode, --device, --model, --batch-size and --precision each need at least one value")
	case f.Repeat < 1:
		return usagef("--repeat %d: it must be at least 1", f.Repeat)
	case f.Warmup < 0:
		return usagef("--warmup %d: it must not be negative", f.Warmup)
	case !(f.maxTime > 0) || f.maxTime > 1e6:
		return usagef("--max-time %g: it must be above 0 and at most a million seconds", f.maxTime)
	case !(f.tuneBudget >= 0) || f.tuneBudget > 1e6:
		return usagef("--tune-budget %g: it must be from 0 to a million seconds", f.tuneBudget)
	case !(f.warmTime >= 0) || f.warmTime > 1e6:
		return usagef("--warmup-time %g: it must be from 0 to a million seconds", f.warmTime)
	case f.size < 1 || f.size > 16384:
		return usagef("--size %d: it must be from 1 to 16384", f.size)
	case f.workers < 0:
		return usagef("--workers %d: it must not be negative", f.workers)
	}
	f.MaxTime = time.Duration(f.maxTime * float64(time.Second))
	formGiven := cmd.Flags().Changed("output")
	if benchFormats[f.format] == nil {
		if filepath.Ext(f.format) == "" || f.out != "" {
			return usagef("-o %s: it must be md, json, jsonl or csv, or a file with such an ending", f.format)
		}
		f.out, formGiven = f.format, false
	}
	if f.out == "" {
		return nil
	}
	if ending := strings.TrimPrefix(filepath.Ext(f.out), "."); !formGiven {
		if f.format = ending; benchFormats[ending] == nil {
			return usagef("--out %s: say with -o in which form: md, json, jsonl, csv", f.out)
		}
	}
	// Before hours of measuring, not after.
	if info, err := os.Stat(filepath.Dir(f.out)); err != nil || !info.IsDir() {
		return usagef("--out %s: there is no folder %s", f.out, filepath.Dir(f.out))
	}
	return nil
}

func (f *benchFlags) has(modes ...string) bool {
	return slices.ContainsFunc(modes, func(m string) bool { return slices.Contains(f.modes, m) })
}

// runBench measures everything that was asked for and writes the report, also
// when it is interrupted.
func runBench(cmd *cobra.Command, f *benchFlags) error {
	env := bench.NewEnvironment(versionText(), shaders.Hash())
	ctx, stop := interruptible(cmd, "stopping; what was measured is written (again: stop at once)")
	defer stop()
	b := &benchmark{cmd: cmd, ctx: ctx, flags: f, report: &bench.Report{Schema: bench.Schema, Environment: env, Results: []bench.Result{}}}
	if busy := env.Busy(); busy != "" {
		b.warn("%s", busy)
	}
	for _, m := range f.models {
		net, err := loadModel(m)
		if err != nil {
			return err
		}
		run, err := alexnet.NewBench(net)
		if err != nil {
			return err
		}
		b.nets = append(b.nets, benchNet{net.Name, run})
	}
	var infos []engine.Info
	if f.has(bench.Peak, bench.GEMM, bench.Infer, bench.Train, bench.Layers) {
		var err error
		if infos, err = b.choose(); err != nil {
			return err
		}
	}
	failed := b.measure(infos)
	if len(b.report.Results) == 0 && failed != nil {
		return failed
	}
	for i := range b.report.Results {
		// Layers and transfers are too short to speak of throttling.
		if r := &b.report.Results[i]; r.Mode != bench.Layers && r.Mode != bench.Peak && r.Stats != nil && r.Stats.Drifts() {
			b.warn("%s: %s: %s", r.Where(), r.Title(), driftText(*r.Stats.Drift, r.Software))
		}
	}
	return errors.Join(b.write(), failed)
}

// driftText says what a change of a test's times, as a share, may come from.
func driftText(drift float64, software bool) string {
	switch {
	case drift < 0 && software:
		return fmt.Sprintf("the last samples took %.0f %% less time than the first: did something disturb those?", -100*drift)
	case drift < 0:
		return fmt.Sprintf("the last samples took %.0f %% less time than the first: the clock still rose (--warmup-time), or something disturbed the first", -100*drift)
	}
	return fmt.Sprintf("the last samples took %.0f %% longer than the first: throttled, or disturbed?", 100*drift)
}

// choose lists the devices that --device means; the CPU reference is an Info
// without a UUID.
func (b *benchmark) choose() ([]engine.Info, error) {
	var chosen []engine.Info
	add := func(info engine.Info) {
		if !slices.ContainsFunc(chosen, func(c engine.Info) bool { return c.Index == info.Index && c.UUID == info.UUID }) {
			chosen = append(chosen, info)
		}
	}
	var infos []engine.Info
	for _, query := range b.flags.devices {
		if query == cpuDevice {
			add(engine.Info{Index: -1, Name: cpuReference, Type: engine.Software})
			continue
		}
		if infos == nil {
			var err error
			if infos, err = engine.Devices(); err != nil {
				return nil, err
			}
		}
		if query != "all" {
			info, err := engine.Select(infos, query)
			if err != nil {
				return nil, err
			}
			add(info)
			continue
		}
		for _, info := range infos {
			if info.Rejected != "" {
				warn(b.cmd, "%s is left out: %s", info.Name, info.Rejected)
				continue
			}
			add(info)
		}
		if len(chosen) == 0 {
			_, err := engine.Select(infos, "auto") // says why there is none
			return nil, err
		}
	}
	return chosen, nil
}

func (b *benchmark) write() error {
	f := b.flags
	if f.out != "" {
		err := weights.Replace(f.out, func(w io.Writer) error { return benchFormats[f.format](b.report, w) })
		if err != nil {
			err = fmt.Errorf("write the results: %w", err)
		}
		return errors.Join(err, b.report.WriteMarkdown(b.cmd.OutOrStdout())) // the table is not lost with the file
	}
	return benchFormats[f.format](b.report, b.cmd.OutOrStdout())
}

// keep writes what was measured so far, so that a device that hangs later does not
// take it along.
func (b *benchmark) keep() {
	if b.flags.out == "" || len(b.report.Results) == b.kept {
		return
	}
	b.kept = len(b.report.Results)
	part := *b.report
	part.Warnings = append(slices.Clone(part.Warnings), "not whole: the run was going on when this was written")
	if err := weights.Replace(b.flags.out, func(w io.Writer) error { return benchFormats[b.flags.format](&part, w) }); err != nil {
		b.warn("keep what was measured so far: %v", err)
	}
}

type benchNet struct {
	name string
	*alexnet.Bench
}

// benchmark is a run of bench.
type benchmark struct {
	cmd    *cobra.Command
	ctx    context.Context
	flags  *benchFlags
	nets   []benchNet
	report *bench.Report
	kept   int // results that keep has written
}

// warn tells people and the report.
func (b *benchmark) warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	warn(b.cmd, "WARNING: %s", text)
	b.report.Warnings = append(b.report.Warnings, text)
}

// add files a result.
func (b *benchmark) add(r bench.Result) {
	r.Stats = bench.NewStats(r.Samples)
	b.report.Results = append(b.report.Results, r)
}
