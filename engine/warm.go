package engine

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"time"
)

// lateHelp is how long Warm works alone: where the driver finds its code on disk
// it is done before.
const lateHelp = 100 * time.Millisecond

// Warming is the building of pipelines in the background.
type Warming struct {
	stop context.CancelFunc
	done chan struct{}
	err  error
}

// Wait waits for the pipelines.
func (w *Warming) Wait() error {
	<-w.done
	return w.err
}

// Stop ends the building between two pipelines, and waits for that.
func (w *Warming) Stop() {
	w.stop()
	<-w.done
}

// Warm begins to build the pipelines of the recordings, so that programs compiled
// from them later start at once. What else is done with the device may go on
// meanwhile.
//
// Drivers that run on CPUs generate a pipeline's machine code when it is first
// dispatched, on the one thread of a queue. So there Warm also dispatches each
// pipeline over no workgroups, and where that takes long several devices of its
// own, each with a queue, share the work: what they generate the driver keeps in
// its cache on disk, where this device's queue then finds it. A driver without
// that cache generates it once more.
func (d *Device) Warm(recordings ...*Recording) *Warming {
	ctx, stop := context.WithCancel(d.closing)
	w := &Warming{stop: stop, done: make(chan struct{})}
	d.background.Go(func() {
		defer stop()
		defer close(w.done)
		w.err = d.warmNow(ctx, recordings)
	})
	return w
}

func (d *Device) warmNow(ctx context.Context, recordings []*Recording) error {
	if err := errors.Join(d.Prepare(recordings...)...); err != nil {
		return err
	}
	if d.Type != Software || d.CompileOnly {
		return nil
	}
	calls, err := d.distinct(recordings)
	if err != nil {
		return err
	}
	return d.warmCalls(ctx, calls)
}

// distinct has a call for each pipeline, without its arguments and over no
// workgroups; those of the longest modules, which take the longest, come first.
func (d *Device) distinct(recordings []*Recording) ([]call, error) {
	var calls []call
	length := map[*pipeline]int{}
	for _, r := range recordings {
		for _, c := range r.calls {
			if c.kernel == nil {
				continue
			}
			p, err := d.pipelines.get(d, &c)
			if err != nil {
				return nil, err
			}
			if length[p] == 0 {
				length[p] = len(p.link.words)
				calls = append(calls, call{kernel: c.kernel, label: "first of " + c.label, numbers: c.numbers, buffers: make([]Buffer, len(c.buffers)), empty: true})
			}
		}
	}
	of := func(c call) int { p, _ := d.pipelines.get(d, &c); return length[p] }
	slices.SortStableFunc(calls, func(a, b call) int { return of(b) - of(a) })
	return calls, nil
}

// warmCalls dispatches the calls on the device, with helpers where that takes long.
func (d *Device) warmCalls(ctx context.Context, calls []call) error {
	var mu sync.Mutex
	next, helped := 0, []call{}
	take := func(helper bool) (call, bool) {
		mu.Lock()
		defer mu.Unlock()
		if next == len(calls) || ctx.Err() != nil {
			return call{}, false
		}
		c := calls[next]
		next++
		if helper {
			helped = append(helped, c)
		}
		return c, true
	}
	finished := make(chan struct{})
	var helpers sync.WaitGroup
	for range min(runtime.NumCPU(), len(calls)) - 1 {
		helpers.Go(func() {
			select {
			case <-finished:
				return
			case <-time.After(lateHelp):
			}
			helper, err := open(d.Info, d.shaders, d.statistics)
			if err != nil {
				return // what it would have taken is done without it
			}
			defer helper.Close()
			for c, ok := take(true); ok; c, ok = take(true) {
				if helper.runEmpty(c) != nil {
					return
				}
			}
		})
	}
	var err error
	for c, ok := take(false); ok && err == nil; c, ok = take(false) {
		err = d.runEmpty(c)
	}
	close(finished)
	helpers.Wait()
	for _, c := range helped {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = d.runEmpty(c)
		}
	}
	return err
}

// runEmpty dispatches a call over no workgroups.
func (d *Device) runEmpty(c call) error {
	p, err := d.Compile(&Recording{info: d.Info, calls: []call{c}}, Options{})
	if err != nil {
		return err
	}
	defer p.Free()
	return p.Run()
}
