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
	skipC                            int  // words of the layer's result before C
	split                            bool // a product of BF16x3
	Batch, Height, Width, Channels   uint32
	OutHeight, OutWidth, OutChannels uint32
	KernelH, KernelW, Stride         uint32
	PadH, PadW                       int32
	Groups, XPitch, YPitch           uint32
	Accumulate, WithBias, Relu       bool
	QuadsA, QuadsB                   bool
	FormatA, FormatB, FormatC        uint32 // Precision; FormatC is FP32 unless c is whole quads
	A, B, C, D, Bias                 engine.Buffer
	sgdArgs
	Update, Masked bool    // c is a weight and d its momentum; d masks c
	FormatD        uint32  // Precision
	MaskFactor     float32 // of what the mask lets through

	moves, moveBias *Update  // these move by the gradients, which are not stored in c and bias
	drops           *dropout // of c, whose rows are examples
}

type gemmLanes struct {
	gemmShape
	Rows             uint32
	Wide, UnitStride bool
}

type gemmQuads struct {
	gemmShape
	Rows                             uint32
	Wide, QuadsC, UnitStride, Padded bool
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

// gemmVector has tiles of Rows × 4·Across, and takes 4·Down terms of a sum at once.
type gemmVector struct {
	gemmShape
	LocalX             uint32
	Rows, Across, Down uint32
	QuadsC             bool
	SplitK, SplitPitch uint32
}

// gemmUnits is what the kernels with cooperative matrices have in common.
type gemmUnits struct {
	gemmTile
	MatrixM, MatrixN, MatrixK, Subgroup uint32
}

type gemmMatrix struct {
	gemmUnits
	Split bool
}

type gemmMMA struct {
	gemmUnits
	EightsA, EightsB bool
}

// gemmFlexible has matrices of many sizes.
type gemmFlexible struct {
	gemmMMA
	Scope uint32 // of SPIR-V
}

// The scopes of matrices that a subgroup holds, and a workgroup.
const scopeWorkgroup, scopeSubgroup = 2, 3

var (
	gemmLanes8Kernels       = declareGemm[gemmLanes]("gemm_lanes8_")
	gemmLanes8PairsKernels  = declareGemm[gemmLanes]("gemm_lanes8_pairs_")
	gemmQuadsKernels        = declareGemm[gemmQuads]("gemm_quads_")
	gemmMatrixKernels       = declareGemm[gemmMatrix]("gemm_matrix_")
	gemmMatrixBF16Kernels   = declareGemm[gemmMatrix]("gemm_matrix_bf16_")
	gemmMMAKernels          = declareGemm[gemmMMA]("gemm_mma_fp16_")
	gemmMMABF16Kernels      = declareGemm[gemmMMA]("gemm_mma_bf16_")
	gemmFlexibleKernels     = declareGemm[gemmFlexible]("gemm_flexible_fp16_")
	gemmFlexibleBF16Kernels = declareGemm[gemmFlexible]("gemm_flexible_bf16_")
	gemmTilesKernels        = declareGemm[gemmTiles]("gemm_tiles_")
	gemmVectorKernels       = declareGemm[gemmVector]("gemm_vector_", opForward, opBackwardInput)
)

type reduce struct {
	X, Y, Bias, Mask, V                             engine.Buffer
	Count, Splits, Pitch, First, Row, Used, Columns uint32
	Accumulate, WithBias, Relu, Masked, Update      bool
	MaskFactor                                      float32
	FormatX, FormatY, FormatMask                    uint32 // Precision
	Drops                                           bool
	Stream, FirstExample                            uint32
	P, KeepFactor                                   float32
	sgdArgs
}

// dropping has dropout applied to the sums, if it is not nil.
func (c reduce) dropping(d *dropout) reduce {
	if d != nil {
		c.Drops, c.Step, c.Stream, c.FirstExample, c.P, c.KeepFactor = true, d.Step, d.Stream, d.First, d.P, d.Factor
	}
	return c
}

// recordDropout appends the product's dropout, in place, where no sum of parts does it.
func (g *gemmShape) recordDropout(r *engine.Recording) {
	if d := g.drops; d != nil {
		d.X, d.Y, d.Batch, d.Pixels, d.Channels, d.Pitch, d.Format = g.C, g.C, g.Batch, 1, g.OutChannels, g.YPitch, g.FormatC
		d.record(r)
	}
}

var reduceKernel = engine.Declare[reduce]("reduce")

// declareGemm declares the products of one variant: all three, or those named.
func declareGemm[A any](stem string, ops ...gemmOp) (kernels [3]engine.Kernel[A]) {
	if len(ops) == 0 {
		ops = []gemmOp{opForward, opBackwardInput, opBackwardWeight}
	}
	for _, op := range ops {
		kernels[op] = engine.Declare[A](stem + gemmOpNames[op])
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

// quads says whether a group's channels of the inputs and of the outputs are
// whole quads, at a multiple of four elements.
func (g *gemmShape) quads() (in, out bool) {
	return g.Channels/g.Groups%4 == 0, g.OutChannels/g.Groups%4 == 0
}

// quadsC is the same for the result.
func (g *gemmShape) quadsC() bool {
	in, out := g.quads()
	if g.op == opBackwardInput {
		return in
	}
	return out
}

// padded says whether some elements of a are outside of the picture that it is read from.
func (g *gemmShape) padded() bool {
	outside := func(in, out, kernel uint32, pad int32) bool {
		if g.op == opBackwardInput {
			return g.Stride > 1 || pad < int32(kernel)-1 || int32(in)+pad > int32(out)
		}
		return pad > 0 || int32((out-1)*g.Stride+kernel)-pad > int32(in)
	}
	return outside(g.Height, g.OutHeight, g.KernelH, g.PadH) || outside(g.Width, g.OutWidth, g.KernelW, g.PadW)
}

// masking is what a gradient is multiplied by at last: factor where x, which lies
// like it, is positive, and 0 elsewhere. Without x nothing is masked.
type masking struct {
	x      engine.Buffer
	factor float32
	format uint32 // Precision
}

// recordAll appends products that add up to c, or are its parts, and then masks it.
// Kernels write a c of 16-bit numbers in whole quads only, and sums stay in float32:
// where such a c has no quads or there are several products, they go to a float32 c
// beside it, which is then converted. Of each row elements of c the first are used.
func recordAll(r *engine.Recording, c engine.Buffer, row, used uint32, products []gemmShape, mask masking, tuning func(*gemmShape) Tuning) {
	first := products[0]
	format := first.FormatC
	masked := !mask.x.IsZero()
	if format == uint32(FP32) || len(products) == 1 && first.quadsC() {
		for i, g := range products {
			if whole := i+1 == len(products) || !products[i+1].Accumulate; masked && whole {
				g.D, g.Masked, g.FormatD, g.MaskFactor = skip(mask.x, g.skipC), true, mask.format, mask.factor
			}
			g.record(r, tuning(&g))
		}
		return
	}
	sum := r.Temp("a product in float32", Precision(format).PerWord()*c.Len())
	var drops *dropout
	for _, g := range products {
		drops, g.drops = g.drops, nil
		g.C, g.FormatC = skip(sum, Precision(format).PerWord()*g.skipC), uint32(FP32)
		g.record(r, tuning(&g))
	}
	reduceKernel.Record(r, engine.Threads(sum.Len()/4), reduce{X: sum, Y: c, Splits: 1, Count: uint32(sum.Len()), Pitch: uint32(sum.Len()),
		Row: row, Used: used, Columns: 1, FormatY: format, Mask: mask.x, Masked: masked, FormatMask: mask.format, MaskFactor: mask.factor}.dropping(drops))
}

// record appends one product.
func (g gemmShape) record(r *engine.Recording, t Tuning) {
	if t.Winograd {
		if f := g.winogradForm(r, t.Pairs); f != nil {
			g.recordWinograd(r, f, t)
			return
		}
	}
	inQuads, outQuads := g.quads()
	g.QuadsA, g.QuadsB = inQuads, outQuads
	if g.op == opBackwardInput {
		g.QuadsA, g.QuadsB = outQuads, inQuads
	}
	m, n, k, macs := g.extents()
	r.Work(2 * macs)
	if t.Lanes > 0 {
		bias := g.moveBias
		if bias != nil {
			g.Bias = r.Temp("gradient of a bias", bias.W.Len())
		}
		g.move()
		g.recordLanes(r, t, m, n)
		g.recordDropout(r)
		if bias != nil {
			bias.Record(r, g.Bias)
		}
		return
	}
	if g.op == opBackwardInput { // both operands are contiguous along the outputs
		g.QuadsB = outQuads
	}
	t = t.turned(g.op)
	columns, rows := ceilDiv(n, t.TileN), ceilDiv(m, t.TileM)
	splits := t.splits(columns*rows*int(g.Groups), k)
	call := gemmTile{gemmShape: g, LocalX: uint32(t.Invocations()), QuadsC: g.quadsC(),
		TileM: uint32(t.TileM), TileN: uint32(t.TileN), TileK: uint32(t.TileK), EachM: uint32(t.EachM), EachN: uint32(t.EachN)}
	each := ceilDiv(ceilDiv(k, splits), t.TileK) * t.TileK
	splits = ceilDiv(k, each)
	call.SplitK = uint32(each)
	// A split's part of the sum is laid out like c; the bias's gradient follows
	// the weight's, so it needs parts even where there is one.
	elements := g.C.Len() * Precision(g.FormatC).PerWord()
	words := elements
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
		call.move()
		call.record(r, t, engine.Groups(columns, rows, int(g.Groups)))
		g.recordDropout(r)
		if gradient {
			g.recordBiasGradient(r)
		}
		return
	}
	parts := r.Temp("parts of a sum", splits*words)
	call.C, call.SplitPitch, call.FormatC = parts, uint32(words), uint32(FP32)
	call.Accumulate, call.Relu, call.Masked, call.D = false, false, false, engine.Buffer{}
	sum := reduce{X: parts, Y: g.C, Splits: uint32(splits), Pitch: uint32(words), Accumulate: g.Accumulate, Relu: g.Relu, Columns: g.OutChannels, FormatY: g.FormatC}
	if g.Masked {
		sum.Masked, sum.Mask, sum.FormatMask, sum.MaskFactor = true, g.D, g.FormatD, g.MaskFactor
	}
	call.Bias = engine.Buffer{}
	if !gradient {
		call.WithBias = false
	}
	call.record(r, t, engine.Groups(columns, rows, int(g.Groups)*splits))
	if g.op != opBackwardWeight {
		sum.Count = uint32(elements)
		sum.Row, sum.Used = g.YPitch, g.OutHeight*g.OutWidth*g.OutChannels
		if g.op == opBackwardInput {
			sum.Row, sum.Used = g.XPitch, g.Height*g.Width*g.Channels
		}
		sum.WithBias, sum.Bias = g.WithBias, g.Bias
		threads := elements
		if g.FormatC != uint32(FP32) {
			threads /= 4
		}
		reduceKernel.Record(r, engine.Threads(threads), sum.dropping(g.drops))
		return
	}
	taps := m
	if g.WithBias {
		taps--
	}
	sum.Count = uint32(taps) * g.OutChannels
	sum.record(r, g.moves)
	if g.WithBias {
		sum.First, sum.Count, sum.Y = sum.Count, g.OutChannels, g.Bias
		sum.record(r, g.moveBias)
	}
}

// recordLanes appends a product of m × n sums by the kernel for t.Lanes.
func (g gemmShape) recordLanes(r *engine.Recording, t Tuning, m, n int) {
	if t.Lanes == 4 {
		rows := min(t.TileM, (m+3)/4*4)
		if m < 3 {
			rows = m
		}
		if g.op == opBackwardWeight {
			rows = t.TileM
		}
		gemmQuadsKernels[g.op].Record(r, engine.Groups(ceilDiv(n, t.TileN), ceilDiv(m, rows), int(g.Groups)), gemmQuads{gemmShape: g,
			Rows: uint32(rows), Wide: t.TileN == 32, QuadsC: g.quadsC(), UnitStride: g.Stride == 1, Padded: g.padded()})
		return
	}
	kernels := &gemmLanes8Kernels
	if t.Pairs && g.FormatA == uint32(FP32) && g.FormatB == uint32(FP32) && g.FormatC == uint32(FP32) {
		kernels = &gemmLanes8PairsKernels
	}
	width := t.TileN
	if t.Pairs && (!g.QuadsA || m <= t.TileM) {
		// Where a is loaded one by one, or b is read only once, a wide tile gains nothing.
		width = 4 * t.Lanes
	}
	rows := t.TileM
	for g.op != opBackwardWeight && rows/2 >= m {
		rows /= 2
	}
	kernels[g.op].Record(r, engine.Groups(ceilDiv(n, width), ceilDiv(m, rows), int(g.Groups)),
		gemmLanes{gemmShape: g, Rows: uint32(rows), Wide: width == 8*t.Lanes, UnitStride: g.Stride == 1})
}

// record appends the sum of a parameter's gradient, by which the parameter moves if
// there is an update.
func (c reduce) record(r *engine.Recording, u *Update) {
	c.Row, c.Used = c.Count, c.Count
	threads := int(c.Count)
	if u != nil {
		c.Y, c.V, c.Update, c.sgdArgs = u.W, u.V, true, u.args()
		threads = ceilDiv(threads, 4)
	}
	reduceKernel.Record(r, engine.Threads(threads), c)
}

// move makes the weight move by its gradient, where it shall.
func (g *gemmShape) move() {
	if u := g.moves; u != nil {
		g.C, g.D, g.Update, g.sgdArgs = u.W, u.V, true, u.args()
	}
}

// record appends the call of the kernel that t is for.
func (c gemmTile) record(r *engine.Recording, t Tuning, grid engine.Grid) {
	if t.Vector {
		gemmVectorKernels[c.op].Record(r, grid, gemmVector{gemmShape: c.gemmShape, LocalX: c.LocalX, Rows: c.Batch,
			Across: c.TileN / 4, Down: c.TileK / 4, QuadsC: c.QuadsC, SplitK: c.SplitK, SplitPitch: c.SplitPitch})
		return
	}
	if t.MatrixM == 0 {
		gemmTilesKernels[c.op].Record(r, grid, gemmTiles{c, r.Info().Type == engine.Software})
		return
	}
	call := gemmUnits{c, uint32(t.MatrixM), uint32(t.MatrixN), uint32(t.MatrixK), uint32(t.Subgroup)}
	if t.Eights {
		kernels, flexible, format := &gemmMMAKernels, &gemmFlexibleKernels, uint32(FP16)
		if t.BF16 {
			kernels, flexible, format = &gemmMMABF16Kernels, &gemmFlexibleBF16Kernels, uint32(BF16)
		}
		in, out := c.Channels/c.Groups%8 == 0, c.OutChannels/c.Groups%8 == 0
		a, b := in, out
		if c.op == opBackwardInput {
			a = out
		}
		mma := gemmMMA{call, a && c.FormatA == format, b && c.FormatB == format}
		switch {
		case t.Workgroup:
			flexible[c.op].Record(r, grid, gemmFlexible{mma, scopeWorkgroup})
		case t.Flexible:
			flexible[c.op].Record(r, grid, gemmFlexible{mma, scopeSubgroup})
		default:
			kernels[c.op].Record(r, grid, mma)
		}
		return
	}
	kernels := &gemmMatrixKernels
	if t.BF16 {
		kernels = &gemmMatrixBF16Kernels
	}
	kernels[c.op].Record(r, grid, gemmMatrix{call, t.Split})
}

// recordBiasGradient sums dy over examples and pixels: at once where an example is
// one pixel, otherwise example by example.
func (g *gemmShape) recordBiasGradient(r *engine.Recording) {
	pixels := g.OutHeight * g.OutWidth
	sum := reduce{X: g.B, Y: g.Bias, Count: g.OutChannels, Columns: g.OutChannels,
		Splits: g.Batch, Pitch: g.YPitch, Accumulate: g.Accumulate, FormatX: g.FormatB}
	if pixels == 1 {
		sum.record(r, g.moveBias)
		return
	}
	if g.moveBias != nil {
		sum.Y = r.Temp("gradient of a bias", g.moveBias.W.Len())
		defer g.moveBias.Record(r, sum.Y)
	}
	for n := range int(g.Batch) {
		sum.X, sum.Splits, sum.Pitch = examples(g.B, [2]int{n, n + 1}, Precision(g.FormatB).Words(int(g.YPitch))), pixels, g.OutChannels
		sum.record(r, nil)
		sum.Accumulate = true
	}
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }

// gemmLayer is the geometry of a whole layer; its calls are cut where a device's
// limits ask for it.
type gemmLayer struct {
	shape     gemmShape // of the whole batch, without buffers and Op
	precision Precision // of x, y and their gradients, and of the weight that products read
	elements  int       // of the weight
	rows      int       // of the weight, in units that it may be cut at
	unit      int       // elements of the weight in a row
	// part restricts a shape to rows [first, last), and says how many elements
	// further its input begins.
	part func(g *gemmShape, first, last int) (skip int)
}

// part is a range of a layer's weight that one call may bind.
type part struct {
	first, elements int // of the weight
	rows            [2]int
}

// weight is the part of the copy that products read.
func (l *gemmLayer) weight(s *Slots[engine.Buffer], p part) engine.Buffer {
	return s.weight().Slice(p.first/l.precision.PerWord(), l.precision.Words(p.elements))
}

// weight is what products read: the parameter itself in float32.
func (s *Slots[T]) weight() T {
	if s.Precision == FP32 {
		return s.Params[0]
	}
	return s.Half
}

func (l *gemmLayer) pitchWords(elements uint32) int { return int(elements) / l.precision.PerWord() }

// outputs are the format and the words per example of y.
func (l *gemmLayer) outputs(s *Slots[engine.Buffer]) (format Precision, elements, words int) {
	if s.FloatY {
		pitch := FP32.Pitch(s.Plan.Out)
		return FP32, pitch, pitch
	}
	return l.precision, int(l.shape.YPitch), l.pitchWords(l.shape.YPitch)
}

// parts cuts the weight where it is longer than the device may bind. A cut
// falls where buffers may begin.
func (l *gemmLayer) parts(r *engine.Recording) []part {
	most := r.MaxWords() / l.unit
	if l.elements <= r.MaxWords() {
		return []part{{0, l.elements, [2]int{0, l.rows}}}
	}
	step := max(most, 1)
	for step > 1 && step*l.unit%l.precision.align() != 0 {
		step--
	}
	var parts []part
	for first := 0; first < l.rows; first += step {
		last := min(first+step, l.rows)
		parts = append(parts, part{first * l.unit, min(last*l.unit, l.elements) - first*l.unit, [2]int{first, last}})
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
	whole := l.operands(op, [2]int{0, int(l.shape.Batch)}, l.precision, l.precision, FP32)
	if op == opBackwardWeight && t.Lanes > 0 && !(t.Winograd && whole.winogradForm(r, t.Pairs) != nil) {
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
	if s.Tuning != nil && !s.Tuning.Vector {
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
	format, yPitch, yWords := l.outputs(s)
	for _, at := range l.slices(r, opForward, t) {
		var products []gemmShape
		y := examples(s.Y, at, yWords)
		for i, p := range parts {
			g := l.operands(opForward, at, l.precision, l.precision, format)
			g.YPitch = uint32(yPitch)
			g.A, g.C = examples(s.X, at, l.pitchWords(g.XPitch)), y
			g.A = skip(g.A, l.part(&g, p.rows[0], p.rows[1])/l.precision.PerWord())
			g.B = l.weight(s, p)
			g.Accumulate = i > 0
			if i == 0 {
				g.WithBias, g.Bias = true, s.Params[1]
			}
			if i == len(parts)-1 {
				g.Relu, g.drops = s.WithReLU, s.Dropout.of(s.Step, at[0])
			}
			products = append(products, g)
		}
		recordAll(r, y, uint32(yPitch), uint32(s.Plan.Out.Len()), products, masking{}, func(g *gemmShape) Tuning { return productTuning(r, s, g) })
	}
}

// operands is the shape of a product of some of the batch's examples.
func (l *gemmLayer) operands(op gemmOp, at [2]int, a, b, c Precision) gemmShape {
	g := l.shape
	g.op, g.Batch = op, uint32(at[1]-at[0])
	g.FormatA, g.FormatB, g.FormatC = uint32(a), uint32(b), uint32(c)
	return g
}

func (l *gemmLayer) backward(r *engine.Recording, s *Slots[engine.Buffer]) {
	t := tuning(r, s)
	// The input's gradient first: it takes the weight as it was.
	if !s.NoDX {
		l.backwardInput(r, s, t)
	}
	if len(s.Grads) > 0 || len(s.Updates) > 0 {
		l.backwardWeight(r, s, t)
	}
}

func (l *gemmLayer) backwardWeight(r *engine.Recording, s *Slots[engine.Buffer], t Tuning) {
	slices, parts := l.slices(r, opBackwardWeight, t), l.parts(r)
	weight, bias := s.updates()
	grads := s.Grads
	// What is a sum of several calls is stored until it is whole. Kernels move a
	// weight in whole quads.
	together := len(slices) == 1 && l.shape.OutChannels/l.shape.Groups%4 == 0
	if len(s.Updates) > 0 {
		grads = []engine.Buffer{{}, {}}
		if !together || weight == nil {
			grads[0] = r.Temp("gradient of a weight", (l.elements+127)&^127)
		}
		if !together || bias == nil {
			grads[1] = r.Temp("gradient of a bias", s.Params[1].Len())
		}
	}
	for n, at := range slices {
		for i, p := range parts {
			g := l.operands(opBackwardWeight, at, l.precision, l.precision, FP32)
			g.A = examples(s.X, at, l.pitchWords(g.XPitch))
			g.B = examples(s.DY, at, l.pitchWords(g.YPitch))
			g.A = skip(g.A, l.part(&g, p.rows[0], p.rows[1])/l.precision.PerWord())
			if together && weight != nil {
				g.moves = weight.part(p.first, p.elements)
				g.C = g.moves.W
			} else {
				g.C = grads[0].Slice(p.first, p.elements)
			}
			if i == 0 {
				g.WithBias, g.Bias = true, grads[1]
				if together {
					g.moveBias = bias
				}
			}
			g.Accumulate = s.Accumulate || n > 0
			g.record(r, productTuning(r, s, &g))
		}
	}
	if !together {
		for i, u := range []*Update{weight, bias} {
			if u != nil {
				u.Record(r, grads[i])
			}
		}
	}
}

func (l *gemmLayer) backwardInput(r *engine.Recording, s *Slots[engine.Buffer], t Tuning) {
	parts := l.parts(r)
	for _, at := range l.slices(r, opBackwardInput, t) {
		var products []gemmShape
		dx := examples(s.DX, at, l.pitchWords(l.shape.XPitch))
		for i, p := range parts {
			g := l.operands(opBackwardInput, at, l.precision, l.precision, l.precision)
			g.A = examples(s.DY, at, l.pitchWords(g.YPitch))
			g.skipC = l.part(&g, p.rows[0], p.rows[1]) / l.precision.PerWord()
			g.C = skip(dx, g.skipC)
			g.B = l.weight(s, p)
			// Rows of a convolution's kernel add to the same inputs; parts of a
			// fully connected layer's input are apart.
			g.Accumulate = i > 0 && g.Height*g.Width*g.KernelH*g.KernelW > 1
			products = append(products, g)
		}
		var mask masking
		if s.MaskFactor != 0 {
			mask = masking{examples(s.X, at, l.pitchWords(l.shape.XPitch)), s.MaskFactor, uint32(l.precision)}
		}
		recordAll(r, dx, l.shape.XPitch, uint32(s.Plan.In.Len()), products, mask, func(g *gemmShape) Tuning { return productTuning(r, s, g) })
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
			XPitch: uint32(s.Precision.elementPitch(in)), YPitch: uint32(s.Precision.elementPitch(out)),
			split: s.Split,
		},
		precision: s.Precision,
		elements:  s.Plan.Params[0].Len(),
		rows:      l.KernelH,
		unit:      l.KernelW * (in.C / l.groups()) * l.Out,
		part: func(g *gemmShape, first, last int) int {
			g.KernelH = uint32(last - first)
			g.PadH -= int32(first)
			return 0
		},
	}
}

func (l Linear) gemm(s *Slots[engine.Buffer]) *gemmLayer {
	in, out := s.Plan.In, s.Plan.Out
	align := s.Precision.align()
	return &gemmLayer{
		shape: gemmShape{
			Batch: uint32(s.Batch), Height: 1, Width: 1, Channels: uint32(in.Len()),
			OutHeight: 1, OutWidth: 1, OutChannels: uint32(l.Out),
			KernelH: 1, KernelW: 1, Stride: 1, Groups: 1,
			XPitch: uint32(s.Precision.elementPitch(in)), YPitch: uint32(s.Precision.elementPitch(out)),
			split: s.Split,
		},
		precision: s.Precision,
		elements:  s.Plan.Params[0].Len(),
		rows:      ceilDiv(in.Len(), align), // the input is cut where buffers may begin
		unit:      align * l.Out,
		part: func(g *gemmShape, first, last int) int {
			g.Channels = uint32(min(last*align, in.Len()) - first*align)
			return first * align
		},
	}
}
