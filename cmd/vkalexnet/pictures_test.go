package main

import (
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"vkalexnet/weights"
)

// A kernel's lowest value is black and its highest white in its own channel.
func TestFilterPicture(t *testing.T) {
	weight := weights.Tensor{Name: "conv1.weight", Shape: []int{2, 3, 1, 2}, Data: []float32{
		-1, 3, 1, -1, -1, 1, // red -1 3, green 1 -1, blue -1 1
		5, 5, 5, 5, 5, 5,
	}}
	corners := func(bgr bool) (left, right, second color.Color) {
		picture, err := filterPicture(weight, bgr)
		require.NoError(t, err)
		require.Equal(t, image.Rect(0, 0, 2*46+2, 24+2), picture.Bounds())
		require.Equal(t, color.RGBA{255, 255, 255, 255}, picture.At(1, 1), "the gap between tiles")
		return picture.At(2, 2), picture.At(2+43, 2+21), picture.At(2+46, 2)
	}
	left, right, second := corners(false)
	require.Equal(t, color.RGBA{0, 127, 0, 255}, left)
	require.Equal(t, color.RGBA{255, 0, 127, 255}, right)
	require.Equal(t, color.RGBA{0, 0, 0, 255}, second, "all the same value")
	left, right, _ = corners(true)
	require.Equal(t, color.RGBA{0, 127, 0, 255}, left)
	require.Equal(t, color.RGBA{127, 0, 255, 255}, right)

	_, err := filterPicture(weights.Tensor{Name: "fc8.weight", Shape: []int{2, 3}}, false)
	require.ErrorContains(t, err, "fc8.weight")
}

// The curves of a run that was killed in the middle of a line are drawn, and
// so are those of one that has no validation set or has just begun.
func TestDrawCurves(t *testing.T) {
	whole := `{"kind":"step","step":1,"loss":2.5}
{"kind":"step","step":2,"loss":2.0}
{"kind":"epoch","step":2,"train_loss":2.2,"val_loss":2.1,"val_top1":0.5,"val_top5":0.9}
`
	for name, text := range map[string]string{
		"whole": whole, "cut": whole + `{"kind":"step","st`, "empty": "",
		"no validation": "{\"kind\":\"step\",\"step\":1,\"loss\":2.5}\n{\"kind\":\"epoch\",\"step\":1,\"train_loss\":2.5}\n",
	} {
		folder := t.TempDir()
		metrics, path := filepath.Join(folder, "metrics.jsonl"), filepath.Join(folder, "loss.png")
		require.NoError(t, os.WriteFile(metrics, []byte(text), 0o644))
		require.NoError(t, drawCurves(metrics, path), name)
		f, err := os.Open(path)
		require.NoError(t, err)
		picture, err := png.Decode(f)
		require.NoError(t, f.Close())
		require.NoError(t, err, name)
		inked := 0
		for y := range picture.Bounds().Dy() {
			for x := range picture.Bounds().Dx() {
				if r, g, b, _ := picture.At(x, y).RGBA(); b > r+0x4000 && b > g+0x4000 {
					inked++ // the blue of the training curve
				}
			}
		}
		require.Equal(t, text != "", inked > 20, "%s: %d blue pixels", name, inked)
	}
}
