// Package loader turns pictures on disk into the batches that a network eats:
// it opens data sets, decodes and scales pictures on several goroutines, and
// draws the augmentation of each one as two small matrices.
//
// Everything in a batch is a function of (seed, epoch, picture) alone: the
// number of workers changes nothing, and an epoch can be entered at any batch.
package loader

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-gl/mathgl/mgl32"
)

// Options are a loader's settings.
type Options struct {
	// Batch is the number of pictures in a batch.
	Batch int
	// Workers is the number of goroutines that decode; one per processor when 0.
	Workers int
	// Train says that batches are for training. Without it Shuffle, Augment and
	// DropLast do nothing: every picture comes once, in order, as its centre crop.
	// Large JPEG files may be decoded at a part of their size for training.
	Train bool
	// Shuffle visits the pictures in another order each epoch.
	Shuffle bool
	// Balanced draws from every class that has pictures the same number (to
	// within one) in each epoch, whose length stays: pictures of large classes
	// are left out at times, those of small ones come several times. It
	// shuffles, whatever Shuffle says.
	Balanced bool
	// Augment applies the input's augmentation.
	Augment bool
	// DropLast leaves out a last batch that is not full.
	DropLast bool
	// Seed chooses the order and the augmentation.
	Seed uint64
	// OnBadImage says what becomes of a picture that cannot be read: "skip"
	// (the default) takes the next readable one of the source in its place,
	// "blank" a black one labelled -1, and both report it in Batch.Bad; "fail"
	// ends the epoch with an error.
	OnBadImage string
	// CacheBytes is how much memory stored pictures may take to be kept from
	// epoch to epoch, which happens when all of them fit: 1 GiB when 0, nothing
	// when negative.
	CacheBytes int64
}

const (
	defaultCacheBytes = 1 << 30
	// prefetch is the number of batches that are decoded ahead.
	prefetch = 3
)

// Loader delivers the batches of one source. Its methods are for one
// goroutine, but for Wait, which may be called from any.
type Loader struct {
	src   Source
	in    Input
	opt   Options
	cache *cache
	bad   sync.Map // index -> *BadImage, so that a bad picture is read once
	wait  atomic.Int64
	run   *epochRun
}

// NewLoader returns a loader of src. Its errors say which setting is
// impossible.
func NewLoader(src Source, in Input, opt Options) (*Loader, error) {
	if err := in.Check(); err != nil {
		return nil, err
	}
	if src.Len() == 0 {
		return nil, errors.New("load pictures: the set is empty")
	}
	if opt.Batch < 1 {
		return nil, fmt.Errorf("load pictures: the batch size is %d: it must be at least 1", opt.Batch)
	}
	in = in.WithDefaults()
	inner, _ := Inner(src, 0)
	if p, ok := inner.(*Pack); ok {
		if err := p.fits(in); err != nil {
			return nil, fmt.Errorf("load pictures: %w", err)
		}
	}
	if int64(opt.Batch) > math.MaxInt/int64(prefetch*3*in.Stored*in.Stored) {
		return nil, fmt.Errorf("load pictures: a batch of %d pictures of %d×%d is too large", opt.Batch, in.Stored, in.Stored)
	}
	switch opt.OnBadImage {
	case "":
		opt.OnBadImage = "skip"
	case "skip", "blank", "fail":
	default:
		return nil, fmt.Errorf("load pictures: on-bad-image is %q: it must be skip, blank or fail", opt.OnBadImage)
	}
	if opt.Workers < 1 {
		opt.Workers = runtime.GOMAXPROCS(0)
	}
	if opt.CacheBytes == 0 {
		opt.CacheBytes = defaultCacheBytes
	}
	if !opt.Train {
		opt.Shuffle, opt.Balanced, opt.Augment, opt.DropLast = false, false, false, false
	}
	l := &Loader{src: src, in: in, opt: opt, cache: newCache(src.Len(), in.Stored*in.Stored*3, opt.CacheBytes)}
	if l.BatchesPerEpoch() == 0 {
		return nil, fmt.Errorf("load pictures: the set has %d pictures, fewer than one batch of %d: lower the batch size", src.Len(), opt.Batch)
	}
	return l, nil
}

// Source is the loader's source.
func (l *Loader) Source() Source { return l.src }

// BatchesPerEpoch is the number of batches in one pass over the source.
func (l *Loader) BatchesPerEpoch() int {
	n := l.src.Len() / l.opt.Batch
	if !l.opt.DropLast && l.src.Len()%l.opt.Batch != 0 {
		n++
	}
	return n
}

// Wait is the time that Next has waited for pictures since NewLoader.
func (l *Loader) Wait() time.Duration { return time.Duration(l.wait.Load()) }

// Bad returns the pictures found unreadable so far, by index.
func (l *Loader) Bad() []*BadImage {
	var all []*BadImage
	l.bad.Range(func(_, v any) bool {
		all = append(all, v.(*BadImage))
		return true
	})
	slices.SortFunc(all, func(a, b *BadImage) int { return a.Index - b.Index })
	return all
}

// epochRun is the pass over an epoch that is under way.
type epochRun struct {
	ctx    context.Context
	cancel context.CancelFunc
	queue  chan *pending // in order
	tokens chan struct{} // one per batch in memory
	group  sync.WaitGroup
	err    error // what Next returned last, if that was an error
}

// pending is a batch whose pictures are being read.
type pending struct {
	batch *Batch
	bad   []*BadImage // per picture
	errs  []error     // per picture: what ends the epoch
	left  atomic.Int64
	done  chan struct{} // closed when left is 0
}

// job is one picture to read.
type job struct {
	p           *pending
	slot, index int
}

// Start begins an epoch at its batch firstBatch, ending one that is under way.
// When ctx is cancelled, all goroutines end and Next returns ctx's error.
func (l *Loader) Start(ctx context.Context, epoch, firstBatch int) {
	l.Stop()
	r := &epochRun{queue: make(chan *pending, prefetch), tokens: make(chan struct{}, prefetch)}
	r.ctx, r.cancel = context.WithCancel(ctx)
	l.run = r
	jobs := make(chan job, l.opt.Workers)
	for range l.opt.Workers {
		r.group.Go(func() {
			for j := range jobs {
				if r.ctx.Err() == nil {
					l.read(r.ctx, j)
				}
				if j.p.left.Add(-1) == 0 {
					close(j.p.done)
				}
			}
		})
	}
	r.group.Go(func() {
		defer close(jobs)
		defer close(r.queue)
		l.feed(r, jobs, epoch, firstBatch)
	})
}

// feed lays out the batches of an epoch and hands out their pictures.
func (l *Loader) feed(r *epochRun, jobs chan<- job, epoch, firstBatch int) {
	n := l.src.Len()
	var order []int
	switch {
	case l.opt.Balanced:
		order = balancedOrder(l.src, random(l.opt.Seed, purposeShuffle, uint64(epoch)))
	case l.opt.Shuffle:
		order = random(l.opt.Seed, purposeShuffle, uint64(epoch)).Perm(n)
	}
	batches := l.BatchesPerEpoch()
	for index := max(0, firstBatch); index < batches; index++ {
		select {
		case r.tokens <- struct{}{}:
		case <-r.ctx.Done():
			return
		}
		first := index * l.opt.Batch
		p := l.newPending(min(l.opt.Batch, n-first))
		p.batch.Epoch, p.batch.Index, p.batch.Last = epoch, index, index == batches-1
		select {
		case r.queue <- p:
		case <-r.ctx.Done():
			return
		}
		for slot := range p.batch.N {
			at := first + slot
			if order != nil {
				at = order[at]
			}
			select {
			case jobs <- job{p, slot, at}:
			case <-r.ctx.Done():
				return
			}
		}
	}
}

func (l *Loader) newPending(n int) *pending {
	p := &pending{
		batch: &Batch{
			N: n, Stored: l.in.Stored,
			Pixels:   make([]byte, n*l.in.Stored*l.in.Stored*3),
			Labels:   make([]int32, n),
			Geometry: make([]mgl32.Mat3, n),
			Colour:   make([]mgl32.Mat4, n),
			Indices:  make([]int, n),
		},
		bad:  make([]*BadImage, n),
		errs: make([]error, n),
		done: make(chan struct{}),
	}
	p.left.Store(int64(n))
	return p
}

// read fills one slot of a batch.
func (l *Loader) read(ctx context.Context, j job) {
	b := j.p.batch
	size := b.Stored * b.Stored * 3
	pixels := b.Pixels[j.slot*size:][:size]
	index := j.index
	b.Labels[j.slot] = int32(l.src.Label(index))
	if bad := l.pixels(index, pixels); bad != nil {
		j.p.bad[j.slot] = bad
		switch l.opt.OnBadImage {
		case "fail":
			j.p.errs[j.slot] = fmt.Errorf("load pictures: %w", bad)
			return
		case "blank":
			clear(pixels)
			b.Labels[j.slot] = -1
		case "skip":
			var err error
			if index, err = l.next(ctx, index, pixels); err != nil {
				j.p.errs[j.slot] = fmt.Errorf("load pictures: %w, the first: %w", err, bad)
				return
			}
			b.Labels[j.slot] = int32(l.src.Label(index))
		}
	}
	b.Indices[j.slot] = index
	if !l.opt.Augment {
		b.Geometry[j.slot] = l.in.CentreGeometry()
		b.Colour[j.slot] = l.in.Normalise()
		return
	}
	epoch, wanted := uint64(b.Epoch), uint64(j.index)
	b.Geometry[j.slot] = l.in.geometry(random(l.opt.Seed, purposeGeometry, epoch, wanted))
	var mean mgl32.Vec3
	if l.in.Augment.needsMean() {
		mean = meanColour(pixels)
	}
	b.Colour[j.slot] = l.in.colour(random(l.opt.Seed, purposeColour, epoch, wanted), mean)
}

// next reads the next readable picture after index, around the end.
func (l *Loader) next(ctx context.Context, index int, pixels []byte) (int, error) {
	n := l.src.Len()
	for k := 1; k < n; k++ {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if i := (index + k) % n; l.pixels(i, pixels) == nil {
			return i, nil
		}
	}
	return 0, fmt.Errorf("none of the %d pictures can be read", n)
}

// pixels writes the stored picture to dst, from the cache where it is there.
func (l *Loader) pixels(index int, dst []byte) *BadImage {
	if bad, ok := l.bad.Load(index); ok {
		return bad.(*BadImage)
	}
	if l.cache.get(index, dst) {
		return nil
	}
	if err := store(dst, l.src, index, l.in, !l.opt.Train); err != nil {
		bad := &BadImage{index, l.src.Name(index), err}
		l.bad.Store(index, bad)
		return bad
	}
	l.cache.put(index, dst)
	return nil
}

// Next returns the epoch's next batch: io.EOF after the last, the context's
// error when that was cancelled. The batch is the caller's to keep.
func (l *Loader) Next() (*Batch, error) {
	r := l.run
	if r == nil {
		return nil, errors.New("load pictures: Next before Start")
	}
	if r.err != nil {
		return nil, r.err
	}
	began := time.Now()
	batch, err := r.next()
	l.wait.Add(int64(time.Since(began)))
	if err != nil {
		r.err = err
		r.cancel()
		r.group.Wait()
	}
	return batch, err
}

func (r *epochRun) next() (*Batch, error) {
	p, ok := <-r.queue // closed when ctx is cancelled, too
	if err := r.ctx.Err(); err != nil {
		return nil, err
	}
	if !ok {
		return nil, io.EOF
	}
	select {
	case <-p.done:
	case <-r.ctx.Done():
		return nil, r.ctx.Err()
	}
	if err := r.ctx.Err(); err != nil {
		return nil, err
	}
	<-r.tokens
	for _, err := range p.errs {
		if err != nil {
			return nil, err
		}
	}
	for _, bad := range p.bad {
		if bad != nil {
			p.batch.Bad = append(p.batch.Bad, bad)
		}
	}
	return p.batch, nil
}

// Stop ends the epoch that is under way, if any, and waits for its goroutines.
// A loader can be started again.
func (l *Loader) Stop() {
	if l.run != nil {
		l.run.cancel()
		l.run.group.Wait()
		l.run = nil
	}
}
