package main

import (
	"github.com/spf13/cobra"

	"vkalexnet/alexnet"
	"vkalexnet/engine"
	"vkalexnet/layers"
)

// precisions are the words of --precision.
var precisions = []string{"fp32", "fp16", "bf16", alexnet.AutoPrecision}

func addPrecision(cmd *cobra.Command, value *string) {
	addOneOf(cmd, value, "precision", "how the device stores activations, gradients and the weights that products read", precisions...)
}

// precisionOn is the precision that --precision means on a device, nil for the
// CPU reference; for auto it says which and why.
func precisionOn(cmd *cobra.Command, word string, device *engine.Device) (layers.Precision, error) {
	if device == nil {
		if word != "fp32" && word != alexnet.AutoPrecision {
			return layers.FP32, usagef("--precision %s: the CPU reference computes in fp32 alone; choose a Vulkan device", word)
		}
		return layers.FP32, nil
	}
	if word != alexnet.AutoPrecision {
		return layers.ParsePrecision(word)
	}
	chosen, why := alexnet.ChoosePrecision(device)
	warn(cmd, "precision: %s: %s", chosen, why)
	return chosen, nil
}
