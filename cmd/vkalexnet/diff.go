package main

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"vkalexnet/weights"
)

func newDiff() *cobra.Command {
	return &cobra.Command{
		Use:   "diff A B",
		Short: "Compare two files of weights, number by number",
		Long: `Compares the tensors of two files of weights by name: the first number that differs, how
many do, and the largest difference in ULP (steps between neighbouring float32 numbers).
The exit code is 1 when the files differ.`,
		Args: needArguments(2, "which files? Give two files of weights"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usagef("compare %s with what? Give two files of weights", args[0])
			}
			a, _, err := readFile(args[0])
			if err != nil {
				return err
			}
			b, _, err := readFile(args[1])
			if err != nil {
				return err
			}
			differences := differences(a, b)
			if len(differences) == 0 {
				fmt.Fprintf(cmd.OutOrStdout(), "%d tensors: the same bits\n", len(a.Tensors))
				return nil
			}
			fmt.Fprintln(cmd.OutOrStdout(), strings.Join(differences, "\n"))
			return fmt.Errorf("%s and %s differ in %d tensors", args[0], args[1], len(differences))
		},
	}
}

// differences has a line for each tensor that is not the same bits in both.
func differences(a, b *weights.File) []string {
	var list []string
	for _, x := range a.Tensors {
		y, ok := b.Get(x.Name)
		switch {
		case !ok:
			list = append(list, fmt.Sprintf("%s %v is only in the first file", x.Name, x.Shape))
		case !slices.Equal(x.Shape, y.Shape):
			list = append(list, fmt.Sprintf("%s has shape %v and %v", x.Name, x.Shape, y.Shape))
		default:
			first, count, most := -1, 0, uint32(0)
			for i, v := range x.Data {
				if math.Float32bits(v) == math.Float32bits(y.Data[i]) {
					continue
				}
				if first < 0 {
					first = i
				}
				count++
				most = max(most, ulps(v, y.Data[i]))
			}
			if count > 0 {
				list = append(list, fmt.Sprintf("%s %v: %d of %d numbers differ, by up to %d ULP; the first is element %d: %g and %g",
					x.Name, x.Shape, count, len(x.Data), most, first, x.Data[first], y.Data[first]))
			}
		}
	}
	for _, y := range b.Tensors {
		if _, ok := a.Get(y.Name); !ok {
			list = append(list, fmt.Sprintf("%s %v is only in the second file", y.Name, y.Shape))
		}
	}
	return list
}

// ulps is how many float32 numbers lie from a to b; -0 and 0 are the same.
func ulps(a, b float32) uint32 {
	place := func(f float32) int64 {
		bits := math.Float32bits(f)
		if bits>>31 != 0 {
			return -int64(bits & 0x7fffffff)
		}
		return int64(bits)
	}
	d := place(a) - place(b)
	if d < 0 {
		d = -d
	}
	return uint32(d)
}
