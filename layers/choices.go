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

// matrixTiles are those tried with cooperative matrices: TileM, TileN, TileK, and
// EachM, EachN of a subgroup. eightsTiles are those of the kernel that loads eight
// elements at a time. All fit into 48 KiB of shared memory.
var (
	matrixTiles = [][5]int{{128, 128, 32, 64, 64}, {128, 64, 32, 32, 32}, {128, 96, 32, 32, 48}, {128, 48, 32, 32, 48}}
	eightsTiles = [][5]int{
		{128, 128, 32, 64, 64}, {128, 128, 32, 64, 32}, {256, 128, 16, 64, 64}, {128, 256, 16, 64, 64}, {128, 64, 32, 64, 32}, {128, 64, 32, 32, 32},
		{64, 64, 64, 32, 32}, {64, 128, 32, 32, 64}, {128, 96, 32, 64, 48}, {256, 96, 16, 64, 48}, {128, 48, 32, 64, 48}, {128, 48, 32, 32, 48},
		{256, 48, 16, 64, 48}, {192, 48, 32, 48, 48},
	}
)

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
		return candidates
	}
	if p.shape.suits(vector) {
		candidates = append(candidates, p.candidates(info, vectorTiles, Tuning{Vector: true})...)
	}
	sizes := map[uint32][]engine.MatrixSize{uint32(FP16): info.Features.Matrices, uint32(BF16): info.Features.MatricesBF16}
	if slices.Contains(sizes[p.shape.FormatA], engine.MatrixSize{M: 16, N: 16, K: 16}) { // operands have one format, and most devices list this size
		kind := Tuning{MatrixM: 16, MatrixN: 16, MatrixK: 16, Subgroup: int(info.Features.SubgroupSize), BF16: p.shape.FormatA == uint32(BF16)}
		candidates = append(candidates, p.candidates(info, matrixTiles, kind)...)
		kind.Eights = true
		candidates = append(candidates, p.candidates(info, eightsTiles, kind)...)
		return append(candidates, p.candidates(info, tiles[:2], Tuning{})...)
	}
	return append(candidates, p.candidates(info, tiles, Tuning{})...)
}

// candidates are the tiles that suit the product and the device.
func (p Product) candidates(info *engine.Info, tiles [][5]int, kind Tuning) (candidates []Tuning) {
	m, n, k, _ := p.shape.extents()
	padded := func(t [5]int) int { return ceilDiv(m, t[0]) * t[0] * ceilDiv(n, t[1]) * t[1] }
	least := padded(tiles[0]) // the fewest elements that a tile shape computes, padding included
	for _, t := range tiles {
		least = min(least, padded(t))
	}
	for _, t := range tiles {
		c := kind
		c.TileM, c.TileN, c.TileK, c.EachM, c.EachN = t[0], t[1], t[2], t[3], t[4]
		c.Name = fmt.Sprintf("tiles%dx%dx%d:%dx%d", t[0], t[1], t[2], t[3], t[4])
		if kind.Vector {
			c.Name = fmt.Sprintf("vector%dx%d", c.TileN, c.TileK)
		}
		if kind.MatrixM > 0 {
			c.Name = "matrix" + c.Name[len("tiles"):]
		}
		if kind.Eights {
			c.Name = "eights" + c.Name[len("matrix"):]
		}
		if float64(padded(t)) > 1.3*float64(least) && !kind.Vector || !c.Fits(info) { // what vectors are padded with is not computed
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
