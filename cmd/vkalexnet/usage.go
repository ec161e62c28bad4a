package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"vkalexnet/alexnet"
)

// noArguments is for commands that take flags only.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if !cmd.HasSubCommands() {
		return fmt.Errorf("unexpected argument %q", args[0])
	}
	var known []string
	for _, c := range cmd.Commands() {
		if !c.Hidden {
			known = append(known, c.Name())
		}
	}
	return fmt.Errorf("unknown command %q%s", args[0], alexnet.DidYouMean(args[0], known))
}

// newHelp is the help command; cobra's own shows the program's help for a command that
// does not exist.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Help about any command",
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			of, _, _ := cmd.Root().Find(args)
			var words []string
			for _, c := range of.Commands() {
				if c.IsAvailableCommand() {
					words = append(words, c.Name()+"\t"+c.Short)
				}
			}
			return words, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			of, rest, err := cmd.Root().Find(args)
			if err == nil && len(rest) > 0 {
				err = noArguments(of, rest)
			}
			if err != nil {
				return usageError{err}
			}
			return of.Help()
		},
	}
}

// needArguments is for commands that take from 1 to most arguments, 0: any
// number; missing is what to say when there is none.
func needArguments(most int, missing string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return errors.New(missing)
		case most > 0 && len(args) > most:
			return fmt.Errorf("unexpected argument %q", args[most])
		}
		return nil
	}
}

// flagError says what is wrong with a flag in words for people.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() == "" {
		var known []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				known = append(known, f.Name)
			}
		})
		name := unknown.GetSpecifiedName()
		if at := slices.IndexFunc(known, func(k string) bool { return strings.HasPrefix(k, name+"-") }); at >= 0 {
			return fmt.Errorf("unknown flag: --%s: did you mean %q?", name, known[at])
		}
		return fmt.Errorf("unknown flag: --%s%s", name, alexnet.DidYouMean(name, known))
	}
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		return fmt.Errorf("--%s: %w", invalid.GetFlag().Name, valueError(invalid.GetFlag(), invalid.Unwrap()))
	}
	return err
}
