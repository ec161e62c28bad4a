package weights

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// build makes the bytes of a file from a header's text and the data.
func build(header string, data []byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), data...)
}

func read(b []byte) (*File, error) { return Read(bytes.NewReader(b), int64(len(b))) }

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.safetensors")
	f := &File{
		Tensors: []Tensor{
			{Name: "conv1.weight", Shape: []int{2, 1, 1, 3}, Data: []float32{1, -2, 3.5, 0, float32(math.Inf(1)), math.SmallestNonzeroFloat32}},
			{Name: `odd "name" ü`, Shape: []int{0, 4}, Data: []float32{}},
			{Name: "number", Shape: []int{}, Data: []float32{7}},
		},
		Metadata: map[string]string{"step": "12", "net": "a = \"b\"\nc = 1\n"},
	}
	require.NoError(t, WriteSafetensors(path, f))
	got, err := ReadSafetensors(path)
	require.NoError(t, err)
	require.Equal(t, f.Tensors, got.Tensors)
	require.Equal(t, "12", got.Metadata["step"])
	require.Equal(t, f.Metadata["net"], got.Metadata["net"])
	require.Regexp(t, `^sha256:[0-9a-f]{64}$`, got.Metadata["checksum"])
	require.NotContains(t, f.Metadata, "checksum", "the caller's map is not changed")

	w, ok := got.Get("number")
	require.True(t, ok)
	require.Equal(t, []float32{7}, w.Data)
	_, ok = got.Get("absent")
	require.False(t, ok)
}

func TestNotANumberKeepsItsBits(t *testing.T) {
	nan := math.Float32frombits(0x7fc12345)
	var b bytes.Buffer
	require.NoError(t, Write(&b, &File{Tensors: []Tensor{{Name: "x", Shape: []int{1}, Data: []float32{nan}}}}))
	got, err := read(b.Bytes())
	require.NoError(t, err)
	require.Equal(t, uint32(0x7fc12345), math.Float32bits(got.Tensors[0].Data[0]))
}

func TestTypesBecomeFloat32(t *testing.T) {
	le := binary.LittleEndian
	for _, c := range []struct {
		kind  string
		bytes []byte
		want  float32
	}{
		{"F32", le.AppendUint32(nil, math.Float32bits(1.5)), 1.5},
		{"F64", le.AppendUint64(nil, math.Float64bits(0.1)), 0.1},
		{"F16", le.AppendUint16(nil, 0x3c00), 1},
		{"F16", le.AppendUint16(nil, 0xc000), -2},
		{"F16", le.AppendUint16(nil, 0x7bff), 65504},
		{"F16", le.AppendUint16(nil, 0x0001), 0x1p-24},
		{"F16", le.AppendUint16(nil, 0x83ff), -1023 * 0x1p-24},
		{"F16", le.AppendUint16(nil, 0x3555), 0.333251953125},
		{"F16", le.AppendUint16(nil, 0xfc00), float32(math.Inf(-1))},
		{"BF16", le.AppendUint16(nil, 0x4049), 3.140625},
		{"I64", le.AppendUint64(nil, uint64(1<<64-5)), -5},
		{"I32", le.AppendUint32(nil, 1<<32-7), -7},
		{"I16", le.AppendUint16(nil, 1<<16-300), -300},
		{"I8", []byte{0xff}, -1},
		{"U64", le.AppendUint64(nil, 1<<40), 1 << 40},
		{"U32", le.AppendUint32(nil, 1<<31), 1 << 31},
		{"U16", le.AppendUint16(nil, 65535), 65535},
		{"U8", []byte{255}, 255},
		{"BOOL", []byte{1}, 1},
	} {
		header := fmt.Sprintf(`{"x":{"dtype":%q,"shape":[1],"data_offsets":[0,%d]}}`, c.kind, len(c.bytes))
		f, err := read(build(header, c.bytes))
		require.NoError(t, err, c.kind)
		require.Equal(t, []float32{c.want}, f.Tensors[0].Data, "%s %x", c.kind, c.bytes)
	}
	require.True(t, math.IsNaN(float64(halfToFloat(0x7e00))))
}

func TestTensorsComeInTheOrderOfTheirBytes(t *testing.T) {
	header := `{"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]},"none":{"dtype":"F32","shape":[0],"data_offsets":[1,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`
	f, err := read(build(header, []byte{5, 6, 7}))
	require.NoError(t, err)
	require.Equal(t, []string{"a", "none", "b"}, []string{f.Tensors[0].Name, f.Tensors[1].Name, f.Tensors[2].Name})
	require.Equal(t, []float32{6, 7}, f.Tensors[2].Data)
}

func TestDamagedFilesAreErrors(t *testing.T) {
	one := func(kind, shape, offsets string) string {
		return fmt.Sprintf(`{"x":{"dtype":%q,"shape":%s,"data_offsets":%s}}`, kind, shape, offsets)
	}
	for name, c := range map[string]struct {
		file []byte
		says string
	}{
		"empty":                {nil, "no safetensors file"},
		"text":                 {[]byte("hello, this is text"), "announces a header"},
		"header over the end":  {build(strings.Repeat(" ", 3), nil)[:9], "announces a header of 3 bytes, and 1 bytes follow"},
		"huge header":          {append(bytes.Repeat([]byte{255}, 8), '{'), "announces a header"},
		"no object":            {build(`[1]`, nil), "no JSON object"},
		"cut JSON":             {build(`{"x":{"dtype":"U8"`, nil), "x"},
		"after the object":     {build(`{} {}`, nil), "follow the JSON object"},
		"metadata of numbers":  {build(`{"__metadata__":{"a":1}}`, nil), "__metadata__"},
		"same name twice":      {build(`{"x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`, nil), `named "x"`},
		"unknown type":         {build(one("F8_E5M2", "[1]", "[0,1]"), []byte{1}), `type "F8_E5M2" cannot be read`},
		"cut data":             {build(one("F32", "[2]", "[0,8]"), []byte{1, 2, 3}), "may be cut off"},
		"negative offset":      {build(one("U8", "[2]", "[-1,1]"), []byte{1}), "data_offsets"},
		"offsets turned round": {build(one("U8", "[0]", "[1,0]"), []byte{1}), "data_offsets"},
		"three offsets":        {build(one("U8", "[1]", "[0,1,1]"), []byte{1}), "data_offsets"},
		"shape and bytes":      {build(one("F32", "[2]", "[0,4]"), []byte{1, 2, 3, 4}), "needs 8 bytes"},
		"negative dimension":   {build(one("U8", "[-1,-1]", "[0,1]"), []byte{1}), "negative dimension"},
		"overflow":             {build(one("U8", "[4294967296,4294967296]", "[0,0]"), nil), "larger than the file"},
		"hole":                 {build(one("U8", "[1]", "[1,2]"), []byte{1, 2}), "starts at byte 1"},
		"bytes of no tensor":   {build(one("U8", "[1]", "[0,1]"), []byte{1, 2}), "take 1 bytes, but 2 follow"},
		"overlap": {build(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}`, []byte{1, 2, 3}),
			"tensor b starts at byte 1, but the one before ends at 2"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := read(c.file)
			require.ErrorContains(t, err, c.says)
		})
	}
}

func TestChecksumFindsAChangedByte(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.safetensors")
	require.NoError(t, WriteSafetensors(path, &File{Tensors: []Tensor{{Name: "x", Shape: []int{2}, Data: []float32{1, 2}}}}))
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	b[len(b)-1] ^= 1
	require.NoError(t, os.WriteFile(path, b, 0o644))
	_, err = ReadSafetensors(path)
	require.ErrorContains(t, err, "damaged")
	require.ErrorContains(t, err, path)
}

func TestWhatCannotBeWritten(t *testing.T) {
	for name, tensors := range map[string][]Tensor{
		`"" cannot be used`:             {{Data: []float32{1}}},
		`"__metadata__" cannot be used`: {{Name: "__metadata__", Data: []float32{1}}},
		`are named "x"`:                 {{Name: "x", Data: []float32{1}}, {Name: "x", Data: []float32{1}}},
		"stands for 2 numbers":          {{Name: "x", Shape: []int{2}, Data: []float32{1}}},
		"negative dimension":            {{Name: "x", Shape: []int{-1, -1}, Data: []float32{1}}},
	} {
		require.ErrorContains(t, WriteSafetensors(filepath.Join(t.TempDir(), "a"), &File{Tensors: tensors}), name)
	}
	err := WriteSafetensors(filepath.Join(t.TempDir(), "absent", "a.safetensors"), &File{})
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestAFailedWriteLeavesTheOldFile(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "a")
	require.NoError(t, os.WriteFile(path, []byte("old"), 0o644))
	broken := errors.New("disk full")
	err := Replace(path, func(w io.Writer) error {
		_, err := w.Write(make([]byte, 1<<21)) // beyond the buffer: it is on the disk
		require.NoError(t, err)
		return broken
	})
	require.ErrorIs(t, err, broken)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "old", string(b))
	left, err := os.ReadDir(folder)
	require.NoError(t, err)
	require.Len(t, left, 1, "the temporary file is gone")
}

func TestReadingAFolderOrNothing(t *testing.T) {
	_, err := ReadSafetensors(t.TempDir())
	require.ErrorContains(t, err, "it is a folder")
	_, err = ReadSafetensors(filepath.Join(t.TempDir(), "absent"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// FuzzRead: no input crashes the reader, and what it accepts can be written
// and read back as the same bits.
func FuzzRead(f *testing.F) {
	var b bytes.Buffer
	require.NoError(f, Write(&b, &File{
		Tensors:  []Tensor{{Name: "x", Shape: []int{1, 2}, Data: []float32{1, 2}}, {Name: "y", Data: []float32{3}}},
		Metadata: map[string]string{"a": "b"},
	}))
	f.Add(b.Bytes())
	f.Add(build(`{"x":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}}`, []byte{0, 0x3c, 1, 0}))
	f.Add(build(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}`, []byte{1, 2, 3}))
	f.Add([]byte{2, 0, 0, 0, 0, 0, 0, 0, '{', '}'})
	f.Fuzz(func(t *testing.T, in []byte) {
		first, err := read(in)
		if err != nil {
			return
		}
		var out bytes.Buffer
		require.NoError(t, Write(&out, first))
		second, err := read(out.Bytes())
		require.NoError(t, err)
		require.Len(t, second.Tensors, len(first.Tensors))
		for i, a := range first.Tensors {
			b, ok := second.Get(a.Name)
			require.True(t, ok)
			require.Len(t, b.Data, len(a.Data), "tensor %d", i)
			for j := range a.Data {
				require.Equal(t, math.Float32bits(a.Data[j]), math.Float32bits(b.Data[j]))
			}
		}
	})
}
