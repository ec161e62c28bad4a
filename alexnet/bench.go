package alexnet

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"vkalexnet/engine"
	"vkalexnet/layers"
	"vkalexnet/loader"
	"vkalexnet/weights"
)

// ErrWrongResult is wrapped by the errors of [BenchRun].Check: the device
// computed something else than the CPU reference.
var ErrWrongResult = errors.New("wrong result")

// BenchMode is what a benchmark runs.
type BenchMode int

// The modes of [Bench].
const (
	BenchInfer  BenchMode = iota // Executor.Eval
	BenchTrain                   // Executor.Train with an update
	BenchLayers                  // the same, each call timed on the device
)

const (
	benchSeed = 7
	// benchRate is a learning rate that leaves the parameters where they are,
	// however often a step is repeated.
	benchRate = 1e-9
	// checkedPictures is how many pictures of a batch the CPU reference computes.
	checkedPictures = 2
	// Errors allowed of whole passes, |got - want|₂ / |want|₂ of a tensor:
	// rounding grows from layer to layer, and now and then turns a maximum or a
	// ReLU over. A product that leaves terms out is further off than this.
	logitsLimit = 1e-4
	updateLimit = 1e-2
	// benchLossScale keeps gradients within fp16 and overflows nowhere.
	benchLossScale = 1024
)

// benchLimits are those of a precision. In 16 bits the reference rounds where the
// device does, but sums that differ in their last bits are now and then rounded to
// neighbouring numbers, a share of the precision's unit u apart, and from layer to
// layer more of them; calls computed together leave a rounding out, too. That turns
// more maxima and ReLUs over: a share of about u of them, each wrong as a whole, so
// that updates differ by about √u.
func benchLimits(p layers.Precision) (logits, updates float64) {
	unit := p.Unit()
	switch p {
	case layers.FP32:
		return logitsLimit, updateLimit
	case layers.BF16x3: // nothing is rounded to it, but results are as far apart
		unit = layers.BF16.SplitError()
	}
	return logitsLimit + 2*unit, updateLimit + 3*math.Sqrt(unit)
}

// Bench measures a network: the same generated pictures and parameters on
// every device, batch size and mode.
type Bench struct {
	net    *Network
	params []weights.Tensor
	want   map[benchKey]benchAnswer
	// Choices are those of the executors that are opened from now on.
	Choices layers.Choices
	// Precision is theirs too.
	Precision layers.Precision
}

type benchKey struct {
	train     bool
	n         int
	precision layers.Precision
}

// benchAnswer is what the CPU reference gives.
type benchAnswer struct {
	result   BatchResult
	momentum []weights.Tensor
}

// NewBench prepares a benchmark of the network. Its parameters are drawn with
// the deviations of He et al. (2015), so that no signal fades on its way.
func NewBench(net *Network) (*Bench, error) {
	specs, err := net.ParamSpecs()
	if err != nil {
		return nil, err
	}
	b := &Bench{net: net, params: zeros(specs), want: map[benchKey]benchAnswer{}}
	for i, s := range specs {
		if len(s.Shape) > 1 {
			Init{Kind: "he"}.fill(b.params[i].Data, s.FanIn, benchSeed, uint32(i))
		}
	}
	return b, nil
}

func (b *Bench) options(mode BenchMode) ExecOptions {
	return ExecOptions{SGD: b.net.Solver.SGD(), Seed: benchSeed, Dropout: true, Inference: mode == BenchInfer, Choices: b.Choices, Precision: b.Precision}
}

// Tune finds choices for a batch size and mode on a device; see [Tune].
func (b *Bench) Tune(ctx context.Context, dev *engine.Device, batch int, mode BenchMode, known layers.Choices, how TuneOptions) (layers.Choices, []Tuned, error) {
	return Tune(ctx, dev, b.net, batch, b.options(mode), known, how)
}

func (b *Bench) step(n int) TrainStep {
	step := TrainStep{LR: benchRate, Update: true, GradScale: 1 / float32(n)}
	if b.Precision == layers.FP16 {
		step.LossScale = benchLossScale
	}
	return step
}

// pictures are a batch of generated ones, decoded.
func (b *Bench) pictures(ctx context.Context, n int, train bool) (*loader.Batch, error) {
	l, err := loader.NewLoader(loader.Synthetic(n, benchSeed), b.net.Input, loader.Options{Batch: n, Train: train, Augment: true, Seed: benchSeed, CacheBytes: -1})
	if err != nil {
		return nil, err
	}
	l.Start(ctx, 0, 0)
	defer l.Stop()
	batch, err := l.Next()
	if err != nil {
		return nil, err
	}
	for i := range batch.Labels {
		batch.Labels[i] %= int32(b.net.NumClasses())
	}
	return batch, nil
}

// answer computes the first n pictures of a batch on the CPU, once.
func (b *Bench) answer(batch *loader.Batch, n int, train bool) (benchAnswer, error) {
	key := benchKey{train, n, b.Precision.Stored()}
	if a, ok := b.want[key]; ok {
		return a, nil
	}
	mode := BenchInfer
	if train {
		mode = BenchTrain
	}
	exec, err := NewReference(b.net, n, b.options(mode))
	if err != nil {
		return benchAnswer{}, err
	}
	defer exec.Close()
	first := *batch
	first.N = n
	a, err := b.once(exec, &first, train, n)
	if err == nil {
		b.want[key] = a
	}
	return a, err
}

// once runs a batch from the benchmark's parameters; only n of the pictures
// count in the gradient's scale.
func (b *Bench) once(exec Executor, batch *loader.Batch, train bool, n int) (a benchAnswer, err error) {
	if err = exec.SetParams(b.params); err != nil {
		return a, err
	}
	if !train {
		a.result, err = exec.Eval(batch)
		return a, err
	}
	specs, err := b.net.ParamSpecs()
	if err != nil {
		return a, err
	}
	if err = exec.SetMomentum(zeros(specs)); err != nil {
		return a, err
	}
	if a.result, err = exec.Train(batch, b.step(n)); err != nil {
		return a, err
	}
	a.momentum, err = exec.Momentum()
	return a, err
}

// BenchRun is a network on a device, ready to be measured again and again. It
// is used by one goroutine at a time.
type BenchRun struct {
	bench   *Bench
	exec    Executor
	dev     *device // nil for the CPU reference
	mode    BenchMode
	batches [2]*loader.Batch // the same pictures twice: one is staged while the other is computed
	memory  uint64
	steps   uint64
}

// Open puts the network on a device, or on the CPU reference where dev is nil,
// for batches of so many pictures.
func (b *Bench) Open(ctx context.Context, dev *engine.Device, batch int, mode BenchMode) (*BenchRun, error) {
	r := &BenchRun{bench: b, mode: mode}
	opt := b.options(mode)
	if dev == nil {
		if mode == BenchLayers {
			return nil, errors.New("the CPU reference takes no timestamps")
		}
		var err error
		if r.exec, err = NewReference(b.net, batch, opt); err != nil {
			return nil, err
		}
	} else {
		if mode == BenchLayers && !dev.Features.Timestamps {
			return nil, errors.New("the driver offers no timestamps")
		}
		plan, err := PlanMemory(dev.Info, b.net, batch, opt)
		if err != nil {
			return nil, err
		}
		if r.dev, err = newDevice(dev, b.net, batch, opt, mode == BenchLayers); err != nil {
			return nil, err
		}
		r.exec, r.memory = r.dev, plan.Weights+plan.Momentum+plan.Input+plan.Temporary
		if mode == BenchInfer {
			r.memory += plan.Inference
		}
	}
	pictures, err := b.pictures(ctx, batch, mode != BenchInfer)
	if err == nil {
		err = r.exec.SetParams(b.params)
	}
	if err != nil {
		r.exec.Close()
		return nil, err
	}
	again := *pictures
	r.batches = [2]*loader.Batch{pictures, &again}
	return r, nil
}

// Close frees what the run holds on the device.
func (r *BenchRun) Close() { r.exec.Close() }

// Memory is what the run takes on the device in bytes, 0 on the CPU reference.
func (r *BenchRun) Memory() uint64 { return r.memory }

// FLOPs are the floating-point operations of the convolutions and fully
// connected layers in one Once, two per multiply-add.
func (r *BenchRun) FLOPs() (float64, error) {
	s, err := Summarize(r.bench.net)
	if err != nil {
		return 0, err
	}
	images := float64(r.batches[0].N)
	if r.mode == BenchInfer {
		return 2 * images * float64(s.MACs), nil
	}
	return 2 * images * float64(s.TrainingMACs), nil
}

// BenchCheck is what [BenchRun].Check found.
type BenchCheck struct {
	Pictures int // computed by the reference
	Tensors  int // compared
	// Error is the largest |got - want|₂ / |want|₂ of a tensor, Limit what is
	// allowed of the tensor that is nearest to its own.
	Error, Limit float64
}

// Check runs the whole batch once and compares the first pictures with the CPU
// reference: their logits, or in training their losses and, with all other
// pictures unlabelled, every parameter's change. Its error wraps ErrWrongResult
// where they differ by more than rounding explains. The CPU reference itself is
// not checked.
func (r *BenchRun) Check() (*BenchCheck, error) {
	if r.dev == nil {
		return nil, nil
	}
	batch := *r.batches[0]
	n := min(checkedPictures, batch.N)
	train := r.mode != BenchInfer
	want, err := r.bench.answer(&batch, n, train)
	if err != nil {
		return nil, fmt.Errorf("compute the first %d pictures on the CPU: %w", n, err)
	}
	if train {
		batch.Labels = slices.Clone(batch.Labels)
		for i := n; i < batch.N; i++ {
			batch.Labels[i] = -1
		}
	}
	got, err := r.bench.once(r.exec, &batch, train, n)
	if err != nil {
		return nil, err
	}
	c := &BenchCheck{Pictures: n}
	compare := func(what string, got, want []float32, limit float64) error {
		e := relativeError(got, want)
		c.Tensors++
		if c.Limit == 0 || e/limit > c.Error/c.Limit {
			c.Error, c.Limit = e, limit
		}
		if !(e <= limit) {
			return fmt.Errorf("%w: the %s of %d pictures in a batch of %d differ from the CPU reference's by %.2g of their size, and rounding explains %.2g: run vkalexnet verify", ErrWrongResult, what, n, batch.N, e, limit)
		}
		return nil
	}
	logits, updates := benchLimits(r.bench.Precision)
	if !train {
		return c, compare("logits", got.result.Logits[:len(want.result.Logits)], want.result.Logits, logits)
	}
	if err := compare("losses", got.result.Loss[:n], want.result.Loss, logits); err != nil {
		return c, err
	}
	for i, m := range want.momentum {
		if err := compare("updates of "+m.Name, got.momentum[i].Data, m.Data, updates); err != nil {
			return c, err
		}
	}
	return c, nil
}

// relativeError is |got - want|₂ / |want|₂, infinite where got is no number.
func relativeError(got, want []float32) float64 {
	var difference, size float64
	for i, w := range want {
		d := float64(got[i]) - float64(w)
		difference += d * d
		size += float64(w) * float64(w)
	}
	switch {
	case difference == 0:
		return 0
	case math.IsNaN(difference) || size == 0:
		return math.Inf(1)
	}
	return math.Sqrt(difference / size)
}

// Resident is Once without the pictures' way to the device, as benchmarks of
// frameworks measure: they are there already. Not on the CPU reference.
func (r *BenchRun) Resident() (time.Duration, error) {
	start := time.Now()
	result, err := r.dev.repeat(r.mode != BenchInfer, r.batches[0].N)
	took := time.Since(start)
	if err == nil && !finite(result.Loss) {
		err = fmt.Errorf("%w: a loss that is no number", ErrWrongResult)
	}
	return took, err
}

// Once runs a batch and says how long it took, wall clock: packing pictures,
// copying them to the device, computing, and reading losses (and logits) back.
// Pictures are packed while the device computes the batch before, as in training.
func (r *BenchRun) Once() (time.Duration, error) {
	start := time.Now()
	staged := make(chan error, 1)
	if s, ok := r.exec.(stager); ok {
		go func() { staged <- s.Stage(r.batches[1]) }()
	} else {
		staged <- nil
	}
	var result BatchResult
	var err error
	batch := r.batches[0]
	if r.mode == BenchInfer {
		result, err = r.exec.Eval(batch)
	} else {
		step := r.bench.step(batch.N)
		step.Count = r.steps
		r.steps++
		result, err = r.exec.Train(batch, step)
	}
	err = errors.Join(err, <-staged)
	took := time.Since(start)
	r.batches[0], r.batches[1] = r.batches[1], r.batches[0]
	if err == nil && !finite(result.Loss) {
		err = fmt.Errorf("%w: a loss that is no number", ErrWrongResult)
	}
	return took, err
}
