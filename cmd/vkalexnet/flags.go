package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"vkalexnet/alexnet"
	"vkalexnet/engine"
)

// oneOf is a flag that takes one of a few words.
type oneOf struct {
	value *string
	words []string
}

func (o oneOf) String() string { return *o.value }
func (o oneOf) Type() string   { return "string" }
func (o oneOf) Set(s string) error {
	if !slices.Contains(o.words, s) {
		return fmt.Errorf("%q: it must be %s", s, strings.Join(o.words, ", "))
	}
	*o.value = s
	return nil
}

// addOneOf adds a flag that takes one of words; the first is its default
// unless *value holds one already.
func addOneOf(cmd *cobra.Command, value *string, name, usage string, words ...string) {
	if *value == "" {
		*value = words[0]
	}
	cmd.Flags().Var(oneOf{value, words}, name, fmt.Sprintf("%s: %s", usage, strings.Join(words, ", ")))
	_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

func addFormat(cmd *cobra.Command, value *string, words ...string) {
	addOneOf(cmd, value, "format", "form of the output", words...)
}

// checkBatches says which of a flag's batch sizes no executor can be made for.
func checkBatches(flag string, sizes ...int) error {
	for _, b := range sizes {
		if err := alexnet.CheckBatchSize(b); err != nil {
			return usagef("--%s: %w", flag, err)
		}
	}
	return nil
}

// deviceFlag is --device: nothing, as an unset variable of a script gives it, is "auto".
type deviceFlag struct{ value *string }

func (d deviceFlag) String() string { return *d.value }
func (d deviceFlag) Type() string   { return "string" }
func (d deviceFlag) Set(s string) error {
	*d.value = cmp.Or(s, "auto")
	return nil
}

func addDevice(cmd *cobra.Command, value *string) {
	*value = "auto"
	cmd.Flags().Var(deviceFlag{value}, "device", `"auto", "cpu" (no Vulkan, slow), or an index, beginning of a UUID or part of a name that 'vkalexnet devices' lists`)
	addDeviceCompletion(cmd)
}

// addDeviceCompletion offers for --device the names of the devices that are there.
func addDeviceCompletion(cmd *cobra.Command, more ...string) {
	_ = cmd.RegisterFlagCompletionFunc("device", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		words := append([]string{"auto", cpuDevice}, more...)
		infos, _ := engine.Devices() // without a driver there is just less to offer
		for _, info := range infos {
			words = append(words, info.Name)
		}
		return words, cobra.ShellCompDirectiveNoFileComp
	})
}

// addAlias gives a flag a second name, which the help leaves out.
func addAlias(cmd *cobra.Command, alias, name string) {
	cmd.Flags().SetNormalizeFunc(func(_ *pflag.FlagSet, given string) pflag.NormalizedName {
		if given == alias {
			given = name
		}
		return pflag.NormalizedName(given)
	})
}
