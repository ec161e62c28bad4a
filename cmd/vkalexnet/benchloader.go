package main

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/jpeg"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/image/draw"

	"vkalexnet/alexnet"
	"vkalexnet/bench"
	"vkalexnet/loader"
	"vkalexnet/weights"
)

const (
	// loaderPictures is how many pictures a sample reads at most.
	loaderPictures = 128
	loaderBatch    = 32
)

// few are the first pictures of a source.
type few struct {
	loader.Source
	n int
}

func (f few) Len() int                         { return f.n }
func (f few) Inner(i int) (loader.Source, int) { return f.Source, i }

// loader measures the way of pictures from the disk to a batch.
func (b *benchmark) loader() error {
	warn(b.cmd, "loader")
	data, what := b.flags.data, b.flags.data
	if data == "" {
		folder, err := os.MkdirTemp("", "vkalexnet-bench-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(folder)
		if err := writeJPEGs(folder, loaderPictures); err != nil {
			return fmt.Errorf("generate JPEG files: %w", err)
		}
		data, what = folder, "generated JPEG files of 500×375"
	}
	src, err := loader.OpenSource(data, "train")
	if err != nil {
		return err
	}
	if c, ok := src.(io.Closer); ok {
		defer c.Close()
	}
	src = few{src, min(src.Len(), loaderPictures)}
	if src.Len() == 0 {
		return fmt.Errorf("%s has no pictures", data)
	}
	one := func(test string, r bench.Result, once func() (time.Duration, error)) error {
		r.Device, r.Mode, r.Test, r.Images, r.Note = "host", bench.Loader, test, float64(src.Len()), what
		if r.Samples, err = b.flags.Sample(b.ctx, once); err != nil {
			return err
		}
		b.add(r)
		(&benchDevice{benchmark: b}).tell(test, &b.report.Results[len(b.report.Results)-1])
		return nil
	}
	if err := b.loaderStages(src, one); err != nil {
		return err
	}
	workers := b.flags.workers
	if workers == 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	counts := []int{1, workers}
	if workers == 1 {
		counts = counts[:1]
	}
	for _, name := range b.flags.models {
		net, err := alexnet.Load(name)
		if err != nil {
			return err
		}
		in := net.Input.WithDefaults()
		for _, n := range counts {
			l, err := loader.NewLoader(src, net.Input, loader.Options{Batch: min(loaderBatch, src.Len()), Workers: n, Train: true, Shuffle: true, Augment: true, Seed: 1, CacheBytes: -1, OnBadImage: "fail"})
			if err != nil {
				return err
			}
			test := fmt.Sprintf("whole batches, scaled to %d×%d, %s", in.Stored, in.Stored, plural(n, "worker"))
			epoch := 0
			if err := one(test, bench.Result{Model: net.Name}, func() (time.Duration, error) {
				epoch++
				return readEpoch(b.ctx, l, epoch)
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

// packedSide is the side of the pictures that the stages are measured for.
const packedSide = 256

// loaderStages measures each stage of the way on one goroutine, that is per
// core: reading, decoding with each decoder, resizing, decoding straight to the
// stored size, copying, and reading packed shards.
func (b *benchmark) loaderStages(src loader.Source, one func(string, bench.Result, func() (time.Duration, error)) error) error {
	n := src.Len()
	each := func(do func(i int) error) func() (time.Duration, error) {
		return func() (time.Duration, error) {
			start := time.Now()
			for i := range n {
				if err := do(i); err != nil {
					return 0, err
				}
			}
			return time.Since(start), nil
		}
	}
	stored := make([]byte, n*packedSide*packedSide*3)
	slot := func(i int) []byte { return stored[i*packedSide*packedSide*3:][:packedSide*packedSide*3] }
	files := make([][]byte, n)
	inner, _ := loader.Inner(src, 0)
	if _, ok := inner.(loader.Encoded); ok {
		var total float64
		for i := range n {
			s, at := loader.Inner(src, i)
			data, err := s.(loader.Encoded).Encoded(at, nil)
			if err != nil {
				return err
			}
			files[i], total = data, total+float64(len(data))
		}
		var buf []byte
		if err := one("read files", bench.Result{Bytes: total}, each(func(i int) error {
			s, at := loader.Inner(src, i)
			data, err := s.(loader.Encoded).Encoded(at, buf)
			buf = data[:0]
			return err
		})); err != nil {
			return err
		}
		defer func() { _ = chooseJPEG() }()
		for _, which := range []string{loader.JPEGTurbo, loader.JPEGGo} {
			if err := loader.SetJPEG(which); err != nil {
				b.add(bench.Result{Device: "host", Mode: bench.Loader, Test: "decode", Variant: "libjpeg-turbo", NA: err.Error()})
				continue
			}
			name := loader.JPEGDecoder()
			images := make([]image.Image, n)
			if err := one("decode", bench.Result{Variant: name}, each(func(i int) (err error) {
				images[i], err = loader.Decode(bytes.NewReader(files[i]))
				return err
			})); err != nil {
				return err
			}
			// Go's decoder leaves the conversion to RGB to this stage.
			if err := one(fmt.Sprintf("resize to %d", packedSide), bench.Result{Variant: name}, each(func(i int) error {
				return loader.Store(slot(i), images[i], packedSide, "short")
			})); err != nil {
				return err
			}
			if err := one(fmt.Sprintf("decode and resize to %d", packedSide), bench.Result{Variant: name}, each(func(i int) error {
				return loader.StoreEncoded(slot(i), files[i], packedSide, "short", false)
			})); err != nil {
				return err
			}
		}
		if err := loader.SetJPEG(loader.JPEGAuto); err != nil {
			return err
		}
	}
	target := make([]byte, len(stored))
	if err := one("copy stored pictures", bench.Result{Bytes: 2 * float64(len(stored))}, each(func(i int) error {
		copy(target[i*packedSide*packedSide*3:], slot(i))
		return nil
	})); err != nil {
		return err
	}
	return b.packedStages(src, target, one)
}

// packedStages packs the pictures and measures reading them, first with their
// checksums, as in a run's first epoch, then without.
func (b *benchmark) packedStages(src loader.Source, target []byte, one func(string, bench.Result, func() (time.Duration, error)) error) error {
	folder, err := os.MkdirTemp("", "vkalexnet-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	opt := loader.PackOptions{Size: packedSide, Workers: b.flags.workers, OnBadImage: "fail", Replace: weights.Replace}
	if _, err := loader.WritePack(b.ctx, folder, map[string]loader.Source{"train": src}, opt); err != nil {
		return err
	}
	for _, again := range []bool{false, true} {
		test := map[bool]string{false: "read packed shards, checksums compared", true: "read packed shards, later epochs"}[again]
		opened, err := loader.OpenSource(folder, "train")
		if err != nil {
			return err
		}
		packed := opened.(*loader.Pack)
		size := packedSide * packedSide * 3
		if err := one(test, bench.Result{Bytes: float64(src.Len() * size)}, func() (time.Duration, error) {
			if !again {
				packed.Forget()
			}
			start := time.Now()
			for i := range packed.Len() {
				if err := packed.Read(i, target[i*size:][:size]); err != nil {
					return 0, err
				}
			}
			return time.Since(start), nil
		}); err != nil {
			packed.Close()
			return err
		}
		if err := packed.Close(); err != nil {
			return err
		}
	}
	return nil
}

func plural(n int, word string) string {
	if n != 1 {
		word += "s"
	}
	return fmt.Sprintf("%d %s", n, word)
}

// readEpoch reads all batches of an epoch.
func readEpoch(ctx context.Context, l *loader.Loader, epoch int) (time.Duration, error) {
	start := time.Now()
	l.Start(ctx, epoch, 0)
	defer l.Stop()
	for {
		switch _, err := l.Next(); err {
		case nil:
		case io.EOF:
			return time.Since(start), nil
		default:
			return 0, err
		}
	}
}

// writeJPEGs writes n pictures of the size and detail of common photographs:
// generated ones, enlarged, with fine noise.
func writeJPEGs(folder string, n int) error {
	small := loader.Synthetic(n, 1)
	folder = filepath.Join(folder, "pictures")
	if err := os.Mkdir(folder, 0o755); err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(1, 2))
	picture := image.NewRGBA(image.Rect(0, 0, 500, 375))
	for i := range n {
		from, err := small.Open(i)
		if err != nil {
			return err
		}
		draw.CatmullRom.Scale(picture, picture.Rect, from, from.Bounds(), draw.Src, nil)
		for j := range picture.Pix {
			picture.Pix[j] = byte(min(255, max(0, int(picture.Pix[j])+rng.IntN(13)-6)))
		}
		f, err := os.Create(filepath.Join(folder, fmt.Sprintf("%03d.jpg", i)))
		if err != nil {
			return err
		}
		err = jpeg.Encode(f, picture, &jpeg.Options{Quality: 90})
		if e := f.Close(); err == nil {
			err = e
		}
		if err != nil {
			return err
		}
	}
	return nil
}
