package loader

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"unicode/utf16"
)

// maxMeta bounds meta.mat, which has 400 KB, packed or not.
const maxMeta = 64 << 20

// The types of MATLAB's level 5 MAT-file format, the parts of it that
// ILSVRC2012's meta.mat uses.
const (
	miINT8, miUINT8, miINT16, miUINT16, miINT32, miUINT32 = 1, 2, 3, 4, 5, 6
	miDOUBLE, miMATRIX, miCOMPRESSED, miUTF16             = 9, 14, 15, 17
	mxSTRUCT                                              = 2
)

// matElement cuts the first element off b.
func matElement(b []byte) (kind uint32, data, rest []byte, err error) {
	short := errors.New("an element of the file is cut off")
	if len(b) < 8 {
		return 0, nil, nil, short
	}
	kind, n := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
	if kind>>16 != 0 { // up to four bytes, in the tag itself
		if n = kind >> 16; n > 4 {
			return 0, nil, nil, short
		}
		return kind & 0xffff, b[4 : 4+n], b[8:], nil
	}
	if uint64(n) > uint64(len(b)-8) {
		return 0, nil, nil, short
	}
	data, rest = b[8:8+n], b[8+n:]
	if kind != miCOMPRESSED { // padded to eight bytes
		rest = rest[min(len(rest), int(-n&7)):]
	}
	return kind, data, rest, nil
}

// matMatrix is an array: its class, the number of its elements, its name and
// what follows.
type matMatrix struct {
	class uint32
	n     int
	name  string
	body  []byte
}

func parseMatrix(b []byte) (m matMatrix, err error) {
	_, flags, b, err := matElement(b)
	if err != nil || len(flags) < 4 {
		return m, errors.Join(err, errors.New("an array without flags"))
	}
	m.class = uint32(flags[0])
	_, dims, b, err := matElement(b)
	if err != nil {
		return m, err
	}
	m.n = 1
	for ; len(dims) >= 4; dims = dims[4:] {
		d := int(binary.LittleEndian.Uint32(dims))
		if d > maxMeta || d > 0 && m.n > maxMeta/d {
			return m, fmt.Errorf("an array has too many elements")
		}
		m.n *= d
	}
	_, name, b, err := matElement(b)
	m.name, m.body = string(name), b
	return m, err
}

// parseMeta reads the ILSVRC2012_ID and WNID of each of the synsets.
func parseMeta(data []byte) (map[int]string, error) {
	if len(data) < 128 || string(data[126:128]) != "IM" {
		return nil, errors.New("it is no little-endian MATLAB file of level 5")
	}
	for b := data[128:]; len(b) > 0; {
		kind, body, rest, err := matElement(b)
		if err != nil {
			return nil, err
		}
		b = rest
		if kind == miCOMPRESSED {
			z, err := zlib.NewReader(bytes.NewReader(body))
			if err != nil {
				return nil, err
			}
			whole, err := io.ReadAll(io.LimitReader(z, maxMeta))
			if err != nil {
				return nil, err
			}
			if kind, body, _, err = matElement(whole); err != nil {
				return nil, err
			}
		}
		if kind != miMATRIX {
			continue
		}
		m, err := parseMatrix(body)
		if err != nil {
			return nil, err
		}
		if m.name == "synsets" && m.class == mxSTRUCT {
			return parseSynsets(m)
		}
	}
	return nil, errors.New("it holds no struct synsets")
}

func parseSynsets(m matMatrix) (map[int]string, error) {
	_, width, b, err := matElement(m.body)
	if err != nil || len(width) < 4 {
		return nil, errors.Join(err, errors.New("synsets has no fields"))
	}
	w := int(binary.LittleEndian.Uint32(width))
	_, names, b, err := matElement(b)
	if err != nil || w < 1 || w > len(names) {
		return nil, errors.Join(err, errors.New("synsets has no fields"))
	}
	var fields []string
	for ; len(names) >= w; names = names[w:] {
		fields = append(fields, string(bytes.TrimRight(names[:w], "\x00")))
	}
	ids := map[int]string{}
	for range m.n {
		id, wnid := 0, ""
		for _, field := range fields {
			kind, body, rest, err := matElement(b)
			if err != nil {
				return nil, err
			}
			if b = rest; kind != miMATRIX {
				return nil, fmt.Errorf("field %s is no array", field)
			}
			if field != "ILSVRC2012_ID" && field != "WNID" {
				continue
			}
			v, err := parseMatrix(body)
			if err != nil {
				return nil, err
			}
			kind, value, _, err := matElement(v.body)
			if err != nil {
				return nil, err
			}
			if field == "WNID" {
				wnid = matText(kind, value)
			} else {
				id = matNumber(kind, value)
			}
		}
		if wnidOf(wnid+"_") == "" || id < 1 {
			return nil, fmt.Errorf("synset %d has ILSVRC2012_ID %d and WNID %q", len(ids)+1, id, wnid)
		}
		ids[id] = wnid
	}
	if len(ids) == 0 {
		return nil, errors.New("synsets is empty")
	}
	return ids, nil
}

func matText(kind uint32, b []byte) string {
	if kind == miUINT16 || kind == miUTF16 {
		units := make([]uint16, len(b)/2)
		for i := range units {
			units[i] = binary.LittleEndian.Uint16(b[2*i:])
		}
		return string(utf16.Decode(units))
	}
	return string(b)
}

// matNumber is the first number of an array, −1 where there is none.
func matNumber(kind uint32, b []byte) int {
	switch {
	case (kind == miINT8 || kind == miUINT8) && len(b) >= 1:
		return int(b[0])
	case (kind == miINT16 || kind == miUINT16) && len(b) >= 2:
		return int(binary.LittleEndian.Uint16(b))
	case (kind == miINT32 || kind == miUINT32) && len(b) >= 4:
		return int(binary.LittleEndian.Uint32(b))
	case kind == miDOUBLE && len(b) >= 8:
		if v := math.Float64frombits(binary.LittleEndian.Uint64(b)); v >= 0 && v < 1e9 {
			return int(v)
		}
	}
	return -1
}
