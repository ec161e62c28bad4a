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
// those who ask for it, and so is bf16x3, whose products are less exact than those of
// the float32 that it stores.
func ChoosePrecision(dev *engine.Device) (layers.Precision, string) {
	first := map[layers.Precision]string{} // the first product that matrix units of each are faster for
	for product, t := range ReadChoices(&dev.Info) {
		p := layers.FP16
		switch {
		case t.MatrixM == 0:
			continue
		case t.Split:
			p = layers.BF16x3
		case t.BF16:
			p = layers.BF16
		}
		if first[p] == "" || product < first[p] {
			first[p] = product
		}
	}
	also := ""
	for _, p := range []layers.Precision{layers.BF16, layers.BF16x3} {
		if first[p] != "" {
			also += fmt.Sprintf("; those of %s were faster for %s among others", p, first[p])
		}
	}
	if first[layers.FP16] != "" {
		return layers.FP16, fmt.Sprintf("matrix units were measured to be faster on %s, and right, for %s among others", dev.Name, first[layers.FP16]) + also
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
	_, splits := layers.SplitTuning(info)
	switch {
	case p == layers.FP16 && len(f.Matrices) == 0:
		return info.Name + " lists no matrix units for fp16 with sums in float32 (VK_KHR_cooperative_matrix)"
	case p == layers.BF16 && len(f.MatricesBF16) == 0:
		return info.Name + " lists no matrix units for bf16 with sums in float32 (VK_KHR_cooperative_matrix with VK_KHR_shader_bfloat16)"
	case p == layers.BF16x3 && !splits:
		return info.Name + " lists no matrix units of 16×16×16 for bf16 with sums in float32 (VK_KHR_cooperative_matrix with VK_KHR_shader_bfloat16)"
	}
	return ""
}
