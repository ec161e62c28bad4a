package layers

import (
	"fmt"
	"math"
	"strings"
)

// Precision is how a device stores activations, their gradients, and the copies
// of the weights that matrix products read. Arithmetic, sums, parameters,
// momentum and the parameters' gradients are float32 in any case. The CPU reference
// of a whole network rounds in the same places. See ARCHITECTURE.md, Precision.
type Precision uint32

// The precisions; shaders/include/storage.glsl knows them by these numbers.
const (
	FP32 Precision = iota
	FP16           // IEEE 754 binary16: 11 significant bits, 2^-24 to 65504
	BF16           // the upper half of a float32: 8 significant bits, its range
	// BF16x3 stores as FP32 does; its matrix products may be the sum of three whose
	// operands are bf16, two of them for each float32. No tensor has it as its format.
	BF16x3
)

var precisionNames = [...]string{"fp32", "fp16", "bf16", "bf16x3"}

func (p Precision) String() string { return precisionNames[p] }

// MarshalText is the name.
func (p Precision) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads the name.
func (p *Precision) UnmarshalText(text []byte) (err error) {
	*p, err = ParsePrecision(string(text))
	return err
}

// ParsePrecision is the precision of a name.
func ParsePrecision(name string) (Precision, error) {
	for p, known := range precisionNames {
		if name == known {
			return Precision(p), nil
		}
	}
	return FP32, fmt.Errorf("precision %q is not known: use %s", name, strings.Join(precisionNames[:], ", "))
}

// Stored is the format of tensors in the precision.
func (p Precision) Stored() Precision {
	if p == BF16x3 {
		return FP32
	}
	return p
}

// Unit is the unit in the last place of 1 as stored: 2^-23, 2^-10 or 2^-7.
func (p Precision) Unit() float64 { return [...]float64{0x1p-23, 0x1p-10, 0x1p-7}[p.Stored()] }

// SplitError is the most that a product of two float32 is off by, as a share of it,
// when each is the sum of two numbers of the precision and the product of both second
// ones is left out. With u the unit of the precision, rounding to the nearest leaves
// at most u/2 of a number for its second one, so that u²/4 of the product is left
// out; the second ones are rounded as well, which changes each number by u²/8 at
// most. Together that is u²/2: 2^-15 in bf16, 2^-21 in fp16. Operands rounded once
// cost u.
func (p Precision) SplitError() float64 { return p.Unit() * p.Unit() / 2 }

// PerWord is the number of elements in a 32-bit word.
func (p Precision) PerWord() int {
	if p.Stored() == FP32 {
		return 1
	}
	return 2
}

// Words is the number of 32-bit words of so many elements.
func (p Precision) Words(elements int) int { return ceilDiv(elements, p.PerWord()) }

// align is the number of elements that an example begins at a multiple of.
func (p Precision) align() int { return p.PerWord() * exampleAlign }

// elementPitch is the number of elements from one example to the next.
func (p Precision) elementPitch(s Shape) int { return ceilDiv(s.Len(), p.align()) * p.align() }

// Pitch is the number of 32-bit words from one example to the next on a device,
// a multiple of 64.
func (p Precision) Pitch(s Shape) int { return p.elementPitch(s) / p.PerWord() }

// Round is the nearest number of the precision; of two that are as near, the one
// that is even. What is too large for fp16 becomes infinite.
func (p Precision) Round(v float32) float32 {
	switch p {
	case FP16:
		return FromFP16(ToFP16(v))
	case BF16:
		return FromBF16(ToBF16(v))
	}
	return v
}

// Pack stores src in words, which Words(len(src)) tells the number of.
func (p Precision) Pack(dst []uint32, src []float32) {
	switch p.Stored() {
	case FP32:
		for i, v := range src {
			dst[i] = math.Float32bits(v)
		}
	case FP16:
		packHalves(dst, src, ToFP16)
	case BF16:
		packHalves(dst, src, ToBF16)
	}
}

func packHalves(dst []uint32, src []float32, convert func(float32) uint16) {
	parallel(ceilDiv(len(src), 2), func(first, last int) {
		for i := first; i < last; i++ {
			word := uint32(convert(src[2*i]))
			if 2*i+1 < len(src) {
				word |= uint32(convert(src[2*i+1])) << 16
			}
			dst[i] = word
		}
	})
}

// Unpack undoes Pack.
func (p Precision) Unpack(dst []float32, src []uint32) {
	switch p.Stored() {
	case FP32:
		for i := range dst {
			dst[i] = math.Float32frombits(src[i])
		}
	case FP16:
		for i := range dst {
			dst[i] = FromFP16(uint16(src[i/2] >> (i % 2 * 16)))
		}
	case BF16:
		for i := range dst {
			dst[i] = FromBF16(uint16(src[i/2] >> (i % 2 * 16)))
		}
	}
}

// ToFP16 rounds to the nearest binary16, ties to even; from 65520 on to infinity.
func ToFP16(v float32) uint16 {
	bits := math.Float32bits(v)
	sign, size := uint16(bits>>16&0x8000), bits&0x7fffffff
	switch {
	case size > 0x7f800000:
		return sign | 0x7e00 // NaN
	case size >= 0x477ff000:
		return sign | 0x7c00
	case size < 0x38800000: // below 2^-14 the unit is 2^-24; the product is exact
		return sign | uint16(math.RoundToEven(math.Abs(float64(v))*0x1p24))
	}
	size += 0xfff + size>>13&1
	return sign | uint16((size-0x38000000)>>13)
}

// FromFP16 is the value of a binary16.
func FromFP16(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	switch exponent, fraction := h>>10&31, uint32(h&0x3ff); exponent {
	case 31:
		return math.Float32frombits(sign | 0x7f800000 | fraction<<13)
	case 0:
		v := float32(fraction) * 0x1p-24
		return math.Float32frombits(sign | math.Float32bits(v))
	default:
		return math.Float32frombits(sign | (uint32(exponent)+112)<<23 | fraction<<13)
	}
}

// ToBF16 rounds to the nearest bfloat16, ties to even.
func ToBF16(v float32) uint16 {
	bits := math.Float32bits(v)
	if bits&0x7fffffff > 0x7f800000 {
		return uint16(bits>>16) | 0x40 // NaN
	}
	return uint16((bits + 0x7fff + bits>>16&1) >> 16)
}

// FromBF16 is the value of a bfloat16.
func FromBF16(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }
