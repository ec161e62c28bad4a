package loader

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// tarOf packs pictures of the given paths; the bytes of each are its own.
func tarOf(t testing.TB, paths ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i, p := range paths {
		if strings.HasSuffix(p, "/") {
			require.NoError(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: p, Mode: 0o755}))
			continue
		}
		data := pngBytes(t, testImage(3+i, 4, uint64(i)))
		require.NoError(t, w.WriteHeader(&tar.Header{Name: p, Mode: 0o644, Size: int64(len(data))}))
		_, err := w.Write(data)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

func gzipOf(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(data)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

func TestTarLayouts(t *testing.T) {
	long := "train/" + strings.Repeat("long", 40) + "/2.png" // needs a PAX header
	for name, c := range map[string]struct {
		paths   []string
		split   string
		want    map[string]string // path to class
		classes []string
	}{
		"splits, train": {[]string{"train/", "train/b/1.png", "train/a/x/2.png", "test/a/3.png", "readme.txt"}, "train",
			map[string]string{"train/b/1.png": "b", "train/a/x/2.png": "a"}, []string{"a", "b"}},
		"splits, val": {[]string{"train/b/1.png", "train/a/2.png", "test/b/3.png", "train/.x/4.png"}, "val",
			map[string]string{"test/b/3.png": "b"}, []string{"a", "b"}},
		"leading folder": {[]string{"./set/val/a/3.png", "./set/train/b/1.png", "./set/train/a/._1.png", "./set/train/a/2.png"}, "train",
			map[string]string{"set/train/b/1.png": "b", "set/train/a/2.png": "a"}, []string{"a", "b"}},
		"one set": {[]string{"set/b/1.png", "set/a/2.png", "set/loose.png"}, "train",
			map[string]string{"set/b/1.png": "b", "set/a/2.png": "a"}, []string{"a", "b"}},
		"flat": {[]string{"set/n00000002_x.JPEG", "set/n00000001_y.JPEG"}, "train",
			map[string]string{"set/n00000002_x.JPEG": "n00000002", "set/n00000001_y.JPEG": "n00000001"}, []string{"n00000001", "n00000002"}},
		"long name": {[]string{"train/a/1.png", long}, "train",
			map[string]string{"train/a/1.png": "a", long: strings.Repeat("long", 40)}, []string{"a", strings.Repeat("long", 40)}},
	} {
		for _, pack := range []struct {
			file string
			data []byte
		}{{"set.tar", tarOf(t, c.paths...)}, {"set.tar.gz", gzipOf(t, tarOf(t, c.paths...))}} {
			t.Run(name+" "+pack.file, func(t *testing.T) {
				path := filepath.Join(writeFiles(t, map[string][]byte{pack.file: pack.data}), pack.file)
				src, err := OpenSource(path, c.split)
				require.NoError(t, err)
				defer src.(io.Closer).Close()
				require.Equal(t, c.classes, src.Classes())
				got := map[string]string{}
				for i := range src.Len() {
					name := strings.TrimPrefix(src.Name(i), path+"/")
					got[name] = src.Classes()[src.Label(i)]
					img, err := src.Open(i)
					require.NoError(t, err)
					for k, p := range c.paths {
						if strings.TrimPrefix(p, "./") == name {
							require.Equal(t, 3+k, img.Bounds().Dx(), "the bytes of another member")
						}
					}
				}
				require.Equal(t, c.want, got)
			})
		}
	}
}

func TestTarErrors(t *testing.T) {
	whole := tarOf(t, "train/a/1.png", "train/b/2.png")
	for name, c := range map[string]struct {
		data  []byte
		split string
		want  string
	}{
		"cut":           {whole[:1024+200], "train", "is the file complete"},
		"cut gzip":      {gzipOf(t, whole)[:200], "train", "is the file complete"},
		"none":          {tarOf(t, "x.txt"), "train", "holds no pictures"},
		"no classes":    {tarOf(t, "d/1.png", "d/2.png"), "train", "no classes"},
		"only val":      {tarOf(t, "val/a/1.png"), "train", "no train/"},
		"other classes": {tarOf(t, "train/a/1.png", "val/z/2.png"), "val", "z"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(writeFiles(t, map[string][]byte{"set.tar": c.data}), "set.tar")
			_, err := OpenSource(path, c.split)
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, path)
		})
	}
	path := filepath.Join(writeFiles(t, map[string][]byte{"set.tar": whole}), "set.tar")
	_, err := OpenSource(path, "val")
	require.ErrorIs(t, err, ErrNoSplit)
}

func TestTarOfBadPicture(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	require.NoError(t, w.WriteHeader(&tar.Header{Name: "train/a/1.png", Mode: 0o644}))
	require.NoError(t, w.Close())
	path := filepath.Join(t.TempDir(), "set.tar")
	require.NoError(t, os.WriteFile(path, b.Bytes(), 0o644))
	src, err := OpenSource(path, "train")
	require.NoError(t, err)
	defer src.(io.Closer).Close()
	_, err = src.Open(0)
	require.ErrorContains(t, err, path+"/train/a/1.png: the file is empty")
}

func TestImageNetSamples(t *testing.T) {
	src, err := OpenSource(sharedData(t, "imagenet-samples.tar"), "train")
	require.NoError(t, err)
	defer src.(io.Closer).Close()
	require.Equal(t, 100, src.Len())
	require.Len(t, src.Classes(), 100)
	stored := make([]byte, 64*64*3)
	for i := range src.Len() {
		require.Equal(t, i, src.Label(i), "one picture of each class")
		img, err := src.Open(i)
		require.NoError(t, err)
		require.NoError(t, Store(stored, img, 64, "short"))
	}
	_, err = OpenSource(sharedData(t, "imagenet-samples.tar"), "val")
	require.ErrorIs(t, err, ErrNoSplit)
}

func TestCIFAR10OfJPEGs(t *testing.T) {
	for split, n := range map[string]int{"train": 50000, "val": 10000} {
		src, err := OpenSource(sharedData(t, "cifar10-jpeg.tar.gz"), split)
		require.NoError(t, err)
		require.Equal(t, n, src.Len())
		require.Equal(t, cifar10Names, src.Classes())
		perClass := make([]int, 10)
		for i := range n {
			perClass[src.Label(i)]++
		}
		for _, k := range perClass {
			require.Equal(t, n/10, k)
		}
		img, err := src.Open(n / 2)
		require.NoError(t, err)
		require.Equal(t, 32, img.Bounds().Dx())
	}
}

func FuzzTar(f *testing.F) {
	whole := tarOf(f, "train/a/1.png", "train/", "val/b/2.png")
	f.Add(whole)
	f.Add(whole[:700])
	f.Add(tarOf(f, strings.Repeat("d/", 80)+"n00000001_x.JPEG"))
	f.Fuzz(func(t *testing.T, data []byte) {
		members, err := indexTar(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		for _, m := range members {
			require.True(t, m.offset >= 0 && m.size >= 0 && m.offset+m.size <= int64(len(data)))
			require.False(t, strings.HasPrefix(m.path, "/") || strings.Contains("/"+m.path+"/", "/../"), m.path)
		}
		a := &archive{members: members}
		if a.choose("train") != nil {
			return
		}
		for i := range a.Len() {
			require.Less(t, a.Label(i), len(a.Classes()))
		}
	})
}
