package engine

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

func shaderFile(t testing.TB, name string) []byte {
	data, err := os.ReadFile(filepath.Join("..", "shaders", "spv", name+".spv"))
	require.NoError(t, err)
	return data
}

func TestReadSpirv(t *testing.T) {
	words, err := spirvWords(shaderFile(t, "sgd"))
	require.NoError(t, err)
	k, err := readSpirv(words)
	require.NoError(t, err)
	require.Equal(t, []bufferSlot{{"W", 0, true, true}, {"V", 1, true, true}, {"G", 2, true, false}, {"Step", 5, true, false}, {"Copy", 6, false, true}, {"Overflow", 7, true, true}}, k.buffers)
	require.Equal(t, []constantSlot{{"PYTORCH", 50, kindBool}, {"CHECKED", 51, kindBool}, {"FORMAT_COPY", 52, kindUint}}, k.constants)
	require.Equal(t, []pushSlot{{"count", 0, kindUint}, {"momentum", 4, kindFloat}, {"decay", 8, kindFloat}, {"rate_factor", 12, kindFloat}}, k.push)
	require.Equal(t, [3]int{0, -1, -1}, k.localID)
	require.Equal(t, 16, k.pushBytes)

	words, err = spirvWords(shaderFile(t, "softmax"))
	require.NoError(t, err)
	k, err = readSpirv(words)
	require.NoError(t, err)
	require.Equal(t, [3]uint32{64, 1, 1}, k.local)
	require.False(t, k.buffers[2].reads, "Loss is writeonly")
}

func FuzzReadSpirv(f *testing.F) {
	f.Add(shaderFile(f, "sgd"))
	f.Add(shaderFile(f, "gemm_tiles_forward"))
	f.Add([]byte{3, 2, 0x23, 7})
	f.Fuzz(func(t *testing.T, data []byte) {
		words, err := spirvWords(data)
		if err != nil {
			words = make([]uint32, len(data)/4)
			for i := range words {
				words[i] = binary.LittleEndian.Uint32(data[4*i:])
			}
		}
		_, _ = readSpirv(words) // must not panic
	})
}

type wrongArgs struct {
	W, V, G            Buffer
	Count              float32 // a uint in the shader
	Momentum, Decay    float32
	Pytorch            bool
	NotInTheShader     uint32
	RateFactor, Spared float32
}

func TestLinkReportsEveryDisagreement(t *testing.T) {
	k := Declare[wrongArgs]("sgd")
	defer func() { registry.kernels = registry.kernels[:len(registry.kernels)-1] }()
	words, err := spirvWords(shaderFile(t, "sgd"))
	require.NoError(t, err)
	_, err = k.link(words)
	require.ErrorContains(t, err, `no field for the buffer "Step"`)
	require.ErrorContains(t, err, "push constant count is a float32 in Go")
	require.ErrorContains(t, err, "the shader has nothing named NotInTheShader")
	require.ErrorContains(t, err, "the shader has nothing named Spared")

	err = CheckKernels(fstest.MapFS{"sgd.spv": {Data: shaderFile(t, "sgd")}, "orphan.spv": {Data: shaderFile(t, "relu")}, "bad.spv": {Data: []byte("x")}})
	require.ErrorContains(t, err, "orphan.spv: no kernel declares it")
	require.ErrorContains(t, err, "nothing named Spared")
}
