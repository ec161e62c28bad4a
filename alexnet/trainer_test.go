package alexnet

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"vkalexnet/loader"
	"vkalexnet/weights"

	"github.com/stretchr/testify/require"
)

// tinyRun are the options of a run of 3 epochs of 5 batches of 4, all of whose
// randomness is on, into a folder of its own.
func tinyRun(t *testing.T, change func(*Options)) Options {
	t.Helper()
	opt := Options{
		Net: parse(t, tinyTOML), Train: pictures(22), Val: pictures(7), Data: "tiny", OutputDir: filepath.Join(t.TempDir(), "run"),
		Config: []byte("batch = 4\n"), Seed: 11, Workers: 2, Augment: true, Dropout: true, Shuffle: true,
	}
	if change != nil {
		change(&opt)
	}
	exec, err := NewReference(opt.Net, opt.Net.Solver.Batch, opt.ExecOptions())
	require.NoError(t, err)
	opt.Exec = &hooked{Executor: exec}
	return opt
}

// run trains to the end.
func run(t *testing.T, opt Options) Result {
	t.Helper()
	trainer, err := NewTrainer(opt)
	require.NoError(t, err)
	r, err := trainer.Run(t.Context())
	require.NoError(t, err)
	return r
}

// outcome is all of a run that must not depend on stops: the checkpoint and
// the metrics without their times.
type outcome struct {
	last    *Checkpoint
	metrics []string
}

func outcomeOf(t *testing.T, folder string) outcome {
	t.Helper()
	c, err := ReadCheckpoint(folder)
	require.NoError(t, err)
	o := outcome{last: c}
	for _, m := range metricsOf(t, folder) {
		delete(m, "images_per_second")
		delete(m, "data_wait")
		text, err := json.Marshal(m)
		require.NoError(t, err)
		o.metrics = append(o.metrics, string(text))
	}
	return o
}

func metricsOf(t *testing.T, folder string) []map[string]any {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, MetricsFile))
	require.NoError(t, err)
	var all []map[string]any
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		var m map[string]any
		require.NoError(t, json.Unmarshal(lines.Bytes(), &m), "%s", lines.Text())
		all = append(all, m)
	}
	return all
}

// resumed goes on from a folder's checkpoint with the options of before.
func resumed(t *testing.T, folder string, change func(*Options)) Options {
	t.Helper()
	c, err := ReadCheckpoint(folder)
	require.NoError(t, err)
	return tinyRun(t, func(o *Options) {
		if change != nil {
			change(o)
		}
		seed := o.Seed
		c.Restore(o)
		require.Equal(t, seed, o.Seed)
		require.True(t, o.Augment && o.Dropout && o.Shuffle)
		o.OutputDir = folder
	})
}

// interruptAt cancels the run when an event comes.
func interruptAt(t *testing.T, opt Options, when func(Event) bool) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	opt.Progress = func(e Event) {
		if when(e) {
			cancel()
		}
	}
	trainer, err := NewTrainer(opt)
	require.NoError(t, err)
	_, err = trainer.Run(ctx)
	return err
}

// variants are runs whose state is kept in different places.
var variants = map[string]func(*Options){
	"plain":        nil,
	"accumulation": func(o *Options) { o.Net.Solver.GradAccumSteps = 2 },
	"plateau": func(o *Options) {
		s := &o.Net.Solver
		s.Scheduler, s.LRPatience, s.LR, s.Form = "plateau", 0, 0.2, "pytorch"
	},
	"bad pictures": func(o *Options) { o.Train.(*picturesOf).bad = map[int]bool{3: true, 4: true, 9: true} },
	"class weights": func(o *Options) {
		o.ClassWeights, o.BestBy, o.Net.Solver.GradAccumSteps = []float32{0.5, 3, 1}, "loss", 2
	},
	"no validation": func(o *Options) {
		o.Val = nil
		o.Net.Solver.LRWarmupEpochs = 1.5
	},
}

func TestAResumedRunIsTheOneThatNeverStopped(t *testing.T) {
	for name, change := range variants {
		t.Run(name, func(t *testing.T) {
			opt := tinyRun(t, change)
			result := run(t, opt)
			want := outcomeOf(t, opt.OutputDir)
			require.Equal(t, 3, result.Epoch)
			for stop := int64(1); stop < result.Step; stop++ {
				opt := tinyRun(t, change)
				err := interruptAt(t, opt, func(e Event) bool { return e.Kind == "step" && e.Step == stop })
				require.ErrorIs(t, err, ErrInterrupted)
				require.ErrorContains(t, err, fmt.Sprintf("interrupted after step %d; the checkpoint of step %[1]d is kept: vkalexnet train --resume %s", stop, opt.OutputDir))
				run(t, resumed(t, opt.OutputDir, change))
				require.Equal(t, want, outcomeOf(t, opt.OutputDir), "stopped after step %d", stop)
			}
		})
	}
}

// TestClassWeightsMakeAWeightedMean compares a run's numbers with PyTorch's
// definition, sum(w[y]·loss) / sum(w[y]), over accumulated batches, too.
func TestClassWeightsMakeAWeightedMean(t *testing.T) {
	weights := []float32{0.5, 3, 1.25}
	var scales, losses, sums []float64 // of batches
	opt := tinyRun(t, func(o *Options) {
		o.ClassWeights, o.Net.Solver.GradAccumSteps = weights, 2
		o.Augment, o.Shuffle, o.Workers = false, false, 1
	})
	opt.Exec.(*hooked).train = func(s TrainStep, res *BatchResult) error {
		sum, loss := 0.0, 0.0
		for i, l := range res.Loss {
			loss += float64(l)
			sum += float64(weights[(len(losses)%5*4+i)%3]) // in the order of the pictures: see pictures
		}
		scales, losses, sums = append(scales, float64(s.GradScale)), append(losses, loss), append(sums, sum)
		return nil
	}
	run(t, opt)
	lines := metricsOf(t, opt.OutputDir)
	require.InEpsilon(t, (losses[0]+losses[1])/(sums[0]+sums[1]), lines[0]["loss"], 1e-12)
	require.InEpsilon(t, 1/(sums[0]+sums[1]), scales[1], 1e-6)
	require.InEpsilon(t, losses[4]/sums[4], lines[2]["loss"], 1e-12)
	total := func(v []float64) (t float64) {
		for _, x := range v[:5] {
			t += x
		}
		return t
	}
	require.InEpsilon(t, total(losses)/total(sums), lines[3]["train_loss"], 1e-12)
	final, err := Evaluate(t.Context(), opt.Exec, opt.Net, opt.Val, EvalOptions{Batch: 4})
	require.NoError(t, err)
	require.Equal(t, final.Loss, lines[len(lines)-1]["val_loss"], "an evaluation is not weighted")

	for text, w := range map[string][]float32{"2 class weights for the 3 classes": {1, 2}, "the weight of green is 0": {1, 0, 1}, "is NaN": {1, 1, float32(math.NaN())}} {
		bad := *opt.Net
		bad.Classes = opt.Train.Classes()
		_, err := NewReference(&bad, 4, ExecOptions{ClassWeights: w})
		require.ErrorContains(t, err, text)
	}
	c, err := ReadCheckpoint(opt.OutputDir)
	require.NoError(t, err)
	require.Equal(t, weights, c.State.ClassWeights)
	c.State.ClassWeights = nil
	require.ErrorContains(t, c.differences(c.Network, TrainState{Images: 22, Seed: 11, Shuffle: false, ClassWeights: weights}), "the class weights was [], now [0.5 3 1.25]")
}

// TestTheBestEpoch finds the epoch whose checkpoint is kept by each metric.
func TestTheBestEpoch(t *testing.T) {
	for _, by := range []string{"", "top1", "top5", "loss"} {
		var evals []*EvalResult
		opt := tinyRun(t, func(o *Options) { o.BestBy, o.Net.Solver.Epochs, o.Net.Solver.LR = by, 5, 0.3 })
		opt.Progress = func(e Event) {
			if e.Kind == "epoch" {
				evals = append(evals, e.Eval)
			}
		}
		r := run(t, opt)
		best := 0
		for i, e := range evals {
			b := evals[best]
			if by == "loss" && e.Loss < b.Loss || by == "top5" && e.Top5 > b.Top5 || by != "loss" && by != "top5" && e.Top1 > b.Top1 {
				best = i
			}
		}
		require.Equal(t, best+1, r.BestEpoch, by)
		require.Equal(t, bestValue(by, evals[best]), r.Best, by)
		c, err := ReadCheckpoint(filepath.Join(opt.OutputDir, BestCheckpoint))
		require.NoError(t, err)
		require.Equal(t, best+1, c.State.Epoch, by)
		require.Equal(t, by, c.State.BestBy)
	}
	opt := tinyRun(t, func(o *Options) { o.BestBy = "top3" })
	_, err := NewTrainer(opt)
	require.ErrorContains(t, err, `the best epoch by "top3": it must be one of top1, top5, loss`)
}

// TestTheNextEpochIsReadDuringEvaluation waits in the first evaluation for
// pictures of the second epoch.
func TestTheNextEpochIsReadDuringEvaluation(t *testing.T) {
	var asked atomic.Int64
	opt := tinyRun(t, nil)
	opt.Train.(*picturesOf).label = func(i int) int {
		asked.Add(1)
		return i % 3
	}
	seen := int64(0)
	opt.Progress = func(e Event) {
		if e.Kind == "evaluating" && e.Epoch == 0 && seen == 0 {
			for began := time.Now(); asked.Load() <= 20 && time.Since(began) < 10*time.Second; { // 5 batches of 4
				time.Sleep(time.Millisecond)
			}
			seen = asked.Load()
		}
	}
	run(t, opt)
	require.Greater(t, seen, int64(20))
}

func TestInterruptedTwiceAndInEvaluation(t *testing.T) {
	opt := tinyRun(t, nil)
	run(t, opt)
	want := outcomeOf(t, opt.OutputDir)

	opt = tinyRun(t, nil)
	evaluating := func(e Event) bool { return e.Kind == "evaluating" && e.Done < e.Total }
	require.ErrorIs(t, interruptAt(t, opt, evaluating), ErrInterrupted)
	c, err := ReadCheckpoint(opt.OutputDir)
	require.NoError(t, err)
	require.Equal(t, []int{0, 5}, []int{c.State.Epoch, c.State.Batch}, "the epoch's batches are done, its evaluation is not")
	second := resumed(t, opt.OutputDir, nil)
	require.ErrorIs(t, interruptAt(t, second, func(e Event) bool { return e.Step == 9 }), ErrInterrupted)
	run(t, resumed(t, opt.OutputDir, nil))
	require.Equal(t, want, outcomeOf(t, opt.OutputDir))

	// A context that was cancelled before makes no step.
	opt = tinyRun(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	trainer, err := NewTrainer(opt)
	require.NoError(t, err)
	r, err := trainer.Run(ctx)
	require.ErrorIs(t, err, ErrInterrupted)
	require.Zero(t, r.Step)
	run(t, resumed(t, opt.OutputDir, nil))
	require.Equal(t, want, outcomeOf(t, opt.OutputDir))
}

func TestMaxStepsIsAStopLikeOthers(t *testing.T) {
	opt := tinyRun(t, nil)
	run(t, opt)
	want := outcomeOf(t, opt.OutputDir)
	opt = tinyRun(t, func(o *Options) { o.MaxSteps = 7 })
	r := run(t, opt)
	require.EqualValues(t, 7, r.Step)
	require.NotNil(t, r.Eval, "the end is evaluated")
	_, err := os.Stat(filepath.Join(opt.OutputDir, BestCheckpoint))
	require.NoError(t, err)
	lines := metricsOf(t, opt.OutputDir)
	require.Equal(t, "epoch", lines[len(lines)-1]["kind"])
	require.EqualValues(t, 7, lines[len(lines)-1]["step"])
	run(t, resumed(t, opt.OutputDir, nil))
	require.Equal(t, want, outcomeOf(t, opt.OutputDir))
}

// lost is a device that goes away in a step.
func lost(opt Options, at int) {
	calls := 0
	opt.Exec.(*hooked).train = func(TrainStep, *BatchResult) error {
		calls++
		if calls == at {
			return fmt.Errorf("vkQueueSubmit: %w", ErrDeviceLost)
		}
		return nil
	}
}

func TestALostDeviceLeavesTheLastCheckpoint(t *testing.T) {
	opt := tinyRun(t, nil)
	run(t, opt)
	want := outcomeOf(t, opt.OutputDir)

	opt = tinyRun(t, func(o *Options) { o.CheckpointSteps = 3 })
	lost(opt, 9)
	trainer, err := NewTrainer(opt)
	require.NoError(t, err)
	r, err := trainer.Run(t.Context())
	require.ErrorIs(t, err, ErrDeviceLost)
	require.ErrorContains(t, err, "step 9: vkQueueSubmit: device lost; the checkpoint of step 6 is kept: vkalexnet train --resume "+opt.OutputDir)
	require.EqualValues(t, 8, r.Step)
	require.Equal(t, filepath.Join(opt.OutputDir, LastCheckpoint), r.Checkpoint)

	// A crash would have left half a line, too.
	metrics, err := os.OpenFile(filepath.Join(opt.OutputDir, MetricsFile), os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = metrics.WriteString(`{"kind":"step","st`)
	require.NoError(t, err)
	require.NoError(t, metrics.Close())
	run(t, resumed(t, opt.OutputDir, nil))
	require.Equal(t, want, outcomeOf(t, opt.OutputDir))

	opt = tinyRun(t, nil)
	lost(opt, 2)
	trainer, err = NewTrainer(opt)
	require.NoError(t, err)
	_, err = trainer.Run(t.Context())
	require.ErrorContains(t, err, "no checkpoint had been written")
}

func TestALossThatIsNoNumberEndsTheRun(t *testing.T) {
	opt := tinyRun(t, nil)
	steps := 0
	opt.Exec.(*hooked).train = func(_ TrainStep, res *BatchResult) error {
		if steps++; steps == 8 {
			res.Loss[1] = float32(math.NaN())
		}
		return nil
	}
	trainer, err := NewTrainer(opt)
	require.NoError(t, err)
	_, err = trainer.Run(t.Context())
	require.ErrorContains(t, err, "step 8: the loss is NaN at learning rate 0.0276")
	require.ErrorContains(t, err, "lower --lr")
	require.ErrorContains(t, err, "the checkpoint of step 5 is kept")
	c, err := ReadCheckpoint(opt.OutputDir)
	require.NoError(t, err)
	require.EqualValues(t, 5, c.State.Step)
}

// The loss of a step is that before its update: parameters can be lost while it is
// still a number.
func TestParametersThatAreNoNumbersReplaceNoCheckpoint(t *testing.T) {
	opt := tinyRun(t, func(o *Options) { o.CheckpointSteps, o.Val = 2, nil })
	steps := 0
	exec := opt.Exec.(*hooked)
	exec.train = func(TrainStep, *BatchResult) error {
		if steps++; steps < 8 {
			return nil
		}
		params, err := exec.Params()
		params[0].Data[1] = float32(math.Inf(1))
		return errors.Join(err, exec.SetParams(params))
	}
	trainer, err := NewTrainer(opt)
	require.NoError(t, err)
	_, err = trainer.Run(t.Context())
	require.ErrorContains(t, err, "step 8: conv1.weight holds values that are no numbers: training has diverged; lower --lr")
	require.ErrorContains(t, err, "the checkpoint of step 6 is kept")
	c, err := ReadCheckpoint(opt.OutputDir)
	require.NoError(t, err)
	require.EqualValues(t, 6, c.State.Step)
}

func TestMetricsAndFilesOfARun(t *testing.T) {
	opt := tinyRun(t, func(o *Options) { o.Net.Solver.GradAccumSteps = 2 })
	var steps []StepMetrics
	var evals []*EvalResult
	var trainLoss []float64
	var written []string
	var counts []TrainStep
	opt.Exec.(*hooked).train = func(s TrainStep, _ *BatchResult) error {
		counts = append(counts, s)
		return nil
	}
	opt.Progress = func(e Event) {
		require.EqualValues(t, 9, e.Steps)
		require.Equal(t, 3, e.Epochs)
		switch e.Kind {
		case "step":
			require.Equal(t, e.Step, e.StepMetrics.Step)
			require.GreaterOrEqual(t, e.Remaining, 0*e.Remaining)
			steps = append(steps, e.StepMetrics)
		case "epoch":
			evals, trainLoss = append(evals, e.Eval), append(trainLoss, e.TrainLoss)
		case "checkpoint":
			written = append(written, filepath.Base(e.Path))
		}
	}
	r := run(t, opt)
	require.EqualValues(t, 9, r.Step)
	require.Equal(t, evals[2], r.Eval)

	lines := metricsOf(t, opt.OutputDir)
	require.Len(t, lines, 9+3)
	for i, s := range steps {
		m := lines[i+i/3]
		require.Equal(t, "step", m["kind"])
		require.EqualValues(t, i+1, m["step"])
		require.EqualValues(t, i/3, m["epoch"])
		require.Equal(t, s.Loss, m["loss"], "every digit")
		require.Equal(t, fmt.Sprint(s.LR), fmt.Sprint(m["lr"]))
		require.Equal(t, s.ImagesPerSecond, m["images_per_second"])
		require.Positive(t, s.ImagesPerSecond)
		require.True(t, s.DataWait >= 0 && s.DataWait <= 1)
	}
	for epoch, e := range evals {
		m := lines[4*epoch+3]
		require.Equal(t, map[string]any{"kind": "epoch", "epoch": float64(epoch), "step": float64(3 * (epoch + 1)),
			"train_loss": trainLoss[epoch], "val_loss": e.Loss, "val_top1": e.Top1, "val_top5": e.Top5}, m)
		// Of the three steps of an epoch the last has one batch of 4, not two.
		s := steps[3*epoch:]
		require.InEpsilon(t, (2*s[0].Loss+2*s[1].Loss+s[2].Loss)/5, trainLoss[epoch], 1e-12)
	}
	final, err := Evaluate(t.Context(), opt.Exec, opt.Net, opt.Val, EvalOptions{Batch: 4})
	require.NoError(t, err)
	require.Equal(t, evals[2], final)

	// Two batches of 4, two of 4, one of 4; dropout's count never repeats.
	require.Len(t, counts, 15)
	for i, s := range counts {
		require.EqualValues(t, i, s.Count)
		require.Equal(t, i%5 == 1 || i%5 == 3, s.Accumulate)
		require.Equal(t, i%5 != 0 && i%5 != 2, s.Update)
		require.Equal(t, map[bool]float32{true: 1.0 / 4, false: 1.0 / 8}[i%5 == 4], s.GradScale)
	}
	best := slices.MaxFunc(evals, func(a, b *EvalResult) int { return int(math.Copysign(1, a.Top1-b.Top1)) })
	require.Equal(t, best.Top1, r.Best)
	require.Equal(t, LastCheckpoint, written[len(written)-1])
	require.Contains(t, written, BestCheckpoint)
	c, err := ReadCheckpoint(filepath.Join(opt.OutputDir, BestCheckpoint))
	require.NoError(t, err)
	require.Equal(t, r.BestEpoch, c.State.Epoch)
	require.Equal(t, []string{"red", "green", "blue"}, c.Network.Classes)
	require.Equal(t, "cpu", c.State.Device)
	config, err := os.ReadFile(filepath.Join(opt.OutputDir, ConfigFile))
	require.NoError(t, err)
	require.Equal(t, "batch = 4\n", string(config))
}

// The tiny network can learn colours, so a run that does not is broken.
func TestTrainingLearns(t *testing.T) {
	opt := tinyRun(t, func(o *Options) {
		s := &o.Net.Solver
		s.Epochs, s.LRWarmupEpochs, s.LR = 30, 1, 0.01
		o.Net.Input.Augment.Colour, o.Dropout = "none", false
	})
	r := run(t, opt)
	require.Equal(t, 1.0, r.Eval.Top1)
	lines := metricsOf(t, opt.OutputDir)
	require.Less(t, lines[len(lines)-1]["train_loss"], 0.3*lines[5]["train_loss"].(float64))
}

func TestBadPicturesAreSkippedCountedAndNamed(t *testing.T) {
	var named []string
	opt := tinyRun(t, func(o *Options) {
		o.Train.(*picturesOf).bad = map[int]bool{3: true, 8: true}
		o.Shuffle = false
		o.Progress = func(e Event) {
			if e.Kind == "bad" {
				require.ErrorIs(t, e.Bad, errTorn)
				named = append(named, e.Bad.Error())
			}
		}
	})
	r := run(t, opt)
	require.Equal(t, 2, r.Bad)
	require.Equal(t, []string{"picture 3 (picture-3): torn in two", "picture 8 (picture-8): torn in two"}, named)

	opt.OnBadImage, opt.OutputDir = "fail", filepath.Join(t.TempDir(), "other")
	trainer, err := NewTrainer(opt)
	require.NoError(t, err)
	_, err = trainer.Run(t.Context())
	require.ErrorIs(t, err, errTorn)
	require.ErrorContains(t, err, "step 1")
}

func TestStartingFromWeights(t *testing.T) {
	from := tinyRun(t, nil)
	run(t, from)
	net, file, err := ReadWeights(filepath.Join(from.OutputDir, LastCheckpoint))
	require.NoError(t, err)
	opt := tinyRun(t, func(o *Options) { o.Net, o.Weights, o.MaxSteps = net, file, 1 })
	before := map[string][]float32{}
	for _, w := range file.Tensors {
		before[w.Name] = slices.Clone(w.Data)
	}
	opt.Exec.(*hooked).train = func(s TrainStep, _ *BatchResult) error {
		require.Zero(t, s.Count, "it is a new run")
		return nil
	}
	run(t, opt)
	c, err := ReadCheckpoint(opt.OutputDir)
	require.NoError(t, err)
	require.EqualValues(t, 1, c.State.Step)
	// One step moves each parameter by exactly its velocity, which was 0.
	f := weights.File{Tensors: c.Momentum}
	for _, p := range c.Params {
		v, ok := f.Get(p.Name)
		require.True(t, ok)
		for i := range p.Data {
			require.Equal(t, before[p.Name][i]+v.Data[i], p.Data[i], "%s[%d]", p.Name, i)
		}
	}
}

func TestRunsThatCannotBegin(t *testing.T) {
	opt := tinyRun(t, func(o *Options) { o.MaxSteps = 1 })
	run(t, opt)
	_, err := NewTrainer(opt)
	require.ErrorContains(t, err, "already holds a run: go on with --resume "+opt.OutputDir)

	opt = tinyRun(t, nil)
	opt.Net = opt.Net.WithClasses(2)
	_, err = NewTrainer(opt)
	require.ErrorContains(t, err, `the training pictures have 3 classes and network "tiny" only 2 outputs`)

	opt = tinyRun(t, nil)
	opt.Val = otherClasses{pictures(3)}
	_, err = NewTrainer(opt)
	require.ErrorContains(t, err, "the labels would not mean the same")

	opt = tinyRun(t, nil)
	opt.Resume, opt.Weights = &Checkpoint{}, &weights.File{}
	_, err = NewTrainer(opt)
	require.ErrorContains(t, err, "not both")

	opt = tinyRun(t, nil)
	opt.Train.(*picturesOf).label = func(int) int { return -1 }
	trainer, err := NewTrainer(opt)
	require.NoError(t, err)
	_, err = trainer.Run(t.Context())
	require.ErrorContains(t, err, "none of its pictures has a label")
}

type otherClasses struct{ loader.Source }

func (otherClasses) Classes() []string { return []string{"blue", "green", "red"} }

func TestResumingAsAnotherRunIsAnError(t *testing.T) {
	opt := tinyRun(t, func(o *Options) { o.MaxSteps = 2 })
	run(t, opt)
	for says, change := range map[string]func(*Options){
		"the batch was 4, now 5":                            func(o *Options) { o.Net.Solver.Batch = 5 },
		"batches per step was 1, now 2":                     func(o *Options) { o.Net.Solver.GradAccumSteps = 2 },
		"the number of training pictures was 22, now 30":    func(o *Options) { o.Train = pictures(30) },
		"the seed was 11, now 12; shuffling was true, now":  func(o *Options) { o.Seed, o.Shuffle = 12, false },
		"the form of SGD was paper, now pytorch; the layer": func(o *Options) { o.Net.Solver.Form, o.Net.Layers[4].Name = "pytorch", "fc9" },
	} {
		c, err := ReadCheckpoint(opt.OutputDir)
		require.NoError(t, err)
		again := tinyRun(t, func(o *Options) {
			o.OutputDir, o.Resume = opt.OutputDir, c
			change(o)
		})
		_, err = NewTrainer(again)
		require.ErrorContains(t, err, says)
	}
	// What does not move the place in the data may change.
	run(t, resumed(t, opt.OutputDir, func(o *Options) { o.Val = nil }))
}

func TestAnotherDeviceIsNoted(t *testing.T) {
	opt := tinyRun(t, func(o *Options) { o.MaxSteps = 2 })
	run(t, opt)
	again := resumed(t, opt.OutputDir, nil)
	again.Resume.State.Device = "another"
	var notes []string
	again.Progress = func(e Event) {
		if e.Kind == "note" {
			notes = append(notes, e.Note)
		}
	}
	run(t, again)
	require.Len(t, notes, 1)
	require.True(t, strings.Contains(notes[0], `computed on "another": on "cpu"`), notes[0])
}

// An epoch without as many batches as a step has is one step.
func TestStepsLargerThanAnEpoch(t *testing.T) {
	opt := tinyRun(t, func(o *Options) { o.Net.Solver.GradAccumSteps = math.MaxInt })
	trainer, err := NewTrainer(opt)
	require.NoError(t, err)
	require.Equal(t, 1, trainer.StepsPerEpoch())
	r, err := trainer.Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, trainer.Steps(), r.Step)
}

func TestASetSmallerThanABatch(t *testing.T) {
	opt := tinyRun(t, func(o *Options) { o.Train = pictures(3) })
	scales := map[float32]bool{}
	opt.Exec.(*hooked).train = func(s TrainStep, _ *BatchResult) error {
		scales[s.GradScale] = true
		return nil
	}
	r := run(t, opt)
	require.EqualValues(t, 3, r.Step)
	require.Equal(t, map[float32]bool{1.0 / 3: true}, scales)
}
