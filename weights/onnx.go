package weights

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// onnxTypes are the numbers of TensorProto.DataType that weights can have.
var onnxTypes = map[uint64]string{1: "F32", 10: "F16", 11: "F64", 16: "BF16"}

type onnxNode struct {
	op, name string
	inputs   []string
	Node
}

// ParseONNX reads the weights of a model's Conv and Gemm nodes, in the order of
// the nodes: the k-th tensor pair belongs to the k-th of them. Names are those
// of the initializers. A Gemm's weight becomes [out, in], whatever its transB.
func ParseONNX(data []byte) (*File, error) {
	f := &File{Metadata: map[string]string{}}
	var nodes []onnxNode
	raw, inputs := map[string][]byte{}, map[string][]int{}
	graphs := 0
	err := fields(data, func(n protowire.Number, v value) error {
		switch n {
		case 2:
			f.Metadata["producer"] = string(v.bytes)
		case 14: // metadata_props
			var key, text string
			err := fields(v.bytes, func(n protowire.Number, v value) error {
				switch n {
				case 1:
					key = string(v.bytes)
				case 2:
					text = string(v.bytes)
				}
				return nil
			})
			f.Metadata[key] = text
			return err
		case 7:
			graphs++
			return fields(v.bytes, func(n protowire.Number, v value) error {
				switch n {
				case 1:
					node, err := parseNode(v.bytes)
					nodes = append(nodes, node)
					return err
				case 5:
					return fields(v.bytes, func(n protowire.Number, name value) error {
						if n == 8 {
							raw[string(name.bytes)] = v.bytes
						}
						return nil
					})
				case 11:
					name, shape, err := parseONNXInput(v.bytes)
					inputs[name] = shape
					return err
				}
				return nil
			})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("this is no ONNX file, or it is damaged: %w", err)
	}
	if graphs != 1 {
		return nil, fmt.Errorf("this is no ONNX file: it has %d graphs", graphs)
	}
	seen := map[string]bool{}
	for _, node := range nodes {
		f.Ops = append(f.Ops, node.op)
		f.Nodes = append(f.Nodes, node.Node)
		if node.op != "Conv" && node.op != "Gemm" {
			continue
		}
		if len(node.inputs) != 3 {
			return nil, fmt.Errorf("node %q (%s) has %d inputs; weights are read from nodes with input, weight and bias", node.name, node.op, len(node.inputs))
		}
		if alpha, beta := node.Number("alpha", 1), node.Number("beta", 1); node.op == "Gemm" && (alpha != 1 || beta != 1) {
			return nil, fmt.Errorf("node %q (Gemm): alpha %g and beta %g; only 1 can be read", node.name, alpha, beta)
		}
		for i, name := range node.inputs[1:] {
			message, ok := raw[name]
			if !ok {
				return nil, fmt.Errorf("node %q (%s): its input %q is no initializer of the file", node.name, node.op, name)
			}
			if seen[name] { // one initializer, converted many times, could outgrow the file
				return nil, fmt.Errorf("node %q (%s): initializer %q belongs to an earlier node too", node.name, node.op, name)
			}
			seen[name] = true
			t, err := parseONNXTensor(message)
			if err != nil {
				return nil, fmt.Errorf("initializer %q: %w", name, err)
			}
			if i == 0 && node.op == "Gemm" && node.Integer("transB", 0) == 0 {
				if len(t.Shape) != 2 {
					return nil, fmt.Errorf("initializer %q: shape %v of a Gemm's weight", name, t.Shape)
				}
				t = transposed(t)
			}
			f.Tensors = append(f.Tensors, t)
		}
	}
	if len(nodes) > 0 && len(nodes[0].inputs) > 0 {
		f.Input = inputs[nodes[0].inputs[0]]
	}
	if len(f.Tensors) == 0 {
		return nil, errors.New("this ONNX file has no Conv or Gemm node with weights")
	}
	return f, nil
}

// Number is an attribute, or what ONNX takes where there is none.
func (n Node) Number(name string, otherwise float32) float32 {
	if v, ok := n.Floats[name]; ok {
		return v
	}
	return otherwise
}

// Integer is an attribute, or what ONNX takes where there is none.
func (n Node) Integer(name string, otherwise int) int {
	if v := n.Ints[name]; len(v) == 1 {
		return v[0]
	}
	return otherwise
}

func parseNode(data []byte) (onnxNode, error) {
	node := onnxNode{Node: Node{Ints: map[string][]int{}, Floats: map[string]float32{}}}
	err := fields(data, func(n protowire.Number, v value) error {
		switch n {
		case 1:
			node.inputs = append(node.inputs, string(v.bytes))
		case 3:
			node.name = string(v.bytes)
		case 4:
			node.op, node.Kind = string(v.bytes), string(v.bytes)
		case 5:
			return node.addAttribute(v.bytes)
		}
		return nil
	})
	return node, err
}

// addAttribute reads an AttributeProto: a number, a whole number or several;
// others, and numbers beyond 31 bits, are left out.
func (n *onnxNode) addAttribute(data []byte) error {
	var name string
	var ints []int
	var float []byte
	readable := true
	err := fields(data, func(n protowire.Number, v value) error {
		switch n {
		case 1:
			name = string(v.bytes)
		case 2:
			float = v.bytes
		case 3, 8:
			more, err := v.varints()
			ints, readable = append(ints, more...), readable && err == nil
		}
		return nil
	})
	if len(float) == 4 {
		n.Floats[name] = number("F32", float)
	}
	if ints != nil && readable {
		n.Ints[name] = ints
	}
	return err
}

// parseONNXInput reads the name and the shape of a ValueInfoProto of a tensor.
func parseONNXInput(data []byte) (name string, shape []int, err error) {
	// The fields that lead from ValueInfoProto to TensorShapeProto.
	path := []protowire.Number{2, 1, 2}
	var walk func(data []byte, depth int) error
	walk = func(data []byte, depth int) error {
		return fields(data, func(n protowire.Number, v value) error {
			switch {
			case depth == 0 && n == 1:
				name = string(v.bytes)
			case depth < len(path) && n == path[depth]:
				return walk(v.bytes, depth+1)
			case depth == len(path) && n == 1: // a Dimension
				size := 0
				err := fields(v.bytes, func(n protowire.Number, v value) error {
					if n == 1 && v.number <= math.MaxInt32 {
						size = int(v.number)
					}
					return nil
				})
				shape = append(shape, size)
				return err
			}
			return nil
		})
	}
	err = walk(data, 0)
	return name, shape, err
}

// parseONNXTensor reads a TensorProto whose numbers are in the file.
func parseONNXTensor(data []byte) (Tensor, error) {
	var t Tensor
	var kind uint64
	var raw []byte
	var floats, doubles numbers
	err := fields(data, func(n protowire.Number, v value) error {
		switch n {
		case 1:
			dims, err := v.varints()
			t.Shape = append(t.Shape, dims...)
			return err
		case 2:
			kind = v.number
		case 4:
			return floats.add(v, 4)
		case 8:
			t.Name = string(v.bytes)
		case 9:
			raw = v.bytes
		case 10:
			return doubles.add(v, 8)
		case 13, 14:
			if n == 13 || v.number != 0 {
				return errors.New("its numbers are in a file beside; save the model as one file")
			}
		}
		return nil
	})
	if err != nil {
		return t, err
	}
	name, ok := onnxTypes[kind]
	if !ok {
		return t, fmt.Errorf("numbers of ONNX type %d cannot be weights (float, float16, bfloat16 and double can)", kind)
	}
	size := elementSizes[name]
	var all numbers
	switch {
	case raw != nil:
		if err := all.add(value{bytes: raw}, int(size)); err != nil {
			return t, err
		}
	case name == "F32":
		all = floats
	case name == "F64":
		all = doubles
	}
	want, err := elements(t.Shape, int64(len(data)))
	if err != nil {
		return t, err
	}
	if have := int64(all.count(int(size))); have != want {
		return t, fmt.Errorf("shape %v stands for %d numbers, but there are %d", t.Shape, want, have)
	}
	t.Data = all.appendTo(make([]float32, 0, want), name)
	return t, nil
}

// transposed swaps the dimensions of a matrix.
func transposed(t Tensor) Tensor {
	rows, columns := t.Shape[0], t.Shape[1]
	data := make([]float32, len(t.Data))
	for r := range rows {
		for c := range columns {
			data[c*rows+r] = t.Data[r*columns+c]
		}
	}
	shape := slices.Clone(t.Shape)
	slices.Reverse(shape)
	return Tensor{Name: t.Name, Shape: shape, Data: data}
}
