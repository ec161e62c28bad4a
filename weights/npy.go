package weights

import (
	"encoding/binary"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// WriteNPY writes one tensor as NumPy's .npy, version 1.0, of little-endian
// float32 in C order.
//
// Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
func WriteNPY(w io.Writer, t Tensor) error {
	dims := make([]string, len(t.Shape))
	for i, d := range t.Shape {
		dims[i] = strconv.Itoa(d)
	}
	shape := strings.Join(dims, ", ")
	if len(dims) == 1 { // a tuple of one, as Python writes it
		shape += ","
	}
	text := fmt.Sprintf("{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }", shape)
	text += strings.Repeat(" ", 63-(10+len(text))%64) + "\n"
	head := append([]byte("\x93NUMPY\x01\x00"), 0, 0)
	binary.LittleEndian.PutUint16(head[8:], uint16(len(text)))
	if _, err := w.Write(append(head, text...)); err != nil {
		return err
	}
	return writeNumbers(w, t.Data)
}
