// Package alexnet joins the parts into a program: it describes AlexNet and its
// relatives as data (TOML files), runs them on a device or on the CPU, trains
// them, measures them, and keeps them in files.
package alexnet

import (
	"errors"
	"fmt"
	"regexp"
	"slices"

	"vkalexnet/layers"
	"vkalexnet/loader"
	"vkalexnet/optim"
	"vkalexnet/weights"
)

// Network describes a network and how it is trained. It is a value: methods
// that change something return a copy. Those that [Load] and [ParseNetwork]
// return are checked.
type Network struct {
	Name    string
	Classes []string // names by index; empty when unknown
	Input   loader.Input
	Solver  Solver
	Layers  []LayerSpec
}

// LayerSpec is one layer with what its parameters start from and how they
// learn. The factors multiply the run's learning rate and weight decay; layers
// without parameters ignore them.
type LayerSpec struct {
	Name                   string
	Layer                  layers.Layer
	WeightInit, BiasInit   Init
	WeightLR, BiasLR       float32
	WeightDecay, BiasDecay float32
	// Frozen layers keep their parameters: their learning rate is 0 whatever
	// the factors say.
	Frozen bool
}

// Solver is the training that a network's file proposes.
type Solver struct {
	Batch       int     `toml:"batch"`
	LR          float64 `toml:"lr"`
	Momentum    float64 `toml:"momentum"`
	WeightDecay float64 `toml:"weight_decay"`
	Form        string  `toml:"form"` // of SGD: "paper" or "pytorch"
	Epochs      int     `toml:"epochs"`
	// Scheduler is one of optim.Schedulers; the numbers that it does not use
	// are ignored. Times are in epochs.
	Scheduler      string    `toml:"scheduler"`
	LRStepSize     float64   `toml:"lr_step_size"`
	LRGamma        float64   `toml:"lr_gamma"`
	LRMilestones   []float64 `toml:"lr_milestones"`
	LRPower        float64   `toml:"lr_power"`
	LRPatience     int       `toml:"lr_patience"`
	LRMin          float64   `toml:"lr_min"`
	LRWarmupEpochs float64   `toml:"lr_warmup_epochs"`
	// GradAccumSteps batches make one step.
	GradAccumSteps int `toml:"grad_accum_steps"`
}

// DefaultSolver is what a file's [solver] starts from: the paper's numbers, at
// a constant learning rate.
func DefaultSolver() Solver {
	return Solver{
		Batch: 128, LR: 0.01, Momentum: 0.9, WeightDecay: 5e-4, Form: optim.Paper, Epochs: 90,
		Scheduler: "constant", LRStepSize: 30, LRGamma: 0.1, LRMilestones: []float64{}, LRPower: 1, LRPatience: 3,
		GradAccumSteps: 1,
	}
}

// SGD is the optimiser that the solver asks for.
func (s Solver) SGD() optim.SGD {
	return optim.SGD{LR: float32(s.LR), Momentum: float32(s.Momentum), WeightDecay: float32(s.WeightDecay), Form: s.Form}
}

// Schedule is the learning rate over a run of s.Epochs epochs of stepsPerEpoch
// steps each.
func (s Solver) Schedule(stepsPerEpoch int) (optim.Schedule, error) {
	return optim.NewSchedule(optim.Config{
		Scheduler: s.Scheduler, StepSize: s.LRStepSize, Gamma: s.LRGamma, Milestones: s.LRMilestones,
		Power: s.LRPower, Patience: s.LRPatience, Min: s.LRMin, WarmupEpochs: s.LRWarmupEpochs,
		Total: float64(s.Epochs), StepsPerEpoch: float64(stepsPerEpoch),
	})
}

// Check says whether the numbers can be meant.
func (s Solver) Check() error {
	if err := CheckBatchSize(s.Batch); err != nil {
		return &placed{table: "solver", key: "batch", err: err}
	}
	for _, n := range []struct {
		name  string
		value int
	}{{"epochs", s.Epochs}, {"grad_accum_steps", s.GradAccumSteps}} {
		if n.value < 1 {
			return &placed{table: "solver", key: n.name, err: fmt.Errorf("%s %d: it must be at least 1", n.name, n.value)}
		}
	}
	if err := s.SGD().Check(); err != nil {
		return &placed{table: "solver", err: err}
	}
	if _, err := s.Schedule(1); err != nil {
		return &placed{table: "solver", key: "scheduler", err: err}
	}
	return nil
}

// layerName is what a layer can be called: it becomes part of tensors' names.
var layerName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)

// Check says whether the network can be run and its solver used.
func (n *Network) Check() error {
	if n.Name == "" {
		return &placed{key: "name", err: errors.New("the network has no name")}
	}
	if err := checkInput(n.Input); err != nil {
		return err
	}
	if err := n.Solver.Check(); err != nil {
		return err
	}
	plans, err := n.Plans()
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for i, l := range n.Layers {
		if !layerName.MatchString(l.Name) {
			return &placed{table: "layers", layer: i, key: "name", err: fmt.Errorf("layer %d: name %q: use letters, digits, '_', '.' and '-'", i+1, l.Name)}
		}
		if seen[l.Name] {
			return &placed{table: "layers", layer: i, key: "name", err: fmt.Errorf("two layers are named %q", l.Name)}
		}
		seen[l.Name] = true
	}
	last := len(n.Layers) - 1
	if l, ok := n.Layers[last].Layer.(layers.Linear); !ok {
		return &placed{table: "layers", layer: last, key: "kind", err: fmt.Errorf("the last layer, %q, must be of kind linear: its outputs are the classes", n.Layers[last].Name)}
	} else if len(n.Classes) != 0 && len(n.Classes) != l.Out {
		return &placed{key: "classes", err: fmt.Errorf("%d class names for the %d outputs of layer %q", len(n.Classes), plans[last].Out.C, n.Layers[last].Name)}
	}
	return nil
}

// inputKey finds the key that an error of loader.Input.Check begins with.
var inputKey = regexp.MustCompile(`^(input[a-z.]*)\.(\w+) `)

// checkInput says whether pictures can become the network's input.
func checkInput(in loader.Input) error {
	err := in.Check()
	if err == nil {
		return nil
	}
	p := &placed{table: "input", err: err}
	if m := inputKey.FindStringSubmatch(err.Error()); m != nil {
		p.table, p.key = m[1], m[2]
	}
	return p
}

// InputShape is the shape of one example as the first layer gets it.
func (n *Network) InputShape() layers.Shape {
	return layers.Shape{C: 3, H: n.Input.Size, W: n.Input.Size}
}

// Plans follows the shape of the input through the layers. Its error names the
// layer that is impossible, and why.
func (n *Network) Plans() ([]layers.Plan, error) {
	if len(n.Layers) == 0 {
		return nil, errors.New("the network has no layers")
	}
	shape := n.InputShape()
	plans := make([]layers.Plan, len(n.Layers))
	for i, l := range n.Layers {
		p, err := l.Layer.Plan(shape)
		if err != nil {
			return nil, &placed{table: "layers", layer: i, key: "", err: fmt.Errorf("layer %q on an input of %d×%d×%d (channels, height, width): %w", l.Name, shape.C, shape.H, shape.W, err)}
		}
		plans[i] = p
		shape = p.Out
	}
	return plans, nil
}

// NumClasses is how many classes the network tells apart.
func (n *Network) NumClasses() int {
	for _, l := range slices.Backward(n.Layers) {
		if l, ok := l.Layer.(layers.Linear); ok {
			return l.Out
		}
	}
	return 0
}

// WithClasses is the network with that many outputs of its last fully
// connected layer. Class names that do not fit any more are dropped.
func (n *Network) WithClasses(count int) *Network {
	c := *n
	c.Layers = slices.Clone(n.Layers)
	for i, l := range slices.Backward(c.Layers) {
		if _, ok := l.Layer.(layers.Linear); ok {
			c.Layers[i].Layer = layers.Linear{Out: count}
			break
		}
	}
	if len(c.Classes) != count {
		c.Classes = nil
	}
	return &c
}

// ClassName is the name of class i, or its number when names are unknown.
func (n *Network) ClassName(i int) string {
	if i < len(n.Classes) {
		return n.Classes[i]
	}
	return fmt.Sprint(i)
}

// ParamSpecs lists the trainable tensors in the order of the layers, each
// layer's weight before its bias.
func (n *Network) ParamSpecs() ([]ParamSpec, error) {
	plans, err := n.Plans()
	if err != nil {
		return nil, err
	}
	var specs []ParamSpec
	for i, l := range n.Layers {
		fanIn := 1
		for j, p := range plans[i].Params {
			spec := ParamSpec{Name: l.Name + "." + p.Name, Layer: i, Param: j, Shape: p.Shape,
				Init: l.WeightInit, LR: l.WeightLR, Decay: l.WeightDecay}
			if p.Name == "bias" {
				spec.Init, spec.LR, spec.Decay = l.BiasInit, l.BiasLR, l.BiasDecay
			} else {
				fanIn = p.Len() / p.Shape[0]
			}
			if l.Frozen {
				spec.LR = 0
			}
			spec.FanIn = fanIn
			specs = append(specs, spec)
		}
	}
	return specs, nil
}

// Initial is the tensor with the values that training starts from: a function of the
// specification and the seed alone, whatever device trains. Each tensor has its own
// stream of random numbers: twice the layer's index, plus one for the bias.
func (p ParamSpec) Initial(seed uint64) weights.Tensor {
	data := make([]float32, p.Len())
	p.Init.fill(data, p.FanIn, seed, uint32(2*p.Layer+p.Param))
	return weights.Tensor{Name: p.Name, Shape: slices.Clone(p.Shape), Data: data}
}

// InitialParams are the initial tensors of all of the network's parameters.
func (n *Network) InitialParams(seed uint64) ([]weights.Tensor, error) {
	specs, err := n.ParamSpecs()
	if err != nil {
		return nil, err
	}
	tensors := make([]weights.Tensor, len(specs))
	for i, s := range specs {
		tensors[i] = s.Initial(seed)
	}
	return tensors, nil
}
