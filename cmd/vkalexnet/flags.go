package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"vkalexnet/alexnet"
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

func addDevice(cmd *cobra.Command, value *string) {
	cmd.Flags().StringVar(value, "device", "auto", `device: "auto", "cpu" (no Vulkan, slow), or an index, beginning of a UUID or part of a name that 'vkalexnet devices' lists`)
}
