package layers

import (
	"fmt"

	"vkalexnet/engine"
)

// A convolution by r × r taps in steps of 1 takes (m·r)² multiplications for m × m outputs,
// and (m + r - 1)² in Winograd's form (F(m×m, r×r); Lavin and Gray 2016, section 4.1):
//
//	y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A
//
// with d the inputs under the tile. Summed over channels, each of the (m + r - 1)² places is a
// matrix product over tiles, so what is in between is a convolution by 1 × 1 of a
// picture of tiles, whose groups are the places times those of the layer. The gradients are
// the same steps backwards: that of the weight Gᵀ [Σ (Bᵀ d B) ⊙ (A e Aᵀ)] G of the output's
// gradients e; that of the input a convolution again, by the taps in the opposite order.

// winogradForm is F(tile×tile, taps×taps): tile is the extent of a tile of the result,
// taps that of the kernel. With pairs its steps load 64 bits at a time (Tuning.Pairs).
type winogradForm struct {
	tile, taps                int
	pairs                     bool
	picture, weight, gradient engine.Kernel[winograd]
	back                      [3]engine.Kernel[winogradBack]
}

var winogradForms = []*winogradForm{
	declareWinograd(2, 3, false), declareWinograd(2, 3, true), declareWinograd(2, 5, false), declareWinograd(2, 5, true),
}

func declareWinograd(tile, taps int, pairs bool) *winogradForm {
	stem := fmt.Sprintf("winograd%d%d_", tile, taps)
	if pairs {
		stem += "pairs_"
	}
	return &winogradForm{tile, taps, pairs, engine.Declare[winograd](stem + "picture"), engine.Declare[winograd](stem + "weight"),
		engine.Declare[winograd](stem + "gradient"), declareGemm[winogradBack](stem)}
}

// points is the extent of a tile in the form, places what a tile has there.
func (f *winogradForm) points() int { return f.tile + f.taps - 1 }
func (f *winogradForm) places() int { return f.points() * f.points() }

// winogradWords is how much of a batch is computed at once: what lies between the steps
// is to be read again before it has left a GPU's second-level cache.
const winogradWords = 1 << 23

type winograd struct {
	X, Y                                                engine.Buffer
	Count, Quads, XPitch, Height, Width, TilesH, TilesW uint32
	PadH, PadW                                          int32
	Rotated                                             bool
}

type winogradBack struct {
	A, C, D, Bias                                      engine.Buffer
	Count, Quads, Pitch, Height, Width, TilesH, TilesW uint32
	Accumulate, WithBias, Relu, Masked, Update         bool
	MaskFactor                                         float32
	FormatD                                            uint32 // Precision
	sgdArgs
}

// winogradForm is the Winograd form of the product that the device may bind and
// that is worth its steps, or nil: with few channels these cost more than what they save,
// and so they do for a handful of tiles, because the weight's step is the same for any batch.
func (g *gemmShape) winogradForm(r *engine.Recording, pairs bool) *winogradForm {
	in, out := int(g.Channels/g.Groups), int(g.OutChannels/g.Groups)
	inQuads, outQuads := g.quads()
	if g.KernelH != g.KernelW || g.Stride != 1 || !inQuads || !outQuads || in < 32 || out < 32 || g.FormatA|g.FormatB|g.FormatC != uint32(FP32) {
		return nil
	}
	for _, f := range winogradForms {
		tilesH, tilesW := g.tiles(f)
		if pairs && f.taps == 5 && g.op == opForward && in < 64 {
			continue // measured on lavapipe with 48: the direct product is faster
		}
		if f.taps == int(g.KernelH) && f.pairs == pairs && int(g.Batch)*tilesH*tilesW >= 64 && f.places()*int(g.Groups) <= int(r.Info().Limits.GroupCount) &&
			f.places()*max(tilesH*tilesW*int(max(g.Channels, g.OutChannels)), in*int(g.OutChannels)) <= r.MaxWords() {
			return f
		}
	}
	return nil
}

// tiles is how many tiles the result has, or for the weight's gradient the output.
func (g *gemmShape) tiles(f *winogradForm) (down, across int) {
	height, width := g.OutHeight, g.OutWidth
	if g.op == opBackwardInput {
		height, width = g.Height, g.Width
	}
	return ceilDiv(int(height), f.tile), ceilDiv(int(width), f.tile)
}

// winogradProduct is the product in the middle, of n examples.
func (g *gemmShape) winogradProduct(f *winogradForm, n int) gemmShape {
	down, across := g.tiles(f)
	places := uint32(f.places())
	each := uint32(down*across) * places
	return gemmShape{op: g.op, Batch: uint32(n), Height: uint32(down), Width: uint32(across), Channels: places * g.Channels,
		OutHeight: uint32(down), OutWidth: uint32(across), OutChannels: places * g.OutChannels, KernelH: 1, KernelW: 1, Stride: 1,
		Groups: places * g.Groups, XPitch: each * g.Channels, YPitch: each * g.OutChannels}
}

// recordWinograd appends the product in Winograd's form.
func (g gemmShape) recordWinograd(r *engine.Recording, f *winogradForm, t Tuning) {
	t.Winograd = false // of the product in the middle
	switch g.op {
	case opForward:
		g.recordWinogradPictures(r, f, t, g.inputs(g.A), g.results(g.C))
	case opBackwardInput:
		from, to := g.results(g.A), g.inputs(g.C)
		from.padH, from.padW = int32(f.taps)-1-g.PadH, int32(f.taps)-1-g.PadW
		g.recordWinogradPictures(r, f, t, from, to)
	default:
		g.recordWinogradGradient(r, f, t, g.inputs(g.A), g.results(g.B))
	}
}

// winogradMaps are the examples of a tensor: of x, y or their gradients.
type winogradMaps struct {
	examples                       engine.Buffer
	height, width, channels, pitch uint32
	padH, padW                     int32 // zeros that tiles begin with
}

func (g *gemmShape) inputs(x engine.Buffer) winogradMaps {
	return winogradMaps{x, g.Height, g.Width, g.Channels, g.XPitch, g.PadH, g.PadW}
}

func (g *gemmShape) results(y engine.Buffer) winogradMaps {
	return winogradMaps{y, g.OutHeight, g.OutWidth, g.OutChannels, g.YPitch, 0, 0}
}

// intoWinograd appends the step of some examples into Winograd's form.
func (g *gemmShape) intoWinograd(r *engine.Recording, f *winogradForm, step engine.Kernel[winograd], from winogradMaps, at [2]int) engine.Buffer {
	down, across := g.tiles(f)
	count := (at[1] - at[0]) * down * across * int(from.channels) / 4
	to := r.Temp("in Winograd's form", 4*f.places()*count)
	step.Record(r, engine.Threads(count), winograd{X: examples(from.examples, at, int(from.pitch)), Y: to, Count: uint32(count), Quads: from.channels / 4,
		XPitch: from.pitch / 4, Height: from.height, Width: from.width, TilesH: uint32(down), TilesW: uint32(across), PadH: from.padH, PadW: from.padW})
	return to
}

// winogradSlices cuts the batch so that what lies between the steps stays in a cache.
func (g *gemmShape) winogradSlices(r *engine.Recording, f *winogradForm, t Tuning) [][2]int {
	one := g.winogradProduct(f, 1)
	most := min(winogradWords, r.MaxWords()) / int(max(one.XPitch, one.YPitch))
	if g.op == opBackwardWeight && t.Lanes > 0 {
		most = min(most, ceilDiv(cachedPixels, int(one.Height*one.Width)))
	}
	return cut(int(g.Batch), most)
}

// recordWinogradPictures appends a product whose result is pictures: y or dx.
func (g *gemmShape) recordWinogradPictures(r *engine.Recording, f *winogradForm, t Tuning, from, to winogradMaps) {
	taps := int(g.Channels/g.Groups) * int(g.OutChannels) / 4 // quads
	weight := r.Temp("weight in Winograd's form", 4*f.places()*taps)
	f.weight.Record(r, engine.Threads(taps), winograd{X: g.B, Y: weight, Count: uint32(taps), Quads: g.OutChannels / 4, Rotated: g.op == opBackwardInput})
	for _, at := range g.winogradSlices(r, f, t) {
		product := g.winogradProduct(f, at[1]-at[0])
		count := int(product.Batch*product.Height*product.Width) * int(to.channels) / 4
		product.A, product.B = g.intoWinograd(r, f, f.picture, from, at), weight
		product.C = r.Temp("result in Winograd's form", 4*f.places()*count)
		product.record(r, t)
		back := winogradBack{A: product.C, C: examples(to.examples, at, int(to.pitch)), Count: uint32(count), Quads: to.channels / 4, Pitch: to.pitch,
			Height: to.height, Width: to.width, TilesH: product.Height, TilesW: product.Width, Accumulate: g.Accumulate,
			WithBias: g.WithBias, Bias: g.Bias, Relu: g.Relu, Masked: g.Masked, MaskFactor: g.MaskFactor, FormatD: g.FormatD}
		if g.Masked {
			back.D = examples(g.D, at, Precision(g.FormatD).Words(int(to.pitch)))
		}
		f.back[g.op].Record(r, engine.Threads(count), back)
	}
}

// recordWinogradGradient appends the weight's gradient, and the bias's.
func (g gemmShape) recordWinogradGradient(r *engine.Recording, f *winogradForm, t Tuning, x, dy winogradMaps) {
	taps := int(g.Channels/g.Groups) * int(g.OutChannels) / 4 // quads
	weight := r.Temp("gradient of the weight in Winograd's form", 4*f.places()*taps)
	bias := engine.Buffer{}
	if g.WithBias {
		bias = r.Temp("gradient of the bias in Winograd's form", f.places()*int(g.OutChannels))
	}
	for i, at := range g.winogradSlices(r, f, t) {
		product := g.winogradProduct(f, at[1]-at[0])
		product.A = g.intoWinograd(r, f, f.picture, x, at)
		product.B = g.intoWinograd(r, f, f.gradient, dy, at)
		product.C, product.Accumulate, product.WithBias, product.Bias = weight, i > 0, g.WithBias, bias
		product.record(r, t)
	}
	g.move()
	f.back[g.op].Record(r, engine.Threads(taps), winogradBack{A: weight, C: g.C, D: g.D, Count: uint32(taps), Quads: g.OutChannels / 4,
		Accumulate: g.Accumulate, Update: g.Update, sgdArgs: g.sgdArgs})
	if g.WithBias {
		g.recordWinogradBias(r, f, bias)
	}
}

// recordWinogradBias appends the bias's gradient, which is the sum of all e: the corners of A e Aᵀ
// are the four of a tile.
func (g *gemmShape) recordWinogradBias(r *engine.Recording, f *winogradForm, places engine.Buffer) {
	row := uint32(f.points()) * g.OutChannels
	rows := r.Temp("two rows of the gradient of the bias", int(row))
	reduce{X: places, Y: rows, Count: row, Splits: 2, Pitch: row * uint32(f.points()-1), Columns: row}.record(r, nil)
	reduce{X: rows, Y: g.Bias, Count: g.OutChannels, Splits: 2, Pitch: row - g.OutChannels, Columns: g.OutChannels, Accumulate: g.Accumulate}.record(r, g.moveBias)
}
