package alexnet

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"vkalexnet/layers"
	"vkalexnet/weights"
)

// WriteONNX writes the network with its parameters as an ONNX model (opset 13)
// from "input" [N, 3, size, size], the values that [loader.Input] describes, to
// "logits" [N, classes]. Its metadata hold the network's TOML. Initializers
// have the names in params, which are in the order of [Network.ParamSpecs].
func (n *Network) WriteONNX(w io.Writer, params []weights.Tensor) error {
	plans, err := n.Plans()
	if err != nil {
		return err
	}
	var graph message
	at, k := "input", 0
	shape := n.InputShape()
	flat := false
	for i, l := range n.Layers {
		out := l.Name
		if i == len(n.Layers)-1 {
			out = "logits"
		}
		inputs := []string{at}
		for range plans[i].Params {
			inputs = append(inputs, params[k].Name)
			k++
		}
		var node message
		switch v := l.Layer.(type) {
		case layers.Conv:
			end := func(size, kernel, out int) int { return max(0, (out-1)*v.Stride+kernel-size-v.Pad) }
			node = onnxNode("Conv", l.Name, inputs, out,
				ints("kernel_shape", v.KernelH, v.KernelW), ints("strides", v.Stride, v.Stride),
				ints("pads", v.Pad, v.Pad, end(shape.H, v.KernelH, plans[i].Out.H), end(shape.W, v.KernelW, plans[i].Out.W)),
				integer("group", max(v.Groups, 1)))
		case layers.Linear:
			if !flat {
				graph.message(1, onnxNode("Flatten", "flatten", []string{at}, "flatten", integer("axis", 1)))
				inputs[0], flat = "flatten", true
			}
			node = onnxNode("Gemm", l.Name, inputs, out, integer("transB", 1))
		case layers.ReLU:
			node = onnxNode("Relu", l.Name, inputs, out)
		case layers.LRN:
			if max(v.Groups, 1) != 1 {
				return fmt.Errorf("layer %q: ONNX has no LRN by groups of channels", l.Name)
			}
			alpha := v.Alpha
			if v.PlainAlpha { // ONNX divides it
				alpha *= float32(v.Size)
			}
			node = onnxNode("LRN", l.Name, inputs, out, integer("size", v.Size), number("alpha", alpha), number("beta", v.Beta), number("bias", v.K))
		case layers.MaxPool:
			ceil := 0
			if v.Ceil {
				ceil = 1
			}
			node = onnxNode("MaxPool", l.Name, inputs, out, ints("kernel_shape", v.Size, v.Size), ints("strides", v.Stride, v.Stride),
				ints("pads", v.Pad, v.Pad, v.Pad, v.Pad), integer("ceil_mode", ceil))
		case layers.Dropout:
			if v.Paper {
				return fmt.Errorf("layer %q: dropout that scales when it does not train is not exported to ONNX", l.Name)
			}
			continue
		default:
			return fmt.Errorf("layer %q: ONNX has no layer of kind %s", l.Name, l.Layer.Kind())
		}
		graph.message(1, node)
		at, shape = out, plans[i].Out
	}
	graph.text(2, n.Name)
	for _, t := range params {
		graph.message(5, onnxTensor(t))
	}
	graph.message(11, valueInfo("input", 3, n.Input.Size, n.Input.Size))
	graph.message(12, valueInfo("logits", n.NumClasses()))

	var model, opset, meta message
	model.integer(1, 7)
	model.text(2, "vkalexnet")
	opset.integer(2, 13)
	model.message(8, opset)
	meta.text(1, networkKey)
	meta.text(2, string(n.TOML()))
	model.message(14, meta)
	model.message(7, graph)
	_, err = w.Write(model)
	return err
}

// message is a protocol buffer under construction.
type message []byte

func (m *message) bytes(field protowire.Number, b []byte) {
	*m = protowire.AppendTag(*m, field, protowire.BytesType)
	*m = protowire.AppendBytes(*m, b)
}
func (m *message) text(field protowire.Number, s string)     { m.bytes(field, []byte(s)) }
func (m *message) message(field protowire.Number, o message) { m.bytes(field, o) }
func (m *message) integer(field protowire.Number, v int) {
	*m = protowire.AppendTag(*m, field, protowire.VarintType)
	*m = protowire.AppendVarint(*m, uint64(v))
}

// onnxNode is a NodeProto.
func onnxNode(op, name string, inputs []string, output string, attributes ...message) message {
	var m message
	for _, in := range inputs {
		m.text(1, in)
	}
	m.text(2, output)
	m.text(3, name)
	m.text(4, op)
	for _, a := range attributes {
		m.message(5, a)
	}
	return m
}

// integer, number and ints are AttributeProtos.
func integer(name string, v int) message {
	var m message
	m.text(1, name)
	m.integer(3, v)
	m.integer(20, 2)
	return m
}

func number(name string, v float32) message {
	var m message
	m.text(1, name)
	m = protowire.AppendTag(m, 2, protowire.Fixed32Type)
	m = protowire.AppendFixed32(m, math.Float32bits(v))
	m.integer(20, 1)
	return m
}

func ints(name string, values ...int) message {
	var m message
	m.text(1, name)
	for _, v := range values {
		m.integer(8, v)
	}
	m.integer(20, 7)
	return m
}

// onnxTensor is a TensorProto of floats.
func onnxTensor(t weights.Tensor) message {
	var m message
	for _, d := range t.Shape {
		m.integer(1, d)
	}
	m.integer(2, 1)
	m.text(8, t.Name)
	raw := make([]byte, 0, 4*len(t.Data))
	for _, v := range t.Data {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	m.bytes(9, raw)
	return m
}

// valueInfo is a ValueInfoProto of floats [N, dims...].
func valueInfo(name string, dims ...int) message {
	var shape, batch, tensor, kind, m message
	batch.text(2, "N")
	shape.message(1, batch)
	for _, d := range dims {
		var dim message
		dim.integer(1, d)
		shape.message(1, dim)
	}
	tensor.integer(1, 1)
	tensor.message(2, shape)
	kind.message(1, tensor)
	m.text(1, name)
	m.message(2, kind)
	return m
}
