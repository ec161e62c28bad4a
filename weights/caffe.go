package weights

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// Layer kinds of Caffe's V1LayerParameter, by their number.
var caffeV1Kinds = map[uint64]string{4: "Convolution", 14: "InnerProduct", 15: "LRN", 17: "Pooling", 18: "ReLU", 6: "Dropout"}

// ParseCaffe reads a .caffemodel: a NetParameter of caffe.proto, with layers as
// V1LayerParameter or LayerParameter. The first blob of a layer becomes
// <layer>.weight, the second <layer>.bias. A convolution's weight is [out,
// in/groups, kh, kw] with its input's channels as Caffe has them (BGR), an
// inner product's [out, in].
func ParseCaffe(data []byte) (*File, error) {
	f := &File{Metadata: map[string]string{}}
	err := fields(data, func(n protowire.Number, v value) error {
		switch n {
		case 1:
			f.Metadata["name"] = string(v.bytes)
		case 2, 100:
			return f.addCaffeLayer(v.bytes, n == 2)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("this is no .caffemodel, or it is damaged: %w", err)
	}
	if len(f.Tensors) == 0 {
		return nil, errors.New("this is no .caffemodel with weights: no layer in it has blobs")
	}
	return f, nil
}

// addCaffeLayer adds the blobs of one layer, and its kind to f.Ops.
func (f *File) addCaffeLayer(data []byte, v1 bool) error {
	nameField, kindField, blobsField := protowire.Number(1), protowire.Number(2), protowire.Number(7)
	if v1 {
		nameField, kindField, blobsField = 4, 5, 6
	}
	var name, kind string
	var blobs [][]byte
	err := fields(data, func(n protowire.Number, v value) error {
		switch n {
		case nameField:
			name = string(v.bytes)
		case kindField:
			kind = string(v.bytes)
			if v1 {
				kind = caffeV1Kinds[v.number]
			}
		case blobsField:
			blobs = append(blobs, v.bytes)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("layer %q: %w", name, err)
	}
	f.Ops = append(f.Ops, kind)
	for i, blob := range blobs {
		shape, numbers, err := parseBlob(blob)
		if err != nil {
			return fmt.Errorf("layer %q, blob %d: %w", name, i, err)
		}
		suffix := ".weight"
		switch {
		case i == 1:
			suffix = ".bias"
		case i > 1:
			suffix = fmt.Sprintf(".blob%d", i)
		}
		// Legacy shapes have four dimensions: those that a vector or a
		// matrix does not need stand first and are 1.
		keep := len(shape)
		if i == 1 {
			keep = 1
		} else if kind == "InnerProduct" {
			keep = 2
		}
		for len(shape) > keep && shape[0] == 1 {
			shape = shape[1:]
		}
		f.Tensors = append(f.Tensors, Tensor{Name: name + suffix, Shape: shape, Data: numbers})
	}
	return nil
}

// ParseBlob reads a .binaryproto: one BlobProto, such as the mean of a data
// set, [1, 3, height, width] in the order BGR.
func ParseBlob(data []byte) (Tensor, error) {
	shape, numbers, err := parseBlob(data)
	if err != nil {
		return Tensor{}, fmt.Errorf("this is no .binaryproto, or it is damaged: %w", err)
	}
	return Tensor{Name: "blob", Shape: shape, Data: numbers}, nil
}

// parseBlob reads a BlobProto, whose numbers are float or double, packed or not.
func parseBlob(data []byte) ([]int, []float32, error) {
	var legacy [4]int
	var shape []int
	var isLegacy bool
	var floats, doubles numbers
	err := fields(data, func(n protowire.Number, v value) error {
		switch n {
		case 1, 2, 3, 4:
			if v.number > math.MaxInt32 {
				return fmt.Errorf("dimension %d", v.number)
			}
			legacy[n-1], isLegacy = int(v.number), true
		case 5:
			return floats.add(v, 4)
		case 8:
			return doubles.add(v, 8)
		case 7:
			return fields(v.bytes, func(n protowire.Number, v value) error {
				if n != 1 {
					return nil
				}
				dims, err := v.varints()
				shape = append(shape, dims...)
				return err
			})
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	if isLegacy { // as Caffe: they count where they are
		shape = nil
		for _, d := range legacy {
			shape = append(shape, max(d, 1))
		}
	}
	have := floats.count(4) + doubles.count(8)
	want, err := elements(shape, int64(len(data)))
	if err != nil {
		return nil, nil, err
	}
	if int64(have) != want {
		return nil, nil, fmt.Errorf("shape %v stands for %d numbers, but there are %d", shape, want, have)
	}
	values := make([]float32, 0, have)
	values = floats.appendTo(values, "F32")
	return shape, doubles.appendTo(values, "F64"), nil
}

// numbers gathers the bytes of a repeated field of fixed-size numbers.
type numbers struct{ parts [][]byte }

func (n *numbers) add(v value, size int) error {
	if v.bytes == nil || len(v.bytes)%size != 0 {
		return fmt.Errorf("%d bytes of numbers of %d bytes each", len(v.bytes), size)
	}
	n.parts = append(n.parts, v.bytes)
	return nil
}

func (n *numbers) count(size int) int {
	total := 0
	for _, p := range n.parts {
		total += len(p) / size
	}
	return total
}

func (n *numbers) appendTo(to []float32, kind string) []float32 {
	size := int(elementSizes[kind])
	for _, p := range n.parts {
		for ; len(p) >= size; p = p[size:] {
			to = append(to, number(kind, p))
		}
	}
	return to
}

// value is a field's value: number of a varint, bytes of everything else (of a
// fixed-size number, its little-endian bytes).
type value struct {
	number uint64
	bytes  []byte
	varint bool
}

// varints are the numbers of a repeated integer field, packed or not.
func (v value) varints() ([]int, error) {
	if v.varint {
		if v.number > math.MaxInt32 {
			return nil, fmt.Errorf("dimension %d", v.number)
		}
		return []int{int(v.number)}, nil
	}
	var list []int
	for b := v.bytes; len(b) > 0; {
		n, used := protowire.ConsumeVarint(b)
		if used < 0 {
			return nil, protowire.ParseError(used)
		}
		if n > math.MaxInt32 {
			return nil, fmt.Errorf("dimension %d", n)
		}
		list, b = append(list, int(n)), b[used:]
	}
	return list, nil
}

// fields calls do for each field of a message. The bytes are the message's own.
func fields(data []byte, do func(protowire.Number, value) error) error {
	for rest := data; len(rest) > 0; {
		n, kind, used := protowire.ConsumeTag(rest)
		if used < 0 {
			return fmt.Errorf("at byte %d of a message of %d: %w", len(data)-len(rest), len(data), protowire.ParseError(used))
		}
		rest = rest[used:]
		var v value
		switch kind {
		case protowire.VarintType:
			v.varint = true
			v.number, used = protowire.ConsumeVarint(rest)
		case protowire.BytesType:
			v.bytes, used = protowire.ConsumeBytes(rest)
			if v.bytes == nil {
				v.bytes = []byte{}
			}
		case protowire.Fixed32Type, protowire.Fixed64Type:
			if used = protowire.ConsumeFieldValue(n, kind, rest); used >= 0 {
				v.bytes = slices.Clip(rest[:used])
				if used == 4 {
					v.number = uint64(binary.LittleEndian.Uint32(v.bytes))
				}
			}
		default:
			used = protowire.ConsumeFieldValue(n, kind, rest)
		}
		if used < 0 {
			return fmt.Errorf("field %d at byte %d of a message of %d: %w", n, len(data)-len(rest), len(data), protowire.ParseError(used))
		}
		rest = rest[used:]
		if err := do(n, v); err != nil {
			return err
		}
	}
	return nil
}
