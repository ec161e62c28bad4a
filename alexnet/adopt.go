package alexnet

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	_ "embed"

	"vkalexnet/layers"
	"vkalexnet/weights"
)

// imagenet holds the names of the 1,000 classes of ILSVRC 2012, one a line, in
// the order of Caffe and torchvision (that of their WordNet ids). The list is
// torchvision's (torchvision/models/_meta.py, BSD 3-Clause licence).
//
//go:embed imagenet-classes.txt
var imagenet string

// ImageNetClasses are the names of the 1,000 ILSVRC classes in the order of
// Caffe, torchvision and ONNX's models.
func ImageNetClasses() []string { return strings.Split(strings.TrimSpace(imagenet), "\n") }

// Adopt makes weights of another program ours: tensors get our names and
// shapes, and the result says which network they belong to. model is that
// network; nil lets the presets be compared with the names, shapes and layers.
// Where the source's channels are in another order than the network's, the
// first convolution's are reversed. A file that we wrote says itself which
// network it is of. notes tell what was decided. An error about tensors names
// each with both shapes.
func Adopt(file *weights.File, format weights.Format, model *Network) (net *Network, adopted *weights.File, notes []string, err error) {
	if own, all, err := networkOf(file); err != nil {
		return nil, nil, nil, err
	} else if own != nil && model == nil {
		params, _ := splitMomentum(all)
		if params, err = pair(own, inOrder(params)); err != nil {
			return nil, nil, nil, err
		}
		return own, &weights.File{Tensors: params, Metadata: map[string]string{networkKey: file.Metadata[networkKey]}}, nil, nil
	}
	tensors := inOrder(file.Tensors)
	if net = model; net == nil {
		if net, notes, err = recognise(tensors, file.Ops, format); err != nil {
			return nil, nil, nil, err
		}
	}
	net = net.WithClasses(classesOf(tensors, net.NumClasses()))
	if model == nil && len(file.Nodes) > 0 {
		var more []string
		if net, more, err = net.followONNX(file.Nodes, file.Input); err != nil {
			return nil, nil, nil, err
		}
		notes = append(notes, more...)
	}
	params, err := pair(net, tensors)
	if err != nil {
		return nil, nil, nil, err
	}
	if isZoo(tensors, format) {
		prepared := *net
		prepared.Input.Order, prepared.Input.Mean, prepared.Input.Std = "BGR", []float32{103.939, 116.779, 123.68}, nil
		net = &prepared
		notes = append(notes, "mean: 103.939, 116.779, 123.68 (BGR), that of the ONNX zoo")
	}
	if order := sourceOrder(tensors, format); order != "" && order != net.Input.WithDefaults().Order && params[0].Shape[1] == 3 {
		params[0] = reversedChannels(params[0])
		notes = append(notes, fmt.Sprintf("%s: its input channels were %s and are now %s", params[0].Name, order, net.Input.WithDefaults().Order))
	}
	if in := net.Input.WithDefaults(); format == weights.Caffe && model == nil && in.Resize == "warp" {
		prepared := *net
		prepared.Input.Resize = "opencv"
		net = &prepared
		notes = append(notes, "pictures: scaled as Caffe's tools do, each pixel from four (resize = \"opencv\")")
	}
	if len(net.Classes) == 0 && net.NumClasses() == 1000 {
		named := *net
		named.Classes = ImageNetClasses()
		net = &named
		notes = append(notes, "classes: the 1,000 of ILSVRC, in the order of their WordNet ids")
	}
	metadata := map[string]string{networkKey: string(net.TOML()), "source": string(format)}
	return net, &weights.File{Tensors: params, Metadata: metadata}, notes, nil
}

var torchName = regexp.MustCompile(`^(features|classifier)\.(\d+)\.(weight|bias)$`)

// inOrder sorts torchvision's names by the place of the layer, weight before
// bias; names that are in the order of layers stay. Safetensors files have
// them in any order.
func inOrder(tensors []weights.Tensor) []weights.Tensor {
	type key struct {
		group string
		place int
		bias  bool
	}
	layer := regexp.MustCompile(`^(?:(conv)|(?:fc))(\d+)\.(weight|bias)$`)
	keyOf := func(t weights.Tensor) (key, bool) {
		if m := torchName.FindStringSubmatch(t.Name); m != nil {
			place, _ := strconv.Atoi(m[2])
			group := "1"
			if m[1] == "classifier" {
				group = "2"
			}
			return key{group, place, m[3] == "bias"}, true
		}
		if m := layer.FindStringSubmatch(t.Name); m != nil {
			place, _ := strconv.Atoi(m[2])
			return key{"", place, m[3] == "bias"}, true
		}
		return key{}, false
	}
	for _, t := range tensors {
		if _, ok := keyOf(t); !ok {
			return tensors
		}
	}
	sorted := slices.Clone(tensors)
	slices.SortStableFunc(sorted, func(x, y weights.Tensor) int {
		a, _ := keyOf(x)
		b, _ := keyOf(y)
		if c := strings.Compare(a.group, b.group); c != 0 {
			return c
		}
		if a.place != b.place {
			return a.place - b.place
		}
		switch {
		case a.bias == b.bias:
			return 0
		case b.bias:
			return -1
		}
		return 1
	})
	return sorted
}

// isTorch says whether tensors have torchvision's names.
func isTorch(tensors []weights.Tensor) bool {
	return len(tensors) > 0 && torchName.MatchString(tensors[0].Name)
}

// sourceOrder is the order of the channels that the source's first layer saw;
// empty where nothing says that it is another than the network's.
func sourceOrder(tensors []weights.Tensor, format weights.Format) string {
	switch {
	case format == weights.Torch || isTorch(tensors):
		return "RGB"
	case format == weights.Caffe || isZoo(tensors, format):
		return "BGR"
	}
	return ""
}

// isZoo says whether tensors have the names of the ONNX zoo's models, which came
// from Caffe by way of Caffe2.
func isZoo(tensors []weights.Tensor, format weights.Format) bool {
	return format == weights.ONNX && len(tensors) > 0 && tensors[0].Name == "conv1_w_0"
}

// classesOf is the length of the last bias.
func classesOf(tensors []weights.Tensor, otherwise int) int {
	if len(tensors) > 0 {
		if t := tensors[len(tensors)-1]; len(t.Shape) == 1 && t.Shape[0] > 0 {
			return t.Shape[0]
		}
	}
	return otherwise
}

// recognise finds the preset that the tensors are of: the one with the fewest
// differences, whose list becomes the error when there are any.
func recognise(tensors []weights.Tensor, ops []string, format weights.Format) (*Network, []string, error) {
	candidates := []string{"alexnet", "caffenet", "alexnet-owt"}
	norm := slices.Index(ops, "LRN")
	pool := slices.IndexFunc(ops, func(op string) bool { return op == "Pooling" || op == "MaxPool" })
	if norm >= 0 && pool >= 0 && pool < norm {
		candidates[0], candidates[1] = candidates[1], candidates[0]
	}
	var best *Network
	var fewest []string
	for _, name := range candidates {
		net, err := Load(name)
		if err != nil {
			return nil, nil, err
		}
		net = net.WithClasses(classesOf(tensors, net.NumClasses()))
		problems := mismatches(net, tensors)
		if best == nil || len(problems) < len(fewest) {
			best, fewest = net, problems
		}
	}
	if len(fewest) > 0 {
		return nil, nil, fmt.Errorf("the %s fits no network that is known; the nearest is %q (another can be given with --model):\n  %s", format, best.Name, strings.Join(fewest, "\n  "))
	}
	notes := []string{"network: " + best.Name + ", by the shapes of its tensors"}
	if best.Name == "alexnet" && norm < 0 {
		notes = append(notes, "the file does not say whether normalisation comes before pooling (alexnet) or after (caffenet): give --model caffenet if it does")
	}
	if len(ops) > 0 && best.Name != "alexnet-owt" && norm < 0 && format == weights.ONNX {
		return nil, nil, fmt.Errorf("the ONNX model has the shapes of %q but no LRN layers: give --model with a network without them", best.Name)
	}
	return best, notes, nil
}

// mismatches compares the k-th tensor with the network's k-th.
func mismatches(net *Network, tensors []weights.Tensor) []string {
	specs, err := net.ParamSpecs()
	if err != nil {
		return []string{err.Error()}
	}
	var problems []string
	for i := range max(len(specs), len(tensors)) {
		switch {
		case i >= len(tensors):
			problems = append(problems, fmt.Sprintf("%s %v is missing", specs[i].Name, specs[i].Shape))
		case i >= len(specs):
			problems = append(problems, fmt.Sprintf("%s %v is in no layer of the network", tensors[i].Name, tensors[i].Shape))
		case !slices.Equal(tensors[i].Shape, specs[i].Shape):
			problems = append(problems, fmt.Sprintf("%s has shape %v, the network's %s is %v", tensors[i].Name, tensors[i].Shape, specs[i].Name, specs[i].Shape))
		}
	}
	return problems
}

// pair gives the tensors the network's names.
func pair(net *Network, tensors []weights.Tensor) ([]weights.Tensor, error) {
	if problems := mismatches(net, tensors); len(problems) > 0 {
		return nil, fmt.Errorf("the weights do not fit network %q; use the model that they were trained with:\n  %s", net.Name, strings.Join(problems, "\n  "))
	}
	specs, err := net.ParamSpecs()
	if err != nil {
		return nil, err
	}
	params := make([]weights.Tensor, len(specs))
	for i, t := range tensors {
		params[i] = weights.Tensor{Name: specs[i].Name, Shape: t.Shape, Data: t.Data}
	}
	return params, nil
}

// reversedChannels turns RGB into BGR, and back, in a convolution's weight
// [out, 3, kh, kw].
func reversedChannels(t weights.Tensor) weights.Tensor {
	size := t.Shape[2] * t.Shape[3]
	data := slices.Clone(t.Data)
	for o := range t.Shape[0] {
		at := o * 3 * size
		copy(data[at:at+size], t.Data[at+2*size:at+3*size])
		copy(data[at+2*size:at+3*size], t.Data[at:at+size])
	}
	return weights.Tensor{Name: t.Name, Shape: t.Shape, Data: data}
}

// TorchNames renames parameters as torchvision calls them: features.N of the
// place that a layer has among convolutions, ReLUs and pools; classifier.N
// from the first linear layer, with a dropout before each but the last. Readers
// of such names expect RGB: of a network that sees BGR, the first convolution
// and the mean are turned around, and the result is the network that sees RGB.
func (n *Network) TorchNames(params []weights.Tensor) (*Network, []weights.Tensor, error) {
	names := map[string]string{}
	place, linear := 0, 0
	for _, l := range n.Layers {
		switch l.Layer.(type) {
		case layers.Linear:
			names[l.Name] = "classifier." + strconv.Itoa([]int{1, 4, 6}[min(linear, 2)])
			linear++
		case layers.Conv:
			names[l.Name] = "features." + strconv.Itoa(place)
			place++
		case layers.Dropout:
		default:
			if linear == 0 {
				place++
			}
		}
	}
	if linear != 3 {
		return nil, nil, fmt.Errorf("network %q has %d linear layers; torchvision's names are for three", n.Name, linear)
	}
	renamed := slices.Clone(params)
	for i, t := range renamed {
		layer, kind, _ := strings.Cut(t.Name, ".")
		renamed[i].Name = names[layer] + "." + kind
	}
	rgb := *n
	if in := n.Input.WithDefaults(); in.Order == "BGR" && renamed[0].Shape[1] == 3 {
		renamed[0] = reversedChannels(renamed[0])
		rgb.Input.Order, rgb.Input.Mean, rgb.Input.Std = "RGB", slices.Clone(in.Mean), slices.Clone(in.Std)
		slices.Reverse(rgb.Input.Mean)
		slices.Reverse(rgb.Input.Std)
		if m := in.MeanPicture; m != nil {
			n := len(m) / 3
			rgb.Input.MeanPicture = slices.Concat(m[2*n:], m[n:2*n], m[:n])
		}
	}
	return &rgb, renamed, nil
}
