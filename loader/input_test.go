package loader

import (
	"bytes"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/stretchr/testify/require"
)

func TestInputDefaults(t *testing.T) {
	in := Input{Size: 227}.WithDefaults()
	require.Equal(t, Input{Size: 227, Stored: 227, Resize: "short", Order: "RGB",
		Mean: []float32{0, 0, 0}, Std: []float32{1, 1, 1}, Augment: Augment{Crop: "centre", Colour: "none"}}, in)
	require.NoError(t, in.Check())
	require.NoError(t, Input{Size: 227}.Check())

	a := Input{Size: 8, Augment: Augment{Crop: "resized", Colour: "jitter+pca"}}.WithDefaults().Augment
	require.Equal(t, Augment{Crop: "resized", MinArea: 0.08, MaxAspect: 4.0 / 3, Colour: "jitter+pca", PCA: 0.1,
		Brightness: 0.4, Contrast: 0.4, Saturation: 0.4}, a)
	a = Input{Size: 8, Augment: Augment{Colour: "jitter", Hue: 0.1}}.WithDefaults().Augment
	require.Zero(t, a.Brightness, "a chosen jitter is the only one")
}

func TestInputCheckNamesTheKey(t *testing.T) {
	good := Input{Size: 24, Stored: 32}
	for key, spoil := range map[string]func(*Input){
		"input.size is 0":            func(in *Input) { in.Size = 0 },
		"input.stored is -1":         func(in *Input) { in.Stored = -1 },
		"input.size 33 does not fit": func(in *Input) { in.Size = 33 },
		"input.resize":               func(in *Input) { in.Resize = "stretch" },
		"input.order":                func(in *Input) { in.Order = "GRB" },
		"input.mean has 1 values":    func(in *Input) { in.Mean = []float32{1} },
		"input.std has 2 values":     func(in *Input) { in.Std = []float32{1, 1} },
		"input.std holds 0":          func(in *Input) { in.Std = []float32{1, 0, 1} },
		"input.augment.crop":         func(in *Input) { in.Augment.Crop = "left" },
		"input.augment.pad is -1":    func(in *Input) { in.Augment.Pad = -1 },
		"input.augment.colour":       func(in *Input) { in.Augment.Colour = "sepia" },
		"input.augment.hue is 0.6":   func(in *Input) { in.Augment.Hue = 0.6 },
		"input.augment.min_area":     func(in *Input) { in.Augment.MinArea = 2 },
		"input.augment.max_aspect":   func(in *Input) { in.Augment.MaxAspect = 0.5 },
	} {
		in := good
		require.NoError(t, in.Check())
		spoil(&in)
		require.ErrorContains(t, in.Check(), key)
	}
	require.NoError(t, Input{Size: 36, Stored: 32, Augment: Augment{Pad: 2}}.Check(), "a border makes room")
}

func TestInputTOMLRoundTrip(t *testing.T) {
	for _, in := range []Input{
		{Size: 227, Stored: 256, Resize: "warp", Order: "BGR", Mean: []float32{104, 117, 123},
			Augment: Augment{Crop: "random", Flip: true, Colour: "pca"}},
		{Size: 32, Augment: Augment{Crop: "random", Pad: 4, Vertical: true, Rotate90: true, Colour: "jitter", Hue: 0.1}},
		{Size: 64},
	} {
		var b bytes.Buffer
		require.NoError(t, toml.NewEncoder(&b).Encode(in))
		var back Input
		meta, err := toml.Decode(b.String(), &back)
		require.NoError(t, err)
		require.Empty(t, meta.Undecoded())
		require.Equal(t, in, back, b.String())
	}
}

func TestProtocol(t *testing.T) {
	in := Input{Size: 227, Stored: 256, Resize: "warp", Order: "BGR", Mean: []float32{104, 117, 123}}
	require.Equal(t, "warped to 256×256 (antialiased bilinear), centre crop 227, BGR, mean 104/117/123, std 1/1/1", in.Protocol(1))
	require.Contains(t, in.Protocol(10), "10 crops of 227, probabilities averaged")
}
