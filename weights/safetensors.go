// Package weights reads and writes tensors in safetensors files: eight bytes
// with the length of a JSON header, the header (name, type, shape and place of
// each tensor, and a map of strings), then the tensors' bytes, little-endian.
// It also reads the files of Caffe, PyTorch and ONNX (see [ReadFile]).
//
// Format: https://github.com/huggingface/safetensors (README, "Format").
package weights

import (
	"fmt"
	"math"
	"slices"
)

// Tensor is a named array of numbers.
type Tensor struct {
	Name  string
	Shape []int // outermost first; no dimensions: a single number
	Data  []float32
}

// Len is the number of elements that the shape stands for.
func (t Tensor) Len() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// File is what a file of weights holds.
type File struct {
	Tensors  []Tensor // in the order of the file
	Metadata map[string]string
	// Ops are the kinds of all layers in their order, as the format calls them,
	// where it lists layers (Caffe, ONNX). They are not written.
	Ops []string
	// Nodes are the same with what they compute, and Input the shape of what
	// the first of them reads, 0 where a dimension is free: of ONNX alone.
	Nodes []Node
	Input []int
}

// Node is a layer of a model's graph.
type Node struct {
	Kind   string             // as ONNX calls it: Conv, LRN, MaxPool…
	Ints   map[string][]int   // its attributes that are whole numbers, by their names
	Floats map[string]float32 // those that are not
}

// Get finds a tensor by its name.
func (f *File) Get(name string) (Tensor, bool) {
	i := slices.IndexFunc(f.Tensors, func(t Tensor) bool { return t.Name == name })
	if i < 0 {
		return Tensor{}, false
	}
	return f.Tensors[i], true
}

// check says whether the file can be written.
func (f *File) check() error {
	seen := map[string]bool{}
	for _, t := range f.Tensors {
		switch {
		case t.Name == "" || t.Name == metadataKey:
			return fmt.Errorf("tensor name %q cannot be used", t.Name)
		case seen[t.Name]:
			return fmt.Errorf("two tensors are named %q", t.Name)
		case slices.ContainsFunc(t.Shape, func(d int) bool { return d < 0 }):
			return fmt.Errorf("tensor %s: shape %v has a negative dimension", t.Name, t.Shape)
		case t.Len() != len(t.Data):
			return fmt.Errorf("tensor %s: shape %v stands for %d numbers, but there are %d", t.Name, t.Shape, t.Len(), len(t.Data))
		}
		seen[t.Name] = true
	}
	return nil
}

const (
	// metadataKey is the header's entry that is no tensor.
	metadataKey = "__metadata__"
	// checksumKey names the metadata entry with the sum of the tensors' bytes.
	checksumKey = "checksum"
	// maxHeader is the format's own limit.
	maxHeader = 100_000_000
)

// elementSizes are the types that can be read, with their sizes in bytes.
var elementSizes = map[string]int64{
	"F64": 8, "F32": 4, "F16": 2, "BF16": 2,
	"I64": 8, "I32": 4, "I16": 2, "I8": 1,
	"U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}

// halfToFloat converts an IEEE 754 binary16.
func halfToFloat(h uint16) float32 {
	sign := uint32(h>>15) << 31
	exponent, fraction := uint32(h>>10)&31, uint32(h)&1023
	switch exponent {
	case 0: // zero and subnormals, exact in float32
		f := float32(fraction) * 0x1p-24
		return math.Float32frombits(math.Float32bits(f) | sign)
	case 31:
		return math.Float32frombits(sign | 255<<23 | fraction<<13)
	}
	return math.Float32frombits(sign | (exponent+112)<<23 | fraction<<13)
}
