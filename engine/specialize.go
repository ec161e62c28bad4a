package engine

import "slices"

// SPIR-V instructions that specialization constants come in, and what they become.
const (
	spvConstantTrue, spvConstantFalse, spvConstant, spvConstantComposite    = 41, 42, 43, 44
	spvSpecTrue, spvSpecFalse, spvSpec, spvSpecComposite, spvSpecOp         = 48, 49, 50, 51, 52
	spvTypeBool, spvDecorate, spvFunction, spvDecorationSpecID, spvHeader   = 20, 71, 54, 1, 5
	spvIAdd, spvISub, spvIMul, spvUDiv, spvSDiv, spvUMod                    = 128, 130, 132, 134, 135, 137
	spvLogicalEqual, spvLogicalNotEqual, spvLogicalOr, spvLogicalAnd        = 164, 165, 166, 167
	spvLogicalNot, spvSelect, spvIEqual, spvINotEqual                       = 168, 169, 170, 171
	spvUGreater, spvSGreater, spvUGreaterEqual, spvSGreaterEqual            = 172, 173, 174, 175
	spvULess, spvSLess, spvULessEqual, spvSLessEqual                        = 176, 177, 178, 179
	spvShiftRight, spvShiftLeft, spvBitwiseOr, spvBitwiseXor, spvBitwiseAnd = 194, 196, 197, 198, 199
)

// specialized is the module with values of the specialization constants ids put
// in their place, and what is computed from them worked out. Some drivers do that
// so late that both sides of a branch on such a constant are executed: SwiftShader
// takes three times as long then. words is a valid module (readSpirv has read it).
func specialized(words, ids, values []uint32) []uint32 {
	given := map[uint32]uint32{} // by result id
	known := map[uint32]uint32{} // 32-bit scalars, and bools as 0 and 1
	bools := map[uint32]bool{}   // types
	out := slices.Clone(words[:spvHeader])
	constant := func(typ, result, v uint32) {
		known[result] = v
		switch {
		case !bools[typ]:
			out = append(out, 4<<16|spvConstant, typ, result, v)
		case v != 0:
			out = append(out, 3<<16|spvConstantTrue, typ, result)
		default:
			out = append(out, 3<<16|spvConstantFalse, typ, result)
		}
	}
	for at := spvHeader; at < len(words); {
		n, op := int(words[at]>>16), words[at]&0xffff
		in := words[at : at+n]
		at += n
		switch {
		case op == spvDecorate && in[2] == spvDecorationSpecID:
			if i := slices.Index(ids, in[3]); i >= 0 {
				given[in[1]] = values[i]
				continue
			}
		case op == spvTypeBool:
			bools[in[1]] = true
		case op == spvConstantTrue, op == spvConstantFalse:
			known[in[2]] = spvConstantFalse - op
		case op == spvConstant && n == 4:
			known[in[2]] = in[3]
		case op == spvSpecTrue, op == spvSpecFalse, op == spvSpec && n == 4:
			if v, ok := given[in[2]]; ok {
				constant(in[1], in[2], v)
				continue
			}
		case op == spvSpecComposite:
			known := !slices.ContainsFunc(in[3:], func(id uint32) bool { _, ok := known[id]; return !ok })
			if known {
				out = append(append(out, uint32(n)<<16|spvConstantComposite), in[1:]...)
				continue
			}
		case op == spvSpecOp:
			if v, ok := evaluate(in[3], in[4:], known); ok {
				constant(in[1], in[2], v)
				continue
			}
		case op == spvFunction: // no constants from here on
			return append(append(out, in...), words[at:]...)
		}
		out = append(out, in...)
	}
	return out
}

// evaluate is the result of an operation on known scalars.
func evaluate(op uint32, operands []uint32, known map[uint32]uint32) (uint32, bool) {
	v := make([]uint32, len(operands))
	for i, id := range operands {
		var ok bool
		if v[i], ok = known[id]; !ok {
			return 0, false
		}
	}
	truth := func(b bool) (uint32, bool) {
		if b {
			return 1, true
		}
		return 0, true
	}
	switch {
	case op == spvSelect && len(v) == 3:
		if v[0] != 0 {
			return v[1], true
		}
		return v[2], true
	case op == spvLogicalNot && len(v) == 1:
		return 1 - v[0], true
	case len(v) != 2:
		return 0, false
	}
	a, b := v[0], v[1]
	switch op {
	case spvIAdd:
		return a + b, true
	case spvISub:
		return a - b, true
	case spvIMul:
		return a * b, true
	case spvShiftRight:
		return a >> b, b < 32
	case spvShiftLeft:
		return a << b, b < 32
	case spvBitwiseOr, spvLogicalOr:
		return a | b, true
	case spvBitwiseXor:
		return a ^ b, true
	case spvBitwiseAnd, spvLogicalAnd:
		return a & b, true
	case spvLogicalEqual, spvIEqual:
		return truth(a == b)
	case spvLogicalNotEqual, spvINotEqual:
		return truth(a != b)
	case spvUGreater:
		return truth(a > b)
	case spvUGreaterEqual:
		return truth(a >= b)
	case spvULess:
		return truth(a < b)
	case spvULessEqual:
		return truth(a <= b)
	case spvSGreater:
		return truth(int32(a) > int32(b))
	case spvSGreaterEqual:
		return truth(int32(a) >= int32(b))
	case spvSLess:
		return truth(int32(a) < int32(b))
	case spvSLessEqual:
		return truth(int32(a) <= int32(b))
	}
	if b == 0 {
		return 0, false
	}
	switch op {
	case spvUDiv:
		return a / b, true
	case spvSDiv:
		return uint32(int32(a) / int32(b)), true
	case spvUMod:
		return a % b, true
	}
	return 0, false
}
