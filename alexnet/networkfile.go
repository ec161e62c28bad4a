package alexnet

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"

	"vkalexnet/layers"
	"vkalexnet/loader"

	"github.com/BurntSushi/toml"
)

// networkFile is the TOML form of a Network.
type networkFile struct {
	Name    string       `toml:"name"`
	Classes []string     `toml:"classes,omitempty"`
	Input   loader.Input `toml:"input"`
	Solver  Solver       `toml:"solver"`
	Layers  []layerFile  `toml:"layers"`
}

// layerFile is one of its [[layers]], of any kind: nil is a key that is not
// there. Which kind has which keys is in layerKinds.
type layerFile struct {
	Name       string   `toml:"name"`
	Kind       string   `toml:"kind"`
	Out        *int     `toml:"out"`
	Kernel     *int     `toml:"kernel"`
	KernelH    *int     `toml:"kernel_h"`
	KernelW    *int     `toml:"kernel_w"`
	Size       *int     `toml:"size"`
	Stride     *int     `toml:"stride"`
	Pad        *int     `toml:"pad"`
	Groups     *int     `toml:"groups"`
	Ceil       *bool    `toml:"ceil"`
	Alpha      *float32 `toml:"alpha"`
	Beta       *float32 `toml:"beta"`
	K          *float32 `toml:"k"`
	PlainAlpha *bool    `toml:"plain_alpha"`
	P          *float32 `toml:"p"`
	Paper      *bool    `toml:"paper"`

	WeightInit  *Init    `toml:"weight_init"`
	BiasInit    *Init    `toml:"bias_init"`
	WeightLR    *float32 `toml:"weight_lr"`
	BiasLR      *float32 `toml:"bias_lr"`
	WeightDecay *float32 `toml:"weight_decay"`
	BiasDecay   *float32 `toml:"bias_decay"`
	Frozen      *bool    `toml:"frozen"`
}

// trainable are the keys of the kinds that have parameters.
var trainable = []string{"weight_init", "bias_init", "weight_lr", "bias_lr", "weight_decay", "bias_decay", "frozen"}

// layerKind is how one kind of layer is written in a file.
type layerKind struct {
	required, optional []string
	// layer makes the layer; all required keys are there.
	layer func(f *layerFile) layers.Layer
}

var layerKinds = map[string]layerKind{
	"conv": {
		required: []string{"out"},
		optional: append([]string{"kernel", "kernel_h", "kernel_w", "stride", "pad", "groups", "ceil"}, trainable...),
		layer: func(f *layerFile) layers.Layer {
			c := layers.Conv{Out: *f.Out, Stride: or(f.Stride, 1), Pad: or(f.Pad, 0), Groups: or(f.Groups, 1), Ceil: or(f.Ceil, false)}
			c.KernelH, c.KernelW = or(f.KernelH, or(f.Kernel, 0)), or(f.KernelW, or(f.Kernel, 0))
			return c
		},
	},
	"linear": {
		required: []string{"out"},
		optional: trainable,
		layer:    func(f *layerFile) layers.Layer { return layers.Linear{Out: *f.Out} },
	},
	"relu": {layer: func(*layerFile) layers.Layer { return layers.ReLU{} }},
	"lrn": {
		required: []string{"size", "alpha", "beta", "k"},
		optional: []string{"plain_alpha", "groups"},
		layer: func(f *layerFile) layers.Layer {
			return layers.LRN{Size: *f.Size, Alpha: *f.Alpha, Beta: *f.Beta, K: *f.K, PlainAlpha: or(f.PlainAlpha, false), Groups: or(f.Groups, 1)}
		},
	},
	"mapnorm": {
		required: []string{"size", "alpha", "beta", "k"},
		layer: func(f *layerFile) layers.Layer {
			return layers.MapNorm{Size: *f.Size, Alpha: *f.Alpha, Beta: *f.Beta, K: *f.K}
		},
	},
	"maxpool": {
		required: []string{"size", "stride"},
		optional: []string{"pad", "ceil"},
		layer: func(f *layerFile) layers.Layer {
			return layers.MaxPool{Size: *f.Size, Stride: *f.Stride, Pad: or(f.Pad, 0), Ceil: or(f.Ceil, false)}
		},
	},
	"dropout": {
		required: []string{"p"},
		optional: []string{"paper"},
		layer:    func(f *layerFile) layers.Layer { return layers.Dropout{P: *f.P, Paper: or(f.Paper, false)} },
	},
}

// or is the value of a key, or what stands for it when it is not there.
func or[T any](v *T, otherwise T) T {
	if v == nil {
		return otherwise
	}
	return *v
}

// unless is the key for a value: none when it is what its absence means.
func unless[T comparable](v, otherwise T) *T {
	if v == otherwise {
		return nil
	}
	return &v
}

// spec makes the layer; layerFile.check has passed.
func (f *layerFile) spec() LayerSpec {
	return LayerSpec{
		Name: f.Name, Layer: layerKinds[f.Kind].layer(f),
		WeightInit: or(f.WeightInit, Init{Kind: "he"}), BiasInit: or(f.BiasInit, Init{Kind: "constant"}),
		WeightLR: or(f.WeightLR, 1), BiasLR: or(f.BiasLR, 1), WeightDecay: or(f.WeightDecay, 1), BiasDecay: or(f.BiasDecay, 1), Frozen: or(f.Frozen, false),
	}
}

// layerFileOf is the inverse of layerFile.spec.
func layerFileOf(l LayerSpec) layerFile {
	f := layerFile{Name: l.Name, Kind: l.Layer.Kind()}
	switch v := l.Layer.(type) {
	case layers.Conv:
		f.Out = &v.Out
		if v.KernelH == v.KernelW {
			f.Kernel = &v.KernelH
		} else {
			f.KernelH, f.KernelW = &v.KernelH, &v.KernelW
		}
		f.Stride, f.Pad, f.Groups, f.Ceil = unless(v.Stride, 1), unless(v.Pad, 0), unless(max(v.Groups, 1), 1), unless(v.Ceil, false)
	case layers.Linear:
		f.Out = &v.Out
	case layers.ReLU:
	case layers.LRN:
		f.Size, f.Alpha, f.Beta, f.K = &v.Size, &v.Alpha, &v.Beta, &v.K
		f.PlainAlpha, f.Groups = unless(v.PlainAlpha, false), unless(max(v.Groups, 1), 1)
	case layers.MapNorm:
		f.Size, f.Alpha, f.Beta, f.K = &v.Size, &v.Alpha, &v.Beta, &v.K
	case layers.MaxPool:
		f.Size, f.Stride, f.Pad, f.Ceil = &v.Size, &v.Stride, unless(v.Pad, 0), unless(v.Ceil, false)
	case layers.Dropout:
		f.P, f.Paper = &v.P, unless(v.Paper, false)
	default:
		panic(fmt.Sprintf("layer %q is of type %T, which no network file knows", l.Name, l.Layer))
	}
	if slices.Contains(layerKinds[f.Kind].optional, "weight_init") {
		weight, bias := l.WeightInit, l.BiasInit
		weight.Kind, bias.Kind = weight.kind(), bias.kind()
		f.WeightInit, f.BiasInit = &weight, &bias
		f.WeightLR, f.BiasLR = unless(l.WeightLR, 1), unless(l.BiasLR, 1)
		f.WeightDecay, f.BiasDecay = unless(l.WeightDecay, 1), unless(l.BiasDecay, 1)
		f.Frozen = unless(l.Frozen, false)
	}
	return f
}

// TOML is the network as a file: [ParseNetwork] makes an equal one of it.
func (n *Network) TOML() []byte {
	f := networkFile{Name: n.Name, Classes: n.Classes, Input: n.Input, Solver: n.Solver}
	for _, l := range n.Layers {
		f.Layers = append(f.Layers, layerFileOf(l))
	}
	var b bytes.Buffer
	e := toml.NewEncoder(&b)
	e.Indent = ""
	if err := e.Encode(f); err != nil {
		panic(fmt.Sprintf("encode network %q: %v", n.Name, err)) // nothing in it can fail
	}
	return b.Bytes()
}

// check says whether the layer has the keys that its kind needs, and no others.
func (f *layerFile) check() *placed {
	if f.Kind == "" {
		return &placed{key: "", err: fmt.Errorf("layer %q has no kind: say one of %s", f.Name, list(keys(layerKinds)))}
	}
	kind, ok := layerKinds[f.Kind]
	if !ok {
		return &placed{key: "kind", err: fmt.Errorf("layer kind %q is not known%s", f.Kind, suggest(f.Kind, keys(layerKinds)))}
	}
	given := f.given()
	for _, k := range given {
		if !slices.Contains(kind.required, k) && !slices.Contains(kind.optional, k) {
			return &placed{key: k, err: fmt.Errorf("a layer of kind %s has no key %q: its keys are %s", f.Kind, k, list(append([]string{"name", "kind"}, append(kind.required, kind.optional...)...)))}
		}
	}
	for _, k := range kind.required {
		if !slices.Contains(given, k) {
			return &placed{key: "", err: fmt.Errorf("layer %q of kind %s needs the key %q", f.Name, f.Kind, k)}
		}
	}
	if square, h, w := f.Kernel != nil, f.KernelH != nil, f.KernelW != nil; f.Kind == "conv" && (h != w || h == square) {
		return &placed{key: "", err: fmt.Errorf("layer %q of kind conv needs either the key \"kernel\" or both \"kernel_h\" and \"kernel_w\"", f.Name)}
	}
	for _, factor := range []struct {
		key   string
		value *float32
	}{{"weight_lr", f.WeightLR}, {"bias_lr", f.BiasLR}, {"weight_decay", f.WeightDecay}, {"bias_decay", f.BiasDecay}} {
		if v := or(factor.value, 1); !(v >= 0) {
			return &placed{key: factor.key, err: fmt.Errorf("%s %g of layer %q: it must not be negative", factor.key, v, f.Name)}
		}
	}
	return nil
}

// given lists the keys that are there, without name and kind.
func (f *layerFile) given() []string {
	var given []string
	v := reflect.ValueOf(*f)
	for i := range v.NumField() {
		if field := v.Field(i); field.Kind() == reflect.Pointer && !field.IsNil() {
			given = append(given, v.Type().Field(i).Tag.Get("toml"))
		}
	}
	return given
}

// tomlKeys lists the keys of a struct's TOML form.
func tomlKeys(t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		name, _, _ := bytes.Cut([]byte(t.Field(i).Tag.Get("toml")), []byte(","))
		if len(name) == 0 {
			name = []byte(t.Field(i).Name)
		}
		names = append(names, string(name))
	}
	return names
}
