package alexnet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"vkalexnet/layers"
	"vkalexnet/loader"
	"vkalexnet/optim"
	"vkalexnet/weights"
)

// ErrInterrupted is wrapped by the error of a run whose context was cancelled;
// its checkpoint has been written.
var ErrInterrupted = errors.New("interrupted")

// Options are all that a run of training needs.
type Options struct {
	// Net holds the network, the input and the solver: batch, learning rate
	// and its schedule, epochs, batches per step.
	Net *Network
	// Exec was made with ExecOptions and for batches of Net.Solver.Batch.
	Exec Executor
	// Train and Val are the pictures; without Val nothing is evaluated.
	Train, Val loader.Source
	// Data says where Train came from; it is kept in checkpoints.
	Data string
	// OutputDir is the run's folder; it is made when it is not there.
	OutputDir string
	// Config is written as config.toml, when it is not empty.
	Config []byte
	// MaxSteps ends the run after that many steps in all (0: no such end). It
	// does not change the learning rate's schedule, which spans the epochs.
	MaxSteps int64
	// CheckpointSteps writes a checkpoint after every so many steps (0: only
	// at the end of each epoch).
	CheckpointSteps int
	Seed            uint64
	Workers         int // goroutines that decode; one per processor when 0
	// Precision and Choices are those of the executor.
	Precision layers.Precision
	Choices   layers.Choices
	// Augment, Dropout and Shuffle are on in ordinary training.
	Augment, Dropout, Shuffle bool
	// Balanced draws as many pictures of each class in an epoch, however many
	// there are of it; see loader.Options.
	Balanced bool
	// ClassWeights weigh the loss of training, one for each of the network's
	// classes (nil: all 1). The loss of a step and of an epoch is the weighted
	// mean, sum(w·loss) / sum(w); that of an evaluation is never weighted.
	ClassWeights []float32
	// BestBy is what makes an evaluation the best so far, whose checkpoint is kept
	// and from which Patience counts: the validation set's "top1" (or ""),
	// "top5" or "loss".
	BestBy string
	// Patience ends the run after that many epochs in a row without a better
	// evaluation (0: never). It does not change the schedule.
	Patience int
	// OnBadImage is "skip" (or "") or "fail".
	OnBadImage string
	// Resume goes on from a checkpoint, Weights starts with the parameters of a
	// file; at most one of them is set. Without them the parameters are
	// Net.InitialParams(Seed).
	Resume  *Checkpoint
	Weights *weights.File
	// Progress is told of every step, epoch, checkpoint and bad picture.
	Progress func(Event)
}

// ExecOptions are those that the run's executor must be made with.
func (o Options) ExecOptions() ExecOptions {
	return ExecOptions{SGD: o.Net.Solver.SGD(), Seed: o.Seed, ClassWeights: o.ClassWeights, Dropout: o.Dropout, Precision: o.Precision, Choices: o.Choices}
}

// Restore sets the options to what they were when the checkpoint was written:
// the network with its solver, seed, augmentation, dropout, shuffling, bad
// pictures, data, class weights and what the best goes by. Executor, sources and folder stay the caller's.
func (c *Checkpoint) Restore(o *Options) {
	o.Resume, o.Net = c, c.Network
	s := c.State
	o.Seed, o.Augment, o.Dropout, o.Shuffle = s.Seed, s.Augment, s.Dropout, s.Shuffle
	o.OnBadImage, o.Data, o.Balanced = s.OnBadImage, s.Data, s.Balanced
	o.ClassWeights, o.BestBy = s.ClassWeights, s.BestBy
	o.Precision, o.Choices = s.Precision, s.Choices
}

// Event is a report of [Trainer.Run].
type Event struct {
	// Kind is "step", "evaluating", "epoch", "checkpoint", "bad" or "note".
	Kind string
	// Step of Steps and Epoch (from 0) of Epochs say where the run is.
	Step, Steps   int64
	Epoch, Epochs int
	// Metrics of "step"; ImagesPerSecond and DataWait are of this step alone.
	StepMetrics StepMetrics
	// Remaining is the time left at the pace of the run so far ("step").
	Remaining time.Duration
	// Done of Total pictures are evaluated ("evaluating").
	Done, Total int
	// TrainLoss and Eval are what the epoch gave; Eval is nil without a
	// validation set ("epoch").
	TrainLoss float64
	Eval      *EvalResult
	// Path is the file that was written ("checkpoint").
	Path string
	// Bad is a picture that could not be read, reported once ("bad").
	Bad error
	// Note is a sentence for the user ("note").
	Note string
}

// Result is what a run came to.
type Result struct {
	Step  int64
	Epoch int // epochs completed
	// Eval is the last evaluation, nil where there was none.
	Eval *EvalResult
	// Best is the best value of Options.BestBy, after BestEpoch epochs; it counts
	// when that is not 0. In words it is called BestName ("top-1") and is BestText
	// ("97.80 %").
	Best               float64
	BestEpoch          int
	BestName, BestText string
	// Checkpoint is the path of the last one written.
	Checkpoint string
	Bad        int // pictures that could not be read
}

// Trainer runs the training that Options describe.
type Trainer struct {
	opt      Options
	net      *Network // with the classes of the training set
	loader   *loader.Loader
	feed     *feeder // of the epoch under way, or of the next while this one is evaluated
	feeds    int     // its epoch
	stopFeed func()  // ends it
	val      *viewer
	schedule optim.Schedule
	state    TrainState
	batches  int // per epoch

	metrics  *metricsLog
	bad      map[string]bool
	lastStep int64 // of the last checkpoint written or resumed from; −1: none
	result   Result
	early    *TrainState // of the best checkpoint that stopEarly wrote
	began    time.Time
	steps    int64 // made in this process
}

// NewTrainer checks the options and prepares the data; it writes nothing yet.
func NewTrainer(opt Options) (*Trainer, error) {
	if opt.Resume != nil && opt.Weights != nil {
		return nil, errors.New("a run either resumes from a checkpoint or starts from weights, not both")
	}
	net, err := withClassesOf(opt.Net, opt.Train, opt.Val)
	if err != nil {
		return nil, err
	}
	if err := net.Check(); err != nil {
		return nil, err
	}
	if !slices.Contains(BestMetrics, cmp.Or(opt.BestBy, BestMetrics[0])) {
		return nil, fmt.Errorf("the best epoch by %q: it must be one of %s", opt.BestBy, strings.Join(BestMetrics, ", "))
	}
	t := &Trainer{opt: opt, net: net, bad: map[string]bool{}, lastStep: -1}
	t.state = TrainState{Seed: opt.Seed, Augment: opt.Augment, Dropout: opt.Dropout, Shuffle: opt.Shuffle,
		OnBadImage: opt.OnBadImage, Data: opt.Data, Images: opt.Train.Len(), Device: opt.Exec.Name(), Balanced: opt.Balanced, ClassWeights: opt.ClassWeights, BestBy: opt.BestBy, Decoder: loader.DecoderOf(opt.Train),
		Precision: opt.Precision, Scale: newLossScale(opt.Precision), Choices: opt.Choices}
	t.loader, err = loader.NewLoader(opt.Train, net.Input, loader.Options{
		Batch: net.Solver.Batch, Workers: opt.Workers, Train: true, Shuffle: opt.Shuffle, Augment: opt.Augment,
		Seed: opt.Seed, OnBadImage: opt.OnBadImage, Balanced: opt.Balanced,
		// A short last batch would weigh its pictures more; a set smaller than
		// one batch has no other.
		DropLast: opt.Train.Len() >= net.Solver.Batch,
	})
	if err != nil {
		return nil, err
	}
	t.batches = t.loader.BatchesPerEpoch()
	if opt.Val != nil {
		t.val, err = newViewer(net, opt.Val, EvalOptions{Batch: net.Solver.Batch, Workers: opt.Workers, OnBadImage: opt.OnBadImage,
			Progress: func(done, total int) { t.report(Event{Kind: "evaluating", Done: done, Total: total}) }})
		if err != nil {
			return nil, fmt.Errorf("validation set: %w", err)
		}
	}
	if t.schedule, err = net.Solver.Schedule(t.StepsPerEpoch()); err != nil {
		return nil, err
	}
	if opt.Resume != nil {
		if err := opt.Resume.differences(net, t.state); err != nil {
			return nil, err
		}
		t.resume(opt.Resume.State)
	} else if _, err := os.Stat(t.path(LastCheckpoint)); !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("folder %s already holds a run: go on with --resume %[1]s, or choose another --output-dir", opt.OutputDir)
	}
	return t, nil
}

// withClassesOf gives the network the class names of the training pictures.
// Outputs that the data has no class for are numbered.
func withClassesOf(net *Network, train, val loader.Source) (*Network, error) {
	classes := train.Classes()
	if len(classes) == 0 {
		return net, nil
	}
	if len(classes) > net.NumClasses() {
		return nil, fmt.Errorf("the training pictures have %d classes and network %q only %d outputs: give it as many", len(classes), net.Name, net.NumClasses())
	}
	if val != nil && len(val.Classes()) != 0 && !slices.Equal(val.Classes(), classes) {
		return nil, fmt.Errorf("the validation pictures' %d classes are not the training pictures' %d, in the same order: the labels would not mean the same", len(val.Classes()), len(classes))
	}
	c := *net
	c.Classes = slices.Clone(classes)
	for i := len(classes); i < net.NumClasses(); i++ {
		c.Classes = append(c.Classes, fmt.Sprintf("class %d", i))
	}
	return &c, nil
}

// resume takes over where a run was; what may differ now stays as it is now.
func (t *Trainer) resume(was TrainState) {
	now := t.state
	t.state = was
	t.state.Augment, t.state.Dropout, t.state.OnBadImage = now.Augment, now.Dropout, now.OnBadImage
	t.state.Data, t.state.Device, t.state.Decoder, t.state.Choices = now.Data, now.Device, now.Decoder, now.Choices
	if was.Precision != now.Precision {
		t.state.Precision, t.state.Scale = now.Precision, now.Scale
	}
	t.schedule.SetState(was.Schedule)
	t.lastStep = was.Step
}

// StepsPerEpoch is how many updates one pass over the pictures makes.
func (t *Trainer) StepsPerEpoch() int {
	a := t.net.Solver.GradAccumSteps
	return (t.batches + a - 1) / a
}

// Steps is the number of the run's last step.
func (t *Trainer) Steps() int64 {
	steps := int64(t.StepsPerEpoch()) * int64(t.net.Solver.Epochs)
	if t.opt.MaxSteps > 0 {
		steps = min(steps, t.opt.MaxSteps)
	}
	return steps
}

// Network is the run's network, with the classes of the training pictures.
func (t *Trainer) Network() *Network { return t.net }

func (t *Trainer) path(name string) string { return filepath.Join(t.opt.OutputDir, name) }

// report completes an event and passes it on.
func (t *Trainer) report(e Event) {
	if t.opt.Progress == nil {
		return
	}
	e.Step, e.Steps, e.Epoch, e.Epochs = t.state.Step, t.Steps(), t.state.Epoch, t.net.Solver.Epochs
	t.opt.Progress(e)
}

// Run trains until the last epoch or step. When ctx is cancelled it finishes
// the step, writes a checkpoint and returns an error that wraps
// [ErrInterrupted]; one that wraps [ErrDeviceLost] says that the device is
// gone. The result is filled as far as the run came in any case.
func (t *Trainer) Run(ctx context.Context) (Result, error) {
	err := t.run(ctx)
	t.result.Step, t.result.Epoch = t.state.Step, t.state.Epoch
	t.result.Best, t.result.BestEpoch = t.state.Best, t.state.BestEpoch
	if t.early != nil {
		t.result.Best, t.result.BestEpoch = t.early.Best, t.early.BestEpoch
	}
	t.result.BestName, t.result.BestText = bestText(t.opt.BestBy, t.result.Best)
	t.result.Bad = len(t.bad)
	return t.result, err
}

func (t *Trainer) run(ctx context.Context) (err error) {
	if err := t.prepare(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.metrics.close()) }()
	defer t.loader.Stop()
	defer t.endFeed()
	t.began = time.Now()
	for t.state.Epoch < t.net.Solver.Epochs && !t.finished() {
		if t.stalled() {
			name, value := bestText(t.opt.BestBy, t.state.Best)
			t.report(Event{Kind: "note", Note: fmt.Sprintf("stopped early: no epoch since %d has been better than %s %s", t.state.BestEpoch, name, value)})
			return nil
		}
		if err := t.epoch(ctx); err != nil {
			return err
		}
	}
	return nil
}

// finished says that MaxSteps have been made.
func (t *Trainer) finished() bool { return t.opt.MaxSteps > 0 && t.state.Step >= t.opt.MaxSteps }

// stalled says that Patience has run out.
func (t *Trainer) stalled() bool {
	return t.opt.Patience > 0 && t.state.BestEpoch > 0 && t.state.Epoch-t.state.BestEpoch >= t.opt.Patience
}

// prepare makes the run's folder and gives the executor its parameters.
func (t *Trainer) prepare() error {
	if err := os.MkdirAll(t.opt.OutputDir, 0o755); err != nil {
		return fmt.Errorf("make the run's folder: %w", err)
	}
	if len(t.opt.Config) > 0 {
		err := weights.Replace(t.path(ConfigFile), func(w io.Writer) error {
			_, err := w.Write(t.opt.Config)
			return err
		})
		if err != nil {
			return fmt.Errorf("write %s: %w", t.path(ConfigFile), err)
		}
	}
	if err := t.setParams(); err != nil {
		return err
	}
	var err error
	t.metrics, err = openMetrics(t.path(MetricsFile), t.state)
	return err
}

func (t *Trainer) setParams() error {
	if c := t.opt.Resume; c != nil {
		if d := c.State.Decoder; d != "" && d != t.state.Decoder {
			t.report(Event{Kind: "note", Note: fmt.Sprintf("WARNING: the run's pictures were decoded by %q until now: with %q it goes on, but not with the same bits (VKALEXNET_JPEG chooses: auto, turbo, go)", d, t.state.Decoder)})
		}
		if d := c.State.Device; d != t.state.Device {
			t.report(Event{Kind: "note", Note: fmt.Sprintf("the checkpoint was computed on %q: on %q the run goes on, but not with the same bits", d, t.state.Device)})
		}
		if p := c.State.Precision; p != t.opt.Precision {
			t.report(Event{Kind: "note", Note: fmt.Sprintf("the checkpoint was computed in %s: in %s the run goes on, but not with the same bits", p, t.opt.Precision)})
		}
		if err := t.opt.Exec.SetParams(c.Params); err != nil {
			return fmt.Errorf("resume: %w", err)
		}
		if err := t.opt.Exec.SetMomentum(c.Momentum); err != nil {
			return fmt.Errorf("resume: %w", err)
		}
		return nil
	}
	if t.opt.Weights != nil {
		if err := LoadWeights(t.opt.Exec, t.opt.Weights); err != nil {
			return fmt.Errorf("start from weights: %w", err)
		}
		return nil
	}
	params, err := t.net.InitialParams(t.opt.Seed)
	if err != nil {
		return err
	}
	return t.opt.Exec.SetParams(params)
}

// epoch does what is left of one epoch.
func (t *Trainer) epoch(ctx context.Context) error {
	if t.feed == nil || t.feeds != t.state.Epoch {
		t.startFeed(ctx, t.state.Epoch, t.state.Batch)
	}
	for t.state.Batch < t.batches {
		if ctx.Err() != nil {
			return t.interrupted()
		}
		if err := t.step(); err != nil {
			return err
		}
		switch {
		case t.finished() && t.state.Batch < t.batches:
			return t.stopEarly(ctx)
		case t.opt.CheckpointSteps > 0 && t.state.Step%int64(t.opt.CheckpointSteps) == 0:
			if err := t.checkpoint(LastCheckpoint, t.state); err != nil {
				return err
			}
		}
	}
	return t.endEpoch(ctx)
}

// step makes one update.
func (t *Trainer) step() error {
	began := time.Now()
	batches, images, weight, err := t.read()
	if err != nil {
		return err
	}
	waited := time.Since(began)
	number := t.state.Step + 1
	when := float64(t.state.Epoch) + float64(t.state.Batch)/float64(t.batches)
	lr := float32(t.schedule.LR(t.net.Solver.LR, when))
	sum, scale, overflow := 0.0, float32(t.state.Scale.Factor), false
	for i, b := range batches {
		res, err := t.opt.Exec.Train(b, TrainStep{
			LR: lr, Count: t.state.Forwards, Accumulate: i > 0, Update: i == len(batches)-1, GradScale: 1 / float32(weight), LossScale: scale,
		})
		if err != nil {
			return fmt.Errorf("step %d: %w; %s", number, err, t.howToGoOn())
		}
		for _, l := range res.Loss[:b.N] {
			sum += float64(l)
		}
		overflow = overflow || res.Overflow
		t.state.Forwards++
	}
	if math.IsNaN(sum) || math.IsInf(sum, 0) {
		goOn := t.howToGoOn()
		if t.lastStep >= 0 { // with the run's own learning rate it would diverge again
			goOn += fmt.Sprintf(" --lr %g", t.opt.Net.Solver.LR/10)
		}
		return fmt.Errorf("step %d: the loss is %g at learning rate %g: training has diverged; lower --lr, or add --lr-warmup-epochs; %s", number, sum, lr, goOn)
	}
	t.state.Scale.after(overflow)
	t.state.Step = number
	t.state.Batch += len(batches)
	t.state.EpochLoss += sum
	t.state.EpochImages += int64(images)
	if t.opt.ClassWeights != nil {
		t.state.EpochWeight += weight
	}
	t.steps++
	took := time.Since(began)
	m := StepMetrics{Kind: "step", Step: number, Epoch: t.state.Epoch, Loss: sum / weight, LR: lr,
		ImagesPerSecond: float64(images) / took.Seconds(), DataWait: waited.Seconds() / took.Seconds(), LossScale: scale, Overflow: overflow}
	if err := t.metrics.write(m); err != nil {
		return err
	}
	left := time.Duration(float64(time.Since(t.began)) / float64(t.steps) * float64(t.Steps()-number))
	t.report(Event{Kind: "step", StepMetrics: m, Remaining: left})
	return nil
}

// read collects the batches of one step, counts their labelled pictures and adds
// up the weights of those pictures' classes.
func (t *Trainer) read() (batches []*loader.Batch, images int, weight float64, err error) {
	for range min(t.net.Solver.GradAccumSteps, t.batches-t.state.Batch) {
		b, err := t.feed.next()
		if err != nil {
			return nil, 0, 0, fmt.Errorf("step %d: %w; %s", t.state.Step+1, err, t.howToGoOn())
		}
		for _, l := range b.Labels[:b.N] {
			if l < 0 {
				continue
			}
			images++
			if t.opt.ClassWeights != nil {
				weight += float64(t.opt.ClassWeights[l])
			}
		}
		for _, bad := range b.Bad {
			if text := bad.Error(); !t.bad[text] {
				t.bad[text] = true
				t.report(Event{Kind: "bad", Bad: bad})
			}
		}
		batches = append(batches, b)
	}
	if images == 0 {
		return nil, 0, 0, fmt.Errorf("step %d: none of its pictures has a label", t.state.Step+1)
	}
	if t.opt.ClassWeights == nil {
		weight = float64(images)
	}
	return batches, images, weight, nil
}

// startFeed begins to read an epoch's batches ahead.
func (t *Trainer) startFeed(ctx context.Context, epoch, batch int) {
	t.endFeed()
	// The loader must not end in the middle of a step when ctx is cancelled.
	loading, stop := context.WithCancel(context.WithoutCancel(ctx))
	t.loader.Start(loading, epoch, batch)
	t.feed, t.feeds, t.stopFeed = newFeeder(t.loader, t.opt.Exec), epoch, stop
}

func (t *Trainer) endFeed() {
	if t.feed != nil {
		t.stopFeed()
		t.feed.close()
		t.feed = nil
	}
}

// endEpoch evaluates, and writes what there is to write. Meanwhile the next
// epoch's first pictures are read, so that its first step need not wait.
func (t *Trainer) endEpoch(ctx context.Context) error {
	if next := t.state.Epoch + 1; next < t.net.Solver.Epochs && !t.finished() {
		t.startFeed(ctx, next, 0)
	}
	eval, err := t.evaluate(ctx)
	if err != nil {
		return err
	}
	loss := t.state.trainLoss()
	if err := t.logEpoch(loss, eval); err != nil {
		return err
	}
	if eval != nil {
		t.schedule.Observe(eval.Loss)
	} else {
		t.schedule.Observe(loss)
	}
	t.state.Schedule = t.schedule.State()
	t.state.Epoch, t.state.Batch, t.state.EpochLoss, t.state.EpochImages, t.state.EpochWeight = t.state.Epoch+1, 0, 0, 0, 0
	if eval != nil && t.better(eval) {
		t.state.Best, t.state.BestEpoch = bestValue(t.opt.BestBy, eval), t.state.Epoch
		if err := t.checkpoint(BestCheckpoint, t.state); err != nil {
			return err
		}
	}
	return t.checkpoint(LastCheckpoint, t.state)
}

// stopEarly ends the run in the middle of an epoch, after MaxSteps. What the
// evaluation brings stays out of the last checkpoint, so that a run that goes
// on from it is the one that never stopped.
func (t *Trainer) stopEarly(ctx context.Context) error {
	if err := t.checkpoint(LastCheckpoint, t.state); err != nil {
		return err
	}
	eval, err := t.evaluate(ctx)
	if err != nil {
		return err
	}
	if err := t.logEpoch(t.state.trainLoss(), eval); err != nil {
		return err
	}
	if eval == nil || !t.better(eval) {
		return nil
	}
	state := t.state
	state.Best, state.BestEpoch = bestValue(t.opt.BestBy, eval), t.state.Epoch+1
	t.early = &state
	return t.checkpoint(BestCheckpoint, state)
}

// BestMetrics are the choices of Options.BestBy, the usual one first.
var BestMetrics = []string{"top1", "top5", "loss"}

// bestValue is what an evaluation's rank among the others depends on.
func bestValue(by string, eval *EvalResult) float64 {
	switch by {
	case "top5":
		return eval.Top5
	case "loss":
		return eval.Loss
	}
	return eval.Top1
}

// bestText is how such a value is called and written.
func bestText(by string, value float64) (name, text string) {
	switch by {
	case "top5":
		return "top-5", fmt.Sprintf("%.2f %%", 100*value)
	case "loss":
		return "loss", fmt.Sprintf("%.4f", value)
	}
	return "top-1", fmt.Sprintf("%.2f %%", 100*value)
}

// better says whether an evaluation is the best so far.
func (t *Trainer) better(eval *EvalResult) bool {
	v := bestValue(t.opt.BestBy, eval)
	if t.opt.BestBy == "loss" {
		return t.state.BestEpoch == 0 || v < t.state.Best
	}
	return t.state.BestEpoch == 0 || v > t.state.Best
}

// evaluate measures the network; without a validation set it gives nil.
func (t *Trainer) evaluate(ctx context.Context) (*EvalResult, error) {
	if t.val == nil {
		return nil, nil
	}
	eval, err := t.val.evaluate(ctx, t.opt.Exec)
	if err != nil && ctx.Err() != nil {
		return nil, t.interrupted()
	}
	if err != nil {
		return nil, fmt.Errorf("after step %d: %w; %s", t.state.Step, err, t.howToGoOn())
	}
	t.result.Eval = eval
	return eval, nil
}

func (t *Trainer) logEpoch(loss float64, eval *EvalResult) error {
	m := EpochMetrics{Kind: "epoch", Epoch: t.state.Epoch, Step: t.state.Step, TrainLoss: loss}
	if eval != nil {
		m.ValLoss, m.ValTop1, m.ValTop5 = &eval.Loss, &eval.Top1, &eval.Top5
	}
	if err := t.metrics.write(m); err != nil {
		return err
	}
	t.report(Event{Kind: "epoch", TrainLoss: loss, Eval: eval})
	return nil
}

// checkpoint writes all that is needed to go on from here.
func (t *Trainer) checkpoint(name string, state TrainState) error {
	params, err := t.opt.Exec.Params()
	if err != nil {
		return fmt.Errorf("after step %d: %w; %s", state.Step, err, t.howToGoOn())
	}
	momentum, err := t.opt.Exec.Momentum()
	if err != nil {
		return fmt.Errorf("after step %d: %w; %s", state.Step, err, t.howToGoOn())
	}
	path := t.path(name)
	if err := WriteCheckpoint(path, &Checkpoint{Network: t.net, Params: params, Momentum: momentum, State: state}); err != nil {
		return err
	}
	if name == LastCheckpoint {
		t.lastStep, t.result.Checkpoint = state.Step, path
	}
	t.report(Event{Kind: "checkpoint", Path: path})
	return nil
}

// interrupted writes a checkpoint of where the run is.
func (t *Trainer) interrupted() error {
	if err := t.checkpoint(LastCheckpoint, t.state); err != nil {
		return errors.Join(ErrInterrupted, err)
	}
	return fmt.Errorf("%w after step %d; %s", ErrInterrupted, t.state.Step, t.howToGoOn())
}

// howToGoOn is the end of every error that ends a run.
func (t *Trainer) howToGoOn() string {
	if t.lastStep < 0 {
		return "no checkpoint had been written (--checkpoint-steps sets how often)"
	}
	folder := t.opt.OutputDir
	if strings.ContainsAny(folder, " \t'\"$\\&;*?()<>|`!#~") {
		folder = "'" + strings.ReplaceAll(folder, "'", `'\''`) + "'" // for a shell
	}
	return fmt.Sprintf("the checkpoint of step %d is kept: vkalexnet train --resume %s", t.lastStep, folder)
}
