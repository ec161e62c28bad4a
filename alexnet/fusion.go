package alexnet

import (
	"fmt"
	"os"
	"strings"

	"vkalexnet/engine"
	"vkalexnet/layers"
)

// Fusion is a set of things that a device computes together although they are several
// by definition. Where each applies is decided in this file alone; every layer's own
// calls stay for what is left apart.
type Fusion uint

// The fusions.
const (
	// FuseUpdate moves a convolution's or fully connected layer's parameters by the sums
	// of its backward pass. The gradient is never stored, and the bits are the same.
	FuseUpdate Fusion = 1 << iota
	// FuseMask applies the gradient of a ReLU, and of dropout after it, where the layer
	// above stores its input's gradient. The bits are the same, but that in 16 bits the
	// gradient is rounded once and not twice where dropout is among them.
	FuseMask
	// FusePool normalises inside the max pooling that follows, forward and backward: the
	// normalised pictures and their gradients are never stored. The bits are the same in
	// float32; in 16 bits these are no longer rounded. The windows overlap, so elements
	// are normalised more than once: drivers that run on CPUs keep the two apart.
	FusePool
	// FuseDropout applies dropout where the fully connected layer before it (and its ReLU)
	// adds up its parts: the result without dropout is not stored. The bits are the same in
	// float32; in 16 bits it is rounded once and not twice. Where the sum is not in parts,
	// and on drivers that run on CPUs, dropout stays a call of its own.
	FuseDropout

	fuseAll Fusion = 1<<iota - 1
)

var fusionNames = []string{"update", "mask", "pool", "dropout"} // in the order of the constants

// FusionVariable is the environment variable that keeps fusions apart, to compare or
// to measure: "all", or names with commas: update, mask, pool, dropout.
const FusionVariable = "VKALEXNET_APART"

// apart are the fusions that the options or the environment rule out.
func (o *ExecOptions) apart() (Fusion, error) {
	apart := o.Apart
	text := os.Getenv(FusionVariable)
	if text == "" {
		return apart, nil
	}
next:
	for _, name := range strings.Split(text, ",") {
		if name == "all" {
			apart |= fuseAll
			continue
		}
		for i, known := range fusionNames {
			if name == known {
				apart |= 1 << i
				continue next
			}
		}
		return 0, fmt.Errorf("%s: %q is not one of all, %s", FusionVariable, name, strings.Join(fusionNames, ", "))
	}
	return apart, nil
}

// fuses reports whether something may be computed together.
func (n *deviceNet) fuses(f Fusion) bool { return n.opt.Apart&f == 0 }

// fusesUpdate says whether layer i's backward pass moves its parameters: not when their
// gradients are kept, to be added up over several batches.
func (n *deviceNet) fusesUpdate(i int) bool {
	return n.fuses(FuseUpdate) && len(n.grads) == 0 && len(n.plans[i].Params) > 0
}

// passes is how a layer's passes are recorded.
type passes struct {
	withReLU bool // forward: it applies the ReLU that follows
	// A neighbour computes these: nothing is recorded for them.
	noForward, noBackward bool
	// These are those of layers.Slots.
	maskFactor float32
	norm       *layers.LRN
	dropout    *layers.DropoutAfter
}

// passes decides which layers are computed together in a step: in training with what
// the backward pass needs.
func (n *deviceNet) passes(train bool) []passes {
	all := make([]passes, len(n.plans))
	is := func(i int, kind string) bool {
		return i >= 0 && i < len(all) && n.net.Layers[i].Layer.Kind() == kind
	}
	for i := range all {
		if len(n.plans[i].Params) > 0 && is(i+1, "relu") {
			all[i].withReLU, all[i+1].noForward = true, true
		}
	}
	if train && n.fuses(FuseMask) {
		for i := range all {
			relu, dropout := layers.Masks(n.net.Layers[i].Layer)
			switch {
			case relu && is(i-1, "relu"):
				all[i].maskFactor, all[i-1].noBackward = 1, true
			case dropout && is(i-1, "dropout") && is(i-2, "relu"):
				all[i].maskFactor = n.net.Layers[i-1].Layer.(layers.Dropout).Factor(n.opt.Dropout)
				all[i-1].noBackward, all[i-2].noBackward = true, true
			}
		}
	}
	// Drivers that run on CPUs would compile another kernel to save next to nothing.
	if train && n.opt.Dropout && n.fuses(FuseDropout) && (n.info.Type != engine.Software || n.recompute) {
		for i := range all {
			at := i + 1
			if all[i].withReLU {
				at++
			}
			// The ReLU's own backward pass would read its result.
			if !is(i, "linear") || !is(at, "dropout") || at == len(all)-1 || all[i].withReLU && !all[i+1].noBackward {
				continue
			}
			all[i].dropout = &layers.DropoutAfter{Dropout: n.net.Layers[at].Layer.(layers.Dropout), Stream: uint32(at)}
			all[at].noForward = true
		}
	}
	for i := range all {
		if !is(i, "maxpool") || !is(i-1, "lrn") || !n.fuses(FusePool) || n.info.Type == engine.Software && !n.recompute {
			continue
		}
		if norm := n.net.Layers[i-1].Layer.(layers.LRN); layers.PoolsNormalised(norm, n.plans[i].In) {
			all[i].norm, all[i].maskFactor = &norm, all[i-1].maskFactor
			all[i-1].noForward, all[i-1].noBackward = true, true
		}
	}
	return all
}
