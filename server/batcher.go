package server

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-gl/mathgl/mgl32"

	"vkalexnet/alexnet"
	"vkalexnet/loader"
)

// errClosed is what a picture gets that the server's end has overtaken.
var errClosed = errors.New("the server is shutting down")

// batcher owns the executor: one goroutine runs it, with the pictures that wait.
type batcher struct {
	config  Config
	metrics *metrics
	queue   chan *job    // never blocks: waiting bounds what is in it
	waiting atomic.Int64 // pictures between submit and their batch
	quit    chan struct{}
	ended   chan struct{}
	lost    chan struct{} // closed when the device is lost
	mu      sync.Mutex
	err     error // why it was lost
	once    sync.Once
}

// job is one picture's way through the batcher.
type job struct {
	ctx     context.Context
	since   time.Time
	pixels  []byte // [Stored, Stored, 3]
	explain bool   // asks for the heat map of class instead
	class   int
	done    chan outcome // holds one
}

type outcome struct {
	alexnet.Prediction
	heat *alexnet.HeatMap
}

func newBatcher(config Config, m *metrics) *batcher {
	b := &batcher{config: config, metrics: m, queue: make(chan *job, config.MaxQueue),
		quit: make(chan struct{}), ended: make(chan struct{}), lost: make(chan struct{})}
	go b.run()
	return b
}

func (b *batcher) close() {
	b.once.Do(func() { close(b.quit) })
	<-b.ended
}

// failure is the error that lost the device, or nil.
func (b *batcher) failure() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// submit runs jobs and waits for all of them. It refuses them all when the
// queue has no room for them.
func (b *batcher) submit(ctx context.Context, jobs ...*job) ([]outcome, error) {
	if len(jobs) > b.config.MaxQueue {
		return nil, failf(413, "%d pictures in one request: at most %d wait at a time; send fewer", len(jobs), b.config.MaxQueue)
	}
	if err := b.failure(); err != nil {
		return nil, err
	}
	n := int64(len(jobs))
	if b.waiting.Add(n) > int64(b.config.MaxQueue) {
		b.waiting.Add(-n)
		return nil, errBusy
	}
	now := time.Now()
	for _, j := range jobs {
		j.ctx, j.since, j.done = ctx, now, make(chan outcome, 1)
		b.queue <- j
	}
	all := make([]outcome, len(jobs))
	for i, j := range jobs {
		select {
		case all[i] = <-j.done:
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for the device: %w", ctx.Err())
		case <-b.ended:
			return nil, errClosed
		}
		if all[i].Err != nil {
			return nil, all[i].Err
		}
	}
	return all, nil
}

// run makes batches until quit.
func (b *batcher) run() {
	defer close(b.ended)
	for {
		select {
		case <-b.quit:
			return
		case first := <-b.queue:
			b.take(first)
		}
	}
}

// take runs a batch that begins with a job.
func (b *batcher) take(first *job) {
	var batch, explain []*job
	sort := func(j *job) {
		switch {
		case j.ctx.Err() != nil: // nobody waits for it any more
			b.waiting.Add(-1)
		case j.explain:
			explain = append(explain, j)
		default:
			batch = append(batch, j)
		}
	}
	sort(first)
	timer := time.NewTimer(time.Until(first.since.Add(b.config.MaxDelay)))
	defer timer.Stop()
	for full := false; len(batch) < b.config.MaxBatch && !full; {
		select {
		case j := <-b.queue:
			sort(j)
			continue
		default:
		}
		if len(batch) == 0 {
			break // a heat map does not wait for others
		}
		select {
		case j := <-b.queue:
			sort(j)
		case <-timer.C:
			full = true
		case <-b.quit:
			full = true
		}
	}
	b.waiting.Add(-int64(len(batch) + len(explain)))
	if len(batch) > 0 {
		b.eval(batch)
	}
	stored := b.config.Net.Input.WithDefaults().Stored
	for _, j := range explain {
		heat, err := alexnet.GradCAM(b.config.Exec, b.config.Net, loader.Picture(j.pixels, stored, stored), j.class)
		b.note(err)
		j.done <- outcome{Prediction: alexnet.Prediction{Err: err}, heat: heat}
	}
}

// eval runs the pictures and answers their jobs.
func (b *batcher) eval(jobs []*job) {
	in := b.config.Net.Input.WithDefaults()
	size := in.Stored * in.Stored * 3
	batch := &loader.Batch{N: len(jobs), Stored: in.Stored, Pixels: make([]byte, 0, size*len(jobs))}
	for i, j := range jobs {
		batch.Pixels = append(batch.Pixels, j.pixels...)
		batch.Labels = append(batch.Labels, -1)
		batch.Geometry = append(batch.Geometry, in.CentreGeometry())
		batch.Colour = append(batch.Colour, mgl32.Mat4(in.Normalise()))
		batch.Indices = append(batch.Indices, i)
		b.metrics.waited.Observe(time.Since(j.since).Seconds())
	}
	began := time.Now()
	res, err := b.config.Exec.Eval(batch)
	b.metrics.device.Observe(time.Since(began).Seconds())
	b.metrics.batch.Observe(float64(len(jobs)))
	if err != nil {
		err = fmt.Errorf("run a batch of %d: %w", len(jobs), err)
		b.note(err)
	}
	classes := b.config.Net.NumClasses()
	for i, j := range jobs {
		if err != nil {
			j.done <- outcome{Prediction: alexnet.Prediction{Err: err}}
			continue
		}
		logits := append([]float32(nil), res.Logits[i*classes:][:classes]...)
		p := alexnet.Prediction{Logits: logits, Probs: alexnet.Softmax(logits)}
		for _, v := range logits {
			if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
				p = alexnet.Prediction{Err: errors.New("the network's scores are not numbers: its weights are damaged")}
				break
			}
		}
		j.done <- outcome{Prediction: p}
	}
}

// note ends the server when the device is lost: every later call would fail.
func (b *batcher) note(err error) {
	if !errors.Is(err, alexnet.ErrDeviceLost) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
		close(b.lost)
	}
}
