package loader

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func listOf(t *testing.T, files map[string]string, pictures ...string) string {
	all := map[string][]byte{}
	for name, text := range files {
		all[name] = []byte(text)
	}
	for _, p := range pictures {
		all[p] = pngBytes(t, testImage(3, 3, 1))
	}
	return writeFiles(t, all)
}

func TestListFile(t *testing.T) {
	root := listOf(t, map[string]string{"set.lst": "\ufeffa b/1 2.png 3\r\n\r\n  2.png\t0  \r\n\n"}, "a b/1 2.png", "2.png")
	src, err := OpenSource(filepath.Join(root, "set.lst"), "train")
	require.NoError(t, err)
	require.Equal(t, []string{"0", "1", "2", "3"}, src.Classes())
	require.Equal(t, map[string]string{"a b/1 2.png": "3", "2.png": "0"}, contents(t, src, root))
	_, err = OpenSource(filepath.Join(root, "set.lst"), "val")
	require.ErrorIs(t, err, ErrNoSplit)
}

func TestListFileWithNames(t *testing.T) {
	root := listOf(t, map[string]string{"train.txt": "x/1.png dog\nx/2.png cat\nx/1.png dog\n", "val.txt": "x/2.png dog"}, "x/1.png", "x/2.png")
	train, err := OpenSource(root, "train")
	require.NoError(t, err)
	require.Equal(t, []string{"cat", "dog"}, train.Classes())
	require.Equal(t, 3, train.Len())
	require.Equal(t, 1, train.Label(0))
	val, err := OpenSource(root, "val")
	require.NoError(t, err)
	require.Equal(t, []string{"cat", "dog"}, val.Classes())
	require.Equal(t, 1, val.Label(0))
}

// Where there is a tab, names may have spaces.
func TestListFileWithTabs(t *testing.T) {
	root := listOf(t, map[string]string{"set.tsv": "a b.png\tbig cat\r\n2.png\tdog\r\n"}, "a b.png", "2.png")
	src, err := OpenSource(filepath.Join(root, "set.tsv"), "train")
	require.NoError(t, err)
	require.Equal(t, map[string]string{"a b.png": "big cat", "2.png": "dog"}, contents(t, src, root))
}

func TestListErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":                         "names no pictures",
		"1.png 0\nlonely":          "line 2, \"lonely\", has no label",
		"1.png 0\n\n1.png cat":     "line 3 has the label \"cat\"",
		"1.png -1":                 "line 1 has the label -1",
		"1.png 1000000":            "between 0 and 999999",
		"2.png 0":                  "paths are taken from the folder of the list",
		"1.png 0\n1.png\x00 1 2 3": "zero byte",
		"1.png 0\r1.png 0\r":       "carriage return",
		"1.png\t\tcat":             "line 1, \"1.png\\t\\tcat\", has no label",
	} {
		root := listOf(t, map[string]string{"train.txt": text}, "1.png")
		_, err := OpenSource(root, "train")
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, filepath.Join(root, "train.txt"))
	}
	root := listOf(t, map[string]string{"train.txt": "1.png 1", "val.txt": "1.png 2"}, "1.png")
	_, err := OpenSource(root, "val")
	require.ErrorContains(t, err, "between 0 and 1")
	root = listOf(t, map[string]string{"train.txt": "1.png a", "test.txt": "1.png b"}, "1.png")
	_, err = OpenSource(root, "val")
	require.ErrorContains(t, err, "1 classes that the 1 training classes do not include: b")
	root = listOf(t, map[string]string{"train.txt": "1.png a"}, "1.png")
	_, err = OpenSource(root, "val")
	require.ErrorIs(t, err, ErrNoSplit)
}

func FuzzList(f *testing.F) {
	for _, s := range []string{"a.png 1\nb c.png 2\n", "\ufeffx cat\r\n\r\ny dog", "a", " 1", "a  b", "a 99999999999999999999", "0 \r0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		lines, err := parseList(strings.NewReader(text))
		if err != nil {
			return
		}
		require.NotEmpty(t, lines)
		for _, l := range lines {
			require.NotEmpty(t, l.path)
			require.NotEmpty(t, l.label)
			require.False(t, strings.ContainsAny(l.label, "\t\r\n"))
		}
		set, err := labelList(lines, nil)
		if err != nil {
			return
		}
		require.Equal(t, len(lines), set.Len())
		for i := range set.Len() {
			require.Less(t, set.Label(i), len(set.Classes()))
			require.GreaterOrEqual(t, set.Label(i), 0)
		}
	})
}
