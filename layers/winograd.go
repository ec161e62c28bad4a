package layers

import "vkalexnet/engine"

// A convolution by 3 × 3 taps in steps of 1 takes 36 multiplications for 2 × 2 outputs,
// and 16 in Winograd's form (F(2×2, 3×3); Lavin and Gray 2016, section 4.1):
//
//	y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A
//
// with d the 4 × 4 inputs under the tile. Summed over channels, each of the 16 places is a
// matrix product over tiles, so what is in between is a convolution by 1 × 1 of a
// picture of tiles, whose groups are the places times those of the layer. The gradients are
// the same steps backwards: that of the weight Gᵀ [Σ (Bᵀ d B) ⊙ (A e Aᵀ)] G of the output's
// gradients e; that of the input a convolution again, by the taps in the opposite order.

// winogradTile is the extent of a tile of the result, winogradPlaces what a tile has
// in Winograd's form.
const (
	winogradTile   = 2
	winogradPlaces = 16
)

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

var (
	winogradPictureKernel  = engine.Declare[winograd]("winograd_picture")
	winogradWeightKernel   = engine.Declare[winograd]("winograd_weight")
	winogradGradientKernel = engine.Declare[winograd]("winograd_gradient")
	winogradBackKernels    = declareGemm[winogradBack]("winograd_")
)

// inWinograd reports whether the product has a Winograd form that the device may bind and
// that is worth its steps: with few channels these cost more than what they save, and
// so they do for a handful of tiles, because the weight's step is the same for any batch.
func (g *gemmShape) inWinograd(r *engine.Recording) bool {
	tilesH, tilesW := g.tiles()
	in, out := int(g.Channels/g.Groups), int(g.OutChannels/g.Groups)
	inQuads, outQuads := g.quads()
	return g.KernelH == 3 && g.KernelW == 3 && g.Stride == 1 && inQuads && outQuads && in >= 32 && out >= 32 &&
		g.FormatA|g.FormatB|g.FormatC == uint32(FP32) && int(g.Batch)*tilesH*tilesW >= 64 &&
		winogradPlaces*g.Groups <= r.Info().Limits.GroupCount &&
		winogradPlaces*max(tilesH*tilesW*int(max(g.Channels, g.OutChannels)), in*int(g.OutChannels)) <= r.MaxWords()
}

// tiles is how many tiles the result has, or for the weight's gradient the output.
func (g *gemmShape) tiles() (down, across int) {
	height, width := g.OutHeight, g.OutWidth
	if g.op == opBackwardInput {
		height, width = g.Height, g.Width
	}
	return ceilDiv(int(height), winogradTile), ceilDiv(int(width), winogradTile)
}

// winogradProduct is the product in the middle, of n examples.
func (g *gemmShape) winogradProduct(n int) gemmShape {
	down, across := g.tiles()
	each := uint32(down*across) * winogradPlaces
	return gemmShape{op: g.op, Batch: uint32(n), Height: uint32(down), Width: uint32(across), Channels: winogradPlaces * g.Channels,
		OutHeight: uint32(down), OutWidth: uint32(across), OutChannels: winogradPlaces * g.OutChannels, KernelH: 1, KernelW: 1, Stride: 1,
		Groups: winogradPlaces * g.Groups, XPitch: each * g.Channels, YPitch: each * g.OutChannels}
}

// recordWinograd appends the product in Winograd's form.
func (g gemmShape) recordWinograd(r *engine.Recording, t Tuning) {
	t.Winograd = false
	tilesH, tilesW := g.tiles()
	tiles := tilesH * tilesW
	inner := g.winogradProduct(0)

	// picture brings examples of x, or dy, into Winograd's form, gradient those of dy as e.
	into := func(kernel engine.Kernel[winograd], from engine.Buffer, at [2]int, height, width, channels, pitch uint32, padH, padW int32) engine.Buffer {
		n := at[1] - at[0]
		to := r.Temp("in Winograd's form", n*tiles*winogradPlaces*int(channels))
		count := n * tiles * int(channels) / 4
		kernel.Record(r, engine.Threads(count), winograd{X: examples(from, at, int(pitch)), Y: to, Count: uint32(count), Quads: channels / 4, XPitch: pitch / 4,
			Height: height, Width: width, TilesH: uint32(tilesH), TilesW: uint32(tilesW), PadH: padH, PadW: padW})
		return to
	}
	back := winogradBack{D: g.D, Accumulate: g.Accumulate, Relu: g.Relu, Masked: g.Masked, MaskFactor: g.MaskFactor, FormatD: g.FormatD,
		TilesH: uint32(tilesH), TilesW: uint32(tilesW)}
	finish := func(b winogradBack, count int) {
		b.Count = uint32(count)
		winogradBackKernels[g.op].Record(r, engine.Threads(count), b)
	}

	most := min(winogradWords, r.MaxWords()) / int(max(inner.XPitch, inner.YPitch))
	weights := int(g.Channels/g.Groups) * int(g.OutChannels) // to a tap
	if g.op == opBackwardWeight {
		if t.Lanes > 0 {
			most = min(most, ceilDiv(cachedPixels, tiles))
		}
		inner.C = r.Temp("gradient of the weight in Winograd's form", winogradPlaces*weights)
		if g.WithBias {
			inner.WithBias, inner.Bias = true, r.Temp("gradient of the bias in Winograd's form", winogradPlaces*int(g.OutChannels))
		}
		for i, at := range cut(int(g.Batch), most) {
			inner.Batch, inner.Accumulate = uint32(at[1]-at[0]), i > 0
			inner.A = into(winogradPictureKernel, g.A, at, g.Height, g.Width, g.Channels, g.XPitch, g.PadH, g.PadW)
			inner.B = into(winogradGradientKernel, g.B, at, g.OutHeight, g.OutWidth, g.OutChannels, g.YPitch, 0, 0)
			inner.record(r, t)
		}
		moved := g
		moved.move()
		back.A, back.C, back.D, back.Update, back.sgdArgs = inner.C, moved.C, moved.D, moved.Update, moved.sgdArgs
		back.Quads = g.OutChannels / 4
		finish(back, weights/4)
		if g.WithBias { // (A e Aᵀ)[1][1] is the sum of e
			sum := reduce{X: inner.Bias, First: 5 * g.OutChannels, Count: g.OutChannels, Splits: 1, Y: g.Bias, Accumulate: g.Accumulate, Columns: g.OutChannels}
			sum.record(r, g.moveBias)
		}
		return
	}

	inner.B = r.Temp("weight in Winograd's form", winogradPlaces*weights)
	winogradWeightKernel.Record(r, engine.Threads(weights/4), winograd{X: g.B, Y: inner.B, Count: uint32(weights / 4), Quads: g.OutChannels / 4, Rotated: g.op == opBackwardInput})
	height, width, channels, pitch, padH, padW := g.Height, g.Width, g.Channels, g.XPitch, g.PadH, g.PadW
	back.Height, back.Width, back.Quads, back.Pitch = g.OutHeight, g.OutWidth, g.OutChannels/4, g.YPitch
	if g.op == opBackwardInput {
		height, width, channels, pitch, padH, padW = g.OutHeight, g.OutWidth, g.OutChannels, g.YPitch, 2-g.PadH, 2-g.PadW
		back.Height, back.Width, back.Quads, back.Pitch = g.Height, g.Width, g.Channels/4, g.XPitch
	}
	back.WithBias, back.Bias = g.WithBias, g.Bias
	for _, at := range cut(int(g.Batch), most) {
		n := at[1] - at[0]
		inner.Batch = uint32(n)
		inner.A = into(winogradPictureKernel, g.A, at, height, width, channels, pitch, padH, padW)
		inner.C = r.Temp("result in Winograd's form", n*tiles*winogradPlaces*4*int(back.Quads))
		inner.record(r, t)
		b := back
		b.A, b.C = inner.C, examples(g.C, at, int(back.Pitch))
		if g.Masked {
			b.D = examples(g.D, at, Precision(g.FormatD).Words(int(back.Pitch)))
		}
		finish(b, n*tiles*int(back.Quads))
	}
}
