package layers

import (
	"vkalexnet/engine"
)

// gemmOp is which product of a layer a call computes: see shaders/include/gemm.glsl.
type gemmOp int

const (
	opForward gemmOp = iota
	opBackwardInput
	opBackwardWeight
)

var gemmOpNames = [...]string{"forward", "backward_input", "backward_weight"}

// gemmShape is what the kernels for matrix products have in common: the
// geometry of a convolution. A fully connected layer is a convolution of a
// 1 × 1 picture by a 1 × 1 kernel.
type gemmShape struct {
	op                               gemmOp
	matrices                         bool // operands may be rounded to fp16
	Batch, Height, Width, Channels   uint32
	OutHeight, OutWidth, OutChannels uint32
	KernelH, KernelW, Stride         uint32
	PadH, PadW                       int32
	Groups, XPitch, YPitch           uint32
	Accumulate, WithBias, Relu       bool
	QuadsA, QuadsB                   bool
	A, B, C, Bias                    engine.Buffer
}

type gemmLanes struct {
	gemmShape
	Wide, UnitStride bool
}

// gemmTile is what the kernels that go through shared memory have in common.
type gemmTile struct {
	gemmShape
	LocalX                            uint32
	TileM, TileN, TileK, EachM, EachN uint32
	QuadsC                            bool
	SplitK, SplitPitch                uint32
}

type gemmTiles struct {
	gemmTile
	Rolled bool
}

type gemmMatrix struct {
	gemmTile
	MatrixM, MatrixN, MatrixK, Subgroup uint32
	ScaleA, ScaleB                      float32
}

// gradientScale is what gradients are multiplied by before they are rounded to
// fp16, which has no numbers below 2^-24, and their products divided by.
const gradientScale = 1 << 13

var (
	gemmLanes8Kernels      = declareGemm[gemmLanes]("gemm_lanes8_")
	gemmLanes8PairsKernels = declareGemm[gemmLanes]("gemm_lanes8_pairs_")
	gemmLanes4Kernels      = declareGemm[gemmLanes]("gemm_lanes4_")
	gemmMatrixKernels      = declareGemm[gemmMatrix]("gemm_matrix_")
	gemmTilesKernels       = declareGemm[gemmTiles]("gemm_tiles_")
)

type reduce struct {
	X, Y, Bias                                      engine.Buffer
	Count, Splits, Pitch, First, Row, Used, Columns uint32
	Accumulate, WithBias, Relu                      bool
}

var reduceKernel = engine.Declare[reduce]("reduce")

// declareGemm declares the three products of one variant.
func declareGemm[A any](stem string) (kernels [3]engine.Kernel[A]) {
	for op, name := range gemmOpNames {
		kernels[op] = engine.Declare[A](stem + name)
	}
	return kernels
}

// extents are the M, N and K of the product and how many multiply-adds it is.
func (g *gemmShape) extents() (m, n, k int, macs int64) {
	taps := int(g.KernelH*g.KernelW) * int(g.Channels/g.Groups)
	pixels := int(g.Batch * g.OutHeight * g.OutWidth)
	out := int(g.OutChannels / g.Groups)
	macs = int64(taps) * int64(pixels) * int64(g.OutChannels)
	switch g.op {
	case opForward:
		return pixels, out, taps, macs
	case opBackwardInput:
		return int(g.Batch * g.Height * g.Width), int(g.Channels / g.Groups), int(g.KernelH*g.KernelW) * out, macs
	}
	rows := taps
	if g.WithBias {
		rows++ // a row of ones sums the bias's gradient
	}
	return rows, out, pixels, macs
}

// record appends one product.
func (g gemmShape) record(r *engine.Recording, t Tuning) {
	in, out := g.Channels/g.Groups, g.OutChannels/g.Groups
	inQuads, outQuads := in%4 == 0 && g.Channels%4 == 0, out%4 == 0 && g.OutChannels%4 == 0
	g.QuadsA, g.QuadsB = inQuads, outQuads
	if g.op == opBackwardInput {
		g.QuadsA, g.QuadsB = outQuads, inQuads
	}
	m, n, k, macs := g.extents()
	r.Work(2 * macs)
	if t.Lanes > 0 {
		kernels := &gemmLanes8Kernels
		switch {
		case t.Lanes == 4:
			kernels = &gemmLanes4Kernels
		case t.Pairs:
			kernels = &gemmLanes8PairsKernels
		}
		width := t.TileN
		if t.Pairs && (!g.QuadsA || m <= t.TileM) {
			// Where a is loaded one by one, or b is read only once, a wide tile gains nothing.
			width = 4 * t.Lanes
		}
		kernels[g.op].Record(r, engine.Groups(ceilDiv(n, width), ceilDiv(m, t.TileM), int(g.Groups)),
			gemmLanes{gemmShape: g, Wide: width == 8*t.Lanes, UnitStride: g.Stride == 1})
		return
	}
	quadsC := outQuads
	if g.op == opBackwardInput { // both operands are contiguous along the outputs
		g.QuadsB, quadsC = outQuads, inQuads
	}
	columns, rows := ceilDiv(n, t.TileN), ceilDiv(m, t.TileM)
	splits := t.splits(columns*rows*int(g.Groups), k)
	call := gemmTile{gemmShape: g, LocalX: uint32(t.Invocations()), QuadsC: quadsC,
		TileM: uint32(t.TileM), TileN: uint32(t.TileN), TileK: uint32(t.TileK), EachM: uint32(t.EachM), EachN: uint32(t.EachN)}
	each := ceilDiv(ceilDiv(k, splits), t.TileK) * t.TileK
	splits = ceilDiv(k, each)
	call.SplitK = uint32(each)
	// A split's part of the sum is laid out like c; the bias's gradient follows
	// the weight's, so it needs parts even where there is one.
	words := g.C.Len()
	gradient := g.op == opBackwardWeight && g.WithBias
	if g.op == opBackwardWeight {
		words = m * int(g.OutChannels)
	}
	words = (words + exampleAlign - 1) / exampleAlign * exampleAlign
	linear := g.OutHeight*g.OutWidth == 1
	direct := splits == 1 && !(gradient && !linear)
	if direct || splits*words > r.MaxWords() || int(g.Groups)*splits > int(r.Info().Limits.GroupCount) {
		call.SplitK = uint32(ceilDiv(k, t.TileK) * t.TileK)
		if gradient {
			call.WithBias, call.Bias = false, engine.Buffer{}
		}
		call.record(r, t, engine.Groups(columns, rows, int(g.Groups)))
		if gradient {
			g.recordBiasGradient(r)
		}
		return
	}
	parts := r.Temp("parts of a sum", splits*words)
	call.C, call.SplitPitch = parts, uint32(words)
	call.Accumulate, call.Relu = false, false
	sum := reduce{X: parts, Y: g.C, Splits: uint32(splits), Pitch: uint32(words), Accumulate: g.Accumulate, Relu: g.Relu, Columns: g.OutChannels}
	call.Bias = engine.Buffer{}
	if !gradient {
		call.WithBias = false
	}
	call.record(r, t, engine.Groups(columns, rows, int(g.Groups)*splits))
	if g.op != opBackwardWeight {
		sum.Count = uint32(g.C.Len())
		sum.Row, sum.Used = g.YPitch, g.OutHeight*g.OutWidth*g.OutChannels
		if g.op == opBackwardInput {
			sum.Row, sum.Used = g.XPitch, g.Height*g.Width*g.Channels
		}
		sum.WithBias, sum.Bias = g.WithBias, g.Bias
		reduceKernel.Record(r, engine.Threads(g.C.Len()), sum)
		return
	}
	taps := m
	if g.WithBias {
		taps--
	}
	sum.Count = uint32(taps) * g.OutChannels
	sum.Row, sum.Used = sum.Count, sum.Count
	reduceKernel.Record(r, engine.Threads(int(sum.Count)), sum)
	if g.WithBias {
		sum.First, sum.Count, sum.Y = sum.Count, g.OutChannels, g.Bias
		sum.Row, sum.Used = sum.Count, sum.Count
		reduceKernel.Record(r, engine.Threads(int(g.OutChannels)), sum)
	}
}

// record appends the call of the kernel that t is for.
func (c gemmTile) record(r *engine.Recording, t Tuning, grid engine.Grid) {
	if t.MatrixM == 0 {
		gemmTilesKernels[c.op].Record(r, grid, gemmTiles{c, r.Info().Type == engine.Software})
		return
	}
	call := gemmMatrix{gemmTile: c, MatrixM: uint32(t.MatrixM), MatrixN: uint32(t.MatrixN), MatrixK: uint32(t.MatrixK), Subgroup: uint32(t.Subgroup), ScaleA: 1, ScaleB: 1}
	switch c.op {
	case opBackwardInput:
		call.ScaleA = gradientScale
	case opBackwardWeight:
		call.ScaleB = gradientScale
	}
	gemmMatrixKernels[c.op].Record(r, grid, call)
}

// recordBiasGradient sums dy over examples and pixels: at once where an example is
// one pixel, otherwise example by example.
func (g *gemmShape) recordBiasGradient(r *engine.Recording) {
	pixels := g.OutHeight * g.OutWidth
	sum := reduce{X: g.B, Y: g.Bias, Count: g.OutChannels, Row: g.OutChannels, Used: g.OutChannels, Columns: g.OutChannels,
		Splits: g.Batch, Pitch: g.YPitch, Accumulate: g.Accumulate}
	if pixels == 1 {
		reduceKernel.Record(r, engine.Threads(int(g.OutChannels)), sum)
		return
	}
	for n := range int(g.Batch) {
		sum.X, sum.Splits, sum.Pitch = examples(g.B, [2]int{n, n + 1}, int(g.YPitch)), pixels, g.OutChannels
		reduceKernel.Record(r, engine.Threads(int(g.OutChannels)), sum)
		sum.Accumulate = true
	}
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }

// gemmLayer is the geometry of a whole layer; its calls are cut where a device's
// limits ask for it.
type gemmLayer struct {
	shape gemmShape // of the whole batch, without buffers and Op
	words int       // of the weight
	rows  int       // of the weight, in units that it may be cut at
	unit  int       // words of the weight in a row
	// part restricts a shape to rows [first, last), and says how many words
	// further its input begins.
	part func(g *gemmShape, first, last int) (xWords int)
}

// part is a range of a layer's weight that one call may bind.
type part struct {
	first, words int // of the weight buffer
	rows         [2]int
}

// parts cuts the weight where it is longer than the device may bind. A cut
// falls where buffers may begin.
func (l *gemmLayer) parts(r *engine.Recording) []part {
	most := r.MaxWords() / l.unit
	if l.words <= r.MaxWords() {
		return []part{{0, l.words, [2]int{0, l.rows}}}
	}
	step := max(most, 1)
	for step > 1 && step*l.unit%exampleAlign != 0 {
		step--
	}
	var parts []part
	for first := 0; first < l.rows; first += step {
		last := min(first+step, l.rows)
		parts = append(parts, part{first * l.unit, min(last*l.unit, l.words) - first*l.unit, [2]int{first, last}})
	}
	return parts
}

// cachedPixels is how many output pixels the weights' gradient sums over in one
// call on a CPU.
const cachedPixels = 512

// slices cuts the batch so that no argument is longer than the device may
// bind, no call has too many workgroups and none takes too long.
func (l *gemmLayer) slices(r *engine.Recording, op gemmOp, t Tuning) [][2]int {
	g := l.shape
	g.op = op
	g.Batch = 1
	m, _, _, macs := g.extents()
	most := min(r.MaxWords()/int(g.XPitch), r.MaxWords()/int(g.YPitch))
	if op != opBackwardWeight {
		most = min(most, int(r.Info().Limits.GroupCount)*t.TileM/m)
	}
	most = min(most, int(max(1, r.MaxFLOPs()/(2*macs))))
	if op == opBackwardWeight && t.Lanes > 0 {
		// Every tile reads all pixels: few at a time stay in a CPU's cache.
		most = min(most, ceilDiv(cachedPixels, int(g.OutHeight*g.OutWidth)))
	}
	return cut(int(l.shape.Batch), most)
}

// cut divides n into ranges of at most most.
func cut(n, most int) [][2]int {
	most = max(most, 1)
	pieces := ceilDiv(n, most)
	var ranges [][2]int
	for i := range pieces {
		ranges = append(ranges, [2]int{i * n / pieces, (i + 1) * n / pieces})
	}
	return ranges
}

// tuning is the row of the table that the layer's calls are cut by.
func tuning(r *engine.Recording, s *Slots[engine.Buffer]) Tuning {
	if s.Tuning != nil {
		return *s.Tuning
	}
	return Tunings(r.Info())[0]
}

// examples is the range [first, last) of a batch of examples.
func examples(b engine.Buffer, at [2]int, pitch int) engine.Buffer {
	return b.Slice(at[0]*pitch, (at[1]-at[0])*pitch)
}

// skip moves the beginning of a buffer on by words.
func skip(b engine.Buffer, words int) engine.Buffer { return b.Slice(words, b.Len()-words) }

func (l *gemmLayer) forward(r *engine.Recording, s *Slots[engine.Buffer]) {
	t := tuning(r, s)
	parts := l.parts(r)
	for _, at := range l.slices(r, opForward, t) {
		for i, p := range parts {
			g := l.shape
			g.op, g.Batch = opForward, uint32(at[1]-at[0])
			g.A = examples(s.X, at, int(g.XPitch))
			g.C = examples(s.Y, at, int(g.YPitch))
			g.A = skip(g.A, l.part(&g, p.rows[0], p.rows[1]))
			g.B = s.Params[0].Slice(p.first, p.words)
			g.Accumulate = i > 0
			if i == 0 {
				g.WithBias, g.Bias = true, s.Params[1]
			}
			g.Relu = s.WithReLU && i == len(parts)-1
			g.record(r, s.Choices.of(&g, t))
		}
	}
}

func (l *gemmLayer) backward(r *engine.Recording, s *Slots[engine.Buffer]) {
	t := tuning(r, s)
	parts := l.parts(r)
	if len(s.Grads) > 0 {
		for n, at := range l.slices(r, opBackwardWeight, t) {
			for i, p := range parts {
				g := l.shape
				g.op, g.Batch = opBackwardWeight, uint32(at[1]-at[0])
				g.A = examples(s.X, at, int(g.XPitch))
				g.B = examples(s.DY, at, int(g.YPitch))
				g.A = skip(g.A, l.part(&g, p.rows[0], p.rows[1]))
				g.C = s.Grads[0].Slice(p.first, p.words)
				if i == 0 {
					g.WithBias, g.Bias = true, s.Grads[1]
				}
				g.Accumulate = s.Accumulate || n > 0
				g.record(r, s.Choices.of(&g, t))
			}
		}
	}
	if s.NoDX {
		return
	}
	for _, at := range l.slices(r, opBackwardInput, t) {
		for i, p := range parts {
			g := l.shape
			g.op, g.Batch = opBackwardInput, uint32(at[1]-at[0])
			g.A = examples(s.DY, at, int(g.YPitch))
			g.C = examples(s.DX, at, int(g.XPitch))
			g.C = skip(g.C, l.part(&g, p.rows[0], p.rows[1]))
			g.B = s.Params[0].Slice(p.first, p.words)
			// Rows of a convolution's kernel add to the same inputs; parts of a
			// fully connected layer's input are apart.
			g.Accumulate = i > 0 && g.Height*g.Width*g.KernelH*g.KernelW > 1
			g.record(r, s.Choices.of(&g, t))
		}
	}
}

func (l Conv) gemm(s *Slots[engine.Buffer]) *gemmLayer {
	in, out := s.Plan.In, s.Plan.Out
	return &gemmLayer{
		shape: gemmShape{
			Batch: uint32(s.Batch), Height: uint32(in.H), Width: uint32(in.W), Channels: uint32(in.C),
			OutHeight: uint32(out.H), OutWidth: uint32(out.W), OutChannels: uint32(out.C),
			KernelH: uint32(l.KernelH), KernelW: uint32(l.KernelW), Stride: uint32(l.Stride),
			PadH: int32(l.Pad), PadW: int32(l.Pad), Groups: uint32(l.groups()),
			XPitch: uint32(in.Pitch()), YPitch: uint32(out.Pitch()), matrices: s.Matrices,
		},
		words: s.Plan.Params[0].Len(),
		rows:  l.KernelH,
		unit:  l.KernelW * (in.C / l.groups()) * l.Out,
		part: func(g *gemmShape, first, last int) int {
			g.KernelH = uint32(last - first)
			g.PadH -= int32(first)
			return 0
		},
	}
}

func (l Linear) gemm(s *Slots[engine.Buffer]) *gemmLayer {
	in, out := s.Plan.In, s.Plan.Out
	return &gemmLayer{
		shape: gemmShape{
			Batch: uint32(s.Batch), Height: 1, Width: 1, Channels: uint32(in.Len()),
			OutHeight: 1, OutWidth: 1, OutChannels: uint32(l.Out),
			KernelH: 1, KernelW: 1, Stride: 1, Groups: 1,
			XPitch: uint32(in.Pitch()), YPitch: uint32(out.Pitch()), matrices: s.Matrices,
		},
		words: s.Plan.Params[0].Len(),
		rows:  ceilDiv(in.Len(), exampleAlign), // the input is cut where buffers may begin
		unit:  exampleAlign * l.Out,
		part: func(g *gemmShape, first, last int) int {
			g.Channels = uint32(min(last*exampleAlign, in.Len()) - first*exampleAlign)
			return first * exampleAlign
		},
	}
}
