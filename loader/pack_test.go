package loader

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// replace writes beside and renames, as weights.Replace does.
func replace(path string, write func(io.Writer) error) error {
	f, err := os.Create(path + ".new")
	if err != nil {
		return err
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path+".new"))
	}
	return os.Rename(path+".new", path)
}

func packed(t testing.TB, src Source, size, workers int) string {
	t.Helper()
	dir := t.TempDir()
	_, err := WritePack(context.Background(), dir, map[string]Source{"train": src}, PackOptions{Size: size, PerShard: 64, Workers: workers, Replace: replace})
	require.NoError(t, err)
	return dir
}

func TestPackHoldsTheStoredPictures(t *testing.T) {
	src := &memorySource{n: 150, side: 40, bad: map[int]bool{3: true, 130: true}}
	dir := packed(t, src, 16, 2)
	p, err := openPack(dir, "train")
	require.NoError(t, err)
	defer p.Close()
	require.Equal(t, 148, p.Len())
	require.Equal(t, src.Classes(), p.Classes())
	require.Equal(t, packSplit{148, 2, p.index.Splits["train"].Shards}, p.index.Splits["train"])
	got, want := make([]byte, 16*16*3), make([]byte, 16*16*3)
	i := 0
	for k := range src.n {
		if src.bad[k] {
			continue
		}
		img, err := src.Open(k)
		require.NoError(t, err)
		require.NoError(t, Store(want, img, 16, "short"))
		require.NoError(t, store(got, Subset(p, []int{0, i}), 1, Input{Size: 16, Stored: 16, Resize: "short"}, true))
		require.Equal(t, want, got, k)
		require.Equal(t, src.Label(k), p.Label(i))
		opened, err := p.Open(i)
		require.NoError(t, err)
		require.NoError(t, Store(got, opened, 16, "short"))
		require.Equal(t, want, got, k)
		i++
	}
	_, err = NewLoader(p, Input{Size: 32}, Options{Batch: 1})
	require.ErrorContains(t, err, "the network wants 32×32: pack again with --size 32")
	_, err = NewLoader(p, Input{Size: 16, Resize: "warp"}, Options{Batch: 1})
	require.ErrorContains(t, err, "pack again with --resize warp")
	_, err = openPack(dir, "val")
	require.ErrorIs(t, err, ErrNoSplit)
}

func TestPackNoticesDamage(t *testing.T) {
	dir := packed(t, &memorySource{n: 70, side: 20}, 8, 1)
	path := filepath.Join(dir, "train-00000.pack")
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	change := func(at int) {
		data := append([]byte{}, whole...)
		data[at] ^= 4
		require.NoError(t, os.WriteFile(path, data, 0o644))
	}
	change(packHeader + 5*8*8*3 + 7) // a pixel: one bad picture
	p, err := openPack(dir, "train")
	require.NoError(t, err)
	require.ErrorContains(t, p.Read(5, make([]byte, 8*8*3)), "train-00000.pack is damaged")
	require.NoError(t, p.Read(4, make([]byte, 8*8*3)))
	require.NoError(t, p.Close())
	change(len(whole) - packTrailer - 1) // the list of pictures
	_, err = openPack(dir, "train")
	require.ErrorContains(t, err, "checksum of its list")
	require.NoError(t, os.WriteFile(path, whole[:len(whole)-9], 0o644))
	_, err = openPack(dir, "train")
	require.ErrorContains(t, err, "incomplete")
	require.NoError(t, os.Remove(path))
	_, err = openPack(dir, "train")
	require.ErrorIs(t, err, os.ErrNotExist)
	// Packing again repairs it.
	_, err = WritePack(context.Background(), dir, map[string]Source{"train": &memorySource{n: 70, side: 20}}, PackOptions{Size: 8, PerShard: 64, Replace: replace})
	require.NoError(t, err)
	again, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, whole, again)
}

func FuzzPackTail(f *testing.F) {
	tail := packTail{crcs: []uint32{1, 2}, labels: []int32{-1, 3}, names: []string{"a", "b"}, bad: [][2]string{{"c", "why"}}}
	f.Add(tail.encode())
	f.Add(binary.AppendUvarint(nil, 1<<60))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := decodePackTail(data)
		if err != nil {
			return
		}
		again, err := decodePackTail(got.encode())
		require.NoError(t, err)
		require.Equal(t, got, again)
	})
}

func FuzzReadShard(f *testing.F) {
	dir := packed(f, &memorySource{n: 3, side: 8}, 2, 1)
	data, err := os.ReadFile(filepath.Join(dir, "train-00000.pack"))
	require.NoError(f, err)
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _, _, _ = readShard(bytes.NewReader(data), int64(len(data)), 2)
	})
}

// BenchmarkPack reads packed pictures of 256×256, one per operation.
func BenchmarkPack(b *testing.B) {
	p, err := openPack(packed(b, &memorySource{n: 640, side: 64}, 256, 2), "train")
	require.NoError(b, err)
	defer p.Close()
	dst := make([]byte, 64*256*256*3)
	b.SetBytes(256 * 256 * 3)
	for i := range b.N {
		require.NoError(b, p.Read(i*37%p.Len(), dst[i%64*256*256*3:][:256*256*3]))
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "img/s")
}
