package alexnet

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"vkalexnet/engine"
	"vkalexnet/layers"
	"vkalexnet/loader"
	"vkalexnet/optim"
)

// VerifyRow is one tensor of one layer, computed on a device and on the CPU.
type VerifyRow struct {
	Layer  string `json:"layer"`
	Kind   string `json:"kind"`
	Tensor string `json:"tensor"` // "y", "dx", "gradient of weight", …
	// Kernel says by which tuning a product was computed, where that is not the device's own.
	Kernel string `json:"kernel,omitempty"`
	// NotBuilt says why the driver does not build that kernel, which tuning then leaves out:
	// nothing was compared.
	NotBuilt string `json:"not_built,omitempty"`
	// Terms is the number of terms in the longest sum behind an element.
	Terms int `json:"terms"`
	// Format is how the device stores the tensor: "fp32", "fp16" or "bf16".
	Format string `json:"format"`
	// Error is the largest difference, in units of the format's last place of the
	// largest element on the CPU (2^-23, 2^-10 or 2^-7 of it); Limit is what is
	// allowed.
	Error float64 `json:"error"`
	Limit float64 `json:"limit"`
	// At, Got and Want show where the difference is largest.
	At   int     `json:"at"`
	Got  float32 `json:"got"`
	Want float32 `json:"want"`
	Pass bool    `json:"pass"`
}

// verifyLimit is the error allowed of a sum of so many terms, in units of the
// last place of the largest element: rounding errors of both signs grow with
// the square root of their number, and a power or an exponential may be off by
// a few units by itself. See docs/numerics.md.
func verifyLimit(terms int) float64 { return 16 + 4*math.Sqrt(float64(terms)) }

// formatLimit is the same in units of the format's last place. A result in 16 bits
// has been rounded once more: by half a unit to the nearest number, by up to one
// where a device truncates what is below fp16's normal numbers.
func formatLimit(terms int, format layers.Precision) float64 {
	limit := verifyLimit(terms) * layers.FP32.Unit() / format.Unit()
	if format != layers.FP32 {
		limit++
	}
	return limit
}

// splitLimit is what is allowed besides where a tuning splits the operands, as a share
// of the largest element: the error of one product. As a product and its error have
// either sign, sums and the sums of errors grow alike with their terms.
func splitLimit(t layers.Tuning) float64 {
	switch {
	case !t.Split:
		return 0
	case t.BF16:
		return layers.BF16.SplitError()
	}
	return layers.FP16.SplitError()
}

// Verify runs every layer of the network on a batch, forward and backward, on
// the device and by the CPU reference, each layer from the same input on both,
// and compares every tensor. In a precision of 16 bits that input, and the
// weights, are numbers of that precision on both sides. In BF16x3 the operands of all
// products are split, where the device can. What tuning chose does not matter: layers
// with products are computed by the device's own kernels and then by each that tuning may
// choose instead. report, if not nil, gets each row as it is ready.
func Verify(ctx context.Context, dev *engine.Device, net *Network, batch int, precision layers.Precision, report func(VerifyRow)) ([]VerifyRow, error) {
	plans, err := net.Plans()
	if err != nil {
		return nil, err
	}
	specs, err := net.ParamSpecs()
	if err != nil {
		return nil, err
	}
	params, err := net.InitialParams(1)
	if err != nil {
		return nil, err
	}
	v := &verifier{dev: dev, batch: batch, precision: precision.Stored(), report: report, rng: rand.New(rand.NewPCG(1, 2))}
	if t, ok := layers.SplitTuning(&dev.Info); ok && precision == layers.BF16x3 {
		v.tuning = &t
	} else {
		v.alternatives = layers.Alternatives(&dev.Info, v.precision)
	}
	defer v.free()
	x, err := v.input(ctx, net)
	if err != nil {
		return nil, err
	}
	for i, p := range plans {
		if err := ctx.Err(); err != nil {
			return v.rows, err
		}
		var own [][]float32
		for j, s := range specs {
			if s.Layer == i {
				own = append(own, params[j].Data)
			}
		}
		if x, err = v.layer(net.Layers[i], p, x, own, uint32(i), i == len(plans)-1); err != nil {
			return v.rows, fmt.Errorf("verify %s: %w", net.Layers[i].Name, err)
		}
	}
	if err := v.loss(x, net.NumClasses()); err != nil {
		return v.rows, fmt.Errorf("verify the loss: %w", err)
	}
	if err := v.update(net.Solver.SGD()); err != nil {
		return v.rows, fmt.Errorf("verify the update: %w", err)
	}
	return v.rows, nil
}

type verifier struct {
	dev    *engine.Device
	batch  int
	report func(VerifyRow)
	rng    *rand.Rand

	precision layers.Precision
	tuning    *layers.Tuning // of all products, if not the device's own
	// alternatives are those that layers with products are computed by as well.
	alternatives []layers.Tuning
	kernel       string // of these, the one under way
	rows         []VerifyRow
	buffers      []engine.Buffer
}

func (v *verifier) free() {
	for _, b := range v.buffers {
		v.dev.Free(b)
	}
	v.buffers = nil
}

func (v *verifier) random(n int, scale float64) []float32 {
	r := make([]float32, n)
	for i := range r {
		r[i] = float32(scale * v.rng.NormFloat64())
	}
	return r
}

// buffer is a buffer on the device of at least words words with data in it.
func buffer[T float32 | uint32 | int32](v *verifier, name string, words int, data []T) (engine.Buffer, error) {
	b, err := v.dev.NewBuffer(name, alignPage(words), engine.OnDevice)
	if err != nil {
		return b, err
	}
	v.buffers = append(v.buffers, b)
	return b, engine.Upload(v.dev, b, data)
}

func (v *verifier) run(record func(r *engine.Recording)) error {
	r := engine.NewRecording(v.dev.Info)
	record(r)
	p, err := v.dev.Compile(r, engine.Options{})
	if err != nil {
		return err
	}
	defer p.Free()
	return p.Run()
}

func (v *verifier) compare(layer, kind, tensor string, terms int, format layers.Precision, want, got []float32) {
	row := VerifyRow{Layer: layer, Kind: kind, Tensor: tensor, Kernel: v.kernel, Terms: terms, Format: format.String(), Limit: formatLimit(terms, format)}
	if v.tuning != nil && (kind == layers.Conv{}.Kind() || kind == layers.Linear{}.Kind()) {
		row.Limit += splitLimit(*v.tuning) / format.Unit()
	}
	largest, worst := 0.0, -1.0
	for i := range want {
		largest = max(largest, math.Abs(float64(want[i])))
		e := math.Abs(float64(want[i]) - float64(got[i]))
		if math.IsNaN(e) {
			e = math.Inf(1)
		}
		if e > worst {
			worst, row.At, row.Got, row.Want = e, i, got[i], want[i]
		}
	}
	if worst > 0 {
		row.Error = worst / (max(largest, math.SmallestNonzeroFloat32) * format.Unit())
	}
	row.Pass = row.Error <= row.Limit
	v.add(row)
}

func (v *verifier) add(row VerifyRow) {
	v.rows = append(v.rows, row)
	if v.report != nil {
		v.report(row)
	}
}

// input verifies the input stage and gives the first layer's input.
func (v *verifier) input(ctx context.Context, net *Network) ([]float32, error) {
	l, err := loader.NewLoader(loader.Synthetic(v.batch, 5), net.Input, loader.Options{Batch: v.batch, Workers: 1, Train: true, Augment: true, Seed: 1})
	if err != nil {
		return nil, err
	}
	l.Start(ctx, 0, 0)
	defer l.Stop()
	b, err := l.Next()
	if err != nil {
		return nil, err
	}
	shape := net.InputShape()
	want := make([]float32, v.batch*shape.Len())
	layers.AugmentCPU(want, b.Pixels, net.Input.MeanTerms(), v.batch, b.Stored, net.Input.Size, b.Geometry, b.Colour)
	pitch, bytes := layers.PicturePitch(b.Stored), b.Stored*b.Stored*3
	words := make([]uint32, v.batch*pitch)
	var transforms []float32
	for i := range v.batch {
		packBytes(words[i*pitch:][:pitch], b.Pixels[i*bytes:][:bytes])
		transforms = append(append(transforms, b.Geometry[i][:]...), b.Colour[i][:]...)
	}
	pixels, err := buffer(v, "pixels", len(words), words)
	if err != nil {
		return nil, err
	}
	matrices, err := buffer(v, "transforms", len(transforms), transforms)
	if err != nil {
		return nil, err
	}
	var mean engine.Buffer
	if terms := net.Input.MeanTerms(); terms != nil {
		if mean, err = buffer(v, "mean picture", len(terms), terms); err != nil {
			return nil, err
		}
	}
	y, err := buffer[float32](v, "input", v.batch*v.precision.Pitch(shape), nil)
	if err != nil {
		return nil, err
	}
	defer v.free()
	if err := v.run(func(r *engine.Recording) {
		layers.Augment(r, pixels, matrices, mean, y, v.batch, b.Stored, net.Input.Size, v.precision)
	}); err != nil {
		return nil, err
	}
	got, err := v.examples(y, shape, v.precision)
	if err != nil {
		return nil, err
	}
	v.compare("input", "augment", "y", 16, v.precision, want, got)
	return v.round(want), nil
}

// examples reads a batch back in the host's layout.
func (v *verifier) examples(b engine.Buffer, s layers.Shape, format layers.Precision) ([]float32, error) {
	packed := make([]uint32, v.batch*format.Pitch(s))
	if err := engine.Download(v.dev, b, packed); err != nil {
		return nil, err
	}
	return format.UnpackExamples(packed, v.batch, s), nil
}

// round are the values in the precision.
func (v *verifier) round(values []float32) []float32 {
	rounded := make([]float32, len(values))
	for i, x := range values {
		rounded[i] = v.precision.Round(x)
	}
	return rounded
}

// layer verifies one layer and gives its output on the CPU, in the precision.
func (v *verifier) layer(spec LayerSpec, p layers.Plan, x []float32, params [][]float32, stream uint32, last bool) ([]float32, error) {
	defer v.free()
	step := layers.Step{Seed: 42, Count: 7}
	if len(params) > 0 {
		params = append([][]float32{v.round(params[0])}, params[1:]...)
	}
	cpu := layers.Slots[[]float32]{Batch: v.batch, Plan: p, X: x, Y: make([]float32, v.batch*p.Out.Len()),
		DX: make([]float32, len(x)), DY: v.round(v.random(v.batch*p.Out.Len(), 0.01)), Params: params, StepValues: step, Train: true, Stream: stream}
	for _, w := range params {
		cpu.Grads = append(cpu.Grads, make([]float32, len(w)))
	}
	spec.Layer.ForwardCPU(&cpu)
	spec.Layer.BackwardCPU(&cpu)

	dev := layers.Slots[engine.Buffer]{Batch: v.batch, Plan: p, Train: true, Stream: stream, Precision: v.precision, FloatY: last, Tuning: v.tuning}
	yFormat := v.precision
	if last {
		yFormat = layers.FP32
	}
	var err error
	take := func(into *engine.Buffer, name string, words int, data []uint32) {
		if err == nil {
			*into, err = buffer(v, name, words, data)
		}
	}
	pack := func(data []float32, s layers.Shape) []uint32 { return v.precision.PackExamples(data, v.batch, s) }
	in, out := v.batch*v.precision.Pitch(p.In), v.batch*v.precision.Pitch(p.Out)
	take(&dev.X, "x", in, pack(x, p.In))
	take(&dev.Y, "y", v.batch*yFormat.Pitch(p.Out), nil)
	take(&dev.DX, "dx", in, nil)
	take(&dev.DY, "dy", out, pack(cpu.DY, p.Out))
	if p.KeepWords > 0 {
		take(&dev.Keep, "keep", v.batch*p.KeepPitch(), nil)
	}
	for i, w := range params {
		packed := make([]float32, len(w))
		p.PackParam(i, packed, w)
		var b, g engine.Buffer
		words := make([]uint32, len(w))
		layers.FP32.Pack(words, packed)
		take(&b, p.Params[i].Name, len(w), words)
		if i == 0 && v.precision != layers.FP32 {
			words = make([]uint32, v.precision.Words(len(w)))
			v.precision.Pack(words, packed)
			take(&dev.Half, "copy of "+p.Params[i].Name, len(words), words)
		}
		take(&g, "gradient of "+p.Params[i].Name, len(w), nil)
		dev.Params, dev.Grads = append(dev.Params, b), append(dev.Grads, g)
	}
	if err != nil {
		return nil, err
	}
	if dev.Step, err = buffer(v, "step", 64, layers.StepWords(step, 0, 1, 1)); err != nil {
		return nil, err
	}
	record := func(r *engine.Recording) {
		spec.Layer.Forward(r, &dev)
		spec.Layer.Backward(r, &dev)
	}
	calls := func() string {
		r := engine.NewRecording(v.dev.Info)
		record(r)
		return r.String()
	}
	computed := []string{calls()}
	if err := v.products(spec, p, &cpu, &dev, yFormat, record); err != nil {
		return nil, err
	}
	defer func() { v.kernel = "" }()
	for _, t := range v.alternatives {
		dev.Tuning = &t
		if v.kernel = t.Name; slices.Contains(computed, calls()) {
			continue
		}
		computed = append(computed, calls())
		r := engine.NewRecording(v.dev.Info)
		record(r)
		if err := v.dev.Prepare(r)[0]; err != nil && !errors.Is(err, engine.ErrDeviceLost) {
			v.add(VerifyRow{Layer: spec.Name, Kind: spec.Layer.Kind(), Kernel: v.kernel, NotBuilt: err.Error(), Pass: true})
			continue
		}
		if err := v.products(spec, p, &cpu, &dev, yFormat, func(r *engine.Recording) {
			for _, b := range append([]engine.Buffer{dev.Y, dev.DX}, dev.Grads...) {
				r.Fill(b, math.Float32bits(float32(math.NaN()))) // of the kernel before
			}
			record(r)
		}); err != nil {
			return nil, err
		}
	}
	if last {
		return cpu.Y, nil
	}
	return v.round(cpu.Y), nil
}

// products runs a layer on the device and compares its tensors with the CPU's.
func (v *verifier) products(spec LayerSpec, p layers.Plan, cpu *layers.Slots[[]float32], dev *layers.Slots[engine.Buffer], yFormat layers.Precision, record func(*engine.Recording)) error {
	if err := v.run(func(r *engine.Recording) {
		r.Label(spec.Name)
		record(r)
	}); err != nil {
		return err
	}
	forward, input, weight := terms(spec.Layer, p, v.batch)
	y, err := v.examples(dev.Y, p.Out, yFormat)
	if err != nil {
		return err
	}
	v.compare(spec.Name, spec.Layer.Kind(), "y", forward, yFormat, cpu.Y, y)
	dx, err := v.examples(dev.DX, p.In, v.precision)
	if err != nil {
		return err
	}
	v.compare(spec.Name, spec.Layer.Kind(), "dx", input, v.precision, cpu.DX, dx)
	for i, w := range cpu.Params {
		packed, host := make([]float32, len(w)), make([]float32, len(w))
		if err := engine.Download(v.dev, dev.Grads[i], packed); err != nil {
			return err
		}
		p.UnpackParam(i, host, packed)
		v.compare(spec.Name, spec.Layer.Kind(), "gradient of "+p.Params[i].Name, weight, layers.FP32, cpu.Grads[i], host)
	}
	return nil
}

// terms are the lengths of a layer's longest sums: forward, for the gradient
// of the input, and for that of the weight.
func terms(l layers.Layer, p layers.Plan, batch int) (forward, input, weight int) {
	switch l := l.(type) {
	case layers.Conv:
		groups := max(1, l.Groups)
		return l.KernelH * l.KernelW * p.In.C / groups, l.KernelH * l.KernelW * l.Out / groups, batch * p.Out.H * p.Out.W
	case layers.Linear:
		return p.In.Len(), l.Out, batch
	case layers.LRN:
		return l.Size, l.Size * l.Size, 0
	case layers.MapNorm:
		return l.Size * l.Size, l.Size * l.Size, 0
	}
	return 1, 16, 0
}

// loss verifies softmax with cross-entropy on the network's logits.
func (v *verifier) loss(logits []float32, classes int) error {
	defer v.free()
	labels := make([]int32, v.batch)
	for i := range labels {
		labels[i] = int32(i % classes)
	}
	weights := make([]float32, classes) // of the classes; powers of two would hide their rounding
	for i := range weights {
		weights[i] = 0.3 + 0.2*float32(i%5)
	}
	loss, gradient := make([]float32, v.batch), make([]float32, len(logits))
	rank := make([]int32, v.batch)
	layers.SoftmaxLossCPU(logits, v.batch, classes, labels, weights, 0.5, loss, rank, gradient)
	shape := layers.Shape{C: classes, H: 1, W: 1}
	packed := make([]float32, v.batch*shape.Pitch())
	layers.PackExamples(packed, logits, v.batch, shape)
	x, err := buffer(v, "logits", len(packed), packed)
	if err != nil {
		return err
	}
	label, err := buffer(v, "labels", v.batch, labels)
	if err != nil {
		return err
	}
	weight, err := buffer(v, "class weights", classes, weights)
	if err != nil {
		return err
	}
	step, err := buffer(v, "step", 64, layers.StepWords(layers.Step{}, 0, 0.5, 1))
	if err != nil {
		return err
	}
	var out [3]engine.Buffer
	for i, words := range []int{v.batch, v.batch, v.batch * v.precision.Pitch(shape)} {
		if out[i], err = buffer[float32](v, "loss", words, nil); err != nil {
			return err
		}
	}
	if err := v.run(func(r *engine.Recording) {
		layers.SoftmaxLoss(r, x, label, weight, out[0], out[1], out[2], step, v.batch, classes, v.precision)
	}); err != nil {
		return err
	}
	got := make([]float32, v.batch)
	if err := engine.Download(v.dev, out[0], got); err != nil {
		return err
	}
	v.compare("loss", "softmax", "loss", classes, layers.FP32, loss, got)
	dx, err := v.examples(out[2], shape, v.precision)
	if err != nil {
		return err
	}
	v.compare("loss", "softmax", "dx", classes, v.precision, gradient, dx)
	return nil
}

// update verifies a step of the optimiser.
func (v *verifier) update(sgd optim.SGD) error {
	defer v.free()
	const n = 1024
	w, m, g := v.random(n, 0.1), v.random(n, 0.01), v.random(n, 1)
	p := layers.Update{Elements: n, Precision: v.precision}
	var gradient engine.Buffer
	var err error
	take := func(into *engine.Buffer, name string, data []float32) {
		if err == nil {
			*into, err = buffer(v, name, n, data)
		}
	}
	take(&p.W, "w", w)
	take(&p.V, "v", m)
	take(&gradient, "g", g)
	if v.precision != layers.FP32 {
		take(&p.Copy, "copy of w", nil)
	}
	if err == nil {
		p.Step, err = buffer(v, "step", 64, layers.StepWords(layers.Step{}, 0.01, 1, 1))
	}
	if err == nil {
		err = v.run(func(r *engine.Recording) { sgd.Update(p, 2, 0.5).Record(r, gradient) })
	}
	if err != nil {
		return err
	}
	sgd.LR = 0.01
	sgd.UpdateCPU(w, m, g, 2, 0.5)
	for _, t := range []struct {
		name string
		want []float32
		from engine.Buffer
	}{{"w", w, p.W}, {"v", m, p.V}} {
		got := make([]float32, n)
		if err := engine.Download(v.dev, t.from, got); err != nil {
			return err
		}
		v.compare("update", "sgd", t.name, 3, layers.FP32, t.want, got)
	}
	if v.precision == layers.FP32 {
		return nil
	}
	words, got := make([]uint32, v.precision.Words(n)), make([]float32, n)
	if err := engine.Download(v.dev, p.Copy, words); err != nil {
		return err
	}
	v.precision.Unpack(got, words)
	v.compare("update", "sgd", "copy of w", 3, v.precision, w, got)
	return nil
}
