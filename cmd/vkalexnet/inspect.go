package main

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"vkalexnet/alexnet"
	"vkalexnet/weights"
)

// tensorSummary is what inspect tells of a tensor. Least, largest and mean are
// those of its finite numbers.
type tensorSummary struct {
	Name    string  `json:"name"`
	Shape   []int   `json:"shape"`
	Least   float64 `json:"least"`
	Largest float64 `json:"largest"`
	Mean    float64 `json:"mean"`
	NaNs    int     `json:"nans"`
	Infs    int     `json:"infs"`
}

func summaryOf(t weights.Tensor) tensorSummary {
	s := tensorSummary{Name: t.Name, Shape: t.Shape}
	sum, count := 0.0, 0
	for _, v := range t.Data {
		f := float64(v)
		switch {
		case math.IsNaN(f):
			s.NaNs++
		case math.IsInf(f, 0):
			s.Infs++
		default:
			if count == 0 {
				s.Least, s.Largest = f, f
			}
			s.Least, s.Largest = min(s.Least, f), max(s.Largest, f)
			sum += f
			count++
		}
	}
	if count > 0 {
		s.Mean = sum / float64(count)
	}
	return s
}

// readFile reads a file of weights, or a run's best one.
func readFile(path string) (*weights.File, weights.Format, error) {
	path, err := alexnet.WeightsFile(path)
	if err != nil {
		return nil, "", err
	}
	return weights.ReadFile(path)
}

func newInspect() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "inspect FILE",
		Short: "List the tensors and metadata of a file of weights",
		Long: `Lists the tensors of a file (safetensors, .caffemodel, .pth, ONNX) with their shapes,
least and largest numbers, mean, and count of NaN and infinite numbers; and the
metadata, with a checkpoint's history.`,
		Args: needArguments(1, "which file? Give a file of weights or the folder of a run"),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, kind, err := readFile(args[0])
			if err != nil {
				return err
			}
			all := make([]tensorSummary, 0, len(file.Tensors))
			for _, t := range file.Tensors {
				all = append(all, summaryOf(t))
			}
			out := cmd.OutOrStdout()
			if format == "json" {
				return writeJSON(out, map[string]any{"file": args[0], "format": kind, "tensors": all, "metadata": file.Metadata})
			}
			fmt.Fprintf(out, "%s: %s, %d tensors\n", args[0], kind, len(all))
			w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "tensor\tshape\tleast\tlargest\tmean\tNaN\tinf")
			for _, s := range all {
				fmt.Fprintf(w, "%s\t%v\t%.6g\t%.6g\t%.6g\t%d\t%d\n", s.Name, s.Shape, s.Least, s.Largest, s.Mean, s.NaNs, s.Infs)
			}
			if err := w.Flush(); err != nil {
				return err
			}
			for _, k := range slices.Sorted(maps.Keys(file.Metadata)) {
				v := strings.TrimSpace(file.Metadata[k])
				if lines := strings.Count(v, "\n") + 1; lines > 1 {
					v = fmt.Sprintf("(%d lines; --format json shows them)", lines)
				} else if r := []rune(v); len(r) > 100 {
					v = string(r[:100]) + "…"
				}
				fmt.Fprintf(out, "%s = %s\n", k, v)
			}
			return nil
		},
	}
	addFormat(cmd, &format, "text", "json")
	return cmd
}
