package alexnet

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"vkalexnet/layers"

	"github.com/stretchr/testify/require"
)

func TestPresets(t *testing.T) {
	for name, want := range map[string]struct{ params, macs, training int64 }{
		"alexnet":       {60_965_224, 724_406_816, 2_067_805_248},
		"caffenet":      {60_965_224, 724_406_816, 2_067_805_248},
		"alexnet-2012":  {60_965_224, 724_406_816, 2_067_805_248},
		"alexnet-owt":   {61_100_840, 714_188_480, 2_072_288_640},
		"alexnet-cifar": {0, 0, 0},
		"alexnet-small": {0, 0, 0},
	} {
		n, err := Load(name)
		require.NoError(t, err)
		require.Equal(t, name, n.Name)
		s, err := Summarize(n)
		require.NoError(t, err)
		if want.params != 0 {
			require.Equal(t, want, struct{ params, macs, training int64 }{s.Params, s.MACs, s.TrainingMACs}, name)
		}
	}
	require.Equal(t, []string{"alexnet", "alexnet-2012", "alexnet-cifar", "alexnet-owt", "alexnet-small", "caffenet"}, Presets())
	for name, most := range map[string]int64{"alexnet-cifar": 21_000_000, "alexnet-small": 15_000_000} {
		n, err := Load(name)
		require.NoError(t, err)
		s, err := Summarize(n)
		require.NoError(t, err)
		require.Less(t, s.MACs, most, name)
		for _, l := range n.Layers {
			if c, ok := l.Layer.(layers.Conv); ok {
				require.Zero(t, c.Out%16, "%s of %s", l.Name, name)
			}
		}
	}
}

// The shapes after each block, from the tables of the sources.
func TestShapesOfThePresets(t *testing.T) {
	for name, want := range map[string]string{
		"alexnet":      "conv1 96×55×55 pool1 96×27×27 conv2 256×27×27 pool2 256×13×13 conv5 256×13×13 pool5 256×6×6",
		"caffenet":     "conv1 96×55×55 pool1 96×27×27 conv2 256×27×27 pool2 256×13×13 conv5 256×13×13 pool5 256×6×6",
		"alexnet-2012": "conv1 96×55×55 pool1 96×27×27 conv2 256×27×27 pool2 256×13×13 conv5 256×13×13 pool5 256×6×6",
		"alexnet-owt":  "conv1 64×55×55 pool1 64×27×27 conv2 192×27×27 pool2 192×13×13 conv5 256×13×13 pool5 256×6×6",
	} {
		n, err := Load(name)
		require.NoError(t, err)
		s, err := Summarize(n)
		require.NoError(t, err)
		var text strings.Builder
		_, err = s.WriteTo(&text)
		require.NoError(t, err)
		shapes := map[string]string{}
		for _, m := range regexp.MustCompile(`(?m)^ *(\S+) +\S+ +(\d+×\d+×\d+)`).FindAllStringSubmatch(text.String(), -1) {
			shapes[m[1]] = m[2]
		}
		words := strings.Fields(want)
		for i := 0; i < len(words); i += 2 {
			require.Equal(t, words[i+1], shapes[words[i]], "%s of %s", words[i], name)
		}
	}
}

func TestTheOrderOf2012(t *testing.T) {
	n, err := Load("alexnet-2012")
	require.NoError(t, err)
	var kinds []string
	for _, l := range n.Layers[:9] {
		kinds = append(kinds, l.Layer.Kind())
	}
	require.Equal(t, "conv lrn maxpool relu conv relu lrn mapnorm maxpool", strings.Join(kinds, " "))
	require.Equal(t, layers.LRN{Size: 5, Alpha: 1e-4, Beta: 0.75, K: 2, Groups: 2}, n.Layers[1].Layer)
	require.Equal(t, layers.MapNorm{Size: 5, Alpha: 1e-3, Beta: 0.75, K: 1}, n.Layers[7].Layer)
	require.Equal(t, Init{"gaussian", 0.03}, n.Layers[9].WeightInit)
	specs, err := n.ParamSpecs()
	require.NoError(t, err)
	for _, s := range specs {
		if strings.HasSuffix(s.Name, ".bias") {
			require.Equal(t, []float32{2, 0}, []float32{s.LR, s.Decay}, s.Name)
		} else {
			require.Equal(t, []float32{1, 1}, []float32{s.LR, s.Decay}, s.Name)
		}
	}
}

func TestSummaryText(t *testing.T) {
	n, err := Load("alexnet")
	require.NoError(t, err)
	s, err := Summarize(n, 1, 128)
	require.NoError(t, err)
	var text strings.Builder
	count, err := s.WriteTo(&text)
	require.NoError(t, err)
	require.EqualValues(t, text.Len(), count)
	for _, part := range []string{"60,965,224", "1.449 GFLOP forward", "4.136 GFLOP in training", "37,752,832", "232.6"} {
		require.Contains(t, text.String(), part)
	}
	require.Len(t, s.Memory, 2)
	m := s.Memory[1]
	require.EqualValues(t, 243_860_896, m.Weights)
	require.Equal(t, m.Weights+m.Momentum+m.Gradients+m.Activations, m.Training)
	require.Equal(t, 128*s.Memory[0].Activations, m.Activations)
}

func TestANetworkComesBackFromItsTOML(t *testing.T) {
	for _, name := range Presets() {
		n, err := Load(name)
		require.NoError(t, err)
		n.Classes = nil
		text := n.TOML()
		again, err := ParseNetwork(text, "again")
		require.NoError(t, err, "%s", text)
		require.Equal(t, n, again)
		require.Equal(t, string(text), string(again.TOML()))
	}
	n, err := ParseNetwork([]byte(tinyTOML), "tiny")
	require.NoError(t, err)
	n.Classes = []string{"a", `b "quoted"`, "ü"}
	n.Layers[0].Layer = layers.Conv{Out: 4, KernelH: 3, KernelW: 5, Stride: 2, Pad: 2, Groups: 1}
	again, err := ParseNetwork(n.TOML(), "again")
	require.NoError(t, err)
	require.Equal(t, n, again)
}

// tinyTOML is a network of every kind of layer but the same-map norm, small
// enough to train in a test.
const tinyTOML = `name = "tiny"

[input]
size = 12
stored = 14
mean = [128, 128, 128]
std = [64, 64, 64]

[input.augment]
crop = "random"
flip = true
colour = "jitter"

[solver]
batch = 4
lr = 0.05
momentum = 0.9
weight_decay = 5e-4
epochs = 3
scheduler = "cosine"

[[layers]]
name = "conv1"
kind = "conv"
out = 4
kernel = 3
pad = 1
bias_lr = 2
bias_decay = 0

[[layers]]
name = "relu1"
kind = "relu"

[[layers]]
name = "norm1"
kind = "lrn"
size = 3
alpha = 1e-4
beta = 0.75
k = 1

[[layers]]
name = "pool1"
kind = "maxpool"
size = 3
stride = 2
ceil = true

[[layers]]
name = "fc2"
kind = "linear"
out = 16

[[layers]]
name = "relu2"
kind = "relu"

[[layers]]
name = "drop2"
kind = "dropout"
p = 0.5

[[layers]]
name = "fc3"
kind = "linear"
out = 3
`

// line is the number of the first line that has text, after the one that has
// after.
func line(t *testing.T, toml, after, text string) int {
	t.Helper()
	at := strings.Index(toml, after)
	require.GreaterOrEqual(t, at, 0, after)
	at += strings.Index(toml[at:], text)
	return 1 + strings.Count(toml[:at], "\n")
}

func TestErrorsInANetworkGiveTheLine(t *testing.T) {
	replace := func(old, new string) string {
		require.Contains(t, tinyTOML, old)
		return strings.Replace(tinyTOML, old, new, 1)
	}
	for name, c := range map[string]struct {
		toml        string
		after, text string // the line is that of text, after after
		says        string
	}{
		"syntax":                     {replace("size = 12", "size = = 12"), "", "size = =", "expected value"},
		"unknown key in a layer":     {replace("kernel = 3", "kernal = 3"), "", "kernal", `unknown key "kernal" in [layers]: did you mean "kernel"?`},
		"unknown key in the solver":  {replace("momentum", "momentun"), "", "momentun", `did you mean "momentum"?`},
		"unknown key in the input":   {replace("stored", "sstored"), "", "sstored", `unknown key "sstored" in [input]: did you mean "stored"?`},
		"unknown key in the augment": {replace("flip", "flop"), "", "flop", `unknown key "flop" in [input.augment]: did you mean "flip"?`},
		"unknown key at the top":     {replace(`name = "tiny"`, "name = \"tiny\"\ncolor = 3"), "", "color", `unknown key "color" at the top; known are classes`},
		"unknown table":              {replace("[solver]", "[solvers]"), "", "[solvers]", `unknown key "solvers" at the top: did you mean "solver"?`},
		"unknown kind":               {replace(`kind = "maxpool"`, `kind = "maxpol"`), "", "maxpol", `layer kind "maxpol" is not known: did you mean "maxpool"?`},
		"no kind":                    {replace(`kind = "dropout"`+"\n", ""), `"relu2"`, "[[layers]]", `layer "drop2" has no kind`},
		"key of another kind":        {replace("p = 0.5", "p = 0.5\npad = 1"), "", "pad = 1\n\n[[layers]]\nname = \"fc3\"", `a layer of kind dropout has no key "pad"`},
		"missing key":                {replace("p = 0.5\n", ""), `"relu2"`, "[[layers]]", `layer "drop2" of kind dropout needs the key "p"`},
		"missing kernel":             {replace("kernel = 3\n", "kernel_h = 3\n"), "", "[[layers]]", `needs either the key "kernel"`},
		"two kernels":                {replace("kernel = 3\n", "kernel = 3\nkernel_w = 3\n"), "", "[[layers]]", `needs either the key "kernel"`},
		"a text for a number":        {replace("out = 16", `out = "16"`), "", `out = "16"`, `key "out": incompatible types`},
		"a fraction for a number":    {replace("out = 16", `out = 1.5`), "", `out = 1.5`, `key "out"`},
		"a text for a solver number": {replace("epochs = 3", `epochs = "3"`), "", `epochs = "3"`, "incompatible types"},
		"initial values":             {replace("out = 16", "out = 16\nweight_init = \"gausian 0.1\""), "", "gausian", `did you mean "gaussian"?`},
		"negative factor":            {replace("bias_lr = 2", "bias_lr = -2"), "", "bias_lr", "must not be negative"},
		"impossible window":          {replace("size = 3\nstride = 2", "size = 30\nstride = 2"), `"norm1"`, "[[layers]]", `layer "pool1" on an input of 4×12×12 (channels, height, width): `},
		"impossible groups":          {replace("pad = 1", "pad = 1\ngroups = 2"), "", "[[layers]]", `layer "conv1"`},
		"size over stored":           {replace("size = 12", "size = 20"), "", "size = 20", "does not fit into input.stored"},
		"no such crop":               {replace(`"random"`, `"rnd"`), "", "crop", "input.augment.crop"},
		"mean of two":                {replace("[128, 128, 128]", "[128, 128]"), "", "mean", "needs 3"},
		"batch of none":              {replace("batch = 4", "batch = 0"), "", "batch", "a batch of 0 pictures: it must have from 1 to 65536"},
		"schedule":                   {replace(`"cosine"`, `"cosin"`), "", "scheduler", "known are constant"},
		"same name twice":            {replace(`"relu2"`, `"relu1"`), `"fc2"`, `name = "relu1"`, `two layers are named "relu1"`},
		"a slash in a name":          {replace(`"relu2"`, `"momentum/x"`), `"fc2"`, `name = "momentum/x"`, "use letters"},
		"last layer":                 {tinyTOML + "\n[[layers]]\nname = \"end\"\nkind = \"relu\"\n", `"end"`, "kind", "must be of kind linear"},
		"class names":                {replace(`name = "tiny"`, "name = \"tiny\"\nclasses = [\"a\"]"), "", "classes", "1 class names for the 3 outputs"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseNetwork([]byte(c.toml), "net.toml")
			require.ErrorContains(t, err, c.says)
			want := line(t, c.toml, c.after, c.text)
			require.Regexp(t, fmt.Sprintf(`^net\.toml:%d: `, want), err.Error())
		})
	}
}

func TestAllUnknownKeysAreListed(t *testing.T) {
	text := strings.Replace(strings.Replace(tinyTOML, "kernel = 3", "kernal = 3", 1), "momentum", "momentun", 1)
	_, err := ParseNetwork([]byte(text), "net.toml")
	require.ErrorContains(t, err, "kernal")
	require.ErrorContains(t, err, "momentun")
}

func TestNetworksWithoutLayersOrName(t *testing.T) {
	_, err := ParseNetwork(nil, "net.toml")
	require.ErrorContains(t, err, "net.toml")
	_, err = ParseNetwork([]byte("name = \"x\"\n[input]\nsize = 8\n"), "net.toml")
	require.ErrorContains(t, err, "has no layers")
}

func TestLoad(t *testing.T) {
	_, err := Load("alexnett")
	require.EqualError(t, err, `model "alexnett" is neither a preset nor a file: did you mean "alexnet"?`)
	_, err = Load("absent/net.toml")
	require.ErrorIs(t, err, os.ErrNotExist)
	path := filepath.Join(t.TempDir(), "mine.toml")
	require.NoError(t, os.WriteFile(path, []byte(tinyTOML), 0o644))
	n, err := Load(path)
	require.NoError(t, err)
	require.Equal(t, "tiny", n.Name)
	require.NoError(t, os.WriteFile(path, []byte(strings.Replace(tinyTOML, "kernel", "kernal", 1)), 0o644))
	_, err = Load(path)
	require.ErrorContains(t, err, path+":26: ")
}

func TestWithClasses(t *testing.T) {
	n, err := Load("alexnet")
	require.NoError(t, err)
	n.Classes = make([]string, 1000)
	m := n.WithClasses(10)
	s, err := Summarize(m)
	require.NoError(t, err)
	require.EqualValues(t, 56_868_224+4097*10, s.Params)
	require.Equal(t, 10, m.NumClasses())
	require.Empty(t, m.Classes)
	require.Equal(t, 1000, n.NumClasses(), "the network itself is not changed")
	require.Len(t, n.WithClasses(1000).Classes, 1000)
	require.Equal(t, "7", m.ClassName(7))
}

func TestInitialValues(t *testing.T) {
	n, err := ParseNetwork([]byte(tinyTOML), "tiny")
	require.NoError(t, err)
	n.Layers[4].WeightInit, n.Layers[4].BiasInit = Init{Kind: "fan_in"}, Init{Kind: "fan_in"}
	n.Layers[7].WeightInit, n.Layers[7].BiasInit = Init{"gaussian", 0.01}, Init{"constant", 0.5}
	a, err := n.InitialParams(7)
	require.NoError(t, err)
	require.Len(t, a, 6)
	b, err := n.InitialParams(7)
	require.NoError(t, err)
	require.Equal(t, a, b)
	c, err := n.InitialParams(8)
	require.NoError(t, err)
	require.NotEqual(t, a[0].Data, c[0].Data)

	require.Equal(t, "conv1.weight", a[0].Name)
	require.Equal(t, []int{4, 3, 3, 3}, a[0].Shape)
	require.InDelta(t, math.Sqrt(2.0/27), deviation(a[0].Data), 0.06)
	require.Equal(t, make([]float32, 4), a[1].Data)
	bound := 1 / math.Sqrt(4*6*6)
	require.InDelta(t, bound/math.Sqrt(3), deviation(a[2].Data), 0.01*bound)
	for _, v := range append(a[2].Data, a[3].Data...) {
		require.LessOrEqual(t, math.Abs(float64(v)), bound)
	}
	require.NotZero(t, deviation(a[3].Data))
	require.InDelta(t, 0.01, deviation(a[4].Data), 0.003)
	require.Equal(t, []float32{0.5, 0.5, 0.5}, a[5].Data)
}

// deviation is the root of the mean square.
func deviation(v []float32) float64 {
	sum := 0.0
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	return math.Sqrt(sum / float64(len(v)))
}

func TestInitText(t *testing.T) {
	for text, want := range map[string]Init{
		"gaussian 0.01": {"gaussian", 0.01}, "he": {"he", 0}, "fan_in": {"fan_in", 0},
		"uniform 0.25": {"uniform", 0.25}, "constant -7": {"constant", -7},
	} {
		var i Init
		require.NoError(t, i.UnmarshalText([]byte(text)))
		require.Equal(t, want, i)
		back, err := i.MarshalText()
		require.NoError(t, err)
		require.Equal(t, text, string(back))
	}
	for text, says := range map[string]string{
		"": "say for example", "he 2": "takes no number", "gaussian": "needs one number",
		"gaussian x": "no number", "gaussian -1": "no number", "constant NaN": "no number", "xavier": "is not known",
	} {
		var i Init
		require.ErrorContains(t, i.UnmarshalText([]byte(text)), says, text)
	}
}

// FuzzParseNetwork: no text crashes the reader, and what it accepts comes back
// from its own TOML.
func FuzzParseNetwork(f *testing.F) {
	f.Add([]byte(tinyTOML))
	for _, name := range Presets() {
		text, err := presetFiles.ReadFile("presets/" + name + ".toml")
		require.NoError(f, err)
		f.Add(text)
	}
	f.Add([]byte("layers = [{name = \"a\", kind = \"relu\"}]\n[input]\nsize = 3"))
	f.Add([]byte("a = \"\"\"\n[layers]\n\"\"\"\n[[layers.x]]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		n, err := ParseNetwork(text, "fuzz.toml")
		if err != nil {
			require.True(t, strings.HasPrefix(err.Error(), "fuzz.toml:"), "%v", err)
			return
		}
		again, err := ParseNetwork(n.TOML(), "again.toml")
		require.NoError(t, err)
		require.Equal(t, string(n.TOML()), string(again.TOML()))
	})
}

func TestDidYouMean(t *testing.T) {
	known := []string{"batch_size", "lr", "lr_gamma"}
	require.Equal(t, `: did you mean "batch_size"?`, DidYouMean("batchsize", known))
	require.Equal(t, `: did you mean "lr_gamma"?`, DidYouMean("lr_gama", known))
	require.Empty(t, DidYouMean("something_else", known))
	require.Equal(t, 3, editDistance("kitten", "sitting"))
	require.Equal(t, 4, editDistance("", "four"))
}
