// Package layers holds the layers of AlexNet: for each one a Go type, the plain
// loops on the CPU that define what it computes, and the recording of the
// kernels that compute the same on a device.
//
// On the host every tensor is laid out as its documentation says: pictures
// [batch, channels, height, width], convolution weights [out, in/groups, kh, kw],
// fully connected weights [out, in]. On a device pictures are [batch, height,
// width, channels] with each example starting at a multiple of 64 words, and
// weights are [kh, kw, in/groups, out]; layout.go converts between the two.
package layers

import "vkalexnet/engine"

// Shape is the extent of one example: [C, H, W].
type Shape struct{ C, H, W int }

// Len is the number of elements of one example.
func (s Shape) Len() int { return s.C * s.H * s.W }

// Param describes one trainable tensor of a layer.
type Param struct {
	Name  string // "weight" or "bias"
	Shape []int  // on the host: [out, in/groups, kh, kw], [out, in] or [out]
}

// Len is the number of elements of the parameter.
func (p Param) Len() int {
	n := 1
	for _, d := range p.Shape {
		n *= d
	}
	return n
}

// Plan is what a layer will do with inputs of a given shape.
type Plan struct {
	In, Out Shape
	Params  []Param
	// KeepWords is the number of 32-bit words per example that the device's
	// forward pass leaves for its backward pass (beside X and Y).
	KeepWords int
	// NeedsX and NeedsY say which of its tensors the backward pass reads.
	NeedsX, NeedsY bool
	// MACs is the number of multiply-adds of one forward pass per example.
	MACs int64
}

// Layer is one step of a network: a value without state, the same for
// training and inference, on a device and on the CPU.
type Layer interface {
	// Kind is the layer's name in network files, test tables and timings: "conv".
	Kind() string
	// Plan checks the layer against an input shape. Its errors say which
	// number is impossible and why.
	Plan(in Shape) (Plan, error)
	// ForwardCPU and BackwardCPU are the definition: plain loops, float32
	// storage, float64 sums. BackwardCPU adds to s.Grads and overwrites s.DX;
	// a nil s.DX means that the input's gradient is not wanted.
	ForwardCPU(s *Slots[[]float32])
	BackwardCPU(s *Slots[[]float32])
	// Forward and Backward record the same on a device. Backward likewise adds
	// to s.Grads when s.Accumulate is set and overwrites them otherwise.
	Forward(r *engine.Recording, s *Slots[engine.Buffer])
	Backward(r *engine.Recording, s *Slots[engine.Buffer])
}

// Slots are the tensors that a layer works on, the same list on the CPU
// (T = []float32, host layout) and on a device (T = engine.Buffer).
type Slots[T any] struct {
	Batch  int
	Plan   Plan
	X, Y   T   // input and output
	DX, DY T   // their gradients
	Params []T // as Plan.Params
	Grads  []T // as Plan.Params; none when nobody wants them (a frozen layer)
	// Updates move the parameters, as Plan.Params, by their gradients, which are not
	// stored then unless they have to be; nil for one that does not move (device
	// only; without Grads).
	Updates []*Update
	Keep    T // device only: Plan.KeepWords per example
	// Step holds the numbers that change from step to step; on the CPU it is
	// decoded in StepValues.
	Step       T
	StepValues Step
	// Train selects what differs between training and inference (dropout).
	Train bool
	// Stream tells the random streams of the layers apart: the layer's index.
	Stream uint32
	// NoDX says that nobody wants the input's gradient (device; on the CPU DX is nil).
	NoDX bool
	// Accumulate adds to Grads instead of overwriting them (device only).
	Accumulate bool
	// MaskFactor, unless it is 0, says that X is the result of a ReLU, of which DX gets
	// the gradient too: where X is not positive DX is 0, elsewhere it is multiplied by
	// MaskFactor, which is 1, or what the dropout between them multiplies by. It holds
	// for the forward pass as well (device only; layers that Masks).
	MaskFactor float32
	// Norm, where it is one, is a normalisation that X goes through first (device
	// only; MaxPool, where PoolsNormalised).
	Norm *LRN
	// Dropout, where it is one, is applied to Y, after the ReLU where there is one (device
	// only; linear, in training).
	Dropout *DropoutAfter
	// WithReLU makes Y what the ReLU that follows gives (device only; conv and linear).
	WithReLU bool
	// Precision is how X, Y and their gradients are stored, FloatY that Y alone is
	// float32: the logits (device only; conv and linear).
	Precision Precision
	FloatY    bool
	// Split says that the products of float32 are those of BF16x3: they have choices
	// of their own, which may split the operands (device only; conv and linear).
	Split bool
	// Half is the weight in Precision, where that is not FP32 (device only).
	Half T
	// Blocks is X cut into blocks, as the forward pass leaves it for the backward
	// pass (device only; conv).
	Blocks T
	// Tuning overrides the device's row of the tuning table (device only).
	Tuning *Tuning
	// Choices are the tunings of single products, where others than the table's
	// were found to be faster (device only).
	Choices Choices
}

// Masks reports whether the layer's backward pass can apply the gradient of a ReLU
// before it, and whether that of a dropout between them as well.
func Masks(l Layer) (relu, dropout bool) {
	switch l := l.(type) {
	case Conv, Linear:
		return true, true
	case LRN:
		return true, false
	case MaxPool:
		return l.Size < maxPoolSize, false // a place of the window's stands for none
	}
	return false, false
}

// updates are those of the weight and of the bias.
func (s *Slots[T]) updates() (weight, bias *Update) {
	if len(s.Updates) == 0 {
		return nil, nil
	}
	return s.Updates[0], s.Updates[1]
}

// Step is what changes from one training step to the next.
type Step struct {
	Seed  uint64 // the run's seed
	Count uint64 // how many forward passes in training came before: keys dropout
}

var _ = []Layer{Conv{}, Linear{}, ReLU{}, LRN{}, MapNorm{}, MaxPool{}, Dropout{}}
