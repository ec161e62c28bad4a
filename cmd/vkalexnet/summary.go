package main

import (
	"strings"

	"github.com/spf13/cobra"

	"vkalexnet/alexnet"
)

func newSummary() *cobra.Command {
	var format string
	var batches []int
	var classes int
	cmd := &cobra.Command{
		Use:   "summary MODEL",
		Short: "Print a network's layers, parameters, work and memory",
		Long: `Prints the layers of a network with their shapes, parameters and multiply-adds, and
the memory that it takes by batch size. MODEL is a preset (` + strings.Join(alexnet.Presets(), ", ") + `)
or the path of a network's TOML file.`,
		Args:              needArguments(1, "which network? MODEL is a preset ("+strings.Join(alexnet.Presets(), ", ")+") or a network's TOML file"),
		ValidArgsFunction: completeModel,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkBatches("batch-size", batches...); err != nil {
				return err
			}
			if classes < 0 {
				return usagef("--num-classes %d: it must not be negative", classes)
			}
			net, err := loadModel(args[0])
			if err != nil {
				return err
			}
			if classes > 0 {
				net = net.WithClasses(classes)
			}
			summary, err := alexnet.Summarize(net, batches...)
			if err != nil {
				return err
			}
			if format == "json" {
				return writeJSON(cmd.OutOrStdout(), summary)
			}
			_, err = summary.WriteTo(cmd.OutOrStdout())
			return err
		},
	}
	cmd.Flags().IntSliceVarP(&batches, "batch-size", "b", []int{1, 16, 128, 256}, "batch sizes to list memory for, in pictures")
	cmd.Flags().IntVar(&classes, "num-classes", 0, "number of classes (default: the model's)")
	addFormat(cmd, &format, "text", "json")
	return cmd
}

// completeModel offers the presets, then files.
func completeModel(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	return alexnet.Presets(), cobra.ShellCompDirectiveDefault
}

// loadModel is alexnet.Load; a name that is nothing is an error of usage.
func loadModel(name string) (*alexnet.Network, error) {
	net, err := alexnet.Load(name)
	if err != nil && !strings.ContainsAny(name, `/\.`) {
		return nil, usageError{err}
	}
	return net, err
}
