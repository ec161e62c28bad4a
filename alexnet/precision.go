package alexnet

import (
	"fmt"

	"vkalexnet/engine"
	"vkalexnet/layers"
)

// AutoPrecision is the word for letting [ChoosePrecision] choose.
const AutoPrecision = "auto"

// ChoosePrecision is the precision that a device should use where nobody has
// chosen one, and why: fp16 where tuning has found that matrix units are faster
// there and right, otherwise float32.
func ChoosePrecision(dev *engine.Device) (layers.Precision, string) {
	for product, t := range ReadChoices(&dev.Info) {
		if t.MatrixM > 0 {
			return layers.FP16, fmt.Sprintf("matrix units were measured to be faster on %s, and right, for %s among others", dev.Name, product)
		}
	}
	if len(dev.Features.Matrices) > 0 {
		return layers.FP32, dev.Name + " has matrix units that were not measured yet: vkalexnet tune --precision fp16 does"
	}
	return layers.FP32, "no faster products of 16-bit numbers were measured on " + dev.Name
}
