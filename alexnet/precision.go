package alexnet

import (
	"vkalexnet/engine"
	"vkalexnet/layers"
)

// AutoPrecision is the word for letting [ChoosePrecision] choose.
const AutoPrecision = "auto"

// ChoosePrecision is the precision that a device should use where nobody has
// chosen one, and why. It stays with float32 unless matrix products on numbers of
// 16 bits have been measured to be faster there and right.
func ChoosePrecision(dev *engine.Device) (layers.Precision, string) {
	return layers.FP32, "no faster products of 16-bit numbers were measured on " + dev.Name
}
