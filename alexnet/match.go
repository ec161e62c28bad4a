package alexnet

import (
	"fmt"
	"slices"
	"strings"

	"vkalexnet/weights"
)

// MatchTensors brings tensors into the order of [Network.ParamSpecs]. When one
// is missing, unknown or of another shape, the error lists them all.
func (n *Network) MatchTensors(tensors []weights.Tensor) ([]weights.Tensor, error) {
	specs, err := n.ParamSpecs()
	if err != nil {
		return nil, err
	}
	byName := map[string]weights.Tensor{}
	for _, t := range tensors {
		byName[t.Name] = t
	}
	ordered := make([]weights.Tensor, 0, len(specs))
	var problems []string
	for _, s := range specs {
		t, ok := byName[s.Name]
		delete(byName, s.Name)
		switch {
		case !ok:
			problems = append(problems, fmt.Sprintf("%s %v is missing", s.Name, s.Shape))
		case !slices.Equal(t.Shape, s.Shape):
			problems = append(problems, fmt.Sprintf("%s has shape %v, the network's is %v", s.Name, t.Shape, s.Shape))
		case len(t.Data) != s.Len():
			problems = append(problems, fmt.Sprintf("%s has %d numbers for shape %v", s.Name, len(t.Data), s.Shape))
		default:
			ordered = append(ordered, t)
		}
	}
	for _, t := range tensors {
		if _, left := byName[t.Name]; left {
			problems = append(problems, fmt.Sprintf("%s %v is in no layer of the network", t.Name, t.Shape))
			delete(byName, t.Name)
		}
	}
	if len(problems) > 0 {
		return nil, fmt.Errorf("the weights do not fit network %q; use the model and the number of classes that they were trained with:\n  %s", n.Name, strings.Join(problems, "\n  "))
	}
	return ordered, nil
}

// LoadWeights gives the executor the parameters in a file, by name. Momentum
// in the file is ignored.
func LoadWeights(exec Executor, file *weights.File) error {
	params, _ := splitMomentum(file.Tensors)
	return exec.SetParams(params)
}

// momentumPrefix precedes the names of velocities in checkpoints.
const momentumPrefix = "momentum/"

// splitMomentum parts a checkpoint's tensors, and takes the prefix off.
func splitMomentum(tensors []weights.Tensor) (params, momentum []weights.Tensor) {
	for _, t := range tensors {
		if name, ok := strings.CutPrefix(t.Name, momentumPrefix); ok {
			t.Name = name
			momentum = append(momentum, t)
		} else {
			params = append(params, t)
		}
	}
	return params, momentum
}
