package main

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/spf13/cobra"

	"vkalexnet/alexnet"
)

func newVerify() *cobra.Command {
	var model, device, format, precision string
	var batch int
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check a device's results against the CPU reference",
		Long: `Runs every layer of a network forward and backward, the loss and the optimiser on the
device and on the CPU reference, each from the same input on both, and compares
every tensor. ERROR is the largest difference in units of the last place of the
tensor's largest number (2^-23 of it in FORMAT fp32, 2^-10 in fp16, 2^-7 in bf16);
LIMIT is what rounding explains for sums of so many TERMS.

With --precision fp16 and bf16, inputs and weights are rounded to that format on both
sides. With bf16x3, tensors are fp32, every product splits its operands in two bf16, and
LIMIT allows 256 units more for that. Layers with matrix products are computed by the
device's own kernel and then by those that tuning may choose instead, which the row
names. The exit code is 1 when a tensor is beyond its limit.`,
		Example: "  vkalexnet verify --model alexnet --device 0",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkBatches("batch-size", batch); err != nil {
				return err
			}
			if device == cpuDevice {
				return usagef("--device cpu is the reference itself: choose a Vulkan device")
			}
			net, t, stored, err := openModel(cmd, model, device, precision)
			if err != nil {
				return err
			}
			defer t.close()
			out := cmd.OutOrStdout()
			const line = "%-10s %-10s %-20s %-6s %8v %12v %12v  %s\n"
			var show func(alexnet.VerifyRow)
			if format == "text" {
				fmt.Fprintf(out, line, "LAYER", "KIND", "TENSOR", "FORMAT", "TERMS", "ERROR", "LIMIT", "")
				show = func(r alexnet.VerifyRow) {
					if r.NotBuilt != "" {
						fmt.Fprintf(out, line, r.Layer, r.Kind, "", "", "", "", "", r.Kernel+" is left out: "+r.NotBuilt)
						return
					}
					verdict := "ok"
					if !r.Pass {
						verdict = fmt.Sprintf("FAIL at element %d: %g, not %g", r.At, r.Got, r.Want)
					}
					if r.Kernel != "" {
						verdict += ", " + r.Kernel
					}
					fmt.Fprintf(out, line, r.Layer, r.Kind, r.Tensor, r.Format, r.Terms, fmt.Sprintf("%.*f", digits(r.Limit), r.Error), fmt.Sprintf("%.*f", digits(r.Limit), r.Limit), verdict)
				}
			}
			ctx, stop := interruptible(cmd, "stopping after this layer (again: stop at once)")
			defer stop()
			rows, err := alexnet.Verify(ctx, t.device, net, batch, stored, show)
			if err != nil {
				return err
			}
			failed, compared := 0, 0
			for _, r := range rows {
				if !r.Pass {
					failed++
				}
				if r.NotBuilt == "" {
					compared++
				}
			}
			if format == "json" {
				if err := writeJSON(out, verifyReport(t.name, net.Name, stored.String(), batch, rows, failed)); err != nil {
					return err
				}
			}
			if failed > 0 {
				return fmt.Errorf("%d of %d tensors of %s differ from the CPU reference by more than rounding explains: do not trust %s", failed, compared, net.Name, t.name)
			}
			warn(cmd, "%s: all %d tensors of %s agree with the CPU reference", t.name, compared, net.Name)
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&model, "model", "alexnet-small", "preset or path of a network's TOML file")
	flags.IntVarP(&batch, "batch-size", "b", 2, "pictures in the batch")
	addDevice(cmd, &device)
	addPrecision(cmd, &precision)
	addFormat(cmd, &format, "text", "json")
	_ = cmd.RegisterFlagCompletionFunc("model", completeModel)
	return cmd
}

// digits is how many decimals tell errors apart below the limit.
func digits(limit float64) int {
	if limit < 10 {
		return 2
	}
	return 1
}

// finiteNumber is null in JSON where it is not finite, which JSON cannot say.
type finiteNumber float64

func (f finiteNumber) MarshalJSON() ([]byte, error) {
	if v := float64(f); math.IsNaN(v) || math.IsInf(v, 0) {
		return []byte("null"), nil
	}
	return json.Marshal(float64(f))
}

type verifyRow struct {
	alexnet.VerifyRow
	Error finiteNumber `json:"error"`
	Got   finiteNumber `json:"got"`
	Want  finiteNumber `json:"want"`
}

func verifyReport(device, model, precision string, batch int, rows []alexnet.VerifyRow, failed int) any {
	report := struct {
		Device    string      `json:"device"`
		Model     string      `json:"model"`
		Precision string      `json:"precision"`
		Batch     int         `json:"batch"`
		Pass      bool        `json:"pass"`
		Tensors   []verifyRow `json:"tensors"`
	}{Device: device, Model: model, Precision: precision, Batch: batch, Pass: failed == 0}
	for _, r := range rows {
		report.Tensors = append(report.Tensors, verifyRow{r, finiteNumber(r.Error), finiteNumber(r.Got), finiteNumber(r.Want)})
	}
	return report
}
