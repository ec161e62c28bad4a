package tests

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vkalexnet/engine"
	"vkalexnet/layers"
	_ "vkalexnet/optim" // declares a kernel
	"vkalexnet/shaders"
)

const eps = 1.0 / (1 << 23)

// layerCase is one row of the table: a layer, its input and how many terms its
// longest sum has, which sets the tolerance.
type layerCase struct {
	name  string
	layer layers.Layer
	in    layers.Shape
	batch int
}

var layerCases = []layerCase{
	{"conv_1x1", layers.Conv{Out: 1, KernelH: 1, KernelW: 1, Stride: 1}, layers.Shape{C: 1, H: 1, W: 1}, 1},
	{"conv_first", layers.Conv{Out: 24, KernelH: 11, KernelW: 11, Stride: 4}, layers.Shape{C: 3, H: 19, W: 23}, 3},
	{"conv_first_padded", layers.Conv{Out: 20, KernelH: 11, KernelW: 11, Stride: 4, Pad: 2}, layers.Shape{C: 3, H: 32, W: 29}, 2},
	{"conv_ceil", layers.Conv{Out: 16, KernelH: 7, KernelW: 5, Stride: 4, Ceil: true}, layers.Shape{C: 3, H: 30, W: 31}, 2},
	{"conv_groups", layers.Conv{Out: 32, KernelH: 5, KernelW: 5, Stride: 1, Pad: 2, Groups: 2}, layers.Shape{C: 24, H: 9, W: 7}, 3},
	{"conv_3x3", layers.Conv{Out: 40, KernelH: 3, KernelW: 3, Stride: 1, Pad: 1}, layers.Shape{C: 36, H: 13, W: 13}, 2},
	{"conv_primes", layers.Conv{Out: 13, KernelH: 3, KernelW: 2, Stride: 3, Pad: 1}, layers.Shape{C: 7, H: 11, W: 17}, 5},
	{"conv_odd_groups", layers.Conv{Out: 21, KernelH: 2, KernelW: 3, Stride: 2, Pad: 1, Groups: 3}, layers.Shape{C: 15, H: 6, W: 5}, 3},
	{"conv_wide", layers.Conv{Out: 100, KernelH: 3, KernelW: 3, Stride: 2, Pad: 0}, layers.Shape{C: 68, H: 8, W: 8}, 1},
	{"conv_eights", layers.Conv{Out: 48, KernelH: 3, KernelW: 3, Stride: 2, Pad: 1, Groups: 2}, layers.Shape{C: 32, H: 9, W: 7}, 3},
	{"conv_tiny_maps", layers.Conv{Out: 8, KernelH: 2, KernelW: 1, Stride: 1, Pad: 0}, layers.Shape{C: 4, H: 3, W: 1}, 7},
	{"conv_winograd", layers.Conv{Out: 40, KernelH: 3, KernelW: 3, Stride: 1, Pad: 1}, layers.Shape{C: 36, H: 13, W: 13}, 3},
	{"conv_winograd_groups", layers.Conv{Out: 72, KernelH: 3, KernelW: 3, Stride: 1, Groups: 2}, layers.Shape{C: 64, H: 9, W: 15}, 3},
	{"conv_winograd_padded", layers.Conv{Out: 32, KernelH: 3, KernelW: 3, Stride: 1, Pad: 2}, layers.Shape{C: 32, H: 6, W: 7}, 6},
	{"conv_winograd_5x5", layers.Conv{Out: 72, KernelH: 5, KernelW: 5, Stride: 1, Pad: 2, Groups: 2}, layers.Shape{C: 128, H: 11, W: 8}, 4},
	{"conv_winograd_5x5_padded", layers.Conv{Out: 40, KernelH: 5, KernelW: 5, Stride: 1, Pad: 1}, layers.Shape{C: 68, H: 12, W: 13}, 3},
	{"linear", layers.Linear{Out: 72}, layers.Shape{C: 20, H: 3, W: 2}, 17},
	{"linear_odd", layers.Linear{Out: 10}, layers.Shape{C: 131, H: 1, W: 1}, 3},
	{"linear_one", layers.Linear{Out: 1}, layers.Shape{C: 1, H: 1, W: 1}, 1},
	{"linear_1", layers.Linear{Out: 132}, layers.Shape{C: 75, H: 1, W: 7}, 1},
	{"linear_2", layers.Linear{Out: 267}, layers.Shape{C: 12, H: 5, W: 7}, 2},
	{"linear_3", layers.Linear{Out: 68}, layers.Shape{C: 36, H: 8, W: 8}, 3},
	{"linear_5", layers.Linear{Out: 13}, layers.Shape{C: 9, H: 13, W: 13}, 5},
	{"linear_8", layers.Linear{Out: 2100}, layers.Shape{C: 36, H: 1, W: 1}, 8},
	{"relu", layers.ReLU{}, layers.Shape{C: 5, H: 7, W: 3}, 3},
	{"lrn", layers.LRN{Size: 5, Alpha: 1, Beta: 0.75, K: 2}, layers.Shape{C: 24, H: 5, W: 3}, 3},
	{"lrn_groups", layers.LRN{Size: 5, Alpha: 0.5, Beta: 0.75, K: 1, Groups: 2}, layers.Shape{C: 16, H: 3, W: 3}, 2},
	{"lrn_odd", layers.LRN{Size: 3, Alpha: 0.3, Beta: 0.6, K: 1, PlainAlpha: true}, layers.Shape{C: 7, H: 5, W: 3}, 2},
	{"lrn_wide", layers.LRN{Size: 9, Alpha: 0.5, Beta: 0.75, K: 1}, layers.Shape{C: 20, H: 2, W: 3}, 2},
	{"lrn_odd_groups", layers.LRN{Size: 5, Alpha: 0.5, Beta: 0.75, K: 1, Groups: 3}, layers.Shape{C: 9, H: 2, W: 3}, 2},
	{"mapnorm", layers.MapNorm{Size: 5, Alpha: 2, Beta: 0.75, K: 1}, layers.Shape{C: 6, H: 9, W: 7}, 2},
	{"maxpool", layers.MaxPool{Size: 3, Stride: 2}, layers.Shape{C: 12, H: 13, W: 11}, 3},
	{"maxpool_ceil", layers.MaxPool{Size: 3, Stride: 2, Ceil: true}, layers.Shape{C: 5, H: 12, W: 10}, 2},
	{"maxpool_pad", layers.MaxPool{Size: 3, Stride: 2, Pad: 1}, layers.Shape{C: 8, H: 9, W: 9}, 2},
	{"maxpool_apart", layers.MaxPool{Size: 2, Stride: 3}, layers.Shape{C: 3, H: 8, W: 9}, 2},
	{"dropout", layers.Dropout{P: 0.5}, layers.Shape{C: 6, H: 5, W: 7}, 3},
	{"dropout_paper", layers.Dropout{P: 0.3, Paper: true}, layers.Shape{C: 65, H: 1, W: 1}, 3},
}

// everyTuning are the cases that run with every row of the tuning table, not
// only the device's own: strides, groups, and sizes that no tile divides, with
// aligned loads and without. Other rows mean other pipelines, which software
// drivers take seconds to build.
var everyTuning = map[string]bool{"conv_first": true, "conv_groups": true, "conv_odd_groups": true, "linear_odd": true, "conv_winograd_groups": true}

// fewRows are the linear layers whose batches are those of the kernels for few rows, with
// outputs and inputs that are whole quads and not, and sums that are cut into parts: they
// run with the device's own row and that of gemm_vector, in every precision.
var fewRows = map[string]bool{"linear_odd": true, "linear_1": true, "linear_2": true, "linear_3": true, "linear_5": true, "linear_8": true}

func multiplies(l layers.Layer) bool {
	switch l.(type) {
	case layers.Conv, layers.Linear:
		return true
	}
	return false
}

// terms is the number of terms in the longest sum of the layer, forward or
// backward.
func (c layerCase) terms(p layers.Plan) float64 {
	most := 8
	switch l := c.layer.(type) {
	case layers.Conv:
		most = max(most, l.KernelH*l.KernelW*c.in.C, l.KernelH*l.KernelW*l.Out, c.batch*p.Out.H*p.Out.W)
	case layers.Linear:
		most = max(most, c.in.Len(), l.Out, c.batch)
	default:
		most = 64 // a power of a short sum
	}
	return float64(most)
}

func TestKernelsMatchShaders(t *testing.T) { require.NoError(t, engine.CheckKernels(shaders.FS)) }

// TestLayers compares every layer, forward and backward, with the CPU reference
// on every device and for every row of the tuning table.
func TestLayers(t *testing.T) {
	eachDevice(t, func(t *testing.T, d *engine.Device) {
		for _, c := range layerCases {
			tunings := layers.Tunings(&d.Info)
			if !everyTuning[c.name] || testing.Short() {
				tunings = tunings[:1]
			}
			if fewRows[c.name] {
				tunings = append(tunings, layers.VectorTuning())
			}
			for _, tuning := range tunings {
				tuning.Winograd = true // of the cases named after it; not what GPUs do unless they were measured
				t.Run(c.name+"/"+tuning.Name, func(t *testing.T) { compareLayer(t, d, c, tuning, layers.FP32) })
			}
			for _, p := range []layers.Precision{layers.FP16, layers.BF16} {
				// Products in 16 bits differ from those in float32 in how they are loaded
				// and stored alone; the hardest case has every combination.
				hardest := c.name == "conv_odd_groups"
				// Convolutions on blocks are those of 16 bits with a row for every device.
				blocks := c.name == "conv_first_padded" && p == layers.FP16
				if multiplies(c.layer) && !hardest && !blocks && !fewRows[c.name] && (p == layers.BF16 || !everyTuning[c.name] || testing.Short()) {
					continue
				}
				all := layers.Tunings(&d.Info)
				if fewRows[c.name] {
					all = []layers.Tuning{all[0], layers.VectorTuning()}
				}
				for i, tuning := range all {
					if i > 0 && !fewRows[c.name] && !((hardest || blocks) && i == len(all)-1) || i == 0 && blocks && len(all) > 1 {
						continue // the device's own row, and once the one for every device
					}
					t.Run(c.name+"/"+tuning.Name+"/"+p.String(), func(t *testing.T) { compareLayer(t, d, c, tuning, p) })
				}
			}
		}
	})
}

// TestMatrices compares the kernels with cooperative matrices with the CPU
// reference, in every size that the device lists: all products of every layer that
// has some, sums cut into parts and whole.
func TestMatrices(t *testing.T) {
	t.Run("fp16", func(t *testing.T) {
		testMatrices(t, layers.FP16, false, func(f *engine.Features) []engine.MatrixSize { return f.Matrices })
	})
	t.Run("bf16", func(t *testing.T) {
		testMatrices(t, layers.BF16, false, func(f *engine.Features) []engine.MatrixSize { return f.MatricesBF16 })
	})
	// Operands in float32, split in two. In fp16 no network runs so, but more drivers can.
	t.Run("fp16x3", func(t *testing.T) {
		testMatrices(t, layers.FP16, true, func(f *engine.Features) []engine.MatrixSize { return f.Matrices })
	})
	t.Run("bf16x3", func(t *testing.T) {
		testMatrices(t, layers.BF16, true, func(f *engine.Features) []engine.MatrixSize { return f.MatricesBF16 })
	})
}

// testMatrices runs products with matrices of a format, in which the tensors are
// stored, too, unless operands are split.
func testMatrices(t *testing.T, format layers.Precision, split bool, sizes func(*engine.Features) []engine.MatrixSize) {
	eachDevice(t, func(t *testing.T, d *engine.Device) {
		if len(sizes(&d.Features)) == 0 {
			t.Skipf("the device lists no cooperative matrices of %s with sums in float32", format)
		}
		for _, size := range sizes(&d.Features) {
			m, n, k := int(size.M), int(size.N), int(size.K)
			tuning := layers.Tuning{Name: fmt.Sprintf("matrix%dx%dx%d", m, n, k), TileM: 4 * m, TileN: 4 * n, TileK: 2 * k, EachM: 2 * m, EachN: 2 * n,
				MatrixM: m, MatrixN: n, MatrixK: k, Subgroup: int(d.Features.SubgroupSize), BF16: format == layers.BF16, Split: split}
			stored := format
			if split {
				stored = layers.FP32
			}
			if !tuning.Sound() || !tuning.Fits(&d.Info) {
				continue
			}
			for _, c := range layerCases {
				if !multiplies(c.layer) {
					continue
				}
				if split && c.name == "conv_odd_groups" {
					t.Run(c.name+"/"+tuning.Name+"/rounded once", func(t *testing.T) {
						once := tuning
						once.Split, once.Fill = false, 1
						worst, _ := layerError(t, d, c, once, stored, func(terms float64, p layers.Precision) float64 { return layerLimit(tuning, terms, p) })
						require.Greater(t, worst, 50.0, "the limit tells operands that are rounded from operands that are split")
					})
				}
				for _, eights := range []bool{false, true} {
					if split && eights {
						continue
					}
					tuning.Eights = eights
					compareMatrices(t, d, c, tuning, stored)
				}
			}
		}
	})
}

// compareMatrices compares a layer's products with sums in parts and, of some layers, whole.
func compareMatrices(t *testing.T, d *engine.Device, c layerCase, tuning layers.Tuning, stored layers.Precision) {
	for _, fill := range []int{1, 64} {
		if fill == 1 && !everyTuning[c.name] {
			continue
		}
		tuning.Fill = fill
		t.Run(fmt.Sprintf("%s/%s/fill%d/eights=%t", c.name, tuning.Name, fill, tuning.Eights), func(t *testing.T) { compareLayer(t, d, c, tuning, stored) })
	}
}

// TestMatricesOfManySizes is TestMatrices for matrices of many sizes, held by each of several
// subgroups, by a workgroup that is one subgroup, and by a workgroup of several where the
// device can.
func TestMatricesOfManySizes(t *testing.T) {
	for _, format := range []layers.Precision{layers.FP16, layers.BF16} {
		t.Run(format.String(), func(t *testing.T) {
			eachDevice(t, func(t *testing.T, d *engine.Device) {
				subgroup := int(d.Features.SubgroupSize)
				rows := []layers.Tuning{
					{TileM: 64, TileN: 32, TileK: 16, EachM: 16, EachN: 16, MatrixM: 16, MatrixN: 8, MatrixK: 16, Subgroup: subgroup},
					{TileM: 64, TileN: 24, TileK: 16, EachM: 16, EachN: 24, MatrixM: 8, MatrixN: 24, MatrixK: 16, Subgroup: subgroup},
					{TileM: 32, TileN: 16, TileK: subgroup, EachM: 32, EachN: 16, MatrixM: 16, MatrixN: 16, MatrixK: subgroup, Subgroup: subgroup},
				}
				for _, t := range layers.Alternatives(&d.Info, format) {
					if t.Workgroup {
						rows = append(rows, t)
					}
				}
				none := true
				for i, tuning := range rows {
					tuning.Eights, tuning.Flexible, tuning.BF16 = true, true, format == layers.BF16
					tuning.Name = fmt.Sprintf("flexible%dx%dx%d:%dx%d", tuning.TileM, tuning.TileN, tuning.TileK, tuning.MatrixM, tuning.MatrixN)
					if !tuning.Fits(&d.Info) {
						continue
					}
					require.True(t, tuning.Sound(), tuning.Name)
					none = false
					for _, c := range layerCases {
						if multiplies(c.layer) && (i == 0 || everyTuning[c.name]) { // software drivers take seconds for each pipeline
							compareMatrices(t, d, c, tuning, format)
						}
					}
				}
				if none {
					t.Skipf("the device lists no matrices of many sizes of %s with sums in float32 (VK_NV_cooperative_matrix2)", format)
				}
			})
		})
	}
}

// layerLimit is what rounding explains of a layer's results in a format, as a share of
// the largest. Float32's part is the most that so many terms can add up to; with split
// operands it is what they are expected to, so that what splitting gains shows.
func layerLimit(tuning layers.Tuning, terms float64, format layers.Precision) float64 {
	limit := eps * terms
	switch {
	case format != layers.FP32:
		limit += format.Unit() // the result was rounded once more
	case tuning.Split && tuning.BF16:
		limit = eps*math.Sqrt(terms) + layers.BF16.SplitError()
	case tuning.Split:
		limit = eps*math.Sqrt(terms) + layers.FP16.SplitError()
	}
	return limit
}

func compareLayer(t *testing.T, d *engine.Device, c layerCase, tuning layers.Tuning, precision layers.Precision) {
	worst, where := layerError(t, d, c, tuning, precision, func(terms float64, p layers.Precision) float64 { return layerLimit(tuning, terms, p) })
	require.LessOrEqual(t, worst, 1.0, where)
}

// layerError is the largest error of a layer's results in units of what is allowed, and
// where that is.
func layerError(t *testing.T, d *engine.Device, c layerCase, tuning layers.Tuning, precision layers.Precision, allowed func(terms float64, format layers.Precision) float64) (most float64, where string) {
	rng := rand.New(rand.NewPCG(1, uint64(len(c.name))))
	random := func(n int) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = precision.Round(float32(rng.Float64()*2 - 1))
		}
		return v
	}
	plan, err := c.layer.Plan(c.in)
	require.NoError(t, err)
	step := layers.Step{Seed: 0x1234567890abcdef, Count: 77}
	cpu := layers.Slots[[]float32]{
		Batch: c.batch, Plan: plan, X: random(c.batch * plan.In.Len()), Y: make([]float32, c.batch*plan.Out.Len()),
		DX: make([]float32, c.batch*plan.In.Len()), DY: random(c.batch * plan.Out.Len()), StepValues: step, Train: true, Stream: 3,
	}
	for _, p := range plan.Params {
		cpu.Params = append(cpu.Params, random(p.Len()))
		cpu.Grads = append(cpu.Grads, make([]float32, p.Len()))
	}
	c.layer.ForwardCPU(&cpu)
	c.layer.BackwardCPU(&cpu)

	const guard = 64
	const sentinel = float32(-12345.678)
	type watched struct {
		name string
		all  engine.Buffer
		n    int
	}
	var buffers []watched
	buffer := func(name string, words int, data []float32) engine.Buffer {
		padded := (words + 63) &^ 63
		all, err := d.NewBuffer(name, padded+2*guard, engine.OnDevice)
		require.NoError(t, err)
		content := make([]float32, padded+2*guard)
		for i := range content {
			content[i] = sentinel
			if i >= guard && i < guard+words {
				content[i] = float32(math.NaN())
			}
		}
		copy(content[guard:], data)
		require.NoError(t, engine.Upload(d, all, content))
		buffers = append(buffers, watched{name, all, padded})
		return all.Slice(guard, padded)
	}
	defer func() {
		for _, b := range buffers {
			d.Free(b.all)
		}
	}()
	bits := func(words []uint32) []float32 {
		v := make([]float32, len(words))
		layers.FP32.Unpack(v, words)
		return v
	}
	pack := func(v []float32, s layers.Shape) []float32 { return bits(precision.PackExamples(v, c.batch, s)) }
	// The output of a linear layer stands for the logits, which are float32.
	yFormat := precision
	if _, linear := c.layer.(layers.Linear); linear {
		yFormat = layers.FP32
	}
	dev := layers.Slots[engine.Buffer]{
		Batch: c.batch, Plan: plan, Train: true, Stream: 3, Tuning: &tuning, Precision: precision, FloatY: yFormat != precision,
		X:  buffer("x", c.batch*precision.Pitch(plan.In), pack(cpu.X, plan.In)),
		Y:  buffer("y", c.batch*yFormat.Pitch(plan.Out), nil),
		DX: buffer("dx", c.batch*precision.Pitch(plan.In), nil),
		DY: buffer("dy", c.batch*precision.Pitch(plan.Out), pack(cpu.DY, plan.Out)),
	}
	if plan.KeepWords > 0 {
		dev.Keep = buffer("keep", c.batch*plan.KeepPitch(), nil)
	}
	for i, p := range plan.Params {
		packed := make([]float32, p.Len())
		plan.PackParam(i, packed, cpu.Params[i])
		dev.Params = append(dev.Params, buffer(p.Name, p.Len(), packed))
		if i == 0 && precision != layers.FP32 {
			half := make([]uint32, precision.Words(p.Len()))
			precision.Pack(half, packed)
			dev.Half = buffer("copy of "+p.Name, len(half), bits(half))
		}
		dev.Grads = append(dev.Grads, buffer("gradient of "+p.Name, p.Len(), nil))
	}
	words := layers.StepWords(step, 0.01, 1, 1)
	dev.Step = buffer("step", len(words), nil)
	require.NoError(t, engine.Upload(d, dev.Step, words))

	r := engine.NewRecording(d.Info)
	r.Label(c.name)
	c.layer.Forward(r, &dev)
	c.layer.Backward(r, &dev)
	if strings.HasPrefix(c.name, "conv_winograd") && tuning.Winograd && precision == layers.FP32 {
		for _, step := range []string{"_forward", "_backward_input", "_backward_weight"} {
			require.Regexp(t, "winograd[0-9]+(_pairs)?"+step, r.String(), "the case is meant for it")
		}
	}
	run := func() map[string][]float32 {
		prog, err := d.Compile(r, engine.Options{})
		require.NoError(t, err)
		defer prog.Free()
		require.NoError(t, prog.Run())
		got := map[string][]float32{}
		for _, b := range buffers {
			v := make([]float32, b.n+2*guard)
			require.NoError(t, engine.Download(d, b.all, v))
			for i := range guard {
				require.Equal(t, sentinel, v[i], "%s: word %d before its beginning was written", b.name, guard-i)
				require.Equal(t, sentinel, v[b.n+guard+i], "%s: word %d after its end was written", b.name, i)
			}
			got[b.name] = v[guard : guard+b.n]
		}
		return got
	}
	first := run()
	unpack := func(v []float32, s layers.Shape, format layers.Precision) []float32 {
		words := make([]uint32, len(v))
		layers.FP32.Pack(words, v)
		return format.UnpackExamples(words, c.batch, s)
	}
	terms := c.terms(plan)
	check := func(what string, format layers.Precision, want, got []float32) {
		worst, at := 0.0, 0
		scale := 1.0
		for i := range want {
			scale = max(scale, math.Abs(float64(want[i])))
			if e := math.Abs(float64(want[i]) - float64(got[i])); e > worst || math.IsNaN(e) {
				worst, at = e, i
				if math.IsNaN(e) {
					worst = math.Inf(1)
					break
				}
			}
		}
		if worst /= allowed(terms, format) * scale; worst >= most {
			most, where = worst, fmt.Sprintf("%s[%d] is %g, should be %g", what, at, got[at], want[at])
		}
	}
	check("y", yFormat, cpu.Y, unpack(first["y"], plan.Out, yFormat))
	check("dx", precision, cpu.DX, unpack(first["dx"], plan.In, precision))
	for i, p := range plan.Params {
		host := make([]float32, p.Len())
		plan.UnpackParam(i, host, first["gradient of "+p.Name])
		check("gradient of "+p.Name, layers.FP32, cpu.Grads[i], host)
	}
	second := run()
	if c.name == "conv_first_padded" && tuning.Lanes == 0 && precision != layers.FP32 { // on blocks, a second batch's gradients are added by other code
		dev.Accumulate, dev.Blocks = true, engine.Buffer{}
		r = engine.NewRecording(d.Info)
		c.layer.Backward(r, &dev)
		sums := run()
		for i, p := range plan.Params {
			host := make([]float32, p.Len())
			plan.UnpackParam(i, host, sums["gradient of "+p.Name])
			for at := range host {
				host[at] /= 2
			}
			check("twice the gradient of "+p.Name, layers.FP32, cpu.Grads[i], host)
		}
	}
	for name, v := range first {
		for i := range v {
			require.Equal(t, math.Float32bits(v[i]), math.Float32bits(second[name][i]), "%s[%d] differs between two runs", name, i)
		}
	}
	return most, where
}
