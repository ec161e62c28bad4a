package alexnet

import "vkalexnet/loader"

// stager is an executor that takes a batch's pictures in while it still
// computes the batch before. Stage may run beside Train.
type stager interface {
	Stage(b *loader.Batch) error
}

// feeder reads batches ahead of the trainer, one at a time, and stages them.
type feeder struct {
	batches chan fed
	done    chan struct{} // closed by close
	ended   chan struct{} // closed when the goroutine has ended
}

type fed struct {
	batch *loader.Batch
	err   error
}

// newFeeder starts to feed what the loader, which has been started, reads.
func newFeeder(l *loader.Loader, exec Executor) *feeder {
	f := &feeder{make(chan fed), make(chan struct{}), make(chan struct{})}
	stage, _ := exec.(stager)
	go func() {
		defer close(f.ended)
		for {
			b, err := l.Next()
			if err == nil && stage != nil {
				err = stage.Stage(b)
			}
			select {
			case f.batches <- fed{b, err}:
			case <-f.done:
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return f
}

// next is the loader's next batch; not after an error.
func (f *feeder) next() (*loader.Batch, error) {
	n := <-f.batches
	return n.batch, n.err
}

// close ends the goroutine; the loader must have been stopped.
func (f *feeder) close() {
	close(f.done)
	<-f.ended
}
