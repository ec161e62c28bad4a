package alexnet

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"

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

// followONNX is the network with the input's size and the windows, paddings,
// roundings, groups and constants of a graph's nodes, which have to be in the
// order of its layers; ReLU, dropout, reshaping and softmax are not looked at.
// Where the graph has nothing of its own to say, the network is the same.
func (n *Network) followONNX(nodes []weights.Node, input []int) (*Network, []string, error) {
	c := *n
	c.Layers = slices.Clone(n.Layers)
	if len(input) == 4 && input[2] == input[3] && input[2] > 0 {
		c.Input.Size = input[2]
		c.Input.Stored = max(n.Input.WithDefaults().Stored, input[2])
	}
	kinds := map[string]string{"Conv": "conv", "LRN": "lrn", "MaxPool": "maxpool", "Gemm": "linear"}
	var graph []weights.Node
	for _, node := range nodes {
		if kinds[node.Kind] != "" {
			graph = append(graph, node)
		}
	}
	shape := c.InputShape()
	for i := range c.Layers {
		l := &c.Layers[i]
		if slices.Contains([]string{"conv", "lrn", "maxpool", "linear"}, l.Layer.Kind()) {
			if len(graph) == 0 || kinds[graph[0].Kind] != l.Layer.Kind() {
				return nil, nil, fmt.Errorf("the ONNX model has the tensors of %q, but where that has %s its graph has another layer or none: give --model with the network that it is", n.Name, l.Name)
			}
			layer, err := onnxLayer(graph[0], l.Layer, shape)
			if err != nil {
				return nil, nil, fmt.Errorf("the ONNX model's %s: %w", l.Name, err)
			}
			l.Layer, graph = layer, graph[1:]
		}
		plan, err := l.Layer.Plan(shape)
		if err != nil {
			return nil, nil, fmt.Errorf("the ONNX model's %s on an input of %v: %w", l.Name, shape, err)
		}
		shape = plan.Out
	}
	if len(graph) > 0 {
		return nil, nil, fmt.Errorf("the ONNX model has the tensors of %q, but after its last layer its graph has %s: give --model with the network that it is", n.Name, graph[0].Kind)
	}
	if err := c.Input.Check(); err != nil {
		return nil, nil, fmt.Errorf("the ONNX model's input: %w", err)
	}
	var notes []string
	if c.Input.Size != n.Input.Size {
		notes = append(notes, fmt.Sprintf("input: %d×%[1]d, as the ONNX model has it", c.Input.Size))
	}
	for i, l := range c.Layers {
		if l.Layer != n.Layers[i].Layer {
			notes = append(notes, fmt.Sprintf("%s: %+v, as the ONNX model has it", l.Name, l.Layer))
		}
	}
	return &c, notes, nil
}

// onnxLayer is the layer with what the node's attributes say.
func onnxLayer(node weights.Node, layer layers.Layer, in layers.Shape) (layers.Layer, error) {
	one := func(name string, otherwise int) (int, error) { // of numbers that have to be the same
		v := node.Ints[name]
		if len(v) == 0 {
			return otherwise, nil
		}
		if slices.Min(v) != slices.Max(v) {
			return 0, fmt.Errorf("its %s are %v; they have to be the same", name, v)
		}
		return v[0], nil
	}
	dilation, err := one("dilations", 1)
	if err != nil || dilation != 1 {
		return nil, fmt.Errorf("its dilations are %v; only 1 can be computed", node.Ints["dilations"])
	}
	stride, err := one("strides", 1)
	if err != nil {
		return nil, err
	}
	switch l := layer.(type) {
	case layers.LRN:
		l.Size, l.PlainAlpha, l.Groups = node.Integer("size", l.Size), false, min(l.Groups, 1)
		l.Alpha, l.Beta, l.K = node.Number("alpha", 1e-4), node.Number("beta", 0.75), node.Number("bias", 1)
		return l, nil
	case layers.Conv:
		l.Stride, l.Groups = stride, node.Integer("group", 1)
		err := onnxPads(node, in, [2]int{l.KernelH, l.KernelW}, stride, false, func(pad int, ceil bool) layers.Layer {
			l.Pad, l.Ceil = pad, ceil
			return l
		})
		return l, err
	case layers.MaxPool:
		if l.Size, err = one("kernel_shape", 0); err != nil {
			return nil, err
		}
		l.Stride = stride
		err := onnxPads(node, in, [2]int{l.Size, l.Size}, stride, node.Integer("ceil_mode", 0) != 0, func(pad int, ceil bool) layers.Layer {
			l.Pad, l.Ceil = pad, ceil
			return l
		})
		return l, err
	}
	return layer, nil
}

// onnxPads finds the padding at the top and left, and the rounding of the
// output's extent, that give the extent of the node: ONNX pads each side by its
// own number, a layer here both alike, with windows that hang off the right and
// bottom where it rounds up. set makes the layer with them; that of the last
// call holds.
func onnxPads(node weights.Node, in layers.Shape, kernel [2]int, stride int, up bool, set func(pad int, ceil bool) layers.Layer) error {
	pads := node.Ints["pads"]
	if len(pads) == 0 {
		pads = []int{0, 0, 0, 0}
	}
	if len(pads) != 4 || pads[0] != pads[1] || stride < 1 {
		return fmt.Errorf("its pads are %v and its stride %d; the first two pads have to be the same", pads, stride)
	}
	extent := func(size, kernel, before, after int) int {
		room := size + before + after - kernel
		if up {
			room += stride - 1
		}
		return room/stride + 1
	}
	height, width := extent(in.H, kernel[0], pads[0], pads[2]), extent(in.W, kernel[1], pads[1], pads[3])
	for _, ceil := range []bool{false, true} {
		plan, err := set(pads[0], ceil).Plan(in)
		if err == nil && plan.Out.H == height && plan.Out.W == width {
			return nil
		}
	}
	return fmt.Errorf("its pads %v make an output of %d×%d of an input of %d×%d, which no padding that is the same on all sides makes", pads, width, height, in.W, in.H)
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
