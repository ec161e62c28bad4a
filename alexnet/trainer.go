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

	"vkalexnet/loader"
	"vkalexnet/optim"
	"vkalexnet/weights"
)

// ErrInterrupted is wrapped by the error of a run whose context was cancelled;
// its checkpoint has been written.
var ErrInterrupted = errors.New("interrupted")

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
	t.state = TrainState{
		Seed: opt.Seed, Augment: opt.Augment, Dropout: opt.Dropout, Shuffle: opt.Shuffle, OnBadImage: opt.OnBadImage,
		Data: opt.Data, Images: opt.Train.Len(), Decoder: loader.DecoderOf(opt.Train), Device: opt.Exec.Name(),
		Balanced: opt.Balanced, ClassWeights: opt.ClassWeights, BestBy: opt.BestBy,
		Precision: opt.Precision, Scale: newLossScale(opt.Precision), Choices: opt.Choices,
	}
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
	a := min(t.net.Solver.GradAccumSteps, t.batches)
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
		return t.diverged(number, fmt.Sprintf("the loss is %g at learning rate %g", sum, lr))
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
		return nil, 0, 0, fmt.Errorf("step %d: none of its pictures has a label; %s", t.state.Step+1, t.howToGoOn())
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

// diverged is the error of numbers that training does not come back from.
func (t *Trainer) diverged(step int64, what string) error {
	goOn := t.howToGoOn()
	if t.lastStep >= 0 { // with the run's own learning rate it would diverge again
		goOn += fmt.Sprintf(" --lr %g", t.opt.Net.Solver.LR/10)
	}
	return fmt.Errorf("step %d: %s: training has diverged; lower --lr, or add --lr-warmup-epochs; %s", step, what, goOn)
}

// checkpoint writes all that is needed to go on from here. Parameters that are no
// numbers do not replace those of an earlier checkpoint: nothing could go on from
// them.
func (t *Trainer) checkpoint(name string, state TrainState) error {
	params, err := t.opt.Exec.Params()
	if err != nil {
		return fmt.Errorf("after step %d: %w; %s", state.Step, err, t.howToGoOn())
	}
	momentum, err := t.opt.Exec.Momentum()
	if err != nil {
		return fmt.Errorf("after step %d: %w; %s", state.Step, err, t.howToGoOn())
	}
	for _, tensor := range slices.Concat(params, momentum) {
		if !finite(tensor.Data) {
			return t.diverged(state.Step, tensor.Name+" holds values that are no numbers")
		}
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
