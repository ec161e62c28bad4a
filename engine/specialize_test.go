package engine

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSpecialized puts constants into every committed module: nothing is left to
// specialize, and the validator agrees where it is installed and old enough to know
// the module's extensions.
func TestSpecialized(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "shaders", "spv", "*.spv"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	validator, _ := exec.LookPath("spirv-val")
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".spv")
		words, err := spirvWords(shaderFile(t, name))
		require.NoError(t, err)
		in, err := readSpirv(words)
		require.NoError(t, err)
		var ids, values []uint32
		for _, c := range in.constants {
			ids, values = append(ids, c.id), append(values, 4)
			if c.kind == kindBool {
				values[len(values)-1] = 1
			}
		}
		for _, id := range in.localID {
			if id >= 0 {
				ids, values = append(ids, uint32(id)), append(values, 8)
			}
		}
		got := specialized(words, ids, values)
		for at := spvHeader; at < len(got); at += int(got[at] >> 16) {
			op := got[at] & 0xffff
			require.NotContains(t, []uint32{spvSpecTrue, spvSpecFalse, spvSpec, spvSpecComposite, spvSpecOp}, op, "%s: instruction at word %d", name, at)
		}
		require.Equal(t, words, specialized(words, nil, nil), "%s without values", name)
		if validator == "" || strings.HasPrefix(name, "gemm_m") || strings.HasPrefix(name, "gemm_flexible") {
			continue
		}
		out := filepath.Join(t.TempDir(), name+".spv")
		require.NoError(t, os.WriteFile(out, wordBytes(got), 0o644))
		message, err := exec.Command(validator, "--target-env", "vulkan1.1", out).CombinedOutput()
		require.NoError(t, err, "%s: %s", name, message)
	}
}

func TestEvaluate(t *testing.T) {
	known := map[uint32]uint32{1: 7, 2: 3, 3: 0, 4: 0xfffffff9} // 4 is −7
	for _, c := range []struct {
		op       uint32
		operands []uint32
		want     uint32
		ok       bool
	}{
		{spvUDiv, []uint32{1, 2}, 2, true}, {spvSDiv, []uint32{4, 2}, 0xfffffffe, true}, {spvUMod, []uint32{1, 2}, 1, true},
		{spvUDiv, []uint32{1, 3}, 0, false}, {spvSLess, []uint32{4, 2}, 1, true}, {spvULess, []uint32{4, 2}, 0, true},
		{spvSelect, []uint32{3, 1, 2}, 3, true}, {spvLogicalNot, []uint32{3}, 1, true}, {spvIAdd, []uint32{1, 9}, 0, false}, {9999, []uint32{1, 2}, 0, false},
	} {
		got, ok := evaluate(c.op, c.operands, known)
		require.Equal(t, c.ok, ok, "operation %d", c.op)
		if ok {
			require.Equal(t, c.want, got, "operation %d", c.op)
		}
	}
}

func wordBytes(words []uint32) []byte {
	data := make([]byte, 0, 4*len(words))
	for _, w := range words {
		data = binary.LittleEndian.AppendUint32(data, w)
	}
	return data
}
