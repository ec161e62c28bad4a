package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"vkalexnet/alexnet"
	"vkalexnet/bench"
	"vkalexnet/engine"
	"vkalexnet/layers"
	"vkalexnet/shaders"
)

const cpuReference = "CPU reference"

// measure runs all modes on all devices. Its error says what was refused or
// could not go on; the report has the rest.
func (b *benchmark) measure(infos []engine.Info) error {
	var failed []error
	names := map[string]int{}
	for _, info := range infos {
		names[info.Name]++
	}
	for _, info := range infos {
		if b.ctx.Err() != nil {
			break
		}
		name := info.Name
		if names[name] > 1 {
			name = fmt.Sprintf("%s (device %d)", name, info.Index) // two cards of one kind
		}
		failed = append(failed, b.device(info, name))
	}
	if b.flags.has(bench.Loader) && b.ctx.Err() == nil {
		failed = append(failed, b.loader())
	}
	if err := b.ctx.Err(); err != nil {
		b.report.Warnings = append(b.report.Warnings, "interrupted: not everything was measured")
		return err
	}
	return errors.Join(failed...)
}

// benchDevice is a device under measurement.
type benchDevice struct {
	*benchmark
	info      engine.Info
	name      string         // in results: the device's, made unique
	dev       *engine.Device // nil for the CPU reference
	choices   layers.Choices
	flops     float64 // measured peaks, per second
	bandwidth float64
}

// result begins a result of this device.
func (d *benchDevice) result(mode, test string) bench.Result {
	return bench.Result{Device: d.name, UUID: d.info.UUID, Software: d.info.Type == engine.Software, Mode: mode, Test: test,
		PeakFLOPs: d.flops, PeakBytes: d.bandwidth}
}

// preheatTime is how long a GPU is kept busy before its first test.
const preheatTime = 1500 * time.Millisecond

// sample measures as the flags say. Only a GPU's clock takes time to rise.
func (d *benchDevice) sample(once func() (time.Duration, error)) ([]float64, error) {
	s := d.flags.Sampling
	if d.info.Type != engine.Software {
		s.WarmTime = time.Duration(d.flags.warmTime * float64(time.Second))
	}
	return s.Sample(d.ctx, once)
}

// preheat keeps a GPU busy until its clock has risen.
func (d *benchDevice) preheat(p *alexnet.Probe) error {
	if d.info.Type == engine.Software || d.flags.warmTime == 0 {
		return nil
	}
	_, err := bench.Sampling{Repeat: 1, WarmTime: preheatTime, MaxTime: 3 * preheatTime}.Sample(d.ctx, p.Once)
	return err
}

func (b *benchmark) device(info engine.Info, name string) error {
	d := &benchDevice{benchmark: b, info: info, name: name}
	warn(b.cmd, "device: %s", info.Describe())
	if info.Index >= 0 {
		dev, err := engine.Open(info, shaders.FS)
		if err != nil {
			return err
		}
		defer dev.Close()
		d.dev = dev
	}
	b.report.Devices = append(b.report.Devices, info)
	var failed []error
	step := func(err error) (goOn bool) {
		if err != nil && b.ctx.Err() == nil {
			warn(b.cmd, "  %v", err)
			failed = append(failed, fmt.Errorf("%s: %w", name, err))
		}
		return b.ctx.Err() == nil && !errors.Is(err, engine.ErrDeviceLost)
	}
	if d.dev != nil {
		if !step(d.peaks()) {
			return errors.Join(failed...)
		}
		if b.flags.has(bench.GEMM) && !step(d.gemm()) {
			return errors.Join(failed...)
		}
	}
	var chosen []layers.Precision
	for _, word := range b.flags.precisions {
		p, err := precisionOn(b.cmd, word, d.dev)
		if err != nil {
			failed = append(failed, err)
		} else if !slices.Contains(chosen, p) {
			chosen = append(chosen, p)
		}
	}
	for _, net := range b.nets {
		for _, m := range []struct {
			word string
			mode alexnet.BenchMode
		}{{bench.Infer, alexnet.BenchInfer}, {bench.Train, alexnet.BenchTrain}, {bench.Layers, alexnet.BenchLayers}} {
			for _, batch := range b.flags.batches {
				for _, precision := range chosen {
					if b.flags.has(m.word) && !step(d.network(net, batch, precision, m.word, m.mode)) {
						return errors.Join(failed...)
					}
				}
			}
		}
	}
	return errors.Join(failed...)
}

// notAvailable turns an error into a row that says why there is no number. An
// error remains where it means that something is wrong.
func (d *benchDevice) notAvailable(r bench.Result, err error) error {
	if d.ctx.Err() != nil {
		return err
	}
	r.Samples, r.NA = nil, err.Error()
	switch {
	case errors.Is(err, engine.ErrOutOfMemory):
		r.NA, err = "out of memory", nil
	case errors.Is(err, alexnet.ErrNoTimestamps):
		err = nil
	case errors.Is(err, alexnet.ErrWrongResult):
		r.NA = "refused: wrong result"
	}
	d.add(r)
	return err
}

// tune chooses the kernels of what is measured next: the fastest on a GPU, or what
// was stored for the device, or with --no-tune the fixed table.
func (d *benchDevice) tune(net benchNet, batch int, mode alexnet.BenchMode) (err error) {
	if d.dev == nil || d.flags.noTune {
		return nil
	}
	if d.choices == nil {
		d.choices = alexnet.ReadChoices(&d.dev.Info)
	}
	if !d.dev.Software() && d.flags.tuneBudget > 0 {
		d.choices, _, err = tuneFor(d.ctx, d.cmd, d.dev, d.choices, time.Duration(d.flags.tuneBudget*float64(time.Second)), func(how alexnet.TuneOptions) (layers.Choices, []alexnet.Tuned, error) {
			return net.Tune(d.ctx, d.dev, batch, mode, d.choices, how)
		})
	}
	net.Choices = d.choices
	return err
}

// network measures one network in one mode and batch size.
func (d *benchDevice) network(net benchNet, batch int, precision layers.Precision, word string, mode alexnet.BenchMode) error {
	d.keep()
	r := d.result(word, word)
	r.Model, r.Batch, r.Precision = net.name, batch, precision.String()
	if precision != layers.FP32 {
		r.Variant = precision.String()
	}
	net.Precision = precision
	if d.dev == nil && word == bench.Layers {
		r.NA = "the CPU reference takes no timestamps"
		d.add(r)
		return nil
	}
	if d.dev != nil && word == bench.Layers && !d.dev.Features.Timestamps {
		r.NA = "the driver offers no timestamps"
		d.add(r)
		return nil
	}
	what := fmt.Sprintf("%s %s batch %d %s", word, net.name, batch, precision)
	if err := d.tune(net, batch, mode); err != nil {
		return err
	}
	run, err := net.Open(d.ctx, d.dev, batch, mode)
	if err != nil {
		return d.notAvailable(r, fmt.Errorf("%s: %w", what, err))
	}
	defer run.Close()
	check, err := run.Check()
	if err != nil {
		return d.notAvailable(r, fmt.Errorf("%s: %w", what, err))
	}
	if check != nil {
		r.Checked = benchCheck(check)
	}
	r.Memory, r.Images = run.Memory(), float64(batch)
	if r.FLOPs, err = run.FLOPs(); err != nil {
		return err
	}
	if word == bench.Layers {
		return d.layers(run, r, what)
	}
	if r.Samples, err = d.sample(run.Once); err != nil {
		return d.notAvailable(r, fmt.Errorf("%s: %w", what, err))
	}
	d.add(r)
	d.tell(what, d.last())
	if d.dev == nil {
		return nil
	}
	if r.Variant != "" {
		r.Variant += ", "
	}
	r.Variant, r.Note = r.Variant+"resident", "the pictures are on the device already"
	if r.Samples, err = d.sample(run.Resident); err != nil {
		return d.notAvailable(r, fmt.Errorf("%s, resident: %w", what, err))
	}
	d.add(r)
	d.tell(what+", resident", d.last())
	return nil
}

func benchCheck(c *alexnet.BenchCheck) *bench.Check {
	return &bench.Check{Pictures: c.Pictures, Tensors: c.Tensors, Error: c.Error, Limit: c.Limit}
}

func (d *benchDevice) last() *bench.Result { return &d.report.Results[len(d.report.Results)-1] }

// tell shows a result as soon as it is there.
func (d *benchDevice) tell(what string, r *bench.Result) {
	text := fmt.Sprintf("  %s: %s ms", what, threeDigits(1e3*r.Stats.Median))
	if v, ok := r.ImageRate(); ok {
		text += fmt.Sprintf(", %s images/s", threeDigits(v))
	}
	if v, ok := r.FLOPRate(); ok {
		text += fmt.Sprintf(", %s GFLOP/s", threeDigits(v/1e9))
	}
	if v, ok := r.ByteRate(); ok && r.Mode != bench.Infer && r.Mode != bench.Train {
		text += fmt.Sprintf(", %s GB/s", threeDigits(v/1e9))
	}
	warn(d.cmd, "%s (%d samples)", text, r.Stats.N)
}

// layers measures every layer and pass of a training step.
func (d *benchDevice) layers(run *alexnet.BenchRun, r bench.Result, what string) error {
	var steps [][]alexnet.LayerTime
	wall, err := d.sample(func() (time.Duration, error) {
		took, err := run.Once()
		if err != nil {
			return took, err
		}
		times, err := run.LayerTimes()
		steps = append(steps, times)
		return took, err
	})
	if err != nil {
		return d.notAvailable(r, fmt.Errorf("%s: %w", what, err))
	}
	steps = steps[len(steps)-len(wall):] // without the warm-up
	all := r
	all.Test, all.Images = "all calls", r.Images
	all.Samples = make([]float64, len(steps))
	for i, t := range steps[0] {
		one := r
		one.Test, one.Layer, one.Pass = t.Layer+" "+t.Pass, t.Layer, t.Pass
		one.Images, one.Memory, one.FLOPs, one.Bytes, one.Note = 0, 0, float64(t.FLOPs), float64(t.Bytes), t.Kernel
		for n, times := range steps {
			seconds := max(times[i].Duration, time.Nanosecond).Seconds()
			one.Samples = append(one.Samples, seconds)
			all.Samples[n] += seconds
		}
		d.add(one)
	}
	all.Note = "the sum of the device's timestamps"
	d.add(all)
	d.tell(what+", sum of its calls", d.last())
	r.Test, r.Samples, r.Note = "whole step, wall clock", wall, "each call waits for the one before it"
	d.add(r)
	return nil
}

// probe measures a probe and files its result.
func (d *benchDevice) probe(mode string, p *alexnet.Probe, check *alexnet.BenchCheck) error {
	r := d.result(mode, p.Name)
	r.FLOPs, r.Bytes, r.Note = p.FLOPs, p.Bytes, p.Note
	if check != nil {
		r.Checked = benchCheck(check)
	}
	var err error
	if r.Samples, err = d.sample(p.Once); err != nil {
		return d.notAvailable(r, fmt.Errorf("%s: %w", p.Name, err))
	}
	d.add(r)
	d.tell(p.Name, d.last())
	return nil
}

// best measures the fastest of several probes of the same ability.
func (d *benchDevice) best(name string, probes []*alexnet.Probe, err error) error {
	if err != nil {
		return d.notAvailable(d.result(bench.Peak, name), fmt.Errorf("%s: %w", name, err))
	}
	defer closeAll(probes)
	best, fastest := probes[0], 0.0
	for _, p := range probes {
		quick, err := bench.Sampling{Repeat: 3, MaxTime: time.Second}.Sample(d.ctx, p.Once)
		if err != nil {
			return err
		}
		if rate := (p.FLOPs + p.Bytes) / bench.NewStats(quick).Median; rate > fastest {
			best, fastest = p, rate
		}
	}
	best.Note = fmt.Sprintf("best of %d: %s", len(probes), best.Note)
	return d.probe(bench.Peak, best, nil)
}

func closeAll(probes []*alexnet.Probe) {
	for _, p := range probes {
		p.Close()
	}
}

// peaks measures what the device can do at best; all other modes tell shares of it.
func (d *benchDevice) peaks() error {
	probes, err := alexnet.FMAProbes(d.dev)
	if err == nil {
		if err = d.preheat(probes[0]); err != nil {
			closeAll(probes)
		}
	}
	if err := d.best("FMA rate", probes, err); err != nil {
		return err
	}
	flops, _ := d.last().FLOPRate()
	probes, err = alexnet.CopyProbes(d.dev)
	if err := d.best("memory bandwidth", probes, err); err != nil {
		return err
	}
	bandwidth, _ := d.last().ByteRate()
	d.flops, d.bandwidth = flops, bandwidth
	if !d.flags.has(bench.Peak) {
		return nil
	}
	transfers, err := alexnet.TransferProbes(d.dev)
	if err != nil {
		return d.notAvailable(d.result(bench.Peak, "transfers"), err)
	}
	for _, p := range transfers {
		err = errors.Join(err, d.probe(bench.Peak, p, nil))
	}
	closeAll(transfers)
	return err
}

func (d *benchDevice) gemm() error {
	p, check, err := alexnet.GEMMProbe(d.dev, d.flags.size)
	if err != nil {
		n := d.flags.size
		return d.notAvailable(d.result(bench.GEMM, fmt.Sprintf("%d×%d×%d", n, n, n)), err)
	}
	defer p.Close()
	return d.probe(bench.GEMM, p, check)
}
