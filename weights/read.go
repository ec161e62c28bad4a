package weights

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"unsafe"
)

// ReadSafetensors reads a whole file. Numbers of every common type become
// float32 (the nearest one); other types are an error. A checksum in the
// metadata is verified.
func ReadSafetensors(path string) (*File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read weights: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("read weights: %w", err)
	}
	if info.IsDir() {
		return nil, fmt.Errorf("read weights %s: it is a folder; name a .safetensors file", path)
	}
	f, err := Read(file, info.Size())
	if err != nil {
		return nil, fmt.Errorf("read weights %s: %w", path, err)
	}
	return f, nil
}

// Read reads a file of the given size in bytes. Nothing in the file makes it
// take memory beyond a small multiple of that size.
func Read(r io.Reader, size int64) (*File, error) {
	h, err := readHeader(r, size)
	if err != nil {
		return nil, err
	}
	f := &File{Metadata: h.metadata}
	want, summed := h.metadata[checksumKey]
	got := func() string { return "" }
	if summed {
		r, got = summing(r)
	}
	for _, t := range h.tensors {
		data, err := readNumbers(r, t.Type, t.count)
		if err != nil {
			got()
			return nil, fmt.Errorf("tensor %s: %w", t.name, err)
		}
		f.Tensors = append(f.Tensors, Tensor{Name: t.name, Shape: t.Shape, Data: data})
	}
	if got := got(); summed && want != got {
		return nil, fmt.Errorf("the tensors are damaged: their checksum is %s, written was %s; use another copy of the file", got, want)
	}
	return f, nil
}

// summer reads from r and has what it read summed up meanwhile: so nothing of it
// may be changed before the sum is known.
type summer struct {
	r      io.Reader
	pieces chan []byte
}

func (s summer) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.pieces <- p[:n]
	return n, err
}

// summing is r with a function to be called at its end, which gives the checksum.
func summing(r io.Reader) (io.Reader, func() string) {
	pieces, result := make(chan []byte, 16), make(chan string)
	go func() {
		sum := sha256.New()
		for p := range pieces {
			sum.Write(p)
		}
		result <- checksum(sum.Sum(nil))
	}()
	return summer{r, pieces}, func() string { close(pieces); return <-result }
}

// checksum is the text of a SHA-256 sum.
func checksum(sum []byte) string { return "sha256:" + hex.EncodeToString(sum) }

// entry is one tensor of the header.
type entry struct {
	Type    string  `json:"dtype"`
	Shape   []int   `json:"shape"`
	Offsets []int64 `json:"data_offsets"`

	name  string
	count int // elements
}

type header struct {
	tensors  []entry // by offset
	metadata map[string]string
}

// readHeader reads and checks everything before the tensors' bytes.
func readHeader(r io.Reader, size int64) (*header, error) {
	var prefix [8]byte
	if _, err := io.ReadFull(r, prefix[:]); err != nil {
		return nil, fmt.Errorf("this is no safetensors file: it has %d bytes, not even the 8 of the header's length", size)
	}
	length := binary.LittleEndian.Uint64(prefix[:])
	if length > maxHeader || int64(length) > size-8 {
		return nil, fmt.Errorf("this is no safetensors file, or it is cut off: it announces a header of %d bytes, and %d bytes follow", length, size-8)
	}
	text := make([]byte, length)
	if _, err := io.ReadFull(r, text); err != nil {
		return nil, fmt.Errorf("read the header of %d bytes: %w", length, err)
	}
	h, err := parseHeader(text)
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	return h, h.check(size - 8 - int64(length))
}

// parseHeader decodes the JSON object, which encoding/json alone would let
// have two entries of one name.
func parseHeader(text []byte) (*header, error) {
	h := &header{}
	seen := map[string]bool{}
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, fmt.Errorf("it is no JSON object (%v, %v)", t, err)
	}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		name := t.(string) // the key of an object always is one
		if seen[name] {
			return nil, fmt.Errorf("two entries are named %q", name)
		}
		seen[name] = true
		if name == metadataKey {
			if err := d.Decode(&h.metadata); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			continue
		}
		e := entry{name: name}
		if err := d.Decode(&e); err != nil {
			return nil, fmt.Errorf("tensor %q: %w", name, err)
		}
		h.tensors = append(h.tensors, e)
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	if rest := strings.TrimSpace(string(text[d.InputOffset():])); rest != "" {
		return nil, fmt.Errorf("%d bytes follow the JSON object", len(rest))
	}
	return h, nil
}

// check compares the tensors with the bytes there are, so that none overlaps
// another, none lies outside and no byte belongs to none; it sorts them.
func (h *header) check(body int64) error {
	for i := range h.tensors {
		t := &h.tensors[i]
		if t.name == "" {
			return errors.New("a tensor has no name")
		}
		size, ok := elementSizes[t.Type]
		if !ok {
			return fmt.Errorf("tensor %s: type %q cannot be read", t.name, t.Type)
		}
		if len(t.Offsets) != 2 || t.Offsets[0] < 0 || t.Offsets[1] < t.Offsets[0] || t.Offsets[1] > body {
			return fmt.Errorf("tensor %s: data_offsets %v are not within the file's %d bytes of data; the file may be cut off", t.name, t.Offsets, body)
		}
		count, err := elements(t.Shape, body)
		if err != nil {
			return fmt.Errorf("tensor %s: %w", t.name, err)
		}
		if have := t.Offsets[1] - t.Offsets[0]; count*size != have {
			return fmt.Errorf("tensor %s: shape %v of %s needs %d bytes, data_offsets %v hold %d", t.name, t.Shape, t.Type, count*size, t.Offsets, have)
		}
		t.count = int(count)
	}
	slices.SortStableFunc(h.tensors, func(a, b entry) int { return slices.Compare(a.Offsets, b.Offsets) })
	var end int64
	for _, t := range h.tensors {
		if t.Offsets[0] != end {
			return fmt.Errorf("tensor %s starts at byte %d, but the one before ends at %d", t.name, t.Offsets[0], end)
		}
		end = t.Offsets[1]
	}
	if end != body {
		return fmt.Errorf("the tensors take %d bytes, but %d follow the header", end, body)
	}
	return nil
}

// elements multiplies the dimensions; no product may pass limit, so that
// nothing overflows.
func elements(shape []int, limit int64) (int64, error) {
	if slices.ContainsFunc(shape, func(d int) bool { return d < 0 }) {
		return 0, fmt.Errorf("shape %v has a negative dimension", shape)
	}
	if slices.Contains(shape, 0) {
		return 0, nil
	}
	n := int64(1)
	for _, d := range shape {
		if n > limit/int64(d) {
			return 0, fmt.Errorf("shape %v is larger than the file", shape)
		}
		n *= int64(d)
	}
	return n, nil
}

// littleEndian says that this machine keeps numbers as the format does.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// readNumbers reads count numbers, a piece at a time.
func readNumbers(r io.Reader, kind string, count int) ([]float32, error) {
	size := int(elementSizes[kind])
	data := make([]float32, count)
	for done := 0; done < count; {
		n := min(count-done, 1<<18)
		part := data[done : done+n]
		var b []byte
		if kind == "F32" && littleEndian { // as they are
			b = unsafe.Slice((*byte)(unsafe.Pointer(&part[0])), n*size)
		} else {
			b = make([]byte, n*size)
		}
		if _, err := io.ReadFull(r, b); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		if kind != "F32" || !littleEndian {
			for i := range part {
				part[i] = number(kind, b[i*size:])
			}
		}
		done += n
	}
	return data, nil
}

// number converts one number; the types are those of elementSizes.
func number(kind string, b []byte) float32 {
	le := binary.LittleEndian
	switch kind {
	case "F32":
		return math.Float32frombits(le.Uint32(b))
	case "F64":
		return float32(math.Float64frombits(le.Uint64(b)))
	case "F16":
		return halfToFloat(le.Uint16(b))
	case "BF16":
		return math.Float32frombits(uint32(le.Uint16(b)) << 16)
	case "I64":
		return float32(int64(le.Uint64(b)))
	case "I32":
		return float32(int32(le.Uint32(b)))
	case "I16":
		return float32(int16(le.Uint16(b)))
	case "I8":
		return float32(int8(b[0]))
	case "U64":
		return float32(le.Uint64(b))
	case "U32":
		return float32(le.Uint32(b))
	case "U16":
		return float32(le.Uint16(b))
	default: // U8, BOOL
		return float32(b[0])
	}
}
