package weights

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestNPY checks the bytes against the format's description.
func TestNPY(t *testing.T) {
	for tuple, shape := range map[string][]int{"()": {}, "(6,)": {6}, "(2, 3)": {2, 3}, "(1, 2, 3, 1)": {1, 2, 3, 1}} {
		tensor := Tensor{Name: "t", Shape: shape}
		for i := range tensor.Len() {
			tensor.Data = append(tensor.Data, float32(i)-0.5)
		}
		var file bytes.Buffer
		require.NoError(t, WriteNPY(&file, tensor))
		b := file.Bytes()
		require.Equal(t, "\x93NUMPY\x01\x00", string(b[:8]))
		length := int(binary.LittleEndian.Uint16(b[8:]))
		require.Zero(t, (10+length)%64, "where the data begin")
		head, data := string(b[10:10+length]), b[10+length:]
		require.Regexp(t, `^\{'descr': '<f4', 'fortran_order': False, 'shape': \([0-9, ]*\), \} *\n$`, head)
		require.Contains(t, head, "'shape': "+tuple+",")
		require.Len(t, data, 4*tensor.Len())
		for i, v := range tensor.Data {
			require.Equal(t, v, math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:])))
		}
	}
}
