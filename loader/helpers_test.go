package loader

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"image/png"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// sharedData returns the path of a file of the shared test data, which lies
// beside the module's root, or skips the test.
func sharedData(t testing.TB, name string) string {
	t.Helper()
	dir, err := os.Getwd()
	require.NoError(t, err)
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		parent := filepath.Dir(dir)
		require.NotEqual(t, parent, dir, "no go.mod above the test's folder")
		dir = parent
	}
	path := filepath.Join(dir, "..", "shared", "data", name)
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("needs the shared test data: %s not found", path)
		}
		t.Skipf("needs the shared test data: %s not found", path)
	}
	return path
}

// testImage is a picture of smooth colour waves with a little noise.
func testImage(w, h int, seed uint64) *image.RGBA {
	r := rand.New(rand.NewPCG(seed, 1))
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			img.SetRGBA(x, y, color.RGBA{
				uint8(x*200/w + r.IntN(30)), uint8(y*200/h + r.IntN(30)), uint8((x+y)*200/(w+h) + r.IntN(30)), 255})
		}
	}
	return img
}

func pngBytes(t testing.TB, img image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, png.Encode(&b, img))
	return b.Bytes()
}

// writeFiles writes files below a new folder; keys are slash-separated paths.
func writeFiles(t testing.TB, files map[string][]byte) string {
	t.Helper()
	root := t.TempDir()
	for name, data := range files {
		path := filepath.Join(root, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, data, 0o644))
	}
	return root
}

// memorySource holds n different pictures; those in bad cannot be read.
type memorySource struct {
	n, side int
	bad     map[int]bool
	opened  atomic.Int64
}

var errBadPicture = errors.New("made bad for the test")

func (m *memorySource) Len() int          { return m.n }
func (m *memorySource) Classes() []string { return []string{"even", "odd"} }
func (m *memorySource) Label(i int) int   { return i % 2 }
func (m *memorySource) Name(i int) string { return "memory" }
func (m *memorySource) Open(i int) (image.Image, error) {
	m.opened.Add(1)
	if m.bad[i] {
		return nil, errBadPicture
	}
	return testImage(m.side, m.side, uint64(i)), nil
}
