package weights

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
)

// WriteSafetensors writes all tensors as F32, in their order, with a checksum
// of their bytes in the metadata. The file appears at path complete or not at
// all: it is written beside, forced to the disk and renamed over what was
// there. The map in f is not changed.
func WriteSafetensors(path string, f *File) error {
	if err := writeFile(path, f); err != nil {
		return fmt.Errorf("write weights %s: %w", path, err)
	}
	return nil
}

func writeFile(path string, f *File) error {
	if err := f.check(); err != nil {
		return err
	}
	return Replace(path, func(w io.Writer) error { return Write(w, f) })
}

// Write writes what [WriteSafetensors] does to w.
func Write(w io.Writer, f *File) error {
	if err := f.check(); err != nil {
		return err
	}
	sum := sha256.New()
	for _, t := range f.Tensors {
		if err := writeNumbers(sum, t.Data); err != nil {
			return err
		}
	}
	metadata := maps.Clone(f.Metadata)
	if metadata == nil {
		metadata = map[string]string{}
	}
	metadata[checksumKey] = checksum(sum.Sum(nil))
	head, err := encodeHeader(f.Tensors, metadata)
	if err != nil {
		return err
	}
	if _, err := w.Write(head); err != nil {
		return err
	}
	for _, t := range f.Tensors {
		if err := writeNumbers(w, t.Data); err != nil {
			return err
		}
	}
	return nil
}

// encodeHeader makes the length and the JSON object with its entries in the
// tensors' order, padded with spaces so that the data begin at a multiple of 8.
func encodeHeader(tensors []Tensor, metadata map[string]string) ([]byte, error) {
	var b bytes.Buffer
	b.Write(make([]byte, 8))
	meta, err := json.Marshal(metadata)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(&b, "{%q:%s", metadataKey, meta)
	var offset int64
	for _, t := range tensors {
		name, err := json.Marshal(t.Name)
		if err != nil {
			return nil, err
		}
		end := offset + 4*int64(len(t.Data))
		shape := t.Shape
		if shape == nil {
			shape = []int{}
		}
		e, err := json.Marshal(entry{Type: "F32", Shape: shape, Offsets: []int64{offset, end}})
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, ",%s:%s", name, e)
		offset = end
	}
	b.WriteByte('}')
	for b.Len()%8 != 0 {
		b.WriteByte(' ')
	}
	length := b.Len() - 8
	if length > maxHeader {
		return nil, fmt.Errorf("the header would have %d bytes; the format allows %d", length, maxHeader)
	}
	binary.LittleEndian.PutUint64(b.Bytes(), uint64(length))
	return b.Bytes(), nil
}

// writeNumbers writes float32 in little-endian order, a piece at a time.
func writeNumbers(w io.Writer, data []float32) error {
	piece := make([]byte, 0, 1<<18)
	for len(data) > 0 {
		n := min(len(data), cap(piece)/4)
		piece = piece[:0]
		for _, v := range data[:n] {
			piece = binary.LittleEndian.AppendUint32(piece, math.Float32bits(v))
		}
		if _, err := w.Write(piece); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}
