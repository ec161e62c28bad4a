package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"vkalexnet/alexnet"
	"vkalexnet/engine"
)

// The exit codes, which scripts may rely on.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitNoDevice    = 3
	exitOutOfMemory = 4
	exitDeviceLost  = 5
	exitInterrupted = 130
)

// usageError is a command line, an environment or a configuration file that
// cannot be meant.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func exitCode(err error) int {
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage), errors.Is(err, engine.ErrLimits):
		return exitUsage
	case errors.Is(err, alexnet.ErrInterrupted), errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.Is(err, engine.ErrNoDevice):
		return exitNoDevice
	case errors.Is(err, engine.ErrOutOfMemory):
		return exitOutOfMemory
	case errors.Is(err, engine.ErrDeviceLost), errors.Is(err, alexnet.ErrDeviceLost):
		return exitDeviceLost
	default:
		return exitFailure
	}
}

// report prints an error with what can be done about it.
func report(w io.Writer, cmd *cobra.Command, err error) {
	text := strings.TrimRight(err.Error(), "\n")
	if errors.Is(err, context.Canceled) {
		text = strings.ReplaceAll(text, context.Canceled.Error(), "interrupted")
	}
	fmt.Fprintf(w, "vkalexnet: %s\n", text)
	var usage usageError
	switch {
	case errors.As(err, &usage):
		fmt.Fprintf(w, "See '%s --help'.\n", cmd.CommandPath())
	case errors.Is(err, syscall.ENOSPC):
		cure := "free some space"
		if cmd.Flags().Lookup("output-dir") != nil {
			cure += ", or choose another --output-dir. What was written before is intact"
		}
		fmt.Fprintf(w, "The disk is full: %s.\n", cure)
	case errors.Is(err, syscall.EFBIG):
		fmt.Fprintln(w, "A file may not grow so large here: raise the limit (ulimit -f), or choose another disk. What was written before is intact.")
	}
}
