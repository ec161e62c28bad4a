package loader

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// folderOf writes pictures of the given paths.
func folderOf(t *testing.T, paths ...string) string {
	t.Helper()
	data := pngBytes(t, testImage(5, 4, 1))
	files := map[string][]byte{}
	for _, p := range paths {
		files[p] = data
	}
	return writeFiles(t, files)
}

// contents maps each picture's path below root to its class.
func contents(t *testing.T, src Source, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for i := range src.Len() {
		rel, err := filepath.Rel(root, src.Name(i))
		require.NoError(t, err)
		all[filepath.ToSlash(rel)] = src.Classes()[src.Label(i)]
		_, err = src.Open(i)
		require.NoError(t, err)
	}
	return all
}

func TestFolderWithSplits(t *testing.T) {
	root := folderOf(t, "train/dog/1.png", "train/cat/2.PNG", "train/cat/more/3.png", "train/.hidden/4.png",
		"train/cat/.5.png", "test/dog/6.png", "notes/7.png")
	require.NoError(t, os.WriteFile(filepath.Join(root, "train", "cat", "notes.txt"), nil, 0o644))
	train, err := OpenSource(root, "train")
	require.NoError(t, err)
	require.Equal(t, []string{"cat", "dog"}, train.Classes())
	require.Equal(t, map[string]string{"train/dog/1.png": "dog", "train/cat/2.PNG": "cat", "train/cat/more/3.png": "cat"},
		contents(t, train, root))

	val, err := OpenSource(root, "val")
	require.NoError(t, err)
	require.Equal(t, []string{"cat", "dog"}, val.Classes(), "training's classes, though val has one of them")
	require.Equal(t, map[string]string{"test/dog/6.png": "dog"}, contents(t, val, root))
}

func TestFolderPrefersVal(t *testing.T) {
	root := folderOf(t, "train/a/1.png", "test/a/2.png", "validation/a/3.png", "val/a/4.png")
	val, err := OpenSource(root, "val")
	require.NoError(t, err)
	require.Equal(t, map[string]string{"val/a/4.png": "a"}, contents(t, val, root))
}

func TestFolderWithoutSplits(t *testing.T) {
	root := folderOf(t, "b/1.png", "a/2.png", "test/3.png")
	src, err := OpenSource(root, "train")
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b", "test"}, src.Classes(), "test is a class among others")
	_, err = OpenSource(root, "val")
	require.ErrorIs(t, err, ErrNoSplit)

	root = folderOf(t, "train/a/1.png")
	_, err = OpenSource(root, "val")
	require.ErrorIs(t, err, ErrNoSplit)
}

func TestFolderOfWNIDNames(t *testing.T) {
	root := folderOf(t, "n02084071_dog.JPEG", "n01440764_1.JPEG", "n01440764_2.JPEG")
	src, err := OpenSource(root, "train")
	require.NoError(t, err)
	require.Equal(t, []string{"n01440764", "n02084071"}, src.Classes())
	require.Equal(t, map[string]string{"n02084071_dog.JPEG": "n02084071", "n01440764_1.JPEG": "n01440764", "n01440764_2.JPEG": "n01440764"},
		contents(t, src, root))
}

func TestFolderFollowsSymbolicLinks(t *testing.T) {
	root := folderOf(t, "train/a/1.png", "elsewhere/b/2.png", "elsewhere/3.png")
	require.NoError(t, os.Symlink(filepath.Join(root, "elsewhere", "b"), filepath.Join(root, "train", "b")))
	require.NoError(t, os.Symlink(filepath.Join(root, "elsewhere", "3.png"), filepath.Join(root, "train", "a", "3.png")))
	src, err := OpenSource(root, "train")
	require.NoError(t, err)
	require.Equal(t, map[string]string{"train/a/1.png": "a", "train/a/3.png": "a", "train/b/2.png": "b"}, contents(t, src, root))

	require.NoError(t, os.Symlink(filepath.Join(root, "train"), filepath.Join(root, "train", "a", "circle")))
	_, err = OpenSource(root, "train")
	require.ErrorContains(t, err, "circle of symbolic links")

	require.NoError(t, os.Remove(filepath.Join(root, "train", "a", "circle")))
	require.NoError(t, os.Symlink("nowhere", filepath.Join(root, "train", "c")))
	_, err = OpenSource(root, "train")
	require.ErrorContains(t, err, "symbolic link")

	// One that is named as a picture is a picture that cannot be read; a pipe is none.
	require.NoError(t, os.Remove(filepath.Join(root, "train", "c")))
	require.NoError(t, os.Symlink("nowhere", filepath.Join(root, "train", "a", "4.png")))
	if mkfifo, err := exec.LookPath("mkfifo"); err == nil {
		require.NoError(t, exec.Command(mkfifo, filepath.Join(root, "train", "a", "5.png")).Run())
	}
	src, err = OpenSource(root, "train")
	require.NoError(t, err)
	require.Equal(t, 4, src.Len())
	require.Equal(t, filepath.Join(root, "train", "a", "4.png"), src.Name(2))
	_, err = src.Open(2)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestFolderErrors(t *testing.T) {
	for name, c := range map[string]struct {
		paths []string
		split string
		want  []string
	}{
		"nothing":       {[]string{"x.txt"}, "train", []string{"no class folders and no pictures", "train/<class>/"}},
		"no classes":    {[]string{"train/1.png", "train/2.png"}, "train", []string{"no classes", "2 pictures", "1.png"}},
		"empty class":   {[]string{"train/a/1.png", "train/b/x.txt"}, "train", []string{"1 of 2 class folders", "b"}},
		"all empty":     {[]string{"train/a/x.txt", "train/b/x.txt"}, "train", []string{"no pictures", ".jpg", "a, b"}},
		"only val":      {[]string{"val/a/1.png"}, "train", []string{"val/ but no train/"}},
		"other classes": {[]string{"train/a/1.png", "val/a/2.png", "val/b/3.png", "val/c/4.png"}, "val", []string{"2 classes", "b, c"}},
	} {
		t.Run(name, func(t *testing.T) {
			root := folderOf(t, c.paths...)
			_, err := OpenSource(root, c.split)
			for _, want := range append(c.want, root) {
				require.ErrorContains(t, err, want)
			}
		})
	}
}
