package loader

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Input says how pictures become the network's input: the [input] table of a
// network file. The network sees [3, Size, Size] float32 values
// (channel - Mean) / Std, the channels in the given order on the scale 0..255.
type Input struct {
	// Size is the side of the network's input in pixels.
	Size int `toml:"size"`
	// Stored is the side of the square picture that crops are cut from; Size
	// when 0.
	Stored int `toml:"stored,omitzero"`
	// Resize is how a picture becomes Stored×Stored: "short" (the default)
	// scales its short side to Stored and keeps the centre, "warp" scales both
	// sides, "letterbox" scales the long side and leaves black bars; "opencv"
	// scales both sides and makes each pixel of four, whatever the scale, as
	// OpenCV's cv::resize does, with which Caffe's tools prepare pictures.
	Resize string `toml:"resize,omitempty"`
	// Order is the channels' order, "RGB" (the default) or "BGR".
	Order string `toml:"order,omitempty"`
	// Mean and Std hold three values each, in Order; zeros and ones when empty.
	Mean []float32 `toml:"mean,omitempty"`
	Std  []float32 `toml:"std,omitempty"`
	// Augment is what training does to each picture.
	Augment Augment `toml:"augment,omitempty"`
}

// Augment is the [input.augment] table. Its zero value augments nothing.
type Augment struct {
	// Crop is "centre" (the default), "random" (any whole-pixel position) or
	// "resized" (a part of random area and aspect, scaled to Size, as
	// torchvision's RandomResizedCrop).
	Crop string `toml:"crop,omitempty"`
	// Pad is a border of stored pixels around the picture that random crops may
	// reach into; it becomes 0 after the mean is subtracted.
	Pad int `toml:"pad,omitzero"`
	// MinArea is the smallest part of the area that "resized" keeps (0.08 when
	// 0); MaxAspect the largest ratio of its sides (4/3 when 0).
	MinArea   float32 `toml:"min_area,omitzero"`
	MaxAspect float32 `toml:"max_aspect,omitzero"`
	// Flip mirrors half of the pictures left to right, Vertical half of them
	// top to bottom; Rotate90 turns each by a random number of quarter turns.
	Flip     bool `toml:"flip,omitempty"`
	Vertical bool `toml:"vertical,omitempty"`
	Rotate90 bool `toml:"rotate90,omitempty"`
	// Colour is "none" (the default), "pca" (noise along the principal
	// components of ImageNet's colours), "jitter", or "jitter+pca".
	Colour string `toml:"colour,omitempty"`
	// PCA is the noise's size in standard deviations of the colours; 0.1 when 0.
	PCA float32 `toml:"pca,omitzero"`
	// Brightness, Contrast and Saturation are ranges of jitter: a factor is
	// drawn from [1-x, 1+x]. Hue is a range in turns, at most 0.5. When all are
	// 0, the first three are 0.4.
	Brightness float32 `toml:"brightness,omitzero"`
	Contrast   float32 `toml:"contrast,omitzero"`
	Saturation float32 `toml:"saturation,omitzero"`
	Hue        float32 `toml:"hue,omitzero"`
}

// resizeModes are the words of Input.Resize.
var resizeModes = []string{"warp", "short", "letterbox", "opencv"}

// maxSide bounds Size and Stored: a picture of 8192×8192 takes 192 MiB.
const maxSide = 8192

// WithDefaults returns the input with every absent value filled in.
func (in Input) WithDefaults() Input {
	setDefault(&in.Stored, in.Size)
	setDefault(&in.Resize, "short")
	setDefault(&in.Order, "RGB")
	if len(in.Mean) == 0 {
		in.Mean = []float32{0, 0, 0}
	}
	if len(in.Std) == 0 {
		in.Std = []float32{1, 1, 1}
	}
	a := &in.Augment
	setDefault(&a.Crop, "centre")
	setDefault(&a.Colour, "none")
	if a.Crop == "resized" {
		setDefault(&a.MinArea, 0.08)
		setDefault(&a.MaxAspect, 4.0/3)
	}
	if strings.Contains(a.Colour, "pca") {
		setDefault(&a.PCA, 0.1)
	}
	if strings.Contains(a.Colour, "jitter") &&
		a.Brightness == 0 && a.Contrast == 0 && a.Saturation == 0 && a.Hue == 0 {
		a.Brightness, a.Contrast, a.Saturation = 0.4, 0.4, 0.4
	}
	return in
}

func setDefault[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

// Check returns an error that names the first impossible value, by its key in
// the network file.
func (in Input) Check() error {
	in = in.WithDefaults()
	a := in.Augment
	if in.Size < 1 || in.Size > maxSide {
		return fmt.Errorf("input.size is %d: it must be between 1 and %d", in.Size, maxSide)
	}
	if in.Stored < 1 || in.Stored > maxSide {
		return fmt.Errorf("input.stored is %d: it must be between 1 and %d", in.Stored, maxSide)
	}
	if a.Pad < 0 || a.Pad > maxSide {
		return fmt.Errorf("input.augment.pad is %d: it must be between 0 and %d", a.Pad, maxSide)
	}
	if in.Size > in.Stored+2*a.Pad {
		return fmt.Errorf("input.size %d does not fit into input.stored %d with a border of %d: raise stored or augment.pad",
			in.Size, in.Stored, a.Pad)
	}
	for _, c := range []struct {
		key, value string
		known      []string
	}{
		{"input.resize", in.Resize, resizeModes},
		{"input.order", in.Order, []string{"RGB", "BGR"}},
		{"input.augment.crop", a.Crop, []string{"centre", "random", "resized"}},
		{"input.augment.colour", a.Colour, []string{"none", "pca", "jitter", "jitter+pca"}},
	} {
		if !slices.Contains(c.known, c.value) {
			return fmt.Errorf("%s is %q: it must be one of %s", c.key, c.value, strings.Join(c.known, ", "))
		}
	}
	if len(in.Mean) != 3 {
		return fmt.Errorf("input.mean has %d values: it needs 3, one per channel", len(in.Mean))
	}
	if len(in.Std) != 3 {
		return fmt.Errorf("input.std has %d values: it needs 3, one per channel", len(in.Std))
	}
	for i, s := range in.Std {
		if !(s > 0 && s <= math.MaxFloat32) {
			return fmt.Errorf("input.std holds %v: it must be above 0", s)
		}
		if m := in.Mean[i]; !(m >= -math.MaxFloat32 && m <= math.MaxFloat32) {
			return fmt.Errorf("input.mean holds %v: it must be a number", m)
		}
	}
	for _, r := range []struct {
		key           string
		value, lo, hi float32
	}{
		{"min_area", a.MinArea, 0, 1}, {"pca", a.PCA, 0, 10},
		{"brightness", a.Brightness, 0, 1}, {"contrast", a.Contrast, 0, 1},
		{"saturation", a.Saturation, 0, 1}, {"hue", a.Hue, 0, 0.5},
	} {
		if !(r.value >= r.lo && r.value <= r.hi) {
			return fmt.Errorf("input.augment.%s is %v: it must be between %v and %v", r.key, r.value, r.lo, r.hi)
		}
	}
	if a.MaxAspect != 0 && !(a.MaxAspect >= 1 && a.MaxAspect <= 100) {
		return fmt.Errorf("input.augment.max_aspect is %v: it must be between 1 and 100", a.MaxAspect)
	}
	return nil
}

// Protocol describes how pictures are prepared for evaluation with the given
// number of views, in one line to stand beside an accuracy.
func (in Input) Protocol(crops int) string {
	in = in.WithDefaults()
	how := map[string]string{
		"warp":      fmt.Sprintf("warped to %d×%[1]d", in.Stored),
		"short":     fmt.Sprintf("short side %d, centre %[1]d×%[1]d", in.Stored),
		"letterbox": fmt.Sprintf("long side %d with black bars", in.Stored),
		"opencv":    fmt.Sprintf("warped to %d×%[1]d", in.Stored),
	}[in.Resize]
	filter := "antialiased bilinear"
	if in.Resize == "opencv" {
		filter = "bilinear of four pixels"
	}
	views := fmt.Sprintf("centre crop %d", in.Size)
	if crops > 1 {
		views = fmt.Sprintf("%d crops of %d, probabilities averaged", crops, in.Size)
	}
	return fmt.Sprintf("%s (%s), %s, %s, mean %s, std %s",
		how, filter, views, in.Order, joinFloats(in.Mean), joinFloats(in.Std))
}

func joinFloats(v []float32) string {
	s := make([]string, len(v))
	for i, x := range v {
		s[i] = fmt.Sprintf("%g", x)
	}
	return strings.Join(s, "/")
}
