package weights

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
)

// A pickle is a program for a stack machine. This one knows the instructions
// that PyTorch's files use, and makes plain values only: strings, numbers,
// lists, dictionaries, and what a short list of classes stands for. No
// instruction runs code of the file; any other class is an error that names it.
//
// Instructions: https://github.com/python/cpython/blob/main/Lib/pickletools.py

type (
	pickleMark struct{}
	// pickleClass is a class by its module and name.
	pickleClass string
	// pickleTuple, pickleList and pickleDict are Python's.
	pickleTuple []any
	pickleList  struct{ items []any }
	pickleDict  struct{ pairs [][2]any }
	// pickleRecord stands for an object whose fields nobody reads.
	pickleRecord struct{ class pickleClass }
)

// storageTypes are PyTorch's storages and (legacy) tensor classes by the type
// of their numbers.
var storageTypes = map[pickleClass]string{}

func init() {
	for name, kind := range map[string]string{"Float": "F32", "Double": "F64", "Half": "F16", "BFloat16": "BF16",
		"Long": "I64", "Int": "I32", "Short": "I16", "Char": "I8", "Byte": "U8", "Bool": "BOOL"} {
		for _, module := range []string{"torch.", "torch.cuda."} {
			storageTypes[pickleClass(module+name+"Storage")] = kind
			storageTypes[pickleClass(module+name+"Tensor")] = kind
		}
	}
}

// pickleClasses are the other classes that a pickle may name.
var pickleClasses = map[pickleClass]bool{
	"collections.OrderedDict":         true,
	"torch._utils._rebuild_tensor":    true,
	"torch._utils._rebuild_tensor_v2": true,
	"torch._utils._rebuild_parameter": true,
	"argparse.Namespace":              true,
	"torch.Size":                      true,
	"torch.device":                    true,
	"collections.Counter":             true,
	"collections.defaultdict":         true,
}

// unpickler is the state of the machine.
type unpickler struct {
	data  []byte
	at    int
	stack []any
	memo  map[int]any
	// load gives what a persistent id refers to; rebuild makes a tensor of the
	// arguments of torch._utils._rebuild_tensor.
	load    func(id any) (any, error)
	rebuild func(args pickleTuple) (any, error)
}

var errPickleStack = errors.New("the pickle takes a value that is not there")

// unpickle runs the pickle at the beginning of data. It returns its value and
// the number of bytes that it took.
func unpickle(data []byte, load func(any) (any, error), rebuild func(pickleTuple) (any, error)) (any, int, error) {
	u := &unpickler{data: data, memo: map[int]any{}, load: load, rebuild: rebuild}
	for {
		op, err := u.take(1)
		if err != nil {
			return nil, u.at, err
		}
		if op[0] == '.' {
			v, err := u.pop()
			return v, u.at, err
		}
		if err := u.step(op[0]); err != nil {
			return nil, u.at, fmt.Errorf("pickle, byte %d: %w", u.at, err)
		}
	}
}

func (u *unpickler) take(n int) ([]byte, error) {
	if n < 0 || n > len(u.data)-u.at {
		return nil, fmt.Errorf("the pickle is cut off: %d bytes are to follow byte %d of %d", n, u.at, len(u.data))
	}
	b := u.data[u.at : u.at+n : u.at+n]
	u.at += n
	return b, nil
}

// line takes the bytes up to the end of a line.
func (u *unpickler) line() (string, error) {
	for i := u.at; i < len(u.data); i++ {
		if u.data[i] == '\n' {
			s := string(u.data[u.at:i])
			u.at = i + 1
			return s, nil
		}
	}
	return "", errors.New("the pickle is cut off within a line")
}

// integer takes a little-endian number of n bytes.
func (u *unpickler) integer(n int) (int, error) {
	b, err := u.take(n)
	if err != nil {
		return 0, err
	}
	var wide [8]byte
	copy(wide[:], b)
	v := binary.LittleEndian.Uint64(wide[:])
	if v > math.MaxInt64 {
		return 0, fmt.Errorf("length %d", v)
	}
	return int(v), nil
}

// counted takes bytes whose number stands before them in n bytes.
func (u *unpickler) counted(n int) ([]byte, error) {
	length, err := u.integer(n)
	if err != nil {
		return nil, err
	}
	return u.take(length)
}

func (u *unpickler) push(v any) { u.stack = append(u.stack, v) }

func (u *unpickler) pop() (any, error) {
	if len(u.stack) == 0 {
		return nil, errPickleStack
	}
	v := u.stack[len(u.stack)-1]
	u.stack = u.stack[:len(u.stack)-1]
	if _, ok := v.(pickleMark); ok {
		return nil, errPickleStack
	}
	return v, nil
}

func (u *unpickler) top() (any, error) {
	if len(u.stack) == 0 {
		return nil, errPickleStack
	}
	return u.stack[len(u.stack)-1], nil
}

// popMark takes everything above the last mark, and the mark.
func (u *unpickler) popMark() (pickleTuple, error) {
	for i := len(u.stack) - 1; i >= 0; i-- {
		if _, ok := u.stack[i].(pickleMark); ok {
			items := append(pickleTuple{}, u.stack[i+1:]...)
			u.stack = u.stack[:i]
			return items, nil
		}
	}
	return nil, errPickleStack
}

// popN takes the last n values, the deepest first.
func (u *unpickler) popN(n int) (pickleTuple, error) {
	items := make(pickleTuple, n)
	for i := n - 1; i >= 0; i-- {
		v, err := u.pop()
		if err != nil {
			return nil, err
		}
		items[i] = v
	}
	return items, nil
}

// step runs one instruction; its name stands beside its code.
func (u *unpickler) step(op byte) error {
	switch op {
	case 0x80: // PROTO
		version, err := u.integer(1)
		if err == nil && version > 5 {
			err = fmt.Errorf("protocol %d is not known", version)
		}
		return err
	case 0x95: // FRAME
		_, err := u.take(8)
		return err
	case '(': // MARK
		u.push(pickleMark{})
	case '0': // POP
		if len(u.stack) == 0 {
			return errPickleStack
		}
		u.stack = u.stack[:len(u.stack)-1]
	case '1': // POP_MARK
		_, err := u.popMark()
		return err
	case '2': // DUP
		v, err := u.top()
		if err != nil {
			return err
		}
		u.push(v)
	case 'N': // NONE
		u.push(nil)
	case 0x88, 0x89: // NEWTRUE, NEWFALSE
		u.push(op == 0x88)
	case 'J': // BININT
		b, err := u.take(4)
		if err != nil {
			return err
		}
		u.push(int(int32(binary.LittleEndian.Uint32(b))))
	case 'K', 'M': // BININT1, BININT2
		v, err := u.integer(1 + int(op-'K')/2)
		if err != nil {
			return err
		}
		u.push(v)
	case 0x8a, 0x8b: // LONG1, LONG4
		b, err := u.counted(1 + 3*int(op-0x8a))
		if err != nil {
			return err
		}
		u.push(longOf(b))
	case 'G': // BINFLOAT
		b, err := u.take(8)
		if err != nil {
			return err
		}
		u.push(math.Float64frombits(binary.BigEndian.Uint64(b)))
	case 'X', 0x8c, 0x8d, 'U', 'T', 'B', 'C', 0x8e: // strings and bytes
		b, err := u.counted(map[byte]int{'X': 4, 0x8c: 1, 0x8d: 8, 'U': 1, 'T': 4, 'B': 4, 'C': 1, 0x8e: 8}[op])
		if err != nil {
			return err
		}
		u.push(string(b))
	case ')': // EMPTY_TUPLE
		u.push(pickleTuple{})
	case 0x85, 0x86, 0x87: // TUPLE1, TUPLE2, TUPLE3
		items, err := u.popN(int(op-0x85) + 1)
		if err != nil {
			return err
		}
		u.push(items)
	case 't', 'l', 'd': // TUPLE, LIST, DICT
		items, err := u.popMark()
		if err != nil {
			return err
		}
		switch op {
		case 't':
			u.push(items)
		case 'l':
			u.push(&pickleList{items})
		default:
			d := &pickleDict{}
			u.push(d)
			return setItems(d, items)
		}
	case '}': // EMPTY_DICT
		u.push(&pickleDict{})
	case ']': // EMPTY_LIST
		u.push(&pickleList{})
	case 'a', 'e': // APPEND, APPENDS
		items, err := u.items(op == 'a', 1)
		if err != nil {
			return err
		}
		return u.onTop(func(v any) error {
			if l, ok := v.(*pickleList); ok {
				l.items = append(l.items, items...)
				return nil
			}
			return fmt.Errorf("it appends to a %T", v)
		})
	case 's', 'u': // SETITEM, SETITEMS
		items, err := u.items(op == 's', 2)
		if err != nil {
			return err
		}
		return u.onTop(func(v any) error { return setItems(v, items) })
	case 'q', 'r', 'p', 0x94: // BINPUT, LONG_BINPUT, PUT, MEMOIZE
		key, err := len(u.memo), error(nil)
		if op != 0x94 {
			key, err = u.memoKey(op, 'q', 'r')
		}
		if err != nil {
			return err
		}
		v, err := u.top()
		if err != nil {
			return err
		}
		u.memo[key] = v
	case 'h', 'j', 'g': // BINGET, LONG_BINGET, GET
		key, err := u.memoKey(op, 'h', 'j')
		if err != nil {
			return err
		}
		v, ok := u.memo[key]
		if !ok {
			return fmt.Errorf("it reads memory %d, which nothing was written to", key)
		}
		u.push(v)
	case 'c': // GLOBAL
		module, err := u.line()
		if err != nil {
			return err
		}
		name, err := u.line()
		if err != nil {
			return err
		}
		return u.pushClass(module, name)
	case 0x93: // STACK_GLOBAL
		names, err := u.popN(2)
		if err != nil {
			return err
		}
		module, ok1 := names[0].(string)
		name, ok2 := names[1].(string)
		if !ok1 || !ok2 {
			return errors.New("it names a class by something that is no string")
		}
		return u.pushClass(module, name)
	case 'Q': // BINPERSID
		id, err := u.pop()
		if err != nil {
			return err
		}
		v, err := u.load(id)
		if err != nil {
			return err
		}
		u.push(v)
	case 'R', 0x81: // REDUCE, NEWOBJ
		call, err := u.popN(2)
		if err != nil {
			return err
		}
		class, ok1 := call[0].(pickleClass)
		args, ok2 := call[1].(pickleTuple)
		if !ok1 || !ok2 {
			return errors.New("it calls something that is no class")
		}
		v, err := u.construct(class, args)
		if err != nil {
			return fmt.Errorf("%s: %w", class, err)
		}
		u.push(v)
	case 'b': // BUILD: an object's fields, which nobody reads
		_, err := u.pop()
		return err
	default:
		return fmt.Errorf("instruction %#02x is not one that PyTorch's weights need; save only the state dict", op)
	}
	return nil
}

// items are the operands of an instruction: `single` values, or all above the mark.
func (u *unpickler) items(one bool, single int) (pickleTuple, error) {
	if one {
		return u.popN(single)
	}
	return u.popMark()
}

func (u *unpickler) onTop(do func(any) error) error {
	v, err := u.top()
	if err != nil {
		return err
	}
	return do(v)
}

// memoKey takes an instruction's place in the memory: one byte, four, or a line.
func (u *unpickler) memoKey(op, one, four byte) (int, error) {
	switch op {
	case one:
		return u.integer(1)
	case four:
		return u.integer(4)
	}
	line, err := u.line()
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(line)
}

func setItems(v any, items pickleTuple) error {
	if len(items)%2 != 0 {
		return errors.New("a key has no value")
	}
	switch d := v.(type) {
	case *pickleDict:
		for i := 0; i < len(items); i += 2 {
			d.pairs = append(d.pairs, [2]any{items[i], items[i+1]})
		}
		return nil
	case pickleRecord:
		return nil
	}
	return fmt.Errorf("it sets items of a %T", v)
}

func (u *unpickler) pushClass(module, name string) error {
	class := pickleClass(module + "." + name)
	if _, storage := storageTypes[class]; !storage && !pickleClasses[class] {
		return fmt.Errorf("the file names the class %q, which is not one of those that weights need; nothing of it was run. Save only the state dict: torch.save(model.state_dict(), …)", class)
	}
	u.push(class)
	return nil
}

// construct makes what a class's call stands for.
func (u *unpickler) construct(class pickleClass, args pickleTuple) (any, error) {
	switch class {
	case "collections.OrderedDict", "collections.defaultdict", "collections.Counter":
		return &pickleDict{}, nil
	case "torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2":
		return u.rebuild(args)
	case "torch._utils._rebuild_parameter":
		if len(args) == 0 {
			return nil, errPickleStack
		}
		return args[0], nil
	}
	return pickleRecord{class}, nil
}

// longOf is a little-endian number in two's complement. One that needs more
// than 64 bits stays bytes.
func longOf(b []byte) any {
	if len(b) > 8 {
		return string(b)
	}
	var wide [8]byte
	if len(b) > 0 && b[len(b)-1]&0x80 != 0 {
		wide = [8]byte{255, 255, 255, 255, 255, 255, 255, 255}
	}
	copy(wide[:], b)
	return int(int64(binary.LittleEndian.Uint64(wide[:])))
}
