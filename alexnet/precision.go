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
// there and right, otherwise float32. bf16, whose products are less exact, is for
// those who ask for it.
func ChoosePrecision(dev *engine.Device) (layers.Precision, string) {
	var fp16, bf16 string // the first product that each is faster for
	for product, t := range ReadChoices(&dev.Info) {
		first := &fp16
		if t.BF16 {
			first = &bf16
		}
		if t.MatrixM > 0 && (*first == "" || product < *first) {
			*first = product
		}
	}
	also := ""
	if bf16 != "" {
		also = "; so were those of bf16, for " + bf16 + " among others"
	}
	if fp16 != "" {
		return layers.FP16, fmt.Sprintf("matrix units were measured to be faster on %s, and right, for %s among others", dev.Name, fp16) + also
	}
	if len(dev.Features.Matrices) > 0 {
		return layers.FP32, dev.Name + " has matrix units of fp16 that were not measured yet: vkalexnet tune --precision fp16 does" + also
	}
	return layers.FP32, "no faster products of 16-bit numbers were measured on " + dev.Name
}

// LacksMatrices says why the tuner has no kernel with matrix units to try for
// products of a precision on a device; it is empty where it has.
func LacksMatrices(info *engine.Info, p layers.Precision) string {
	f := &info.Features
	switch {
	case p == layers.FP16 && len(f.Matrices) == 0:
		return info.Name + " lists no matrix units for fp16 with sums in float32 (VK_KHR_cooperative_matrix)"
	case p == layers.BF16 && len(f.MatricesBF16) == 0:
		return info.Name + " lists no matrix units for bf16 with sums in float32 (VK_KHR_cooperative_matrix with VK_KHR_shader_bfloat16)"
	}
	return ""
}
