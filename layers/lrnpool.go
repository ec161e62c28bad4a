package layers

import "vkalexnet/engine"

type lrnpool struct {
	X, DY, Y, Winner                                           engine.Buffer
	Batch, XPitch, YPitch, KeepPitch                           uint32
	Pad                                                        int32
	K, Alpha, Beta                                             float32
	Size, Stride, Channels, Height, Width, OutHeight, OutWidth uint32
	Radius, Groups                                             uint32
	Backward, Quads, Masked, Beta075, MaskedX                  bool
	Format                                                     uint32 // Precision
}

var lrnpoolKernel = engine.Declare[lrnpool]("lrnpool")

// PoolsNormalised reports whether the device's passes of a max pooling can do those of
// the normalisation before it as well (Slots.Norm).
func PoolsNormalised(norm LRN, in Shape) bool { return norm.quads(in) }

// recordNormalised records both layers, forward or backward.
func (l MaxPool) recordNormalised(r *engine.Recording, s *Slots[engine.Buffer], backward bool) {
	in, out, norm, p := s.Plan.In, s.Plan.Out, s.Norm, s.Precision
	keep := s.Plan.KeepPitch()
	xPitch, yPitch := p.Pitch(in), p.Pitch(out)
	for _, at := range batchSlices(r, s.Batch, max(xPitch, yPitch, keep)) {
		n := at[1] - at[0]
		call := lrnpool{
			X: examples(s.X, at, xPitch), Winner: examples(s.Keep, at, keep),
			Batch: uint32(n), XPitch: uint32(p.elementPitch(in)), YPitch: uint32(p.elementPitch(out)), KeepPitch: uint32(keep), Pad: int32(l.Pad),
			K: norm.K, Alpha: float32(norm.alpha()), Beta: norm.Beta, Beta075: norm.Beta == 0.75,
			Radius: uint32(norm.Size / 2), Groups: uint32(norm.groups()),
			Size: uint32(l.Size), Stride: uint32(l.Stride), Channels: uint32(in.C),
			Height: uint32(in.H), Width: uint32(in.W), OutHeight: uint32(out.H), OutWidth: uint32(out.W),
			Backward: backward, Quads: true, Format: uint32(p),
		}
		threads := n * out.Len() / 4
		if backward {
			call.DY, call.Y, call.MaskedX = examples(s.DY, at, yPitch), examples(s.DX, at, xPitch), s.MaskFactor != 0
			threads = n * in.Len() / 4
		} else {
			call.Y = examples(s.Y, at, yPitch)
		}
		lrnpoolKernel.Record(r, engine.Threads(threads), call)
	}
}
