package main

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"vkalexnet/alexnet"
)

// fineTuningFlags are the flags of train that start from a trained network and
// from data that there is little of.
type fineTuningFlags struct {
	freeze, reinit, lrMult []string
	classWeights           []string
	noFlip, verticalFlip   bool
	balanced               bool
	patience               int
	bestBy                 string
}

// startFlags change the network and the loss that a run starts with, or what its
// best epoch is: a resumed one has them in its checkpoint.
var startFlags = []string{"freeze", "reinit", "lr-mult", "no-flip", "vertical-flip", "class-weights", "early-stop-metric"}

func (f *fineTuningFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringSliceVar(&f.freeze, "freeze", nil, "layers that keep the parameters of --weights, as conv1..conv5 or conv1,conv2: they cost no backward pass, gradient or momentum")
	flags.StringSliceVar(&f.reinit, "reinit", nil, "layers that start anew instead of from --weights, as fc8 (a last layer for another number of classes always does)")
	flags.StringSliceVar(&f.lrMult, "lr-mult", nil, "factors of the learning rate by layer, as fc8=10 or conv1..conv5=0.1")
	flags.BoolVar(&f.noFlip, "no-flip", false, "do not mirror pictures left to right")
	flags.BoolVar(&f.verticalFlip, "vertical-flip", false, "mirror half of the pictures top to bottom, too")
	flags.BoolVar(&f.balanced, "balanced", false, "draw equally many pictures of each class in an epoch")
	flags.StringSliceVar(&f.classWeights, "class-weights", nil, "weights of the classes in the training loss: balanced (all classes count alike, however rare), pairs as cat=2,dog=0.5 (others 1), or a file with a pair on each line")
	flags.IntVar(&f.patience, "early-stop-patience", 0, "stop after this many epochs without a better one by --early-stop-metric, 0: never")
	addOneOf(cmd, &f.bestBy, "early-stop-metric", "what of the validation set makes an epoch the best one, for --early-stop-patience and best.safetensors", alexnet.BestMetrics...)
}

// apply changes the options of a run that starts. A resumed run has its
// network, frozen layers and all, from its checkpoint.
func (f *fineTuningFlags) apply(cmd *cobra.Command, o *alexnet.Options) error {
	if f.patience < 0 {
		return usagef("--early-stop-patience %d: it must not be negative", f.patience)
	}
	f.balanced = o.Balanced
	o.Patience = f.patience
	if o.Resume != nil {
		f.bestBy = cmp.Or(o.BestBy, f.bestBy)
		for _, name := range startFlags {
			if origin(cmd.Flags().Lookup(name)) == fromFlag {
				return usagef("--%s changes how a run starts, and --resume goes on with one: start a new run with --weights", name)
			}
		}
		return nil
	}
	o.BestBy = f.bestBy
	if given := cmd.Flags().Lookup("weights").Value.String(); given == "" && len(f.freeze)+len(f.reinit) > 0 {
		return usagef("--freeze and --reinit are for a network that has been trained: give its --weights")
	}
	a := &o.Net.Input.Augment
	a.Flip = a.Flip && !f.noFlip
	a.Vertical = a.Vertical || f.verticalFlip
	factors, err := parseFactors(f.lrMult)
	if err != nil {
		return err
	}
	net, err := o.Net.FineTuned(alexnet.FineTuning{Freeze: f.freeze, LRFactors: factors})
	if err != nil {
		return usageError{err}
	}
	o.Net = net
	var frozen []string
	for _, l := range net.Layers {
		if l.Frozen {
			frozen = append(frozen, l.Name)
		}
	}
	if len(frozen) > 0 {
		warn(cmd, "frozen: %s", strings.Join(frozen, ", "))
	}
	for _, word := range f.reinit { // before the long part
		if _, err := net.LayerRange(word); err != nil {
			return usagef("--reinit: %v", err)
		}
	}
	return nil
}

// parseFactors reads "fc8=10,conv1..conv5=0.1".
func parseFactors(words []string) (map[string]float32, error) {
	factors := map[string]float32{}
	for _, word := range words {
		layer, text, ok := strings.Cut(word, "=")
		v, err := strconv.ParseFloat(text, 32)
		if !ok || err != nil {
			return nil, usagef("--lr-mult %s: it must be a layer and a factor, as fc8=10", word)
		}
		if _, twice := factors[layer]; twice {
			return nil, usagef("--lr-mult %s: %s has a factor already", strings.Join(slices.Clone(words), ","), layer)
		}
		factors[layer] = float32(v)
	}
	return factors, nil
}
