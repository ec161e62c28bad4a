package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"vkalexnet/alexnet"
	"vkalexnet/layers"
	"vkalexnet/loader"
)

// heldOut is the share of the pictures that validates where the data has no
// validation pictures of its own.
const heldOut = 0.1

// trainRun is a run of training on its way to start.
type trainRun struct {
	cmd     *cobra.Command
	flags   *trainFlags
	options alexnet.Options
	trainer *alexnet.Trainer
	target  *target
	free    uint64 // device memory in bytes before the run took any
	close   []func()
}

// openNetwork finds the network and settles its solver and every other setting.
func (r *trainRun) openNetwork() error {
	f, o := r.flags, &r.options
	if f.resume != "" && f.weights != "" {
		if origin(r.cmd.Flags().Lookup("weights")) == fromFlag {
			return usagef("--resume goes on with a run, --weights starts a new one: give one of them")
		}
		f.weights = "" // where the resumed run had started from
	}
	o.Augment, o.Dropout, o.Shuffle = !f.noAugment, !f.noDropout, !f.noShuffle
	o.Seed, o.OnBadImage = f.seed, f.onBadImage
	o.Balanced = f.fineTuning.balanced
	switch {
	case f.resume != "":
		if err := r.restore(); err != nil {
			return err
		}
	case f.model != "":
		net, err := loadModel(f.model)
		if err != nil {
			return err
		}
		o.Net = net
	case f.weights != "":
		net, _, err := alexnet.ReadWeights(f.weights)
		if err != nil {
			return err
		}
		if net == nil {
			return usagef("%s does not say which network it belongs to: give --model", f.weights)
		}
		o.Net = net
	default:
		return usagef("which network? --model takes a preset (%s) or a network's TOML file", strings.Join(alexnet.Presets(), ", "))
	}
	if f.data == "" {
		return usagef("which pictures? --data takes a folder, an archive, a list, or \"synthetic\"")
	}
	net := *o.Net
	r.settleSolver(&net.Solver)
	if err := net.Solver.Check(); err != nil {
		return usageError{err}
	}
	for name, value := range map[string]int64{"max-steps": f.maxSteps, "checkpoint-steps": int64(f.checkpointSteps), "workers": int64(f.workers), "num-classes": int64(f.classes)} {
		if value < 0 {
			return usagef("--%s %d: it must not be negative", name, value)
		}
	}
	o.Net, o.Data, o.Workers = &net, f.data, f.workers
	if err := f.fineTuning.apply(r.cmd, o); err != nil {
		return err
	}
	o.MaxSteps, o.CheckpointSteps = f.maxSteps, f.checkpointSteps
	if f.output == "" {
		f.output = filepath.Join("runs", net.Name+"-"+time.Now().Format("20060102-150405"))
	}
	if info, err := os.Stat(f.output); err == nil && !info.IsDir() {
		return usagef("--output-dir %s: %[1]s is a file, not a folder", f.output)
	}
	o.OutputDir = f.output
	return nil
}

// restore reads the checkpoint of --resume. Its settings stand where nothing
// else sets them.
func (r *trainRun) restore() error {
	f, o, flags := r.flags, &r.options, r.cmd.Flags()
	if origin(flags.Lookup("model")) == fromFlag {
		return usagef("--resume takes the network from the checkpoint: leave --model out, or start a new run with --weights")
	}
	c, err := alexnet.ReadCheckpoint(f.resume)
	if err != nil {
		return err
	}
	given := *o
	c.Restore(o)
	for name, set := range map[string]func(){
		"no-aug":       func() { o.Augment = given.Augment },
		"no-dropout":   func() { o.Dropout = given.Dropout },
		"no-shuffle":   func() { o.Shuffle = given.Shuffle },
		"seed":         func() { o.Seed = given.Seed },
		"on-bad-image": func() { o.OnBadImage = given.OnBadImage },
		"balanced":     func() { o.Balanced = given.Balanced },
		"data":         func() { o.Data = f.data },
	} {
		if flags.Lookup(name).Changed {
			set()
		}
	}
	f.data = o.Data
	if !flags.Lookup("precision").Changed {
		f.precision = o.Precision.String()
	}
	// The folder that a file names may have been moved since.
	if from := origin(flags.Lookup("output-dir")); from != fromFlag && from != fromEnv {
		f.output = f.resume
		if info, err := os.Stat(f.resume); err == nil && !info.IsDir() {
			f.output = filepath.Dir(f.resume)
		}
	}
	return nil
}

// settleSolver puts the given flags into the network's solver, and the result
// into the flags, from which config.toml is written.
func (r *trainRun) settleSolver(s *alexnet.Solver) {
	flags, f := r.cmd.Flags(), &r.flags.solver
	settle(flags, "epochs", &s.Epochs, &f.Epochs)
	settle(flags, "batch-size", &s.Batch, &f.Batch)
	settle(flags, "grad-accum-steps", &s.GradAccumSteps, &f.GradAccumSteps)
	settle(flags, "lr", &s.LR, &f.LR)
	settle(flags, "momentum", &s.Momentum, &f.Momentum)
	settle(flags, "wd", &s.WeightDecay, &f.WeightDecay)
	settle(flags, "sgd-form", &s.Form, &f.Form)
	settle(flags, "lr-scheduler", &s.Scheduler, &f.Scheduler)
	settle(flags, "lr-step-size", &s.LRStepSize, &f.LRStepSize)
	settle(flags, "lr-gamma", &s.LRGamma, &f.LRGamma)
	settle(flags, "lr-milestones", &s.LRMilestones, &f.LRMilestones)
	settle(flags, "lr-power", &s.LRPower, &f.LRPower)
	settle(flags, "lr-patience", &s.LRPatience, &f.LRPatience)
	settle(flags, "lr-min", &s.LRMin, &f.LRMin)
	settle(flags, "lr-warmup-epochs", &s.LRWarmupEpochs, &f.LRWarmupEpochs)
	r.flags.seed, r.flags.onBadImage = r.options.Seed, r.options.OnBadImage
	r.flags.noAugment, r.flags.noDropout, r.flags.noShuffle = !r.options.Augment, !r.options.Dropout, !r.options.Shuffle
}

func settle[T any](flags *pflag.FlagSet, name string, setting, flag *T) {
	if flags.Lookup(name).Changed {
		*setting = *flag
	} else {
		*flag = *setting
	}
}

// openData opens the pictures and fits the network to their classes.
func (r *trainRun) openData() error {
	o := &r.options
	train, err := loader.OpenSource(o.Data, "train")
	if err != nil {
		return err
	}
	r.closeLater(train)
	val, err := loader.OpenSource(o.Data, "val")
	switch {
	case errors.Is(err, loader.ErrNoSplit):
		train, val = loader.Split(train, heldOut, o.Seed)
		if val.Len() == 0 {
			warn(r.cmd, "data: %s has no validation pictures, and too few of each class to hold any out: no accuracy is measured", o.Data)
			break
		}
		of := "each class"
		if loader.Grouped(train) {
			of = "the groups"
		}
		warn(r.cmd, "data: %s has no validation pictures of its own; %.0f %% of %s, %d pictures, are held out for it", o.Data, 100*heldOut, of, val.Len())
	case err != nil:
		return err
	default:
		r.closeLater(val)
	}
	o.Train = train
	if val.Len() > 0 {
		o.Val = val
	}
	classes := len(train.Classes())
	if r.flags.classes > 0 {
		classes = r.flags.classes
	}
	if classes == 0 {
		classes = o.Net.NumClasses()
	}
	if o.Resume == nil {
		o.Net = o.Net.WithClasses(classes)
	}
	r.flags.classes = classes
	if n := len(train.Classes()); n > o.Net.NumClasses() {
		if o.Resume != nil {
			return fmt.Errorf("%s: the training pictures have %d classes, the checkpoint's network tells %d apart: resume with the data of before", o.Data, n, o.Net.NumClasses())
		}
		return usagef("--num-classes %d: the training pictures have %d classes", classes, n)
	}
	warn(r.cmd, "data: %s: %d pictures to train on, %d to validate on, %d classes", o.Data, train.Len(), val.Len(), classes)
	sayDecoder(r.cmd, train)
	if o.Resume == nil {
		if o.ClassWeights, err = classWeights(r.flags.fineTuning.classWeights, train, o.Net.NumClasses()); err != nil {
			return err
		}
	}
	if o.ClassWeights != nil {
		warn(r.cmd, "class weights: %s", weightsText(o.ClassWeights, train.Classes()))
	}
	return nil
}

func (r *trainRun) closeLater(src loader.Source) {
	if c, ok := src.(io.Closer); ok {
		r.close = append(r.close, func() { _ = c.Close() })
	}
}

// openWeights reads the parameters to start from. A last layer for another
// number of classes starts anew.
func (r *trainRun) openWeights() error {
	if r.flags.weights == "" {
		return nil
	}
	_, file, err := alexnet.ReadWeightsFor(r.flags.weights, r.options.Net)
	if err != nil {
		return err
	}
	if err := r.options.Net.Reinitialise(file, r.flags.fineTuning.reinit, r.options.Seed); err != nil {
		return usageError{err}
	}
	specs, err := r.options.Net.ParamSpecs()
	if err != nil {
		return err
	}
	for _, s := range specs[max(0, len(specs)-2):] {
		for i, t := range file.Tensors {
			if t.Name == s.Name && len(t.Shape) == len(s.Shape) && t.Shape[0] != s.Shape[0] {
				file.Tensors[i] = s.Initial(r.options.Seed)
				warn(r.cmd, "weights: %s has %d classes and the data %d: it starts anew", t.Name, t.Shape[0], s.Shape[0])
				if s.Frozen() {
					return usagef("--freeze: %s must start anew for another number of classes, and would stay at its random values", t.Name)
				}
			}
		}
	}
	r.options.Weights = file
	return nil
}

func (r *trainRun) openExecutor() error {
	t, err := openTarget(r.cmd, r.flags.device)
	if err != nil {
		return err
	}
	r.close = append(r.close, t.close)
	if r.target = t; t.device != nil {
		r.free = alexnet.Room(t.device)
	}
	if r.options.Precision, err = precisionOn(r.cmd, r.flags.precision, t.device); err != nil {
		return err
	}
	if err := r.tune(); err != nil {
		return err
	}
	exec, err := t.executor(r.options.Net, r.options.Net.Solver.Batch, r.options.ExecOptions())
	if err != nil {
		return err
	}
	r.close = append(r.close, exec.Close)
	r.options.Exec = exec
	return nil
}

// tune chooses the kernels of the run: those of the checkpoint that it goes on
// with, or else what was stored for the device and, on a GPU, what is measured now.
// They stay the same to the end of the run, as its bits depend on them.
func (r *trainRun) tune() (err error) {
	o, dev := &r.options, r.target.device
	switch {
	case dev == nil || r.flags.noTune:
		o.Choices = layers.Choices{}
		return nil
	case o.Resume != nil && o.Resume.State.Device == dev.Name:
		if o.Choices == nil {
			o.Choices = layers.Choices{}
		}
		return nil
	}
	o.Choices = alexnet.ReadChoices(&dev.Info)
	if !dev.Software() {
		ctx, stop := interruptible(r.cmd, "stopping (again: at once)")
		defer stop()
		o.Choices, _, err = tuneFor(ctx, r.cmd, dev, o.Choices, 0, func(how alexnet.TuneOptions) (layers.Choices, []alexnet.Tuned, error) {
			return alexnet.Tune(ctx, dev, o.Net, o.Net.Solver.Batch, o.ExecOptions(), o.Choices, how)
		})
	}
	if o.Choices == nil {
		o.Choices = layers.Choices{}
	}
	return err
}

func (r *trainRun) openTrainer() error {
	o := &r.options
	r.flags.output = o.OutputDir
	o.Config = []byte("# Every setting of this run, for vkalexnet train -c. Network: " + o.Net.Name + "\n" + settingsTOML(r.cmd.Flags()))
	var err error
	watched, done := withEvents(withProgress(o, r.cmd.ErrOrStderr()), func(err error) { warn(r.cmd, "warning: no more events for TensorBoard: %v", err) })
	r.close = append(r.close, done)
	r.trainer, err = alexnet.NewTrainer(watched)
	return err
}
