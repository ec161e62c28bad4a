package alexnet

import (
	"time"

	"vkalexnet/layers"
	"vkalexnet/loader"
	"vkalexnet/weights"
)

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
	return ExecOptions{SGD: o.Net.Solver.SGD(), Seed: o.Seed, ClassWeights: o.ClassWeights, Dropout: o.Dropout, Precision: o.Precision, Choices: o.Choices,
		KeepGrads: o.Net.Solver.GradAccumSteps > 1}
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
