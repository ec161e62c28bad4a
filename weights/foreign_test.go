package weights

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"encoding/binary"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
)

// field appends a length-delimited field, and number a varint one.
func field(to []byte, n protowire.Number, b []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(to, n, protowire.BytesType), b)
}
func varint(to []byte, n protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(to, n, protowire.VarintType), v)
}

// someTensors are a convolution and an inner product as Caffe names them.
func someTensors() []Tensor {
	return []Tensor{
		{Name: "conv1.weight", Shape: []int{2, 3, 1, 2}, Data: []float32{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, float32(math.Inf(1))}},
		{Name: "conv1.bias", Shape: []int{2}, Data: []float32{-0.5, 1e-40}},
		{Name: "fc6.weight", Shape: []int{1, 2}, Data: []float32{0.1, 0.2}},
		{Name: "fc6.bias", Shape: []int{1}, Data: []float32{3}},
	}
}

// caffeBlob writes a BlobProto; numbers is "packed", "unpacked" or "double".
func caffeBlob(t Tensor, legacy bool, numbers string) []byte {
	var b, dims, data []byte
	if legacy {
		shape := append([]int{1, 1, 1, 1}[:4-len(t.Shape)], t.Shape...)
		for i, d := range shape {
			b = varint(b, protowire.Number(i+1), uint64(d))
		}
	} else {
		for _, d := range t.Shape {
			dims = protowire.AppendVarint(dims, uint64(d))
		}
		b = field(b, 7, field(nil, 1, dims))
	}
	for _, v := range t.Data {
		switch numbers {
		case "packed":
			data = protowire.AppendFixed32(data, math.Float32bits(v))
		case "double":
			data = protowire.AppendFixed64(data, math.Float64bits(float64(v)))
		default:
			b = protowire.AppendFixed32(protowire.AppendTag(b, 5, protowire.Fixed32Type), math.Float32bits(v))
		}
	}
	switch numbers {
	case "packed":
		b = field(b, 5, data)
	case "double":
		b = field(b, 8, data)
	}
	return b
}

// caffeModel writes a NetParameter with V1 layers or current ones.
func caffeModel(tensors []Tensor, v1, legacy bool, numbers string) []byte {
	net := field(nil, 1, []byte("AlexNet"))
	for i := 0; i < len(tensors); i += 2 {
		name, kind, number := "conv1", "Convolution", uint64(4)
		if i > 0 {
			name, kind, number = "fc6", "InnerProduct", 14
		}
		var layer []byte
		at, blobs := protowire.Number(100), protowire.Number(7)
		if v1 {
			at, blobs = 2, 6
			layer = varint(field(nil, 4, []byte(name)), 5, number)
		} else {
			layer = field(field(nil, 1, []byte(name)), 2, []byte(kind))
		}
		for _, t := range tensors[i : i+2] {
			layer = field(layer, blobs, caffeBlob(t, legacy, numbers))
		}
		net = field(net, at, layer)
	}
	return net
}

func TestCaffeModelsReadBackExactly(t *testing.T) {
	for _, v1 := range []bool{true, false} {
		for _, legacy := range []bool{true, false} {
			for _, numbers := range []string{"packed", "unpacked", "double"} {
				f, format, err := Parse(caffeModel(someTensors(), v1, legacy, numbers), ".caffemodel")
				require.NoError(t, err)
				require.Equal(t, Caffe, format)
				require.Equal(t, someTensors(), f.Tensors)
				require.Equal(t, []string{"Convolution", "InnerProduct"}, f.Ops)
			}
		}
	}
	wrong := someTensors()
	wrong[0].Shape = []int{1 << 30, 3, 1 << 30, 2}
	_, err := ParseCaffe(caffeModel(wrong, false, false, "packed"))
	require.ErrorContains(t, err, "larger than the file")
}

// pickler writes the instructions that torch.save uses.
type pickler struct{ bytes.Buffer }

func (p *pickler) op(b ...byte)  { p.Write(b) }
func (p *pickler) text(s string) { p.op('X', byte(len(s)), 0, 0, 0); p.WriteString(s) }
func (p *pickler) class(m, n string) {
	p.WriteString("c" + m + "\n" + n + "\n")
}
func (p *pickler) number(n int) {
	p.op('J')
	_ = binary.Write(p, binary.LittleEndian, int32(n))
}
func (p *pickler) shape(dims []int) {
	p.op('(')
	for _, d := range dims {
		p.number(d)
	}
	p.op('t')
}

// strides are those of a contiguous tensor.
func strides(shape []int) []int {
	s := make([]int, len(shape))
	n := 1
	for i := len(shape) - 1; i >= 0; i-- {
		s[i] = n
		n *= shape[i]
	}
	return s
}

// statePickle writes {"state_dict": OrderedDict} with DataParallel's prefix.
func statePickle(tensors []Tensor, sequence bool) []byte {
	p := &pickler{}
	p.op(0x80, 2, '}', '(')
	p.text("state_dict")
	p.class("collections", "OrderedDict")
	p.op(')', 'R', '(')
	for _, t := range tensors {
		p.text("module." + t.Name)
		p.class("torch._utils", "_rebuild_tensor_v2")
		p.op('(', '(')
		p.text("storage")
		p.class("torch", "FloatStorage")
		p.text(t.Name)
		p.text("cpu")
		p.number(len(t.Data))
		if sequence {
			p.op('N')
		}
		p.op('t', 'Q')
		p.number(0)
		p.shape(t.Shape)
		p.shape(strides(t.Shape))
		p.op(0x89)
		p.class("collections", "OrderedDict")
		p.op(')', 'R', 't', 'R')
	}
	p.op('u', 'u', '.')
	return p.Bytes()
}

func torchZip(program []byte, tensors []Tensor) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	put := func(name string, data []byte) {
		w, _ := z.CreateHeader(&zip.FileHeader{Name: "archive/" + name, Method: zip.Store})
		_, _ = w.Write(data)
	}
	put("data.pkl", program)
	for _, t := range tensors {
		var data bytes.Buffer
		_ = writeNumbers(&data, t.Data)
		put("data/"+t.Name, data.Bytes())
	}
	_ = z.Close()
	return b.Bytes()
}

func torchSequence(tensors []Tensor) []byte {
	var b bytes.Buffer
	b.Write([]byte{0x80, 2})
	b.Write(torchMagic)
	b.Write([]byte{0x80, 2, 'M', 0xe9, 3, '.', 0x80, 2, '}', '.'})
	b.Write(statePickle(tensors, true))
	keys := &pickler{}
	keys.op(0x80, 2, ']', '(')
	for _, t := range tensors {
		keys.text(t.Name)
	}
	keys.op('e', '.')
	b.Write(keys.Bytes())
	for _, t := range tensors {
		_ = binary.Write(&b, binary.LittleEndian, int64(len(t.Data)))
		_ = writeNumbers(&b, t.Data)
	}
	return b.Bytes()
}

func torchTar(tensors []Tensor) []byte {
	var storages, views bytes.Buffer
	program := &pickler{}
	program.op(0x80, 2)
	program.class("collections", "OrderedDict")
	program.op(')', 'R', '(')
	count := []byte{0x80, 2, 'K', byte(len(tensors)), '.'}
	storages.Write(count)
	views.Write(count)
	for i, t := range tensors {
		p := &pickler{}
		p.op(0x80, 2)
		p.number(100 + i)
		p.text("cpu")
		p.class("torch", "FloatStorage")
		p.op(0x87, '.')
		storages.Write(p.Bytes())
		_ = binary.Write(&storages, binary.LittleEndian, int64(len(t.Data)))
		_ = writeNumbers(&storages, t.Data)
		p = &pickler{}
		p.op(0x80, 2)
		p.number(200 + i)
		p.number(100 + i)
		p.class("torch", "FloatTensor")
		p.op(0x87, '.')
		views.Write(p.Bytes())
		_ = binary.Write(&views, binary.LittleEndian, int64(len(t.Shape)))
		for _, d := range append(append([]int{}, t.Shape...), append(strides(t.Shape), 0)...) {
			_ = binary.Write(&views, binary.LittleEndian, int64(d))
		}
		program.text(t.Name)
		program.text(string([]byte{'2', '0', '0' + byte(i)}))
		program.op('Q')
	}
	program.op('u', '.')
	storages.Write([]byte{0x80, 2, ']', '.'})
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range []struct {
		name string
		data []byte
	}{{"storages", storages.Bytes()}, {"tensors", views.Bytes()}, {"pickle", program.Bytes()}} {
		_ = w.WriteHeader(&tar.Header{Name: e.name, Mode: 0o644, Size: int64(len(e.data)), Format: tar.FormatPAX, Typeflag: tar.TypeReg})
		_, _ = w.Write(e.data)
	}
	_ = w.Close()
	return b.Bytes()
}

func TestTorchContainersReadBackExactly(t *testing.T) {
	for name, data := range map[string][]byte{
		"zip":      torchZip(statePickle(someTensors(), false), someTensors()),
		"sequence": torchSequence(someTensors()),
		"tar":      torchTar(someTensors()),
	} {
		t.Run(name, func(t *testing.T) {
			f, format, err := Parse(data, ".pth")
			require.NoError(t, err)
			require.Equal(t, Torch, format)
			require.Equal(t, someTensors(), f.Tensors)
			for cut := range len(data) - 1 { // never a panic
				_, _, _ = Parse(data[:cut], ".pth")
			}
		})
	}
}

func TestPicklesRunNothing(t *testing.T) {
	p := &pickler{}
	p.op(0x80, 2)
	p.class("os", "system")
	p.text("echo run")
	p.op(0x85, 'R', '.')
	_, err := ParseTorch(torchZip(p.Bytes(), nil))
	require.ErrorContains(t, err, `"os.system"`)

	huge := someTensors()[:1]
	huge[0].Shape = []int{1 << 20, 1 << 10}
	_, err = ParseTorch(torchZip(statePickle(huge, false), huge))
	require.ErrorContains(t, err, "larger than the file")

	own := &pickler{} // a list that contains itself, as the state dict and as a key
	own.op(0x80, 2, ']', 'q', 0, 'h', 0, 'a', '.')
	_, err = ParseTorch(torchZip(own.Bytes(), nil))
	require.ErrorContains(t, err, "not a state dict")
}

// onnxModel writes a Conv and a Gemm whose weight is [in, out] (transB 0).
func onnxModel(tensors []Tensor) []byte {
	var graph []byte
	for i, op := range []string{"Conv", "Gemm"} {
		var node []byte
		for _, in := range []string{"x", tensors[2*i].Name, tensors[2*i+1].Name} {
			node = field(node, 1, []byte(in))
		}
		graph = field(graph, 1, field(node, 4, []byte(op)))
	}
	for _, t := range tensors {
		shape := t.Shape
		if t.Name == "fc6.weight" {
			shape = []int{2, 1}
		}
		var m []byte
		for _, d := range shape {
			m = varint(m, 1, uint64(d))
		}
		var raw bytes.Buffer
		_ = writeNumbers(&raw, t.Data)
		m = field(field(varint(m, 2, 1), 8, []byte(t.Name)), 9, raw.Bytes())
		graph = field(graph, 5, m)
	}
	return field(varint(nil, 1, 7), 7, graph)
}

func TestONNXReadsBackExactly(t *testing.T) {
	f, format, err := Parse(onnxModel(someTensors()), ".onnx")
	require.NoError(t, err)
	require.Equal(t, ONNX, format)
	require.Equal(t, someTensors(), f.Tensors)
}

func FuzzCaffe(f *testing.F) {
	f.Add(caffeModel(someTensors(), true, true, "packed"))
	f.Add(caffeModel(someTensors(), false, false, "unpacked"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = ParseCaffe(data)
		_, _ = ParseBlob(data)
	})
}

func FuzzPickle(f *testing.F) {
	f.Add(statePickle(someTensors(), false))
	f.Fuzz(func(t *testing.T, data []byte) { _, _ = ParseTorch(torchZip(data, someTensors())) })
}

func FuzzTorch(f *testing.F) {
	f.Add(torchZip(statePickle(someTensors(), false), someTensors()))
	f.Add(torchSequence(someTensors()))
	f.Add(torchTar(someTensors()))
	f.Fuzz(func(t *testing.T, data []byte) { _, _ = ParseTorch(data) })
}

func FuzzONNX(f *testing.F) {
	f.Add(onnxModel(someTensors()))
	f.Fuzz(func(t *testing.T, data []byte) { _, _ = ParseONNX(data) })
}
