package main

import (
	"bytes"
	"fmt"
	"syscall"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"vkalexnet/alexnet"
	"vkalexnet/engine"
)

func TestExitCodes(t *testing.T) {
	for err, code := range map[error]int{
		nil:                                 0,
		fmt.Errorf("anything"):              1,
		usagef("wrong flag"):                2,
		engine.ErrNoDevice:                  3,
		engine.ErrOutOfMemory:               4,
		engine.ErrDeviceLost:                5,
		alexnet.ErrDeviceLost:               5,
		alexnet.ErrInterrupted:              130,
		usageError{engine.ErrOutOfMemory}:   2,
		engine.ErrLimits:                    2,
		fmt.Errorf("w: %w", syscall.ENOSPC): 1,
	} {
		if err != nil {
			err = fmt.Errorf("while testing: %w", err)
		}
		require.Equal(t, code, exitCode(err), "%v", err)
	}
}

func TestReportTellsWhatToDo(t *testing.T) {
	var out bytes.Buffer
	full := fmt.Errorf("write checkpoint: %w", syscall.ENOSPC)
	report(&out, newTrain(), full)
	require.Contains(t, out.String(), "vkalexnet: write checkpoint: no space left on device\n")
	require.Contains(t, out.String(), "free some space, or choose another --output-dir")
	out.Reset()
	report(&out, newVersion(), full)
	require.NotContains(t, out.String(), "--output-dir")
	out.Reset()
	report(&out, &cobra.Command{Use: "train"}, usagef("no"))
	require.Equal(t, "vkalexnet: no\nSee 'train --help'.\n", out.String())
}
