package alexnet

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"vkalexnet/layers"
	"vkalexnet/optim"
	"vkalexnet/weights"
)

// Checkpoint is all that a run needs to go on: one safetensors file with
// `<layer>.weight`, `<layer>.bias` and `momentum/<the same>`, and with the
// network's TOML ("network") and the fields of TrainState, each as JSON, in
// its metadata.
type Checkpoint struct {
	Network          *Network
	Params, Momentum []weights.Tensor
	State            TrainState
}

// TrainState is how far a run has come, and the choices that the bits of its
// results depend on.
type TrainState struct {
	Step     int64  `json:"step"`     // updates made
	Epoch    int    `json:"epoch"`    // the epoch under way, from 0
	Batch    int    `json:"batch"`    // batches of it that were used
	Forwards uint64 `json:"forwards"` // forward passes in training: keys dropout
	// EpochLoss and EpochImages add up the training loss of the epoch under way.
	EpochLoss   float64     `json:"epoch_loss"`
	EpochImages int64       `json:"epoch_images"`
	Schedule    optim.State `json:"schedule"`
	// EpochWeight adds up the class weights of those pictures, where there are any.
	EpochWeight float64 `json:"epoch_weight,omitempty"`
	// Best is the best value so far of BestBy on the validation set (see
	// [Options]), after BestEpoch epochs; it counts when that is not 0.
	Best      float64 `json:"best"`
	BestEpoch int     `json:"best_epoch"`
	BestBy    string  `json:"best_by,omitempty"`

	Seed       uint64 `json:"seed"`
	Augment    bool   `json:"augment"`
	Dropout    bool   `json:"dropout"`
	Shuffle    bool   `json:"shuffle"`
	OnBadImage string `json:"on_bad_image"`
	// Data says where the training pictures came from; Images is their number.
	Data   string `json:"data"`
	Images int    `json:"images"`
	// Balanced says that pictures were drawn alike from all classes, ClassWeights
	// how much the loss of each counts.
	Balanced     bool      `json:"balanced,omitempty"`
	ClassWeights []float32 `json:"class_weights,omitempty"`
	// Device is where the run was computed: another one gives other bits. So
	// does another Decoder of the pictures' files ("" where they are no files, or
	// in checkpoints from before it was kept).
	Device  string `json:"device"`
	Decoder string `json:"decoder,omitempty"`
	// Precision is how the device stored activations and gradients, Scale what the
	// loss is multiplied by in fp16. Files of float32 runs have neither.
	Precision layers.Precision `json:"precision,omitempty"`
	Scale     lossScale        `json:"loss_scale,omitzero"`
	// Choices are the tunings of the matrix products: others give other bits.
	Choices layers.Choices `json:"choices,omitempty"`
}

// trainLoss is the mean loss of the epoch under way.
func (s TrainState) trainLoss() float64 {
	if s.EpochWeight > 0 {
		return s.EpochLoss / s.EpochWeight
	}
	return s.EpochLoss / float64(s.EpochImages)
}

// Names in a run's folder.
const (
	LastCheckpoint = "last.safetensors"
	BestCheckpoint = "best.safetensors"
	ConfigFile     = "config.toml"
	MetricsFile    = "metrics.jsonl"
)

// networkKey and classesKey name the metadata that every file of ours has.
const (
	networkKey = "network"
	classesKey = "classes"
)

// WriteCheckpoint writes the file, whole or not at all.
func WriteCheckpoint(path string, c *Checkpoint) error {
	metadata, err := c.State.metadata()
	if err != nil {
		return fmt.Errorf("write checkpoint %s: %w", path, err)
	}
	classes, err := json.Marshal(append([]string{}, c.Network.Classes...))
	if err != nil {
		return fmt.Errorf("write checkpoint %s: %w", path, err)
	}
	metadata[networkKey], metadata[classesKey] = string(c.Network.TOML()), string(classes)
	tensors := c.Network.WithMean(c.Params)
	for _, t := range c.Momentum {
		t.Name = momentumPrefix + t.Name
		tensors = append(tensors, t)
	}
	return weights.WriteSafetensors(path, &weights.File{Tensors: tensors, Metadata: metadata})
}

// metadata has one entry for each field.
func (s TrainState) metadata() (map[string]string, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, err
	}
	metadata := map[string]string{}
	for k, v := range fields {
		metadata[k] = string(v)
	}
	return metadata, nil
}

// stateOf reads what TrainState.metadata wrote.
func stateOf(metadata map[string]string) (TrainState, error) {
	var s TrainState
	fields := map[string]json.RawMessage{}
	t := reflect.TypeFor[TrainState]()
	for i := range t.NumField() {
		k, option, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		v, ok := metadata[k]
		if !ok && option != "" { // left out where it is empty, and in older files
			continue
		}
		if !ok {
			return s, fmt.Errorf("its metadata has no %q", k)
		}
		if !json.Valid([]byte(v)) {
			return s, fmt.Errorf("its metadata %q is damaged: %.40q", k, v)
		}
		fields[k] = json.RawMessage(v)
	}
	text, err := json.Marshal(fields)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, err
	}
	if s.Step < 0 || s.Epoch < 0 || s.Batch < 0 {
		return s, fmt.Errorf("step %d, epoch %d, batch %d: none can be negative", s.Step, s.Epoch, s.Batch)
	}
	return s, nil
}

// ReadCheckpoint reads a file that training wrote, or the last one in a run's
// folder.
func ReadCheckpoint(path string) (*Checkpoint, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		folder := path
		path = filepath.Join(folder, LastCheckpoint)
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("resume: folder %s holds no checkpoint (%s); a run writes one after its first epoch, or every --checkpoint-steps", folder, LastCheckpoint)
		}
	}
	file, err := weights.ReadSafetensors(path)
	if err != nil {
		return nil, err
	}
	c, err := checkpointOf(file)
	if err != nil {
		return nil, fmt.Errorf("resume from %s: %w; a file that holds only weights can be started from with --weights", path, err)
	}
	return c, nil
}

// checkpointOf checks that a file holds everything.
func checkpointOf(file *weights.File) (*Checkpoint, error) {
	net, tensors, err := networkOf(file)
	if err != nil {
		return nil, err
	}
	if net == nil {
		return nil, errors.New("it is no checkpoint: its metadata names no network")
	}
	c := &Checkpoint{Network: net}
	if c.State, err = stateOf(file.Metadata); err != nil {
		return nil, fmt.Errorf("it is no checkpoint: %w", err)
	}
	params, momentum := splitMomentum(tensors)
	if c.Params, err = net.MatchTensors(params); err != nil {
		return nil, err
	}
	if c.Momentum, err = net.MatchTensors(momentum); err != nil {
		return nil, fmt.Errorf("momentum: %w", err)
	}
	return c, nil
}

// networkOf is the network in a file's metadata, or nil when there is none, and
// the file's tensors but for the mean picture, which the network has then.
func networkOf(file *weights.File) (*Network, []weights.Tensor, error) {
	text, ok := file.Metadata[networkKey]
	if !ok {
		return nil, file.Tensors, nil
	}
	net, err := ParseNetwork([]byte(text), "the file's network")
	if err != nil {
		return nil, nil, err
	}
	tensors := file.Tensors
	if i := slices.IndexFunc(tensors, func(t weights.Tensor) bool { return t.Name == meanName }); i >= 0 {
		stored := net.Input.WithDefaults().Stored
		if want := []int{3, stored, stored}; !slices.Equal(tensors[i].Shape, want) {
			return nil, nil, fmt.Errorf("%s has shape %v, the network's stored pictures are %v", meanName, tensors[i].Shape, want)
		}
		net.Input.MeanPicture = tensors[i].Data
		tensors = slices.Delete(slices.Clone(tensors), i, i+1)
	}
	return net, tensors, nil
}

// meanName is the tensor that a mean picture is in a file of weights.
const meanName = "input.mean"

// WithMean are the parameters and, where the network has one, the mean picture.
func (n *Network) WithMean(params []weights.Tensor) []weights.Tensor {
	return append(slices.Clone(params), n.meanTensor()...)
}

func (n *Network) meanTensor() []weights.Tensor {
	if n.Input.MeanPicture == nil {
		return nil
	}
	stored := n.Input.WithDefaults().Stored
	return []weights.Tensor{{Name: meanName, Shape: []int{3, stored, stored}, Data: n.Input.MeanPicture}}
}

// WeightsFile is the file that path stands for: itself, or of a run's folder the
// best checkpoint, or the last one where there is no best.
func WeightsFile(path string) (string, error) {
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		return path, nil
	}
	for _, name := range []string{BestCheckpoint, LastCheckpoint} {
		file := filepath.Join(path, name)
		if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
			return file, nil
		}
	}
	return "", fmt.Errorf("read weights: folder %s holds no run: neither %s nor %s", path, BestCheckpoint, LastCheckpoint)
}

// ReadWeights reads parameters and the network that they belong to: the one in
// the file's metadata, or for files of other programs what [Adopt] recognises;
// nil where there is none. A run's folder stands for its
// best checkpoint, or the last one where there is no best. Momentum is left
// out, and so are the places of the run in the metadata.
func ReadWeights(path string) (*Network, *weights.File, error) { return ReadWeightsFor(path, nil) }

// ReadWeightsFor is [ReadWeights] for the weights of other programs that are
// known to be a model's; nil lets [Adopt] find out.
func ReadWeightsFor(path string, model *Network) (*Network, *weights.File, error) {
	path, err := WeightsFile(path)
	if err != nil {
		return nil, nil, err
	}
	file, format, err := weights.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	net, tensors, err := networkOf(file)
	if err != nil {
		return nil, nil, fmt.Errorf("read weights %s: %w", path, err)
	}
	params, _ := splitMomentum(tensors)
	if net == nil {
		adopted, ours, _, err := Adopt(&weights.File{Tensors: params, Ops: file.Ops, Nodes: file.Nodes, Input: file.Input}, format, model)
		if err == nil {
			return adopted, ours, nil
		}
		// Plain tensors under our names may be of any network: matching them
		// with it comes later.
		if format != weights.Safetensors || isTorch(params) {
			return nil, nil, fmt.Errorf("read weights %s: %w", path, err)
		}
	}
	if net != nil && isTorch(params) { // ours, written for torchvision
		if params, err = pair(net, inOrder(params)); err != nil {
			return nil, nil, fmt.Errorf("read weights %s: %w", path, err)
		}
	}
	return net, &weights.File{Tensors: params, Metadata: maps.Clone(file.Metadata)}, nil
}

// differences lists what keeps a run from being the one of the checkpoint: the
// place in the data would mean something else.
func (c *Checkpoint) differences(net *Network, now TrainState) error {
	was := c.State
	var list []string
	add := func(what string, before, after any) {
		if before != after {
			list = append(list, fmt.Sprintf("%s was %v, now %v", what, before, after))
		}
	}
	add("the batch", c.Network.Solver.Batch, net.Solver.Batch)
	add("batches per step", c.Network.Solver.GradAccumSteps, net.Solver.GradAccumSteps)
	add("the number of training pictures", was.Images, now.Images)
	add("the seed", was.Seed, now.Seed)
	add("shuffling", was.Shuffle, now.Shuffle)
	add("balanced sampling", was.Balanced, now.Balanced)
	add("the class weights", fmt.Sprint(was.ClassWeights), fmt.Sprint(now.ClassWeights))
	add("what the best epoch goes by", cmp.Or(was.BestBy, BestMetrics[0]), cmp.Or(now.BestBy, BestMetrics[0]))
	add("the form of SGD", c.Network.Solver.Form, net.Solver.Form)
	if !slices.EqualFunc(c.Network.Layers, net.Layers, sameParams) {
		list = append(list, "the layers differ")
	}
	if !slices.Equal(c.Network.Classes, net.Classes) {
		list = append(list, "the class names differ")
	}
	if len(list) == 0 {
		return nil
	}
	return fmt.Errorf("this run cannot go on from the checkpoint: %s; resume with the settings of before, or start a new run with --weights", strings.Join(list, "; "))
}

// sameParams compares what layers compute; their factors and initial values
// may change from run to run.
func sameParams(a, b LayerSpec) bool { return a.Name == b.Name && a.Layer == b.Layer }
