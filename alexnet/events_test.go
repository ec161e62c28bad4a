package alexnet

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
)

// fields reads a message: the values of each field by its number.
func fields(t *testing.T, m []byte) map[protowire.Number][][]byte {
	t.Helper()
	all := map[protowire.Number][][]byte{}
	for len(m) > 0 {
		number, kind, n := protowire.ConsumeTag(m)
		require.Positive(t, n)
		m = m[n:]
		size := protowire.ConsumeFieldValue(number, kind, m)
		require.Positive(t, size)
		value := m[:size]
		if kind == protowire.BytesType {
			value, _ = protowire.ConsumeBytes(m)
		}
		all[number] = append(all[number], value)
		m = m[size:]
	}
	return all
}

// events reads a file by the rules of tensorflow/core/lib/io/record_reader.cc:
// unmask is written down as there, the inverse of the mask.
func events(t *testing.T, file []byte) (all []map[protowire.Number][][]byte) {
	t.Helper()
	check := func(data, stored []byte) {
		rotated := binary.LittleEndian.Uint32(stored) - 0xa282ead8
		require.Equal(t, crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)), rotated>>17|rotated<<15)
	}
	for len(file) > 0 {
		check(file[:8], file[8:12])
		n := binary.LittleEndian.Uint64(file)
		check(file[12:12+n], file[12+n:16+n])
		all = append(all, fields(t, file[12:12+n]))
		file = file[16+n:]
	}
	return all
}

func TestEventFile(t *testing.T) {
	// A check value of another implementation: RFC 3720, B.4, 32 bytes of zeros.
	require.Equal(t, uint32(0x8a9136aa), crc32.Checksum(make([]byte, 32), castagnoli))

	folder := t.TempDir()
	l, err := OpenEvents(folder, 41)
	require.NoError(t, err)
	require.NoError(t, l.Scalar("train/loss", 42, 0.625))
	picture := image.NewRGBA(image.Rect(0, 0, 5, 3))
	require.NoError(t, l.Image("conv1.weight", 300, picture))
	require.NoError(t, l.Close())
	names, err := filepath.Glob(filepath.Join(folder, "*tfevents*"))
	require.NoError(t, err)
	require.Len(t, names, 1)
	file, err := os.ReadFile(names[0])
	require.NoError(t, err)

	all := events(t, file)
	require.Len(t, all, 4)
	varint := func(b []byte) uint64 { v, _ := protowire.ConsumeVarint(b); return v }
	require.Equal(t, "brain.Event:2", string(all[0][3][0]))
	require.Equal(t, uint64(42), varint(all[1][2][0]))
	require.Equal(t, uint64(1), varint(fields(t, all[1][7][0])[1][0])) // START: purge steps from 42 on
	value := func(i int) map[protowire.Number][][]byte { return fields(t, fields(t, all[i][5][0])[1][0]) }
	require.Equal(t, uint64(42), varint(all[2][2][0]))
	require.Equal(t, "train/loss", string(value(2)[1][0]))
	require.Equal(t, math.Float32bits(0.625), binary.LittleEndian.Uint32(value(2)[2][0]))
	require.InDelta(t, float64(l.now().Unix()), math.Float64frombits(binary.LittleEndian.Uint64(all[2][1][0])), 60)
	require.Equal(t, uint64(300), varint(all[3][2][0]))
	require.Equal(t, "conv1.weight", string(value(3)[1][0]))
	img := fields(t, value(3)[4][0])
	require.Equal(t, []uint64{3, 5, 4}, []uint64{varint(img[1][0]), varint(img[2][0]), varint(img[3][0])})
	back, err := png.Decode(bytes.NewReader(img[4][0]))
	require.NoError(t, err)
	require.Equal(t, picture.Rect, back.Bounds())
}
