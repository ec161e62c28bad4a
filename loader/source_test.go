package loader

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOpenSourceRefuses(t *testing.T) {
	dir := writeFiles(t, map[string][]byte{"binary.dat": {1, 0, 2}})
	for path, want := range map[string]string{
		filepath.Join(dir, "absent"):     "no such file",
		filepath.Join(dir, "binary.dat"): "neither a .tar",
		"synthetic:0":                    "between 1 and",
		"synthetic:many":                 "\"many\"",
	} {
		_, err := OpenSource(path, "train")
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, path)
	}
	_, err := OpenSource(dir, "validation")
	require.ErrorContains(t, err, `"train" or "val"`)
}

func TestIsPicture(t *testing.T) {
	for name, want := range map[string]bool{
		"a.JPEG": true, "dir/b.png": true, "c.TiF": true, "d.webp": true, "e.jfif": true, "g.heic": true, "h.AVIF": true,
		".hidden.png": false, "._e.jpg": false, "f.txt": false, "jpg": false,
	} {
		require.Equal(t, want, isPicture(name), name)
	}
}

func TestWNID(t *testing.T) {
	for name, want := range map[string]string{
		"n01440764_10026.JPEG": "n01440764", "d/n01440764_tench.JPEG": "n01440764",
		"n0144076_1.JPEG": "", "x01440764_1.JPEG": "", "n0144076a_1.JPEG": "", "n01440764.JPEG": "", "cat_1.jpg": "",
	} {
		require.Equal(t, want, wnidOf(name), name)
	}
}

func TestSplitIsStratifiedAndDeterministic(t *testing.T) {
	src := Synthetic(200, 1)
	train, val := Split(src, 0.1, 7)
	require.Equal(t, 180, train.Len())
	require.Equal(t, 20, val.Len())
	require.Equal(t, src.Classes(), val.Classes())

	perClass := map[int]int{}
	seen := map[string]bool{}
	for i := range val.Len() {
		perClass[val.Label(i)]++
		seen[val.Name(i)] = true
	}
	for class := range 10 {
		require.Equal(t, 2, perClass[class])
	}
	for i := range train.Len() {
		require.False(t, seen[train.Name(i)], "in both parts")
		seen[train.Name(i)] = true
	}
	require.Len(t, seen, 200)

	names := func(s Source) (all []string) {
		for i := range s.Len() {
			all = append(all, s.Name(i))
		}
		return all
	}
	_, again := Split(src, 0.1, 7)
	require.Equal(t, names(val), names(again))
	_, other := Split(src, 0.1, 8)
	require.NotEqual(t, names(val), names(other))
}

func TestSplitSmallClasses(t *testing.T) {
	train, val := Split(Synthetic(25, 1), 0.1, 1) // 2 or 3 of each
	require.Equal(t, 10, val.Len(), "one of each class")
	require.Equal(t, 15, train.Len())
	train, val = Split(Synthetic(10, 1), 0.1, 1)
	require.Equal(t, 0, val.Len(), "a lone picture is for training")
	require.Equal(t, 10, train.Len())
	_, val = Split(Synthetic(20, 1), 1, 1)
	require.Equal(t, 10, val.Len(), "training keeps one of each")
	_, val = Split(Synthetic(20, 1), 0, 1)
	require.Equal(t, 0, val.Len())
}

func TestSubset(t *testing.T) {
	src := Synthetic(20, 1)
	s := Subset(src, []int{13, 2})
	require.Equal(t, 2, s.Len())
	require.Equal(t, 3, s.Label(0))
	require.Equal(t, src.Name(2), s.Name(1))
	want, err := src.Open(13)
	require.NoError(t, err)
	got, err := s.Open(0)
	require.NoError(t, err)
	require.Equal(t, want, got)
}
