package alexnet

import (
	"fmt"
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

// WithLR is the network with the learning rate's factors of the given layers
// multiplied: 0 freezes them.
func (n *Network) WithLR(which []int, factor float32) *Network {
	c := *n
	c.Layers = slices.Clone(n.Layers)
	for _, i := range which {
		c.Layers[i].WeightLR *= factor
		c.Layers[i].BiasLR *= factor
	}
	return &c
}
