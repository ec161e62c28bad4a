package main

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/spf13/cobra"

	"vkalexnet/weights"
)

// interruptibles is how many contexts of interruptible there are.
var interruptibles atomic.Int32

// endOnSignal makes Ctrl-C or SIGTERM end the process where nothing else is said
// to happen: at once, but without leaving half-written files.
func endOnSignal(cmd *cobra.Command) {
	if signal.Ignored(os.Interrupt) { // as by nohup
		return
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		for range signals {
			if interruptibles.Load() == 0 {
				warn(cmd, "\nvkalexnet: interrupted")
				end()
			}
		}
	}()
}

func end() {
	weights.Abandon()
	os.Exit(exitInterrupted)
}

// interruptible is a context that the first Ctrl-C or SIGTERM cancels, after
// telling so; the second one ends the process at once.
func interruptible(cmd *cobra.Command, told string) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(cmd.Context())
	signals := make(chan os.Signal, 2)
	interruptibles.Add(1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case <-signals:
		case <-ctx.Done():
			return
		}
		warn(cmd, "\n%s", told)
		cancel()
		<-signals
		end()
	}()
	return ctx, sync.OnceFunc(func() { signal.Stop(signals); interruptibles.Add(-1); cancel() })
}
