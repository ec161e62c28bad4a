package main

import (
	"context"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"vkalexnet/alexnet"
	"vkalexnet/weights"
)

// interrupts hands Ctrl-C and SIGTERM to the last of the commands' contexts. One
// receiver decides, so that a signal that a command has obeyed does not end it as well.
var interrupts = struct {
	signals chan os.Signal
	mu      sync.Mutex
	obey    []*func()
}{signals: make(chan os.Signal, 2)}

// endOnSignal makes Ctrl-C or SIGTERM end the process where nothing else is said
// to happen: at once, but without leaving half-written files.
func endOnSignal(cmd *cobra.Command) {
	signal.Notify(interrupts.signals, syscall.SIGTERM)
	if !signal.Ignored(os.Interrupt) { // as in the background of a script
		signal.Notify(interrupts.signals, os.Interrupt)
	}
	go func() {
		for range interrupts.signals {
			interrupts.mu.Lock()
			if n := len(interrupts.obey); n > 0 {
				(*interrupts.obey[n-1])()
			} else {
				warn(cmd, "\nvkalexnet: interrupted")
				end()
			}
			interrupts.mu.Unlock()
		}
	}()
}

func end() {
	weights.Abandon()
	alexnet.AbandonTrials()
	os.Exit(exitInterrupted)
}

// interruptible is a context that the first Ctrl-C or SIGTERM cancels, after
// telling so; the second one ends the process at once.
func interruptible(cmd *cobra.Command, told string) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(cmd.Context())
	obey := func() {
		if ctx.Err() != nil {
			end()
		}
		warn(cmd, "\n%s", told)
		cancel()
	}
	interrupts.mu.Lock()
	interrupts.obey = append(interrupts.obey, &obey)
	interrupts.mu.Unlock()
	signal.Notify(interrupts.signals, os.Interrupt)
	return ctx, sync.OnceFunc(func() {
		interrupts.mu.Lock()
		interrupts.obey = slices.DeleteFunc(interrupts.obey, func(o *func()) bool { return o == &obey })
		interrupts.mu.Unlock()
		cancel()
	})
}
