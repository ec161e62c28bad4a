package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"vkalexnet/alexnet"
	"vkalexnet/loader"
	"vkalexnet/weights"
)

// modelFlags are the flags of commands that run a trained network.
type modelFlags struct {
	weights, model, device string
	labels                 string
	precision              string
	batch, workers, crops  int
	shortBatches           bool // run in less time, see alexnet.ExecOptions

	ahead *opening // by network
}

const weightsUsage = "file with the parameters (safetensors, .caffemodel, .pth, ONNX), or the folder of a run (required)"

func (f *modelFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.weights, "weights", "", weightsUsage)
	flags.StringVar(&f.model, "model", "", "preset or network's TOML file (default: the one that the weights name)")
	addLabels(cmd, &f.labels)
	flags.IntVar(&f.crops, "crops", 1, "views of each picture to average over: 1 (centre), 5 (corners and centre), 10 (those and mirrored)")
	flags.IntVarP(&f.batch, "batch-size", "b", 16, "pictures in a batch")
	flags.IntVarP(&f.workers, "workers", "j", 0, "goroutines that read pictures, 0: one per processor")
	addDevice(cmd, &f.device)
	addPrecision(cmd, &f.precision)
	_ = cmd.RegisterFlagCompletionFunc("model", completeModel)
}

func (f *modelFlags) check() error {
	switch {
	case f.weights == "":
		return usagef("which weights? --weights takes a file of weights or the folder of a run")
	case f.crops != 1 && f.crops != 5 && f.crops != 10:
		return usagef("--crops %d: it must be 1, 5 or 10", f.crops)
	case f.workers < 0:
		return usagef("--workers %d: it must not be negative", f.workers)
	}
	return checkBatches("batch-size", f.batch)
}

// opened is a trained network on its device.
type opened struct {
	net    *alexnet.Network
	exec   alexnet.Executor
	target *target
}

func (o *opened) close() {
	if o.exec != nil {
		o.exec.Close()
	}
	if o.target != nil {
		o.target.close()
	}
}

// network reads the weights and finds the network that they belong to, with the
// names of classes that --labels gives. Where the command has a device, that is
// opened meanwhile.
func (f *modelFlags) network() (*alexnet.Network, *weights.File, error) {
	if f.device != "" {
		f.ahead = openAhead(f.device)
	}
	net, file, err := f.networkOfWeights()
	if err != nil || f.labels == "" {
		return net, file, err
	}
	named := *net
	named.Classes, err = readLabels(f.labels, net.NumClasses())
	return &named, file, err
}

func (f *modelFlags) networkOfWeights() (*alexnet.Network, *weights.File, error) {
	var chosen *alexnet.Network
	if f.model != "" {
		var err error
		if chosen, err = loadModel(f.model); err != nil {
			return nil, nil, err
		}
	}
	net, file, err := alexnet.ReadWeightsFor(f.weights, chosen)
	if err != nil {
		return nil, nil, err
	}
	if f.model == "" {
		if net == nil {
			return nil, nil, usagef("%s does not say which network it belongs to: give --model", f.weights)
		}
		return net, file, nil
	}
	// The number of classes is the length of the last bias.
	specs, err := chosen.ParamSpecs()
	if err != nil {
		return nil, nil, err
	}
	last := specs[len(specs)-1]
	if t, ok := file.Get(last.Name); ok && len(t.Shape) == 1 {
		chosen = chosen.WithClasses(t.Shape[0])
	}
	if net != nil && len(chosen.Classes) == 0 && len(net.Classes) == chosen.NumClasses() {
		named := *chosen
		named.Classes = net.Classes
		chosen = &named
	}
	return chosen, file, nil
}

// open puts the network on the device, for batches of up to `batch` pictures.
func (f *modelFlags) open(cmd *cobra.Command, net *alexnet.Network, file *weights.File, batch int) (*opened, error) {
	t, err := f.ahead.target(cmd)
	if err != nil {
		return nil, err
	}
	o := &opened{net: net, target: t}
	options := alexnet.ExecOptions{Inference: true, ShortBatches: f.shortBatches}
	if options.Precision, err = precisionOn(cmd, f.precision, t.device); err != nil {
		o.close()
		return nil, err
	}
	if o.exec, err = t.executor(net, batch, options); err == nil {
		err = alexnet.LoadWeights(o.exec, file)
	}
	if err != nil {
		o.close()
		return nil, fmt.Errorf("%s: %w", f.weights, err)
	}
	return o, nil
}

// relabelled is a source whose labels are those of the network.
type relabelled struct {
	loader.Source
	classes []string
	to      []int
}

func (r *relabelled) Classes() []string                { return r.classes }
func (r *relabelled) Inner(i int) (loader.Source, int) { return r.Source, i }

func (r *relabelled) Label(i int) int {
	if label := r.Source.Label(i); label >= 0 {
		return r.to[label]
	}
	return -1
}

// renamed is a source whose classes have other names, in the same order.
type renamed struct {
	loader.Source
	classes []string
}

func (r *renamed) Classes() []string                { return r.classes }
func (r *renamed) Inner(i int) (loader.Source, int) { return r.Source, i }

var wordNet = regexp.MustCompile(`^n\d{8}$`)

func allWordNet(names []string) bool {
	return !slices.ContainsFunc(names, func(name string) bool { return !wordNet.MatchString(name) })
}

// withLabelsOf matches the classes of src to the network's by their names.
func withLabelsOf(net *alexnet.Network, src loader.Source) (loader.Source, error) {
	classes := src.Classes()
	if len(net.Classes) == 0 {
		if len(classes) > net.NumClasses() {
			return nil, fmt.Errorf("the data has %d classes and the network tells %d apart: these are not the weights for it", len(classes), net.NumClasses())
		}
		return src, nil
	}
	if slices.Equal(classes, net.Classes) {
		return src, nil
	}
	if len(classes) == 1000 && allWordNet(classes) && slices.IsSorted(classes) && slices.Equal(net.Classes, alexnet.ImageNetClasses()) {
		return &renamed{src, net.Classes}, nil // which are in the order of their ids
	}
	r := &relabelled{Source: src, classes: net.Classes}
	var unknown []string
	for _, name := range classes {
		i := slices.IndexFunc(net.Classes, func(known string) bool {
			id, _, _ := strings.Cut(known, " ")
			return known == name || id == name && wordNet.MatchString(id) // as in Caffe's synset_words.txt
		})
		if i < 0 {
			unknown = append(unknown, name)
		}
		r.to = append(r.to, i)
	}
	if len(unknown) > 0 && allWordNet(unknown) {
		return nil, fmt.Errorf("the data's classes have WordNet ids for names (%s) and the network's do not (%s): give --labels a file with the id of each of its %d classes at the beginning of a line, such as Caffe's synset_words.txt", some(unknown), some(net.Classes), net.NumClasses())
	}
	if len(unknown) > 0 {
		return nil, fmt.Errorf("the network does not know %d of the %d classes of the data: %s; it knows %s", len(unknown), len(classes), some(unknown), some(net.Classes))
	}
	return r, nil
}

// some lists the first few of many words.
func some(words []string) string {
	const few = 8
	if len(words) <= few {
		return strings.Join(words, ", ")
	}
	return fmt.Sprintf("%s, … (%d)", strings.Join(words[:few], ", "), len(words))
}
