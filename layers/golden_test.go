package layers

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// cpuLayer is what the tests of this package use of a layer.
type cpuLayer interface {
	Kind() string
	Plan(in Shape) (Plan, error)
	ForwardCPU(s *Slots[[]float32])
	BackwardCPU(s *Slots[[]float32])
}

// sharedData is the path of a file of the test data beside the module. The test
// is skipped where that is absent, except on CI.
func sharedData(t *testing.T, name string) string {
	t.Helper()
	dir, err := os.Getwd()
	require.NoError(t, err)
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		path := filepath.Join(dir, "../shared/data", name)
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	message := "needs the shared test data: ../shared/data/" + name + " not found"
	if os.Getenv("CI") == "true" {
		t.Fatal(message)
	}
	t.Skip(message)
	return ""
}

// golden is a tensor of the golden file.
type golden struct {
	Shape   []int  `json:"shape"`
	Type    string `json:"dtype"`
	Offsets [2]int `json:"data_offsets"`
	words   []uint32
}

func (g golden) floats() []float32 {
	out := make([]float32, len(g.words))
	for i, w := range g.words {
		out[i] = math.Float32frombits(w)
	}
	return out
}

// readGolden reads a safetensors file of 32-bit tensors: a little-endian
// length, a JSON header of that length, the tensors.
func readGolden(t *testing.T, path string) map[string]golden {
	t.Helper()
	file, err := os.ReadFile(path)
	require.NoError(t, err)
	length := binary.LittleEndian.Uint64(file)
	var header map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(file[8:8+length], &header))
	delete(header, "__metadata__")
	tensors := map[string]golden{}
	for name, raw := range header {
		var g golden
		require.NoError(t, json.Unmarshal(raw, &g), name)
		require.Contains(t, []string{"F32", "I32"}, g.Type, name)
		data := file[8+length:][g.Offsets[0]:g.Offsets[1]]
		for len(data) > 0 {
			g.words = append(g.words, binary.LittleEndian.Uint32(data))
			data = data[4:]
		}
		tensors[name] = g
	}
	return tensors
}

// shapeOf is the shape of one example of a tensor of the golden file.
func shapeOf(dims []int) Shape {
	s := Shape{dims[1], 1, 1}
	if len(dims) == 4 {
		s.H, s.W = dims[2], dims[3]
	}
	return s
}

// requireClose compares results of float64 sums over the same float32 inputs,
// each rounded to float32, which can take 2^-24 of its size: once here and once
// in PyTorch.
func requireClose(t *testing.T, want, got []float32, what string) {
	t.Helper()
	require.Len(t, got, len(want), what)
	largest := 0.0
	for _, v := range want {
		largest = max(largest, math.Abs(float64(v)))
	}
	tolerance := 0x1p-23 * largest
	for i := range want {
		if !(math.Abs(float64(want[i])-float64(got[i])) <= tolerance) {
			require.Failf(t, "differs", "%s[%d] is %v, want %v ± %.2g", what, i, got[i], want[i], tolerance)
		}
	}
}

func TestLayersMatchPyTorch(t *testing.T) {
	lrn := LRN{Size: 5, Alpha: 1e-4, Beta: 0.75}
	k := func(k float32) LRN { l := lrn; l.K = k; return l }
	cases := map[string]cpuLayer{
		"conv11s4":        Conv{Out: 8, KernelH: 11, KernelW: 11, Stride: 4},
		"conv11s4p2":      Conv{Out: 8, KernelH: 11, KernelW: 11, Stride: 4, Pad: 2},
		"conv5p2g2":       Conv{Out: 8, KernelH: 5, KernelW: 5, Stride: 1, Pad: 2, Groups: 2},
		"conv3p1":         Conv{Out: 12, KernelH: 3, KernelW: 3, Stride: 1, Pad: 1},
		"conv3p1g2":       Conv{Out: 12, KernelH: 3, KernelW: 3, Stride: 1, Pad: 1, Groups: 2},
		"conv1x1":         Conv{Out: 7, KernelH: 1, KernelW: 1, Stride: 1},
		"linear":          Linear{Out: 11},
		"relu":            ReLU{},
		"lrn_k1":          k(1),
		"lrn_k2":          k(2),
		"maxpool3s2":      MaxPool{Size: 3, Stride: 2},
		"maxpool3s2_ceil": MaxPool{Size: 3, Stride: 2, Ceil: true},
	}
	tensors := readGolden(t, sharedData(t, "golden/layers.safetensors"))
	for name := range tensors {
		stem, _, _ := strings.Cut(name, ".")
		require.True(t, cases[stem] != nil || stem == "softmax_ce", "the golden file has %q, which no layer here is tested with", stem)
	}
	for name, layer := range cases {
		t.Run(name, func(t *testing.T) {
			floats := func(suffix string) []float32 { return tensors[name+suffix].floats() }
			x := tensors[name+".x"]
			plan, err := layer.Plan(shapeOf(x.Shape))
			require.NoError(t, err)
			require.Equal(t, shapeOf(tensors[name+".y"].Shape), plan.Out)
			s := newSlots(plan, x.Shape[0])
			s.X, s.DY = floats(".x"), floats(".dy")
			for i, suffix := range []string{".w", ".b_"}[:len(plan.Params)] {
				require.Equal(t, tensors[name+suffix].Shape, plan.Params[i].Shape)
				s.Params[i] = floats(suffix)
			}
			layer.ForwardCPU(s)
			requireClose(t, floats(".y"), s.Y, "y")
			layer.BackwardCPU(s)
			requireClose(t, floats(".dx"), s.DX, "dx")
			for i, suffix := range []string{".dw", ".db_"}[:len(plan.Params)] {
				requireClose(t, floats(suffix), s.Grads[i], suffix)
			}
		})
	}
}

func TestSoftmaxLossMatchesPyTorch(t *testing.T) {
	tensors := readGolden(t, sharedData(t, "golden/layers.safetensors"))
	x := tensors["softmax_ce.x"]
	batch, classes := x.Shape[0], x.Shape[1]
	labels := make([]int32, batch)
	for i, w := range tensors["softmax_ce.labels"].words {
		labels[i] = int32(w)
	}
	loss, rank, dx := make([]float32, batch), make([]int32, batch), make([]float32, batch*classes)
	SoftmaxLossCPU(x.floats(), batch, classes, labels, nil, 1/float32(batch), loss, rank, dx)
	mean := 0.0
	for _, v := range loss {
		mean += float64(v) / float64(batch)
	}
	requireClose(t, tensors["softmax_ce.loss"].floats(), []float32{float32(mean)}, "loss")
	requireClose(t, tensors["softmax_ce.dx"].floats(), dx, "dx")
	p := tensors["softmax_ce.p"].floats()
	for b, label := range labels {
		better := int32(0)
		for _, v := range p[b*classes:][:classes] {
			if v > p[b*classes+int(label)] {
				better++
			}
		}
		require.Equal(t, better, rank[b], fmt.Sprintf("rank of example %d", b))
	}
}
