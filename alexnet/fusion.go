package alexnet

import (
	"fmt"
	"os"
	"strings"
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

	fuseAll Fusion = 1<<iota - 1
)

var fusionNames = []string{"update"} // in the order of the constants

// FusionVariable is the environment variable that keeps fusions apart, to compare or
// to measure: "all", or names with commas: update.
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
