package alexnet

import (
	"errors"
	"fmt"
	"math"

	"vkalexnet/engine"
	"vkalexnet/layers"
	"vkalexnet/loader"
	"vkalexnet/optim"
	"vkalexnet/weights"
)

// ErrDeviceLost is what an [Executor]'s errors wrap when the device is gone:
// the driver has reset it, or it was unplugged. Nothing more can be asked of
// that executor but Close; training goes on from the last checkpoint.
var ErrDeviceLost = engine.ErrDeviceLost

// ErrInference is returned by Train, Momentum and SetMomentum of an executor
// that was made with [ExecOptions].Inference.
var ErrInference = errors.New("this executor was made for inference only: it holds no gradients and no momentum")

// Executor runs one network: a device does, and the CPU reference does. It
// holds the parameters and the momentum. A new one holds zeros: SetParams
// gives it values, [Network.InitialParams] or those of a file.
//
// An executor is used by one goroutine at a time.
type Executor interface {
	// Name says on what it runs, for reports: "cpu", or the device's name.
	Name() string
	// Train runs the batch forward and backward and, when the step says so,
	// updates the parameters.
	Train(b *loader.Batch, step TrainStep) (BatchResult, error)
	// Eval runs the batch forward, without dropout, and fills Logits.
	Eval(b *loader.Batch) (BatchResult, error)
	// Params are copies of the parameters on the host, in the order and with
	// the names and shapes of [Network.ParamSpecs].
	Params() ([]weights.Tensor, error)
	// Momentum is the same for the optimiser's velocities.
	Momentum() ([]weights.Tensor, error)
	// SetParams replaces all parameters. The tensors may come in any order; an
	// error lists every one that is missing, unknown or of another shape (see
	// [Network.MatchTensors]), and then nothing has been replaced.
	SetParams([]weights.Tensor) error
	SetMomentum([]weights.Tensor) error
	// Close frees what the executor holds.
	Close()
}

// TrainStep is what changes from one call of [Executor].Train to the next.
type TrainStep struct {
	// LR is the learning rate of this step, before the factors of the layers.
	LR float32
	// Count is how many forward passes in training came before in this run; it
	// keys the masks of dropout.
	Count uint64
	// Accumulate adds to the gradients of the calls before; otherwise they are
	// forgotten first.
	Accumulate bool
	// Update moves the parameters after the backward pass.
	Update bool
	// GradScale is what the gradient of every picture's loss is multiplied by:
	// 1 / (labelled pictures in the whole step), or 1 / (sum of their classes'
	// weights).
	GradScale float32
	// LossScale multiplies it further, and the update divides by it, so that
	// small gradients survive in fp16; 0 is 1. Other precisions leave it out.
	LossScale float32
}

func (s TrainStep) lossScale() float32 {
	if s.LossScale == 0 {
		return 1
	}
	return s.LossScale
}

// BatchResult is what a batch gave, one entry per picture of the batch (the
// first Batch.N; a picture whose label is negative has loss 0 and the worst
// rank).
type BatchResult struct {
	Loss   []float32 // cross-entropy, in nats; of Train, times the weight of the picture's class
	Rank   []int32   // how many classes scored better than the right one: 0 is a top-1 hit
	Logits []float32 // [N, classes]; Eval only
	// Overflow says that elements of gradients were no finite number when the
	// parameters were updated (fp16 only); those elements have moved nothing.
	Overflow bool
}

// ExecOptions are the choices made when an executor is built.
type ExecOptions struct {
	// SGD holds momentum, weight decay and the form of the update; its LR is
	// not used, each step brings its own.
	SGD optim.SGD
	// Seed keys dropout.
	Seed uint64
	// ClassWeights multiply the loss of Train, one for each class in the network's
	// order; without them all are 1. Eval's loss is never weighted.
	ClassWeights []float32
	// Dropout drops units in Train. Without it Train computes what Eval does.
	Dropout bool
	// Precision is how a device stores activations, their gradients and the
	// weights that products read, and whether it may split their operands (BF16x3).
	// The CPU reference rounds what a device stores in 16 bits and splits nothing.
	Precision layers.Precision
	// Inference leaves out gradients and momentum: Train is an error.
	Inference bool
	// KeepGrads says that steps will be made of several batches
	// ([TrainStep].Accumulate): the memory for gradients that outlive a batch is
	// planned and taken with the rest. Without it the first such step takes it.
	KeepGrads bool
	// ShortBatches gives Eval, and looks inside, programs of their own for batches of
	// 1, 2, 4, … pictures on a device, on the same parameters; otherwise a short
	// batch takes the time of a full one. The last bits of a picture's scores then
	// depend on how many pictures are beside it. With Inference only.
	ShortBatches bool
	// Apart are what a device must not compute together, for tests and measurements;
	// FusionVariable adds to it.
	Apart Fusion
	// Choices are the tunings of matrix products on a device, as Tune finds them;
	// without one a product takes that of the fixed table.
	Choices layers.Choices
}

// MaxBatch is the largest batch of an executor. Plans and recordings take time and
// memory in proportion to it; larger steps are made of several batches
// (Solver.GradAccumSteps).
const MaxBatch = 1 << 16

// CheckBatchSize says whether an executor can be made for batches of that many
// pictures.
func CheckBatchSize(batch int) error {
	if batch < 1 || batch > MaxBatch {
		return fmt.Errorf("a batch of %d pictures: it must have from 1 to %d", batch, MaxBatch)
	}
	return nil
}

// check says which options are impossible.
func (o ExecOptions) check(net *Network) error {
	if err := o.SGD.Check(); err != nil {
		return err
	}
	if o.ShortBatches && !o.Inference {
		return errors.New("short batches have programs of their own in inference only: training has one size of batch")
	}
	if n := len(o.ClassWeights); n > 0 && n != net.NumClasses() {
		return fmt.Errorf("%d class weights for the %d classes of network %q", n, net.NumClasses(), net.Name)
	}
	for i, w := range o.ClassWeights {
		if !(w > 0) || math.IsInf(float64(w), 0) {
			return fmt.Errorf("the weight of %s is %g: it must be a number above 0", net.ClassName(i), w)
		}
	}
	return nil
}

// ParamSpec is one trainable tensor of a network.
type ParamSpec struct {
	Name  string // "<layer>.weight" or "<layer>.bias"
	Layer int    // index in Network.Layers
	Param int    // index in the layer's Plan.Params
	Shape []int  // [out, in/groups, kh, kw], [out, in] or [out]
	Init  Init
	// LR and Decay multiply the step's learning rate and weight decay.
	LR, Decay float32
	// FanIn is the number of inputs of one output of the layer.
	FanIn int
}

// Len is the number of elements of the tensor.
func (p ParamSpec) Len() int { return layers.Param{Shape: p.Shape}.Len() }

// CheckBatch says whether a batch can be run by an executor of this network
// that holds up to capacity pictures: an error means a mistake of the caller.
func (n *Network) CheckBatch(b *loader.Batch, capacity, classes int) error {
	stored := n.Input.WithDefaults().Stored
	switch {
	case b.N < 1 || b.N > capacity:
		return fmt.Errorf("a batch of %d pictures does not fit: this executor was made for 1 to %d", b.N, capacity)
	case b.Stored != stored:
		return fmt.Errorf("the batch's pictures are stored at %d×%d pixels, the network's input takes %d×%d", b.Stored, b.Stored, stored, stored)
	case len(b.Pixels) < b.N*stored*stored*3 || len(b.Labels) < b.N || len(b.Geometry) < b.N || len(b.Colour) < b.N:
		return fmt.Errorf("the batch of %d pictures is incomplete: %d bytes, %d labels, %d geometries, %d colours", b.N, len(b.Pixels), len(b.Labels), len(b.Geometry), len(b.Colour))
	}
	for i, l := range b.Labels[:b.N] {
		if int(l) >= classes {
			return fmt.Errorf("picture %d of the batch has label %d, but the network has %d classes", i, l, classes)
		}
	}
	return nil
}

// finite reports whether every value is a number.
func finite(values []float32) bool {
	for _, v := range values {
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return false
		}
	}
	return true
}
