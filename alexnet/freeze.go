package alexnet

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"vkalexnet/weights"
)

// Frozen says that the parameter does not learn: its factor of the learning
// rate is 0. It has no momentum, and a layer all of whose parameters are frozen
// has no gradients of them; below the first layer that learns there is no
// backward pass.
func (p ParamSpec) Frozen() bool { return p.LR == 0 }

// trains says whether a layer has a parameter that learns.
func trains(specs []ParamSpec, layer int) bool {
	return slices.ContainsFunc(specs, func(s ParamSpec) bool { return s.Layer == layer && !s.Frozen() })
}

// firstTrained is the lowest layer that learns; the first one with parameters
// where none does.
func firstTrained(specs []ParamSpec) int {
	for _, s := range specs {
		if !s.Frozen() {
			return s.Layer
		}
	}
	return specs[0].Layer
}

// thawed gives the frozen parameters' momentum, which has no memory, as zeros.
func thawed(specs []ParamSpec, momentum []weights.Tensor) []weights.Tensor {
	for i := range specs {
		if momentum[i].Data == nil {
			momentum[i] = zeros(specs[i : i+1])[0]
		}
	}
	return momentum
}

// LayerRange finds the trainable layers that a word names: "fc8", or
// "conv1..conv5" for all from one to the other. An unknown name is an error.
func (n *Network) LayerRange(word string) ([]int, error) {
	specs, err := n.ParamSpecs()
	if err != nil {
		return nil, err
	}
	var at []int
	var names []string
	for _, s := range specs {
		if len(at) == 0 || at[len(at)-1] != s.Layer {
			at, names = append(at, s.Layer), append(names, n.Layers[s.Layer].Name)
		}
	}
	find := func(name string) (int, error) {
		if i := slices.Index(names, name); i >= 0 {
			return i, nil
		}
		return 0, fmt.Errorf("network %q has no layer %q with parameters%s", n.Name, name, suggest(name, slices.Clone(names)))
	}
	from, to, isRange := strings.Cut(word, "..")
	first, err := find(from)
	if err != nil {
		return nil, err
	}
	last := first
	if isRange {
		if last, err = find(to); err != nil {
			return nil, err
		}
	}
	if last < first {
		return nil, fmt.Errorf("layers %s: %q comes after %q", word, from, to)
	}
	return at[first : last+1], nil
}

// FineTuning is what a run changes about a network that has been trained.
type FineTuning struct {
	// Freeze names the layers that keep their parameters, as LayerRange takes
	// them; those that were frozen before and are not named learn again.
	Freeze []string
	// LRFactors multiply the learning rate's factors of layers, by such a name.
	LRFactors map[string]float32
}

// FineTuned is the network with the frozen layers and factors of f. That
// nothing is left to learn is an error.
func (n *Network) FineTuned(f FineTuning) (*Network, error) {
	c := *n
	c.Layers = slices.Clone(n.Layers)
	for i := range c.Layers {
		c.Layers[i].Frozen = false
	}
	for _, word := range f.Freeze {
		which, err := n.LayerRange(word)
		if err != nil {
			return nil, fmt.Errorf("freeze: %w", err)
		}
		for _, i := range which {
			c.Layers[i].Frozen = true
		}
	}
	for _, word := range keys(f.LRFactors) {
		which, err := n.LayerRange(word)
		if err != nil {
			return nil, fmt.Errorf("learning rate of layers: %w", err)
		}
		factor := f.LRFactors[word]
		if !(factor >= 0) || math.IsInf(float64(factor), 0) {
			return nil, fmt.Errorf("learning rate of %s times %g: the factor must be a number of at least 0", word, factor)
		}
		for _, i := range which {
			c.Layers[i].WeightLR *= factor
			c.Layers[i].BiasLR *= factor
		}
	}
	specs, err := c.ParamSpecs()
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(specs, func(s ParamSpec) bool { return !s.Frozen() }) {
		return nil, fmt.Errorf("every layer of network %q is frozen: nothing is left to train", n.Name)
	}
	return &c, nil
}

// Reinitialise replaces the tensors of the named layers (as LayerRange takes
// them) by the values that training from nothing would start from. The file is
// changed; a layer that it does not hold is added.
func (n *Network) Reinitialise(file *weights.File, words []string, seed uint64) error {
	specs, err := n.ParamSpecs()
	if err != nil {
		return err
	}
	for _, word := range words {
		which, err := n.LayerRange(word)
		if err != nil {
			return fmt.Errorf("start anew: %w", err)
		}
		for _, s := range specs {
			if !slices.Contains(which, s.Layer) {
				continue
			}
			if s.Frozen() {
				return fmt.Errorf("layer %q is to start anew and is frozen: it would stay at its random values; leave one of them out", n.Layers[s.Layer].Name)
			}
			at := slices.IndexFunc(file.Tensors, func(t weights.Tensor) bool { return t.Name == s.Name })
			if at < 0 {
				file.Tensors = append(file.Tensors, s.Initial(seed))
			} else {
				file.Tensors[at] = s.Initial(seed)
			}
		}
	}
	return nil
}
