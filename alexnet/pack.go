package alexnet

import (
	"encoding/binary"
	"math"
)

// packBytes lays bytes into words, the first byte lowest.
func packBytes(dst []uint32, src []byte) {
	whole := len(src) / 4
	for i := range dst[:whole] {
		dst[i] = binary.LittleEndian.Uint32(src[4*i:])
	}
	if rest := src[4*whole:]; len(rest) > 0 {
		var last [4]byte
		copy(last[:], rest)
		dst[whole] = binary.LittleEndian.Uint32(last[:])
	}
}

func packFloats(dst []uint32, src []float32) {
	for i, v := range src {
		dst[i] = math.Float32bits(v)
	}
}
