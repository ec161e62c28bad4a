// Command vkalexnet trains, evaluates and runs AlexNet on any Vulkan device.
//
// Each subcommand has its own file; exit.go has the exit codes, settings.go the
// order in which flags, environment and configuration files are heeded.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"vkalexnet/alexnet"
	"vkalexnet/engine"
)

func main() { os.Exit(run(os.Args[1:])) }

// run is the whole program: it returns the exit code.
func run(args []string) int {
	parsed := false
	root := newRoot(&parsed)
	root.SetArgs(args)
	endOnSignal(root)
	cmd, err := root.ExecuteContextC(context.Background())
	if err == nil {
		return exitOK
	}
	if !parsed {
		err = usageError{err}
	}
	report(root.ErrOrStderr(), cmd, err)
	return exitCode(err)
}

// newRoot builds the command tree. It sets parsed as soon as the command line
// is known to make sense: errors before that are errors of usage.
func newRoot(parsed *bool) *cobra.Command {
	root := &cobra.Command{
		Use:   "vkalexnet",
		Short: "Train, evaluate and run AlexNet on any Vulkan device",
		Long: `vkalexnet trains, evaluates and runs AlexNet through Vulkan compute shaders, on any
GPU with a Vulkan 1.1 driver, on a software driver, or (--device cpu) without
Vulkan at all.

Results go to standard output, progress and messages to standard error.
Every flag can also be set in the environment: --batch-size as VKALEXNET_BATCH_SIZE.
VKALEXNET_JPEG=auto|turbo|go chooses the JPEG decoder; auto is libjpeg-turbo where it is
installed.

Exit codes: 0 success, 1 failure, 2 wrong usage, 3 no usable device, 4 out of
device memory, 5 device lost, 130 interrupted.`,
		Example: `  vkalexnet train --model alexnet-small --data synthetic
  vkalexnet train --model alexnet --data imagenet --epochs 90 --output-dir runs/imagenet
  vkalexnet infer --weights runs/imagenet/best.safetensors cat.jpg
  vkalexnet devices`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArguments,
		PersistentPreRunE: func(cmd *cobra.Command, args []string) error {
			if err := cmd.ValidateArgs(args); err != nil {
				return err
			}
			if err := applySettings(cmd); err != nil {
				return usageError{err}
			}
			if err := chooseJPEG(); err != nil {
				return usageError{err}
			}
			for _, unknown := range unknownVariables(cmd.Root(), jpegVariable, engine.LimitsVariable, alexnet.FusionVariable, "VKALEXNET_MESA") { // the last one is of scripts/install-deps.sh
				warn(cmd, "WARNING: %s", unknown)
			}
			*parsed = true
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return cmd.Help() },
	}
	root.Version = versionText() // makes --version a flag
	root.SetVersionTemplate(versionLine())
	root.SetHelpCommand(newHelp())
	root.SetFlagErrorFunc(flagError)
	for _, group := range []struct {
		title    string
		commands []*cobra.Command
	}{
		{"Train and use networks:", []*cobra.Command{newTrain(), newEval(), newInfer(), newView(), newServe(), newSummary()}},
		{"Prepare pictures:", []*cobra.Command{newData(), newPack()}},
		{"Look at runs:", []*cobra.Command{newRuns(), newPlot()}},
		{"Exchange weights:", []*cobra.Command{newImport(), newExport(), newInspect(), newDiff()}},
		{"Measure and check devices:", []*cobra.Command{newDevices(), newVerify(), newBench(), newTune()}},
	} {
		root.AddGroup(&cobra.Group{ID: group.title, Title: group.title})
		for _, cmd := range group.commands {
			cmd.GroupID = group.title
			root.AddCommand(cmd)
		}
	}
	root.AddCommand(newShaderStats(), newVersion())
	cobra.EnableCommandSorting = false // they stand in the order in which they are used
	return root
}

// warn prints a message for people.
func warn(cmd *cobra.Command, format string, args ...any) {
	fmt.Fprintf(cmd.ErrOrStderr(), format+"\n", args...)
}
