package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sort"
)

// interfaceOf is what the host must know of a kernel, read from its SPIR-V.
type kernelInterface struct {
	buffers   []bufferSlot   // by binding
	constants []constantSlot // by id
	push      []pushSlot     // by offset
	pushBytes int
	local     [3]uint32 // fixed workgroup size; 0 where a constant sets it
	localID   [3]int    // the specialization constant of each, or -1
	needs     []uint32  // capabilities
}

// The capabilities CooperativeMatrixKHR and BFloat16CooperativeMatrixKHR.
const capabilityMatrices, capabilityMatricesBF16 = 6022, 5118

// matrices reports whether the kernel uses cooperative matrices.
func (k *kernelInterface) matrices() bool { return slices.Contains(k.needs, capabilityMatrices) }

// matricesBF16 reports whether these are of bf16.
func (k *kernelInterface) matricesBF16() bool {
	return slices.Contains(k.needs, capabilityMatricesBF16)
}

type bufferSlot struct {
	name          string
	binding       uint32
	reads, writes bool
}

type scalarKind int

const (
	kindUint scalarKind = iota
	kindInt
	kindFloat
	kindBool
)

func (k scalarKind) String() string { return [...]string{"uint", "int", "float", "bool"}[k] }

type constantSlot struct {
	name string
	id   uint32
	kind scalarKind
}

type pushSlot struct {
	name   string
	offset int
	kind   scalarKind
}

const (
	spirvMagic  = 0x07230203
	maxSpirvIDs = 1 << 20
)

var errSpirv = errors.New("not a valid SPIR-V module")

// spirvWords decodes a little-endian module.
func spirvWords(data []byte) ([]uint32, error) {
	if len(data)%4 != 0 || len(data) < 20 || binary.LittleEndian.Uint32(data) != spirvMagic {
		return nil, fmt.Errorf("%w: %d bytes without its magic number", errSpirv, len(data))
	}
	words := make([]uint32, len(data)/4)
	for i := range words {
		words[i] = binary.LittleEndian.Uint32(data[4*i:])
	}
	return words, nil
}

// readSpirv reflects a compute module: its storage buffers (set 0), push
// constants and specialization constants by name. It never panics, whatever
// the words are.
func readSpirv(words []uint32) (*kernelInterface, error) {
	if len(words) < 5 || words[0] != spirvMagic || words[3] > maxSpirvIDs {
		return nil, errSpirv
	}
	type typeInfo struct {
		op      uint32
		args    []uint32
		members []uint32
	}
	type variable struct{ id, pointer, class uint32 }
	type decoration map[uint32]uint32 // decoration → first argument
	names := map[uint32]string{}
	memberNames := map[[2]uint32]string{}
	types := map[uint32]typeInfo{}
	decorations := map[uint32]decoration{}
	memberDecorations := map[[2]uint32]decoration{}
	constantType := map[uint32]uint32{}
	composites := map[uint32][]uint32{}
	var variables []variable
	k := &kernelInterface{localID: [3]int{-1, -1, -1}, local: [3]uint32{1, 1, 1}}
	set := func(m decoration, args []uint32) decoration {
		if m == nil {
			m = decoration{}
		}
		value := uint32(0)
		if len(args) > 1 {
			value = args[1]
		}
		m[args[0]] = value
		return m
	}
	for at := 5; at < len(words); {
		n, op := int(words[at]>>16), words[at]&0xffff
		if n == 0 || at+n > len(words) {
			return nil, fmt.Errorf("%w: instruction of %d words at word %d of %d", errSpirv, n, at, len(words))
		}
		args := words[at+1 : at+n]
		at += n
		need := func(count int) bool { return len(args) >= count }
		switch op {
		case 5: // OpName
			if need(2) {
				names[args[0]] = spirvString(args[1:])
			}
		case 6: // OpMemberName
			if need(3) {
				memberNames[[2]uint32{args[0], args[1]}] = spirvString(args[2:])
			}
		case 16: // OpExecutionMode LocalSize
			if need(5) && args[1] == 17 {
				copy(k.local[:], args[2:5])
			}
		case 17: // OpCapability
			if need(1) {
				k.needs = append(k.needs, args[0])
			}
		case 20, 21, 22, 23, 28, 29, 32: // scalar, vector, array and pointer types
			if need(1) {
				types[args[0]] = typeInfo{op: op, args: args[1:]}
			}
		case 30: // OpTypeStruct
			if need(1) {
				types[args[0]] = typeInfo{op: op, members: args[1:]}
			}
		case 48, 49, 50: // OpSpecConstant…
			if need(2) {
				constantType[args[1]] = args[0]
			}
		case 51: // OpSpecConstantComposite
			if need(2) {
				composites[args[1]] = args[2:]
			}
		case 59: // OpVariable
			if need(3) {
				variables = append(variables, variable{args[1], args[0], args[2]})
			}
		case 71: // OpDecorate
			if need(2) {
				decorations[args[0]] = set(decorations[args[0]], args[1:])
			}
		case 72: // OpMemberDecorate
			if need(3) {
				key := [2]uint32{args[0], args[1]}
				memberDecorations[key] = set(memberDecorations[key], args[2:])
			}
		}
	}
	const (
		specID, builtIn, nonWritable, nonReadable, binding, descriptorSet, offset = 1, 11, 24, 25, 33, 34, 35
		workgroupSize                                                             = 25
		classUniform, classPush, classStorage                                     = 2, 9, 12
	)
	kind := func(id uint32) (scalarKind, bool) {
		t := types[id]
		switch {
		case t.op == 20:
			return kindBool, true
		case t.op == 21 && len(t.args) == 2 && t.args[0] == 32:
			return [...]scalarKind{kindUint, kindInt}[t.args[1]&1], true
		case t.op == 22 && len(t.args) >= 1 && t.args[0] == 32:
			return kindFloat, true
		}
		return 0, false
	}
	isLocal := map[uint32]bool{}
	for id, parts := range composites {
		if b, ok := decorations[id][builtIn]; ok && b == workgroupSize && len(parts) == 3 {
			for i, p := range parts {
				if spec, ok := decorations[p][specID]; ok {
					k.localID[i] = int(spec)
					k.local[i] = 0
					isLocal[p] = true
				}
			}
		}
	}
	for id, t := range constantType {
		spec, ok := decorations[id][specID]
		if !ok || isLocal[id] {
			continue
		}
		kd, ok := kind(t)
		if !ok {
			return nil, fmt.Errorf("specialization constant %d (%s) is not a 32-bit scalar", spec, names[id])
		}
		k.constants = append(k.constants, constantSlot{names[id], spec, kd})
	}
	bySlot := map[uint32]*bufferSlot{}
	for _, v := range variables {
		pointer := types[v.pointer]
		if pointer.op != 32 || len(pointer.args) != 2 {
			continue
		}
		block := pointer.args[1]
		members := types[block].members
		switch v.class {
		case classUniform, classStorage:
			if decorations[v.id][descriptorSet] != 0 {
				return nil, fmt.Errorf("buffer %s is in descriptor set %d; only set 0 is used", names[block], decorations[v.id][descriptorSet])
			}
			slot, ok := decorations[v.id][binding]
			if !ok {
				return nil, fmt.Errorf("buffer %s has no binding", names[block])
			}
			reads, writes := false, false
			for m := range members {
				d := memberDecorations[[2]uint32{block, uint32(m)}]
				_, noWrite := d[nonWritable]
				_, noRead := d[nonReadable]
				writes = writes || !noWrite
				reads = reads || !noRead
			}
			if _, ok := decorations[v.id][nonWritable]; ok {
				writes = false
			}
			if _, ok := decorations[v.id][nonReadable]; ok {
				reads = false
			}
			name := names[block]
			if s := bySlot[slot]; s != nil { // the same buffer seen as another type
				s.reads, s.writes = s.reads || reads, s.writes || writes
				if len(name) < len(s.name) {
					s.name = name
				}
				continue
			}
			bySlot[slot] = &bufferSlot{name, slot, reads, writes}
		case classPush:
			for m, t := range members {
				kd, ok := kind(t)
				at, has := memberDecorations[[2]uint32{block, uint32(m)}][offset]
				name := memberNames[[2]uint32{block, uint32(m)}]
				if !ok || !has || at > 1<<16 {
					return nil, fmt.Errorf("push constant %s is not a 32-bit scalar", name)
				}
				k.push = append(k.push, pushSlot{name, int(at), kd})
				k.pushBytes = max(k.pushBytes, int(at)+4)
			}
		}
	}
	for _, s := range bySlot {
		k.buffers = append(k.buffers, *s)
	}
	sort.Slice(k.buffers, func(i, j int) bool { return k.buffers[i].binding < k.buffers[j].binding })
	sort.Slice(k.constants, func(i, j int) bool { return k.constants[i].id < k.constants[j].id })
	sort.Slice(k.push, func(i, j int) bool { return k.push[i].offset < k.push[j].offset })
	return k, nil
}

func spirvString(words []uint32) string {
	var b []byte
	for _, w := range words {
		for range 4 {
			if byte(w) == 0 {
				return string(b)
			}
			b = append(b, byte(w))
			w >>= 8
		}
	}
	return string(b)
}
