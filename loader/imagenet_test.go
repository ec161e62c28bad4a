package loader

import (
	"archive/tar"
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type entry struct {
	name string
	data []byte
}

func tarFile(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: e.name, Mode: 0o644, Size: int64(len(e.data))}))
		_, err := w.Write(e.data)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

// matFile writes the synsets of a devkit's meta.mat as MATLAB does.
func matFile(compressed bool, wnids ...string) []byte {
	element := func(kind uint32, data []byte) []byte {
		b := binary.LittleEndian.AppendUint32(nil, kind)
		b = append(binary.LittleEndian.AppendUint32(b, uint32(len(data))), data...)
		return append(b, make([]byte, -len(data)&7)...)
	}
	small := func(kind uint32, data ...byte) []byte {
		b := binary.LittleEndian.AppendUint32(nil, kind|uint32(len(data))<<16)
		return append(append(b, data...), make([]byte, 4-len(data))...)
	}
	ints := func(v ...uint32) (b []byte) {
		for _, x := range v {
			b = binary.LittleEndian.AppendUint32(b, x)
		}
		return b
	}
	matrix := func(class uint32, n int, name string, body []byte) []byte {
		return element(miMATRIX, slices.Concat(element(miUINT32, ints(class, 0)), element(miINT32, ints(uint32(n), 1)), element(miINT8, []byte(name)), body))
	}
	field := func(name string) []byte { return append([]byte(name), make([]byte, 16-len(name))...) }
	body := slices.Concat(small(miINT32, 16, 0, 0, 0), element(miINT8, slices.Concat(field("ILSVRC2012_ID"), field("WNID"), field("words"))))
	for i, id := range wnids {
		var text []byte
		for _, c := range id {
			text = append(text, byte(c), 0)
		}
		body = slices.Concat(body, matrix(6, 1, "", small(miUINT16, byte(i+1), 0)), matrix(4, len(id), "", element(miUINT16, text)), matrix(4, 1, "", small(miUINT16, 'x', 0)))
	}
	whole := matrix(2, len(wnids), "synsets", body)
	file := append(make([]byte, 126), "IM"...)
	if !compressed {
		return append(file, whole...)
	}
	var z bytes.Buffer
	w := zlib.NewWriter(&z)
	_, _ = w.Write(whole)
	_ = w.Close()
	b := binary.LittleEndian.AppendUint32(file, miCOMPRESSED)
	return append(binary.LittleEndian.AppendUint32(b, uint32(z.Len())), z.Bytes()...)
}

// labels maps the last parts of the pictures' names to their classes, and opens
// each; those that cannot be opened are "bad".
func labels(t *testing.T, src Source) map[string]string {
	t.Helper()
	got := map[string]string{}
	for i := range src.Len() {
		class := src.Classes()[src.Label(i)]
		if _, err := src.Open(i); err != nil {
			class = "bad"
		}
		got[filepath.Base(src.Name(i))] = class
	}
	if c, ok := src.(io.Closer); ok {
		require.NoError(t, c.Close())
	}
	return got
}

func picturesOf(t testing.TB, n int) [][]byte {
	var all [][]byte
	for i := range n {
		all = append(all, pngBytes(t, testImage(5+i, 4, uint64(i))))
	}
	return all
}

func TestImageNetArchives(t *testing.T) {
	p := picturesOf(t, 6)
	inner := func(id string, data ...[]byte) entry {
		var e []entry
		for i, d := range data {
			e = append(e, entry{fmt.Sprintf("%s_%d.JPEG", id, i), d})
		}
		return entry{id + ".tar", tarFile(t, e...)}
	}
	files := map[string][]byte{
		imagenetTrain: tarFile(t, inner("n00000009", p[0], p[1]), inner("n00000002", p[2]), inner("n00000005", []byte("damaged"), p[3])),
		imagenetVal:   tarFile(t, entry{"ILSVRC2012_val_00000002.JPEG", p[4]}, entry{"ILSVRC2012_val_00000001.JPEG", p[5]}),
		imagenetDevkit + ".tar.gz": gzipOf(t, tarFile(t, entry{imagenetDevkit + "/data/" + groundTruth, []byte("3\n1\n")},
			entry{imagenetDevkit + "/data/meta.mat", matFile(true, "n00000009", "n00000005", "n00000002")})),
	}
	dir := writeFiles(t, files)
	train, err := OpenSource(dir, "train")
	require.NoError(t, err)
	require.Equal(t, []string{"n00000002", "n00000005", "n00000009"}, train.Classes())
	require.Equal(t, map[string]string{"n00000009_0.JPEG": "n00000009", "n00000009_1.JPEG": "n00000009", "n00000002_0.JPEG": "n00000002",
		"n00000005_0.JPEG": "bad", "n00000005_1.JPEG": "n00000005"}, labels(t, train))
	val, err := OpenSource(dir, "val")
	require.NoError(t, err)
	require.Equal(t, train.Classes(), val.Classes())
	require.Equal(t, map[string]string{"ILSVRC2012_val_00000001.JPEG": "n00000002", "ILSVRC2012_val_00000002.JPEG": "n00000009"}, labels(t, val))

	require.NoError(t, os.Remove(filepath.Join(dir, imagenetDevkit+".tar.gz")))
	_, err = OpenSource(dir, "val")
	require.ErrorContains(t, err, "do not tell their classes: put beside them ILSVRC2012_devkit_t12.tar.gz")
	require.NoError(t, os.WriteFile(filepath.Join(dir, groundTruth), []byte("1\n4\n"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "meta.mat"), matFile(false, "n00000009", "n00000005", "n00000002"), 0o644))
	_, err = OpenSource(dir, "val")
	require.ErrorContains(t, err, `line 2 is "4", which is no ILSVRC2012_ID`)
}

func TestKaggleLayout(t *testing.T) {
	p := picturesOf(t, 4)
	root := "ILSVRC/Data/CLS-LOC/"
	dir := writeFiles(t, map[string][]byte{
		root + "train/n00000007/n00000007_1.JPEG": p[0], root + "train/n00000003/n00000003_1.JPEG": p[1],
		root + "val/ILSVRC2012_val_00000001.JPEG": p[2], root + "val/ILSVRC2012_val_00000002.JPEG": p[3],
		kaggleSolution: []byte("ImageId,PredictionString\nILSVRC2012_val_00000002,n00000003 1 2 3 4 \nILSVRC2012_val_00000001,n00000007 1 2 3 4 n00000007 5 6 7 8 \n"),
	})
	for _, path := range []string{dir, filepath.Join(dir, filepath.FromSlash(root))} {
		val, err := OpenSource(path, "val")
		require.NoError(t, err)
		require.Equal(t, []string{"n00000003", "n00000007"}, val.Classes())
		require.Equal(t, map[string]string{"ILSVRC2012_val_00000001.JPEG": "n00000007", "ILSVRC2012_val_00000002.JPEG": "n00000003"}, labels(t, val))
		train, err := OpenSource(path, "train")
		require.NoError(t, err)
		require.Equal(t, 2, train.Len())
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, kaggleSolution), []byte("ImageId,PredictionString\na,cat 1\n"), 0o644))
	_, err := OpenSource(dir, "val")
	require.ErrorContains(t, err, `line 2: "cat 1" does not begin with a WordNet id`)
}

func TestWebDataset(t *testing.T) {
	p := picturesOf(t, 5)
	shard := func(first int, labels ...string) []byte {
		var e []entry
		for i, l := range labels {
			e = append(e, entry{fmt.Sprintf("%04d.cls", first+i), []byte(l)}, entry{fmt.Sprintf("%04d.input.jpg", first+i), p[first+i]}, entry{fmt.Sprintf("%04d.json", first+i), []byte("{}")})
		}
		return tarFile(t, e...)
	}
	dir := writeFiles(t, map[string][]byte{"x-train-000.tar": shard(0, "2\n", "0"), "x-train-001.tar": shard(2, "1"), "x-val-000.tar": shard(3, "0", "1")})
	want := map[string]string{"0000.input.jpg": "2", "0001.input.jpg": "0", "0002.input.jpg": "1"}
	for _, pattern := range []string{dir, filepath.Join(dir, "x-train-{000..001}.tar"), filepath.Join(dir, "x-{train-{000,001},val-000}.tar"), filepath.Join(dir, "*.tar")} {
		src, err := OpenSource(pattern, "train")
		require.NoError(t, err, pattern)
		require.Equal(t, []string{"0", "1", "2"}, src.Classes())
		require.Equal(t, want, labels(t, src), pattern)
	}
	val, err := OpenSource(dir, "val")
	require.NoError(t, err)
	require.Equal(t, []string{"0", "1", "2"}, val.Classes())
	require.Equal(t, map[string]string{"0003.input.jpg": "0", "0004.input.jpg": "1"}, labels(t, val))
	_, err = OpenSource(filepath.Join(dir, "x-train-{000..001}.tar"), "val")
	require.ErrorIs(t, err, ErrNoSplit)
	_, err = OpenSource(filepath.Join(dir, "x-train-{000..002}.tar"), "train")
	require.ErrorContains(t, err, "a shard of the pattern is missing")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "x-val-000.tar"), shard(3, "0", "7"), 0o644))
	_, err = OpenSource(dir, "val")
	require.ErrorContains(t, err, `0004.cls holds "7": it must be the number of a class, from 0 to 2`)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "classnames.txt"), []byte("ant\nbee\r\ncat\n"), 0o644))
	src, err := OpenSource(dir, "train")
	require.NoError(t, err)
	require.Equal(t, []string{"ant", "bee", "cat"}, src.Classes())
}

func TestExpandBraces(t *testing.T) {
	for pattern, want := range map[string]string{
		"a": "a", "{08..11}.tar": "08.tar 09.tar 10.tar 11.tar", "{a,b}{1..2}": "a1 a2 b1 b2", "x{a,{0..1},}y": "xay x0y x1y xy",
	} {
		got, err := expandBraces(pattern)
		require.NoError(t, err)
		require.Equal(t, want, strings.Join(got, " "), pattern)
	}
	for pattern, want := range map[string]string{
		"{a": "without its }", "a}": "without its {", "{1..x}": "not a range", "{5..1}": "not a range", "{0..999999999}": "asks for 1000000000 files",
		"{1..1000}{1..1000}": "asks for 1000000 files",
	} {
		_, err := expandBraces(pattern)
		require.ErrorContains(t, err, want, pattern)
	}
}

// A damaged header costs the member behind it and no other.
func TestDamagedTarHeader(t *testing.T) {
	p := picturesOf(t, 3)
	data := tarFile(t, entry{"a/1.png", p[0]}, entry{"a/2.png", p[1]}, entry{"b/3.png", p[2]})
	second := bytes.Index(data, []byte("a/2.png"))
	data[second+150] ^= 1 // its checksum
	path := filepath.Join(writeFiles(t, map[string][]byte{"x.tar": data}), "x.tar")
	src, err := OpenSource(path, "train")
	require.NoError(t, err)
	require.Equal(t, map[string]string{"1.png": "a", fmt.Sprintf("damaged-at-byte-%d", second): "bad", "3.png": "b"}, labels(t, src))
}

func TestTarIndexIsKept(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	picture := picturesOf(t, 1)[0]
	var e []entry
	for i := range indexLeast {
		e = append(e, entry{fmt.Sprintf("%d/%04d.png", i%3, i), picture})
	}
	path := filepath.Join(writeFiles(t, map[string][]byte{"x.tar": tarFile(t, e...)}), "x.tar")
	open := func() []member {
		f, err := os.Open(path)
		require.NoError(t, err)
		defer f.Close()
		members, err := cachedIndex(f)
		require.NoError(t, err)
		return members
	}
	want := open()
	require.Len(t, want, indexLeast)
	cache := indexPath(path)
	data, err := os.ReadFile(cache)
	if os.IsNotExist(err) {
		t.Skip("this system's cache folder is not set by XDG_CACHE_HOME")
	}
	require.NoError(t, err)
	require.Less(t, len(data), 20*indexLeast)
	require.Equal(t, want, open())
	// Damaged, it is made again; and so it is for a changed archive.
	data[len(data)/2] ^= 1
	require.NoError(t, os.WriteFile(cache, data, 0o644))
	require.Equal(t, want, open())
	e[0].name = "9/0000.png"
	require.NoError(t, os.WriteFile(path, tarFile(t, e...), 0o644))
	require.NoError(t, os.Chtimes(path, time.Now(), time.Now().Add(time.Hour)))
	require.Equal(t, "9/0000.png", open()[0].path)
}

func FuzzTarIndex(f *testing.F) {
	key := indexMagic + "1 2\n"
	good := encodeIndex([]member{{path: "a/1.png", offset: 512, size: 3}, {path: "a/1.cls", offset: 9, text: "7", damage: "d"}}, key)
	f.Add(good[len(key) : len(good)-4])
	f.Fuzz(func(t *testing.T, body []byte) {
		data := append([]byte(key), body...)
		data = binary.LittleEndian.AppendUint32(data, crc32.Checksum(data, castagnoli))
		members, err := decodeIndex(data, key, 1<<20)
		if err != nil {
			return
		}
		again, err := decodeIndex(encodeIndex(members, key), key, 1<<20)
		require.NoError(t, err)
		require.Equal(t, members, again)
	})
}

func FuzzScanTar(f *testing.F) {
	p := picturesOf(f, 2)
	f.Add(tarFile(f, entry{"n1.tar", tarFile(f, entry{"a.png", p[0]})}, entry{"b.png", p[1]}, entry{"b.cls", []byte("3")}))
	f.Fuzz(func(t *testing.T, data []byte) {
		members, err := indexTar(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		for _, m := range members {
			require.True(t, m.offset >= 0 && m.size >= 0 && m.offset+m.size <= int64(len(data)), "%+v", m)
		}
	})
}

func FuzzBraces(f *testing.F) {
	f.Add("x-{000..146}.tar")
	f.Add("{a,{b,c}d}{1..2}")
	f.Fuzz(func(t *testing.T, pattern string) {
		all, err := expandBraces(pattern)
		if err == nil {
			require.NotEmpty(t, all)
			require.LessOrEqual(t, len(all), maxShards)
		}
	})
}

func FuzzMeta(f *testing.F) {
	f.Add(matFile(false, "n00000001", "n00000002"))
	f.Add(matFile(true, "n00000001"))
	f.Fuzz(func(t *testing.T, data []byte) {
		ids, err := parseMeta(data)
		if err == nil {
			require.NotEmpty(t, ids)
		}
	})
}
