package main

import (
	"github.com/spf13/cobra"

	"vkalexnet/alexnet"
	"vkalexnet/engine"
	"vkalexnet/layers"
)

// precisions are the words of --precision.
var precisions = []string{"fp32", "fp16", "bf16", "bf16x3", alexnet.AutoPrecision}

func addPrecision(cmd *cobra.Command, value *string) {
	addOneOf(cmd, value, "precision", "number format on the device (bf16x3: fp32, multiplied as three products of bf16)", precisions...)
}

// precisionOn is the precision that --precision means on a device, nil for the
// CPU reference; for auto it says which and why. Where bf16x3 could do nothing that
// fp32 does not, it is fp32, and says so.
func precisionOn(cmd *cobra.Command, word string, device *engine.Device) (layers.Precision, error) {
	if device == nil {
		if word != "fp32" && word != alexnet.AutoPrecision {
			return layers.FP32, usagef("--precision %s: the CPU reference computes in fp32 alone; choose a Vulkan device", word)
		}
		return layers.FP32, nil
	}
	if word != alexnet.AutoPrecision {
		p, err := layers.ParsePrecision(word)
		if lacks := alexnet.LacksMatrices(&device.Info, p); p == layers.BF16x3 && lacks != "" {
			warn(cmd, "precision: fp32 instead of bf16x3: %s", lacks)
			return layers.FP32, nil
		}
		return p, err
	}
	chosen, why := alexnet.ChoosePrecision(device)
	warn(cmd, "precision: %s: %s", chosen, why)
	return chosen, nil
}
