package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"vkalexnet/alexnet"
	"vkalexnet/optim"
)

// trainFlags are the flags of train. Those of the solver count only when they
// were given; the network's own numbers stand otherwise.
type trainFlags struct {
	model, data, device       string
	weights, resume, output   string
	onBadImage, precision     string
	classes, workers          int
	checkpointSteps           int
	maxSteps                  int64
	seed                      uint64
	noAugment, noDropout      bool
	noShuffle, noTune, dryRun bool
	solver                    alexnet.Solver
	fineTuning                fineTuningFlags
}

func newTrain() *cobra.Command {
	f := &trainFlags{solver: alexnet.DefaultSolver()}
	cmd := &cobra.Command{
		Use:   "train",
		Short: "Train a network",
		Long: `Trains a network and writes a run's folder: config.toml (every setting), metrics.jsonl
(every step and epoch), last.safetensors and best.safetensors (checkpoints), loss.png
and filters.png (the kernels of the first layer).

Settings come from, strongest first: flags, VKALEXNET_* in the environment, the file
given with -c (keys are the long flags with underscores: batch_size = 64), the
[solver] table of the model, the defaults.

The first Ctrl-C (or SIGTERM) ends the run after the step under way, with a checkpoint;
--resume then continues as if it had never stopped. The second one stops at once.`,
		Example: `  vkalexnet train --model alexnet-small --data synthetic
  vkalexnet train --model alexnet-cifar --data cifar-10-batches-bin --epochs 30 --output-dir runs/cifar
  vkalexnet train --resume runs/cifar
  vkalexnet train --weights runs/imagenet --data flowers --freeze conv1..conv5 --reinit fc8 --lr-mult fc8=10
  vkalexnet train -c runs/cifar/config.toml --lr 0.005 --output-dir runs/cifar-2`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, args []string) error { return runTrain(cmd, f) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	addAlias(cmd, "weight-decay", "wd")
	flags.StringP(configFlag, "c", "", "TOML file of settings (the run's own when resuming)")
	flags.StringVar(&f.model, "model", "", "preset ("+strings.Join(alexnet.Presets(), ", ")+") or path of a network's TOML file")
	flags.StringVar(&f.data, "data", "", `pictures: a folder with train/<class>/ and val/<class>/, such a .tar or .tar.gz, CIFAR's binary files, a list of "path label" lines, or "synthetic"`)
	flags.IntVar(&f.classes, "num-classes", 0, "number of classes (default: as many as the data has)")
	flags.IntVar(&f.solver.Epochs, "epochs", 0, "passes over the training pictures (default: the model's)")
	flags.Int64Var(&f.maxSteps, "max-steps", 0, "stop after this many steps in all, 0: never")
	flags.IntVarP(&f.solver.Batch, "batch-size", "b", 0, "pictures in a batch (default: the model's)")
	flags.IntVar(&f.solver.GradAccumSteps, "grad-accum-steps", 0, "batches in a step: larger steps without more memory (default: the model's)")
	flags.Float64Var(&f.solver.LR, "lr", 0, "learning rate (default: the model's)")
	flags.Float64Var(&f.solver.Momentum, "momentum", 0, "momentum, 0 to below 1 (default: the model's)")
	flags.Float64Var(&f.solver.WeightDecay, "wd", 0, "weight decay, also --weight-decay (default: the model's)")
	flags.StringVar(&f.solver.Form, "sgd-form", "", "form of the update: paper, pytorch (default: the model's)")
	flags.StringVar(&f.solver.Scheduler, "lr-scheduler", "", "learning rate over time: "+strings.Join(optim.Schedulers, ", ")+" (default: the model's)")
	flags.Float64Var(&f.solver.LRStepSize, "lr-step-size", 0, "step: epochs between drops (default: the model's)")
	flags.Float64Var(&f.solver.LRGamma, "lr-gamma", 0, "step, multistep, plateau: factor of a drop (default: the model's)")
	flags.Float64SliceVar(&f.solver.LRMilestones, "lr-milestones", nil, "multistep: `epochs` of the drops, as 30,60,80 (default: the model's)")
	flags.Lookup("lr-milestones").DefValue = "" // instead of []
	flags.Float64Var(&f.solver.LRPower, "lr-power", 0, "poly: power (default: the model's)")
	flags.IntVar(&f.solver.LRPatience, "lr-patience", 0, "plateau: epochs without a lower validation loss before a drop (default: the model's)")
	flags.Float64Var(&f.solver.LRMin, "lr-min", 0, "poly, cosine, plateau: lowest learning rate (default: the model's)")
	flags.Float64Var(&f.solver.LRWarmupEpochs, "lr-warmup-epochs", 0, "epochs in which the learning rate rises from 0 (default: the model's)")
	flags.Uint64Var(&f.seed, "seed", 1, "seed of initial values, order, augmentation and dropout")
	flags.BoolVar(&f.noAugment, "no-aug", false, "train on the centre crops as they are")
	flags.BoolVar(&f.noDropout, "no-dropout", false, "train without dropout")
	flags.BoolVar(&f.noTune, "no-tune", false, "use the fixed table of tiles, not the fastest for the device")
	flags.BoolVar(&f.noShuffle, "no-shuffle", false, "visit the pictures in their order")
	flags.IntVarP(&f.workers, "workers", "j", 0, "goroutines that read pictures, 0: one per processor; changes no result")
	addDevice(cmd, &f.device)
	addPrecision(cmd, &f.precision)
	flags.StringVar(&f.weights, "weights", "", "file (safetensors, .caffemodel, .pth, ONNX) or run to start from: parameters only, by name")
	flags.StringVar(&f.resume, resumedFlag, "", "run's folder or checkpoint to continue: parameters, momentum, place in the data and settings")
	flags.StringVarP(&f.output, "output-dir", "o", "", "folder of the run (default: runs/<model>-<time>, or the resumed run's)")
	flags.IntVar(&f.checkpointSteps, "checkpoint-steps", 0, "also write last.safetensors after every so many steps, 0: after epochs only")
	flags.BoolVar(&f.dryRun, dryRunFlag, false, "report the memory and time that the run would take, from 20 measured steps, and keep nothing")
	addOneOf(cmd, &f.onBadImage, "on-bad-image", "what to do with a picture that cannot be read", "skip", "fail")
	f.fineTuning.add(cmd)
	_ = cmd.RegisterFlagCompletionFunc("model", completeModel)
	return cmd
}

func runTrain(cmd *cobra.Command, f *trainFlags) error {
	r := &trainRun{cmd: cmd, flags: f}
	defer func() {
		for i := len(r.close) - 1; i >= 0; i-- {
			r.close[i]()
		}
	}()
	for _, prepare := range []func() error{r.openNetwork, r.openData, r.openWeights, r.openExecutor} {
		if err := prepare(); err != nil {
			return err
		}
	}
	if f.dryRun {
		return r.dryRun()
	}
	if err := r.openTrainer(); err != nil {
		return err
	}
	return r.train()
}

// train runs, and says what came out.
func (r *trainRun) train() error {
	if c := r.options.Resume; c != nil {
		if c.State.Step >= r.trainer.Steps() {
			warn(r.cmd, "the run is complete at step %d: raise --epochs or --max-steps to go on", c.State.Step)
			return nil
		}
		warn(r.cmd, "resuming after step %d, in epoch %d", c.State.Step, c.State.Epoch+1)
	}
	if err := os.MkdirAll(r.options.OutputDir, 0o755); err != nil {
		return fmt.Errorf("make the run's folder: %w; choose another --output-dir", err)
	}
	unlock, err := lockFolder(r.options.OutputDir)
	if err != nil {
		return err
	}
	defer unlock()
	s := r.options.Net.Solver
	warn(r.cmd, "training %s: %s, %s of %s, learning rate %g (%s), into %s",
		r.options.Net.Name, plural(s.Epochs, "epoch"), plural(int(r.trainer.Steps()), "step"), plural(s.Batch*s.GradAccumSteps, "picture"), s.LR, s.Scheduler, r.options.OutputDir)
	ctx, stop := interruptible(r.cmd, "stopping after this step; Ctrl-C again stops at once")
	defer stop()
	result, err := r.trainer.Run(ctx)
	if drawErr := drawRun(r.options); drawErr != nil {
		err = errors.Join(err, drawErr)
	}
	if err != nil {
		return err
	}
	out := r.cmd.OutOrStdout()
	fmt.Fprintf(out, "steps: %d\nepochs: %d\n", result.Step, result.Epoch)
	if result.Eval != nil {
		fmt.Fprintf(out, "validation: %s\n", evalText(result.Eval))
	}
	checkpoint := result.Checkpoint
	if result.BestEpoch > 0 {
		fmt.Fprintf(out, "best %s: %s (epoch %d)\n", result.BestName, result.BestText, result.BestEpoch)
		checkpoint = filepath.Join(r.options.OutputDir, alexnet.BestCheckpoint)
	}
	if result.Bad > 0 {
		fmt.Fprintf(out, "unreadable pictures: %d\n", result.Bad)
	}
	fmt.Fprintf(out, "weights: %s\n", checkpoint)
	return nil
}

// evalText is an evaluation in one line, with its protocol.
func evalText(e *alexnet.EvalResult) string {
	return fmt.Sprintf("loss %.4f, top-1 %.2f %%, top-%d %.2f %% of %d pictures (%s)", e.Loss, 100*e.Top1, e.K, 100*e.Top5, e.Images, e.Protocol)
}

// drawRun writes loss.png and filters.png into the run's folder.
func drawRun(o alexnet.Options) error {
	metrics := filepath.Join(o.OutputDir, alexnet.MetricsFile)
	if _, err := os.Stat(metrics); err != nil {
		return nil // it ended before it began
	}
	if err := drawCurves(metrics, filepath.Join(o.OutputDir, "loss.png")); err != nil {
		return fmt.Errorf("draw loss.png: %w", err)
	}
	params, err := o.Exec.Params()
	if err != nil || len(params) == 0 || len(params[0].Shape) != 4 {
		return nil // the device is lost, or the network has no kernels: nothing to show
	}
	picture, err := filterPicture(params[0], strings.EqualFold(o.Net.Input.Order, "BGR"))
	if err != nil {
		return err
	}
	if err := writePNG(filepath.Join(o.OutputDir, "filters.png"), picture); err != nil {
		return fmt.Errorf("draw filters.png: %w", err)
	}
	return nil
}
