package main

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"

	"vkalexnet/loader"
)

// blob writes a .binaryproto of 1 × 3 × side × side numbers.
func blob(t *testing.T, side int, value func(channel, pixel int) float32) string {
	var b, data []byte
	for i, d := range []int{1, 3, side, side} {
		b = protowire.AppendVarint(protowire.AppendTag(b, protowire.Number(i+1), protowire.VarintType), uint64(d))
	}
	for i := range 3 * side * side {
		data = protowire.AppendFixed32(data, math.Float32bits(value(i/(side*side), i%(side*side))))
	}
	b = protowire.AppendBytes(protowire.AppendTag(b, 5, protowire.BytesType), data)
	path := filepath.Join(t.TempDir(), "mean.binaryproto")
	require.NoError(t, os.WriteFile(path, b, 0o600))
	return path
}

func TestMeansOfCaffe(t *testing.T) {
	value := func(channel, pixel int) float32 { return float32(100*channel + pixel) } // blue, green, red
	for _, c := range []struct {
		order  string
		stored int
		mean   []float32
		first  []float32 // pixel of each channel of the picture
	}{
		{"BGR", 4, []float32{7.5, 107.5, 207.5}, []float32{0, 100, 200}},
		{"RGB", 4, []float32{207.5, 107.5, 7.5}, []float32{200, 100, 0}},
		{"BGR", 5, []float32{7.5, 107.5, 207.5}, nil},
	} {
		in := loader.Input{Size: 3, Stored: c.stored, Order: c.order}
		note, err := addMean(&in, blob(t, 4, value))
		require.NoError(t, err)
		require.Equal(t, c.mean, in.Mean)
		if c.first == nil {
			require.Nil(t, in.MeanPicture)
			require.Contains(t, note, "4×4 pixels are not the network's 5×5")
			continue
		}
		require.Equal(t, c.first, []float32{in.MeanPicture[0], in.MeanPicture[16], in.MeanPicture[32]})
		require.NoError(t, in.Check())
	}
	in := loader.Input{Size: 3}
	_, err := addMean(&in, blob(t, 2, func(int, int) float32 { return float32(math.NaN()) }))
	require.ErrorContains(t, err, "it holds NaN")
}

func TestReadLabels(t *testing.T) {
	for text, want := range map[string]string{
		"cat\ndog\ncow\n": "", "\ufeffcat\r\ndog\r\ncow": "", "cat\n\ndog\ncow\n\n": "", "crane\ncrane\n cow \n": "",
		"cat\ndog\n":             "2 names for the network's 3 classes; give one a line",
		"cat\ndog\ncow\nfox\n":   "4 names for the network's 3 classes; give one a line",
		"cat\r\n\r\ncow\r\n":     "2 names for the network's 3 classes (line 2 is empty, which is no name)",
		"":                       "0 names for",
		"c\x00a\x00t\x00\n\x00":  "no text in UTF-8", // as Windows' Notepad saves "Unicode"
		"M\xfcnster\ndog\ncow\n": "no text in UTF-8",
	} {
		path := filepath.Join(t.TempDir(), "names.txt")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		names, err := readLabels(path, 3)
		if want != "" {
			require.ErrorContains(t, err, want, "%q", text)
			continue
		}
		require.NoError(t, err, "%q", text)
		require.Len(t, names, 3)
		require.Equal(t, "cow", names[2])
	}
}
