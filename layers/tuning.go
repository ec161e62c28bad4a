package layers

import (
	"slices"

	"vkalexnet/engine"
)

// Tuning says how a device's matrix products are cut: one row of the table.
type Tuning struct {
	Name string `json:"name"`
	// Lanes is the subgroup size of the kernel that keeps tiles in registers:
	// one that broadcasts between 8 lanes, or exchanges between 4; 0 selects the one
	// with shared memory.
	Lanes int `json:"lanes,omitempty"`
	// Pairs is the kernel with lanes that loads 64 bits at a time, and so do the steps
	// into Winograd's form and out of it.
	Pairs bool `json:"pairs,omitempty"`
	// TileM × TileN is what a workgroup computes, TileK how deep it goes at a
	// time, EachM × EachN what one invocation keeps in registers.
	TileM int `json:"tile_m"`
	TileN int `json:"tile_n"`
	TileK int `json:"tile_k,omitempty"`
	EachM int `json:"each_m,omitempty"`
	EachN int `json:"each_n,omitempty"`
	// MatrixM, MatrixN and MatrixK are the size of the cooperative matrices of a
	// kernel that rounds its operands to fp16 (BF16: to bf16), Subgroup that of the
	// subgroups which multiply them: EachM × EachN is what one of those keeps. 0 for
	// other kernels.
	MatrixM  int  `json:"matrix_m,omitempty"`
	MatrixN  int  `json:"matrix_n,omitempty"`
	MatrixK  int  `json:"matrix_k,omitempty"`
	Subgroup int  `json:"subgroup,omitempty"`
	BF16     bool `json:"bf16,omitempty"`
	// Split is the kernel with matrices for float32 operands, each the sum of two
	// numbers of the matrices' format (see Precision.SplitError).
	Split bool `json:"split,omitempty"`
	// Eights is the kernel with matrices that loads eight 16-bit elements at a time.
	Eights bool `json:"eights,omitempty"`
	// Flexible is that kernel with matrices of more sizes than a device lists one by one.
	// Workgroup says that a whole workgroup holds a matrix: then Subgroup is its size,
	// and EachM × EachN are TileM × TileN.
	Flexible  bool `json:"flexible,omitempty"`
	Workgroup bool `json:"workgroup,omitempty"`
	// Vector is the kernel for linear layers whose batch has at most TileM examples:
	// its workgroup has TileN / 4 invocations along the weight's outputs, which follow
	// each other in memory, and TileK / 4 along its inputs.
	Vector bool `json:"vector,omitempty"`
	// Winograd computes convolutions by 3 × 3 and 5 × 5 in Winograd's form, where that pays.
	Winograd bool `json:"winograd,omitempty"`
	// Fill is how many workgroups the device should have at once: where there are
	// fewer tiles, the sum over k is split.
	Fill int `json:"fill,omitempty"`
}

// Invocations is the size of a workgroup.
func (t Tuning) Invocations() int {
	if t.Lanes > 0 {
		return t.Lanes
	}
	if t.Vector {
		return t.TileN / 4 * (t.TileK / 4)
	}
	return t.TileM / t.EachM * (t.TileN / t.EachN) * max(1, t.Subgroup)
}

// Shared is the shared memory of a workgroup in bytes.
func (t Tuning) Shared() int {
	if t.Lanes > 0 {
		return 0
	}
	if t.Vector {
		return engine.WordBytes * 4 * t.TileM * t.Invocations()
	}
	if t.MatrixM > 0 {
		// Two tiles of each piece of an operand in either order, with 8 halves between rows, and a matrix of sums for each subgroup.
		a, b, pieces := max(t.TileM*(t.TileK+8), t.TileK*(t.TileM+8)), max(t.TileN*(t.TileK+8), t.TileK*(t.TileN+8)), 1
		if t.Split {
			pieces = 2
		}
		if t.Flexible { // the sums leave through the tiles
			return 2 * 2 * (a + b)
		}
		return 2*2*pieces*(a+b) + engine.WordBytes*t.Invocations()/max(1, t.Subgroup)*t.MatrixM*t.MatrixN
	}
	return engine.WordBytes * 2 * t.TileK * (t.TileM + 4 + t.TileN + 4) // while one is read the next is written
}

// turned has TileN and TileK as a product sees them: of the vector kernel they are the
// weight's, whose outputs the input's gradient sums over.
func (t Tuning) turned(op gemmOp) Tuning {
	if t.Vector && op == opBackwardInput {
		t.TileN, t.TileK = t.TileK, t.TileN
	}
	return t
}

// splits is into how many parts a sum of k terms is cut when there are so many
// tiles; a part is worth at least eight steps of a tile.
func (t Tuning) splits(tiles, k int) int {
	return max(1, min(t.Fill/tiles, k/(8*t.TileK)))
}

// Sound reports whether the numbers make sense together: those of a file may not.
func (t Tuning) Sound() bool {
	if t.Lanes > 0 {
		return !t.Vector && (t.Lanes == 4 || t.Lanes == 8) && (!t.Pairs || t.Lanes == 8) && t.TileM == 16 && (t.TileN == 4*t.Lanes || t.TileN == 8*t.Lanes)
	}
	if t.Vector {
		return t.MatrixM == 0 && t.TileM >= 1 && t.TileM <= 8 && t.TileN >= 4 && t.TileN <= 1024 && t.TileN%4 == 0 && t.TileK >= 4 && t.TileK <= 1024 && t.TileK%4 == 0 && t.Fill >= 0
	}
	for _, n := range []int{t.TileM, t.TileN, t.TileK, t.EachM, t.EachN} {
		if n < 1 || n > 1024 {
			return false
		}
	}
	if t.MatrixM > 0 {
		for _, n := range []int{t.MatrixM, t.MatrixN, t.MatrixK, t.Subgroup} {
			if n < 4 || n > 256 || n%4 != 0 {
				return false
			}
		}
		if t.Split && (t.Eights || t.Winograd) {
			return false // gemm_mma.comp does not look into what it loads; Winograd's form has larger errors, which nobody derived
		}
		if t.Eights && (t.TileM%8 != 0 || t.TileN%8 != 0 || t.TileK%8 != 0) {
			return false
		}
		if (t.Flexible || t.Workgroup) && !t.flexibleSound() {
			return false
		}
		return t.EachM%t.MatrixM == 0 && t.EachN%t.MatrixN == 0 && t.TileK%t.MatrixK == 0 && t.TileM%t.EachM == 0 && t.TileN%t.EachN == 0 &&
			t.Invocations()%t.TileK == 0 && t.Fill >= 0
	}
	return !t.Split && t.TileM%4 == 0 && t.TileN%4 == 0 && t.TileK%4 == 0 && t.EachM%4 == 0 && t.EachN%4 == 0 &&
		t.TileM%t.EachM == 0 && t.TileN%t.EachN == 0 && t.Invocations()%t.TileK == 0 && t.EachM*t.EachN <= 256 && t.Fill >= 0
}

// flexibleSound is what Sound asks of matrices of many sizes besides.
func (t Tuning) flexibleSound() bool {
	if !t.Flexible || !t.Eights || t.Workgroup && (t.EachM != t.TileM || t.EachN != t.TileN) {
		return false
	}
	units := t.Invocations() / t.Subgroup // the sums of a matrix of each leave through the left side's tiles
	return engine.WordBytes*units*t.MatrixM*t.MatrixN <= 2*2*min(t.TileM*(t.TileK+8), t.TileK*(t.TileM+8))
}

// fitsFlexible reports whether the device has the row's matrices of many sizes.
func (t Tuning) fitsFlexible(info *engine.Info) bool {
	sizes, holder := info.Features.Flexible, uint32(0)
	if t.BF16 {
		sizes = info.Features.FlexibleBF16
	}
	if t.Workgroup {
		holder = uint32(t.Subgroup)
	}
	largest := uint32(max(t.MatrixM, t.MatrixN, t.MatrixK))
	return largest <= info.Limits.MatrixSize && (t.Workgroup || uint32(t.Subgroup) == info.Features.SubgroupSize) &&
		slices.ContainsFunc(sizes, func(s engine.FlexibleSize) bool {
			return s.Invocations == holder && uint32(t.MatrixM)%s.M == 0 && uint32(t.MatrixN)%s.N == 0 && uint32(t.MatrixK)%s.K == 0
		})
}

// Fits reports whether the device can run the row.
func (t Tuning) Fits(info *engine.Info) bool {
	f := info.Features
	if t.Lanes > 0 {
		// The kernel needs to know the subgroup size, so it must be the only one.
		if t.Lanes == 4 && !f.SubgroupQuad || t.Lanes == 8 && !f.SubgroupBallot || f.SubgroupSize != uint32(t.Lanes) || f.SubgroupMin != f.SubgroupMax && f.SubgroupMin != 0 {
			return false
		}
	}
	if t.Flexible && !t.fitsFlexible(info) {
		return false
	}
	if t.MatrixM > 0 && !t.Flexible {
		sizes := f.Matrices
		if t.BF16 {
			sizes = f.MatricesBF16
		}
		if uint32(t.Subgroup) != f.SubgroupSize || !slices.Contains(sizes, engine.MatrixSize{M: uint32(t.MatrixM), N: uint32(t.MatrixN), K: uint32(t.MatrixK)}) {
			return false
		}
	}
	if t.Pairs && !f.Int64 {
		return false
	}
	shared := t.Shared()
	if t.Workgroup {
		shared += int(info.Limits.MatrixShared)
	}
	return t.Invocations() <= int(info.Limits.Invocations) && shared <= int(info.Limits.Shared)
}

// tunings is the one table of tile choices. The last row fits every Vulkan 1.1
// device: at most 128 invocations, 16 KiB of shared memory, no subgroups.
var tunings = []struct {
	Tuning
	suits func(*engine.Info) bool
}{
	{Tuning{Name: "lanes8pairs", Lanes: 8, Pairs: true, TileM: 16, TileN: 64, Winograd: true}, software},
	{Tuning{Name: "lanes8", Lanes: 8, TileM: 16, TileN: 32, Winograd: true}, software},
	{Tuning{Name: "quads", Lanes: 4, TileM: 16, TileN: 16, Winograd: true}, software},
	{Tuning{Name: "tiles128x64", TileM: 128, TileN: 64, TileK: 16, EachM: 8, EachN: 8, Fill: 512}, kind(engine.Discrete)},
	{Tuning{Name: "tiles64x64", TileM: 64, TileN: 64, TileK: 16, EachM: 4, EachN: 8, Fill: 128}, anyGPU},
	{Tuning{Name: "tiles64x32", TileM: 64, TileN: 32, TileK: 16, EachM: 4, EachN: 4, Fill: 32}, func(*engine.Info) bool { return true }},
}

// vector is the row for the products of linear layers' small batches on devices whose
// row has tiles: kernels with lanes are told how many rows there are. It fits every
// Vulkan 1.1 device.
var vector = Tuning{Name: "vector", Vector: true, TileM: 8, TileN: 128, TileK: 16, Fill: 1024}

func software(i *engine.Info) bool { return i.Type == engine.Software }
func anyGPU(i *engine.Info) bool   { return i.Type != engine.Software }
func kind(t engine.Type) func(*engine.Info) bool {
	return func(i *engine.Info) bool { return i.Type == t }
}

// Tunings are the rows that a device can run, the one it uses first.
func Tunings(info *engine.Info) []Tuning {
	var chosen, rest []Tuning
	for _, t := range tunings {
		switch {
		case !t.Fits(info):
		case len(chosen) == 0 && t.suits(info):
			chosen = append(chosen, t.Tuning)
		default:
			rest = append(rest, t.Tuning)
		}
	}
	return append(chosen, rest...)
}

// VectorTuning is the row of the table that is used for a linear layer's forward pass
// and its input's gradient instead, where a device's row has tiles and a batch at most
// TileM examples.
func VectorTuning() Tuning { return vector }
