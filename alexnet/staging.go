package alexnet

import (
	"errors"
	"runtime"
	"sync"

	"vkalexnet/engine"
	"vkalexnet/layers"
	"vkalexnet/loader"
)

// slot is a place for a batch's input on its way to the device: while one
// batch is computed from the device's copy, the next is packed.
type slot struct {
	words []uint32 // all but the pictures
	host  engine.Buffer
	copy  map[int]*engine.Program // host → the device's input, by the size of the batch
	batch *loader.Batch           // what is in it, nil when it is free
}

// inputLayout says at which word each part of a batch's input begins.
type inputLayout struct{ step, labels, transforms, pixels, words, pitch int }

// end is where the input of a batch of n pictures ends.
func (l inputLayout) end(n int) int { return l.pixels + n*l.pitch }

// layoutInput is the layout for batches of that many pictures with sides of stored
// pixels.
func layoutInput(batch, stored int) inputLayout {
	var l inputLayout
	l.labels = alignPage(8)
	l.transforms = l.labels + alignPage(batch)
	l.pixels = l.transforms + alignPage(batch*layers.TransformWords)
	l.pitch = layers.PicturePitch(stored)
	l.words = l.end(batch)
	return l
}

// Stage packs a batch's pictures into a free slot, for a Train or Eval of the
// same batch to come; without one it does nothing. It may run beside Train.
func (d *device) Stage(b *loader.Batch) error {
	if err := d.net.CheckBatch(b, d.batch, d.net.NumClasses()); err != nil {
		return err
	}
	d.staging.Lock()
	defer d.staging.Unlock()
	for i := range d.slots {
		if s := &d.slots[i]; s.batch == nil {
			return d.pack(s, b)
		}
	}
	return nil
}

// pack sends everything but the step's numbers to the slot. Pictures go straight
// from the batch to the memory that the device reads, on all processors, so that the
// host keeps up with a fast device.
func (d *device) pack(s *slot, b *loader.Batch) error {
	s.batch = nil // until all of it is there
	l, size := d.layout, d.size(b.N)
	bytes := b.Stored * b.Stored * 3
	clear(s.words[l.transforms:l.pixels])
	pieces := min(size, runtime.GOMAXPROCS(0))
	failed := make([]error, pieces)
	var done sync.WaitGroup
	for piece := range pieces {
		done.Go(func() {
			for i := piece * size / pieces; i < (piece+1)*size/pieces; i++ {
				label := int32(-1) // a place that this batch leaves empty
				if i < b.N {
					label = b.Labels[i]
					packFloats(s.words[l.transforms+i*layers.TransformWords:], b.Geometry[i][:])
					packFloats(s.words[l.transforms+i*layers.TransformWords+9:], b.Colour[i][:])
					if err := engine.Upload(d.dev, s.host.Slice(l.end(i), l.pitch), b.Pixels[i*bytes:][:bytes]); err != nil {
						failed[piece] = err
						return
					}
				}
				s.words[l.labels+i] = uint32(label)
			}
		})
	}
	done.Wait()
	if err := errors.Join(failed...); err != nil {
		return err
	}
	if err := engine.Upload(d.dev, s.host.Slice(l.labels, l.pixels-l.labels), s.words[l.labels:l.pixels]); err != nil {
		return err
	}
	s.batch = b
	return nil
}

// load gives the slot with the batch, staged before or now, and the step's
// numbers in it.
func (d *device) load(b *loader.Batch, step TrainStep) (*slot, error) {
	d.staging.Lock()
	defer d.staging.Unlock()
	var s *slot
	for i := range d.slots {
		if d.slots[i].batch == b {
			s = &d.slots[i]
		}
	}
	if s == nil {
		for i := range d.slots { // the last one if none is free: its batch is packed again later
			if s = &d.slots[i]; s.batch == nil {
				break
			}
		}
		if err := d.pack(s, b); err != nil {
			return nil, err
		}
	}
	return s, d.loadStep(s, step)
}

func (d *device) loadStep(s *slot, step TrainStep) error {
	words := layers.StepWords(layers.Step{Seed: d.opt.Seed, Count: step.Count}, step.LR, step.GradScale, step.lossScale())
	return engine.Upload(d.dev, s.host.Slice(d.layout.step, d.layout.labels), words)
}

// run copies n pictures of a slot to the device and runs programs on them; then
// the slot is free.
func (d *device) run(s *slot, n int, programs ...*engine.Program) error {
	defer func() {
		d.staging.Lock()
		s.batch = nil
		d.staging.Unlock()
	}()
	if err := d.dev.Start(append([]*engine.Program{s.copy[d.size(n)]}, programs...)...); err != nil {
		return err
	}
	return programs[len(programs)-1].Wait()
}
