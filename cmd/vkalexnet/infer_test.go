package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Links are followed, to folders as well; one that leads nowhere and a circle of
// them are named and do not keep the others from being done.
func TestFolderWithLinks(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "photos", "below"), 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "elsewhere"), 0o755))
	for _, name := range []string{"photos/a.png", "photos/below/b.png", "elsewhere/c.png", "photos/notes.txt", "photos/.hidden.png"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o644))
	}
	link := func(to, name string) {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Skipf("no symbolic links here: %v", err)
		}
	}
	link("../elsewhere", "photos/linked")
	link("nowhere.png", "photos/dangling.png")
	link("photos", "link")
	names := func(folder string) []string {
		p, err := collect(nil, []string{filepath.Join(dir, folder)})
		require.NoError(t, err)
		for i, name := range p.names {
			p.names[i] = filepath.ToSlash(name[len(dir)+1:])
		}
		return p.names
	}
	require.Equal(t, []string{"photos/a.png", "photos/dangling.png", "photos/below/b.png", "photos/linked/c.png"}, names("photos"))
	require.Equal(t, []string{"link/a.png", "link/dangling.png", "link/below/b.png", "link/linked/c.png"}, names("link"))

	link(".", "elsewhere/circle")
	p, err := collect(nil, []string{filepath.Join(dir, "elsewhere")})
	require.NoError(t, err)
	_, err = p.Open(p.Len() - 1)
	require.ErrorContains(t, err, "circle of symbolic links")

	var missing pictures
	require.ErrorIs(t, missing.addFolder(filepath.Join(dir, "missing")), fs.ErrNotExist)
}

// A name can hold what would break lines or command a terminal.
func TestVisible(t *testing.T) {
	for name, want := range map[string]string{
		"with space.jpg": "with space.jpg", "ünïcode 猫.jpg": "ünïcode 猫.jpg",
		"new\nline.jpg": `"new\nline.jpg"`, "red\x1b[31m.jpg": `"red\x1b[31m.jpg"`,
	} {
		require.Equal(t, want, visible(name))
		var b bytes.Buffer
		require.NoError(t, newPredictionWriter(&b, "text", false).write(prediction{File: name, Error: name}))
		require.Equal(t, want+"\n  error: "+want+"\n", b.String())
	}
}

// What is interrupted before its first picture is an array all the same.
func TestNoPredictionsAreJSON(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, newPredictionWriter(&b, "json", false).close())
	require.Equal(t, "[]\n", b.String())
}
