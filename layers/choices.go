package layers

import (
	"fmt"
	"slices"

	"vkalexnet/engine"
)

// Product is a matrix product of a layer as the kernels see it: what the best
// tuning depends on.
type Product struct{ shape gemmShape }

// Choices are the tunings of products that were measured to be faster than the
// table's, by Product.String. A nil map chooses nothing.
type Choices map[string]Tuning

// productTuning is the tuning of one of the layer's products: the one chosen for it, or
// else the table's.
func productTuning(r *engine.Recording, s *Slots[engine.Buffer], g *gemmShape) Tuning {
	if t, ok := s.Choices[Product{*g}.String()]; ok && g.suits(t) {
		return t
	}
	if s.Tuning != nil && g.suits(*s.Tuning) {
		return *s.Tuning
	}
	return g.tableTuning(r.Info(), tuning(r, s))
}

// tableTuning is the row of the table for a product on a device whose layers are cut by
// the row device.
func (g *gemmShape) tableTuning(info *engine.Info, device Tuning) Tuning {
	if device.Lanes == 0 && g.suits(vector) && vector.Fits(info) {
		return vector
	}
	return device
}

// suits reports whether the tuning's kernel can compute the product.
func (g *gemmShape) suits(t Tuning) bool {
	if t.Split && !g.split { // a choice that splits operands counts for products of BF16x3 alone
		return false
	}
	if !t.Vector {
		return true
	}
	linear := g.KernelH*g.KernelW == 1 && g.Height*g.Width == 1 && g.OutHeight*g.OutWidth == 1 && g.Groups == 1
	return linear && !g.padded() && g.op != opBackwardWeight && int(g.Batch) <= t.TileM
}

// String names the product: "forward 128×96×27×27 → 256×27×27, kernel 5×5, stride 1, padding 2, groups 2".
func (p Product) String() string {
	g := &p.shape
	name := fmt.Sprintf("%s %d×%d×%d×%d → %d×%d×%d, kernel %d×%d, stride %d, padding %d×%d, groups %d", gemmOpNames[g.op], g.Batch,
		g.Channels, g.Height, g.Width, g.OutChannels, g.OutHeight, g.OutWidth, g.KernelH, g.KernelW, g.Stride, g.PadH, g.PadW, g.Groups)
	if a, c := Precision(g.FormatA), Precision(g.FormatC); a != FP32 {
		name += fmt.Sprintf(", %s → %s", a, c)
	}
	if g.split {
		name += ", " + BF16x3.String()
	}
	return name
}

// FLOPs are the floating-point operations of the product, two per multiply-add.
func (p Product) FLOPs() int64 {
	_, _, _, macs := p.shape.extents()
	return 2 * macs
}

// Terms is the number of terms in each sum of the product.
func (p Product) Terms() int {
	_, _, k, _ := p.shape.extents()
	return k
}

// Words are the lengths of its operands and its result.
func (p Product) Words() (a, b, c int) {
	g := &p.shape
	x, y := int(g.Batch*g.XPitch), int(g.Batch*g.YPitch)
	w := int(g.KernelH*g.KernelW*(g.Channels/g.Groups)) * int(g.OutChannels)
	switch a, b, c = x, y, w; g.op {
	case opForward:
		a, b, c = x, w, y
	case opBackwardInput:
		a, b, c = y, w, x
	}
	return Precision(g.FormatA).Words(a), Precision(g.FormatB).Words(b), Precision(g.FormatC).Words(c)
}

// Formats are the precisions of its operands and of its result.
func (p Product) Formats() (operands, result Precision) {
	return Precision(p.shape.FormatA), Precision(p.shape.FormatC)
}

// Record records the product c = a·b, without a bias.
func (p Product) Record(r *engine.Recording, t Tuning, a, b, c engine.Buffer) {
	g := p.shape
	g.A, g.B, g.C = a, b, c
	g.record(r, t)
}

// Products are the matrix products that a layer's passes consist of on a device,
// cut as its limits ask for: forward, and where backward is set the gradients
// of the weights and, unless s.NoDX is set, of the input.
func Products(l Layer, info engine.Info, s *Slots[engine.Buffer], backward bool) []Product {
	multiplied, ok := l.(interface {
		gemmFor(*engine.Recording, *Slots[engine.Buffer], gemmOp) *gemmLayer
	})
	if !ok {
		return nil
	}
	r := engine.NewRecording(info)
	t := tuning(r, s)
	ops := []gemmOp{opForward}
	if backward {
		ops = append(ops, opBackwardWeight)
		if !s.NoDX {
			ops = append(ops, opBackwardInput)
		}
	}
	var all []Product
	for _, op := range ops {
		layer := multiplied.gemmFor(r, s, op)
		for _, at := range layer.slices(r, op, t) {
			for _, part := range layer.parts(r) {
				c := layer.precision
				if op == opBackwardWeight {
					c = FP32
				}
				g := layer.operands(op, at, layer.precision, layer.precision, c)
				if op == opForward {
					format, pitch, _ := layer.outputs(s)
					g.FormatC, g.YPitch = uint32(format), uint32(pitch)
				}
				layer.part(&g, part.rows[0], part.rows[1])
				if len(layer.parts(r)) > 1 || !g.quadsC() {
					g.FormatC = uint32(FP32) // converted afterwards
				}
				all = append(all, Product{g})
			}
		}
	}
	return all
}

// tiles are the tiles that a product is tried with on a GPU: TileM, TileN, TileK,
// EachM, EachN. Widths of 48 and 96 are those of AlexNet's groups. Each is a
// pipeline that the driver takes a second or so to compile.
var tiles = [][5]int{
	{128, 128, 8, 8, 8}, {128, 64, 8, 8, 8}, {64, 64, 16, 8, 4}, {256, 128, 8, 16, 8}, {128, 256, 8, 8, 16},
	{192, 128, 8, 8, 8}, {256, 128, 8, 8, 8}, {128, 192, 8, 8, 8}, {64, 192, 8, 8, 8},
	{128, 96, 8, 8, 8}, {256, 96, 8, 8, 8}, {64, 96, 8, 8, 4}, {128, 48, 8, 8, 8}, {256, 48, 8, 8, 8},
	{64, 128, 8, 8, 8}, {32, 128, 16, 4, 8},
}

// vectorTiles are those of the kernel for small batches: TileM, TileN, TileK.
var vectorTiles = [][5]int{{8, 128, 16}, {8, 128, 32}, {8, 256, 16}}

// winogradTiles are those tried for the products in Winograd's form: what was best
// among tiles for products of their extents on one GPU.
var winogradTiles = [][5]int{{128, 64, 8, 8, 8}, {64, 128, 8, 8, 8}, {256, 128, 8, 16, 8}, {128, 96, 8, 8, 8}}

// matrixTiles are those tried with cooperative matrices: TileM, TileN, TileK, and
// EachM, EachN of a subgroup. splitTiles are those for operands split in two,
// eightsTiles those of the kernel that loads eight elements at a time. All fit into
// 48 KiB of shared memory.
var (
	matrixTiles = [][5]int{{128, 128, 32, 64, 64}, {128, 64, 32, 32, 32}, {128, 96, 32, 32, 48}, {128, 48, 32, 32, 48}}
	splitTiles  = [][5]int{{128, 64, 16, 32, 32}, {128, 64, 16, 64, 32}, {64, 64, 32, 32, 32}, {128, 96, 16, 64, 48}, {128, 48, 16, 32, 48}}
	eightsTiles = [][5]int{
		{128, 128, 32, 64, 64}, {128, 128, 32, 64, 32}, {256, 128, 16, 64, 64}, {128, 256, 16, 64, 64}, {128, 64, 32, 64, 32}, {128, 64, 32, 32, 32},
		{64, 64, 64, 32, 32}, {64, 128, 32, 32, 64}, {128, 96, 32, 64, 48}, {256, 96, 16, 64, 48}, {128, 48, 32, 64, 48}, {128, 48, 32, 32, 48},
		{256, 48, 16, 64, 48}, {192, 48, 32, 48, 48},
	}
)

// flexibleTiles are those tried with matrices that a workgroup holds, by its size:
// TileM, TileN, TileK, and the rows and columns of a matrix, which is TileK deep. What a
// driver takes of the shared memory is not known beforehand: the last fits into 24 KiB.
var flexibleTiles = []struct {
	invocations int
	tiles       [5]int
}{
	{256, [5]int{128, 128, 32, 64, 64}}, {256, [5]int{256, 128, 16, 64, 64}}, {128, [5]int{128, 64, 32, 64, 64}}, {128, [5]int{128, 48, 32, 64, 48}},
	{256, [5]int{128, 128, 16, 32, 64}},
}

// flexibleRows are the rows with them, of what matrixKind gives.
func flexibleRows(kind Tuning) (rows []Tuning) {
	kind.Eights, kind.Flexible, kind.Workgroup = true, true, true
	for _, f := range flexibleTiles {
		kind.Subgroup = f.invocations
		kind.setTiles(f.tiles)
		rows = append(rows, kind)
	}
	return rows
}

// Table is what the fixed table says of the product on a device.
func (p Product) Table(info *engine.Info) Tuning { return p.shape.tableTuning(info, Tunings(info)[0]) }

// Candidates are the tunings worth trying for the product on a device: the safe
// one of the table's last row first, then the table's own.
func (p Product) Candidates(info *engine.Info) []Tuning {
	table := Tunings(info)
	candidates := []Tuning{table[len(table)-1]}
	for _, t := range []Tuning{p.Table(info), table[0]} {
		if !slices.Contains(candidates, t) {
			candidates = append(candidates, t)
		}
	}
	if info.Type == engine.Software {
		for _, t := range table {
			if t.Lanes > 0 {
				if t.TileN == 8*t.Lanes {
					t.TileN, t.Name = 4*t.Lanes, t.Name+"narrow"
				} else {
					t.TileN, t.Name = 8*t.Lanes, t.Name+"wide"
				}
				candidates = append(candidates, t)
			}
		}
		if direct := table[0]; direct.Winograd && p.shape.winogradForm(engine.NewRecording(*info), direct.Pairs) != nil {
			direct.Name, direct.Winograd = direct.Name+"direct", false
			candidates = append(candidates, direct)
		}
		return candidates
	}
	if p.shape.suits(vector) {
		candidates = append(candidates, p.candidates(info, vectorTiles, Tuning{Vector: true})...)
	}
	operands, _ := p.Formats() // they have one
	if p.shape.split {
		candidates = append(candidates, p.SplitCandidates(info, BF16)...)
	} else if kind, ok := matrixKind(info, operands); ok {
		candidates = append(candidates, p.candidates(info, matrixTiles, kind)...)
		kind.Eights = true
		candidates = append(candidates, p.candidates(info, eightsTiles, kind)...)
		candidates = append(candidates, p.filled(info, flexibleRows(kind))...)
		return append(candidates, p.candidates(info, tiles[:2], Tuning{})...)
	}
	candidates = append(candidates, p.candidates(info, tiles, Tuning{})...)
	if f := p.shape.winogradForm(engine.NewRecording(*info), false); f != nil {
		for _, t := range (Product{p.shape.winogradProduct(f, int(p.shape.Batch))}).candidates(info, winogradTiles, Tuning{}) {
			t.Name, t.Winograd = "winograd "+t.Name, true
			candidates = append(candidates, t)
		}
	}
	return candidates
}

// SplitCandidates are those of Candidates whose operands are split in two numbers of
// a precision. Only bf16 is for use; fp16's range is too small for gradients, but
// more compilers know its matrices.
func (p Product) SplitCandidates(info *engine.Info, pieces Precision) []Tuning {
	kind, ok := matrixKind(info, pieces)
	if !ok {
		return nil
	}
	kind.Split = true
	return p.candidates(info, splitTiles, kind)
}

// SplitTuning is a row that computes any product of float32 with operands split in two
// numbers of bf16, if the device can.
func SplitTuning(info *engine.Info) (Tuning, bool) {
	t, ok := matrixKind(info, BF16)
	t.Split, t.Fill = true, 1
	t.setTiles(splitTiles[0])
	return t, ok && t.Fits(info)
}

// Alternatives are the tunings besides the table's that compute a product by another kernel,
// or in another form, and that tuning may choose for a precision on the device: one for
// each of them, whatever its tiles.
func Alternatives(info *engine.Info, p Precision) (others []Tuning) {
	if p == FP32 {
		t := Tunings(info)[0]
		if t.Lanes == 0 {
			others = append(others, t) // the device's own for all but linear layers' small batches
		}
		t.Name, t.Winograd = "winograd", !t.Winograd
		if !t.Winograd {
			t.Name = "direct"
		}
		return append(others, t)
	}
	if t, ok := matrixKind(info, p); ok {
		t.Fill = 1
		for _, t.Eights = range []bool{false, true} {
			tiles := matrixTiles
			if t.Eights {
				tiles = eightsTiles
			}
			if t.setTiles(tiles[0]); t.Fits(info) {
				others = append(others, t)
			}
		}
		rows := flexibleRows(t)
		if i := slices.IndexFunc(rows, func(t Tuning) bool { return t.Fits(info) }); i >= 0 {
			rows[i].Fill = 1
			others = append(others, rows[i])
		}
	}
	return others
}

// matrixKind is what the rows with matrices of a precision have in common on a device,
// if it lists the size that most do.
func matrixKind(info *engine.Info, p Precision) (Tuning, bool) {
	sizes := map[Precision][]engine.MatrixSize{FP16: info.Features.Matrices, BF16: info.Features.MatricesBF16}
	return Tuning{MatrixM: 16, MatrixN: 16, MatrixK: 16, Subgroup: int(info.Features.SubgroupSize), BF16: p == BF16},
		slices.Contains(sizes[p], engine.MatrixSize{M: 16, N: 16, K: 16})
}

// Kind is the kernel that a row is for, with which the names of candidates begin.
func (t Tuning) Kind() string {
	switch {
	case t.Lanes > 0:
		return "lanes"
	case t.Vector:
		return "vector"
	case t.Split && t.BF16:
		return "split"
	case t.Split:
		return "split-fp16-"
	case t.Flexible:
		return "flexible"
	case t.Eights:
		return "eights"
	case t.MatrixM > 0:
		return "matrix"
	}
	return "tiles"
}

// setTiles cuts a row's products into tiles and names it after them.
func (t *Tuning) setTiles(tiles [5]int) {
	t.TileM, t.TileN, t.TileK, t.EachM, t.EachN = tiles[0], tiles[1], tiles[2], tiles[3], tiles[4]
	if t.Vector {
		t.EachM, t.EachN, t.Name = 0, 0, fmt.Sprintf("%s%dx%d", t.Kind(), t.TileN, t.TileK)
		return
	}
	if t.Workgroup { // the last two are a matrix's
		t.MatrixM, t.MatrixN, t.MatrixK, t.EachM, t.EachN = t.EachM, t.EachN, t.TileK, t.TileM, t.TileN
		t.Name = fmt.Sprintf("%s%dx%dx%d:%dx%d", t.Kind(), t.TileM, t.TileN, t.TileK, t.MatrixM, t.MatrixN)
		return
	}
	t.Name = fmt.Sprintf("%s%dx%dx%d:%dx%d", t.Kind(), t.TileM, t.TileN, t.TileK, t.EachM, t.EachN)
}

// candidates are the tiles that suit the product and the device.
func (p Product) candidates(info *engine.Info, tiles [][5]int, kind Tuning) []Tuning {
	rows := make([]Tuning, len(tiles))
	for i, t := range tiles {
		rows[i] = kind
		rows[i].setTiles(t)
	}
	return p.filled(info, rows)
}

// filled are the rows that suit the product and the device, each with what its sum can be
// cut into.
func (p Product) filled(info *engine.Info, rows []Tuning) (candidates []Tuning) {
	m, n, k, _ := p.shape.extents()
	padded := func(t Tuning) int { return ceilDiv(m, t.TileM) * t.TileM * ceilDiv(n, t.TileN) * t.TileN }
	least := padded(rows[0]) // the fewest elements that a tile shape computes, padding included
	for _, t := range rows {
		least = min(least, padded(t))
	}
	for _, c := range rows {
		if float64(padded(c)) > 1.3*float64(least) && !c.Vector || !c.Fits(info) { // what vectors are padded with is not computed
			continue
		}
		turned := c.turned(p.shape.op)
		count, last := ceilDiv(m, turned.TileM)*ceilDiv(n, turned.TileN)*int(p.shape.Groups), 0
		for _, fill := range []int{1, 128, 256, 512, 1024} {
			c.Fill, turned.Fill = fill, fill
			if s := turned.splits(count, k); s != last {
				last = s
				candidates = append(candidates, c)
			}
		}
	}
	return candidates
}
