package alexnet

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"vkalexnet/layers"
)

// Init says what a parameter's values are before training. In network files
// it is a text: the kind and, for most kinds, a number.
//
//	"gaussian 0.01"  normally distributed, mean 0, standard deviation 0.01
//	"he"             the same with √(2 / inputs of one output) (He et al. 2015)
//	"uniform 0.1"    uniform from −0.1 to 0.1
//	"fan_in"         uniform within ±1/√(inputs of one output): PyTorch's default
//	"constant 1"     all the same; the zero Init is "constant 0"
type Init struct {
	Kind  string
	Value float32
}

// initKinds says which kinds take a number.
var initKinds = map[string]bool{"gaussian": true, "he": false, "uniform": true, "fan_in": false, "constant": true}

// MarshalText is the text in network files.
func (i Init) MarshalText() ([]byte, error) {
	kind := i.kind()
	if !initKinds[kind] {
		return []byte(kind), nil
	}
	return fmt.Appendf(nil, "%s %s", kind, strconv.FormatFloat(float64(i.Value), 'g', -1, 32)), nil
}

func (i Init) kind() string {
	if i.Kind == "" {
		return "constant"
	}
	return i.Kind
}

// UnmarshalText reads the text in network files.
func (i *Init) UnmarshalText(text []byte) error {
	words := strings.Fields(string(text))
	if len(words) == 0 {
		return fmt.Errorf("initial values %q: say for example \"gaussian 0.01\", \"he\", \"fan_in\" or \"constant 0\"", text)
	}
	kind := words[0]
	number, known := initKinds[kind]
	switch {
	case !known:
		return fmt.Errorf("initial values %q: kind %q is not known%s", text, kind, suggest(kind, keys(initKinds)))
	case number && len(words) != 2:
		return fmt.Errorf("initial values %q: %q needs one number, as in \"%s 0.01\"", text, kind, kind)
	case !number && len(words) != 1:
		return fmt.Errorf("initial values %q: %q takes no number", text, kind)
	}
	*i = Init{Kind: kind}
	if !number {
		return nil
	}
	v, err := strconv.ParseFloat(words[1], 32)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) || (v < 0 && kind != "constant") {
		return fmt.Errorf("initial values %q: %q is no number that %q can use", text, words[1], kind)
	}
	i.Value = float32(v)
	return nil
}

// fill sets the values of one tensor.
func (i Init) fill(dst []float32, fanIn int, seed uint64, stream uint32) {
	switch i.kind() {
	case "gaussian":
		layers.InitGaussian(dst, i.Value, seed, stream)
	case "he":
		layers.InitGaussian(dst, float32(math.Sqrt(2/float64(fanIn))), seed, stream)
	case "uniform":
		layers.InitUniform(dst, i.Value, seed, stream)
	case "fan_in":
		layers.InitUniform(dst, float32(1/math.Sqrt(float64(fanIn))), seed, stream)
	case "constant":
		for j := range dst {
			dst[j] = i.Value
		}
	default:
		panic(fmt.Sprintf("initial values of kind %q", i.Kind))
	}
}
