package loader

import (
	"context"
	"image"
	"io"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var testInput = Input{Size: 12, Stored: 16, Mean: []float32{1, 2, 3}, Augment: Augment{
	Crop: "random", Flip: true, Colour: "jitter+pca"}}

// drain returns the rest of an epoch.
func drain(t testing.TB, l *Loader) (all []*Batch) {
	t.Helper()
	for {
		b, err := l.Next()
		if err == io.EOF {
			return all
		}
		require.NoError(t, err)
		all = append(all, b)
	}
}

func epochOf(t testing.TB, l *Loader, epoch, first int) []*Batch {
	l.Start(context.Background(), epoch, first)
	return drain(t, l)
}

func newLoader(t testing.TB, src Source, opt Options) *Loader {
	t.Helper()
	l, err := NewLoader(src, testInput, opt)
	require.NoError(t, err)
	t.Cleanup(l.Stop)
	return l
}

func TestEvaluationSeesEachPictureOnceInOrder(t *testing.T) {
	src := &memorySource{n: 23, side: 20}
	l := newLoader(t, src, Options{Batch: 10, Shuffle: true, Augment: true, DropLast: true}) // without Train, all in vain
	require.Equal(t, 3, l.BatchesPerEpoch())
	next := 0
	for k, b := range epochOf(t, l, 0, 0) {
		require.Equal(t, min(10, 23-next), b.N)
		require.Equal(t, []int{k, 0}, []int{b.Index, b.Epoch})
		require.Equal(t, k == 2, b.Last)
		require.Equal(t, 16, b.Stored)
		require.Len(t, b.Pixels, b.N*16*16*3)
		require.Len(t, b.Labels, b.N)
		require.Len(t, b.Geometry, b.N)
		require.Len(t, b.Colour, b.N)
		for slot, index := range b.Indices {
			require.Equal(t, next, index)
			require.EqualValues(t, next%2, b.Labels[slot])
			require.Equal(t, testInput.CentreGeometry(), b.Geometry[slot])
			require.Equal(t, testInput.Normalise(), b.Colour[slot])
			want := make([]byte, 16*16*3)
			require.NoError(t, Store(want, testImage(20, 20, uint64(index)), 16, "short"))
			require.Equal(t, want, b.Pixels[slot*len(want):][:len(want)])
			next++
		}
	}
	require.Equal(t, 23, next)
	_, err := l.Next()
	require.Equal(t, io.EOF, err, "the end stays the end")
}

func TestTrainingDependsOnSeedAndEpochAlone(t *testing.T) {
	options := Options{Batch: 7, Train: true, Shuffle: true, Augment: true, DropLast: true, Seed: 5}
	load := func(change func(*Options), epoch, first int) []*Batch {
		opt := options
		change(&opt)
		return epochOf(t, newLoader(t, &memorySource{n: 40, side: 20}, opt), epoch, first)
	}
	want := load(func(o *Options) { o.Workers = 1 }, 3, 0)
	require.Len(t, want, 5)
	require.Equal(t, want, load(func(o *Options) { o.Workers = 8 }, 3, 0), "workers change nothing")
	require.Equal(t, want, load(func(o *Options) { o.CacheBytes = -1 }, 3, 0), "the cache changes nothing")
	require.Equal(t, want[2:], load(func(*Options) {}, 3, 2), "an epoch can be entered anywhere")
	require.NotEqual(t, want[0].Indices, load(func(*Options) {}, 4, 0)[0].Indices)
	require.NotEqual(t, want[0].Indices, load(func(o *Options) { o.Seed = 6 }, 3, 0)[0].Indices)

	seen := map[int]bool{}
	for _, b := range want {
		require.Equal(t, 7, b.N)
		for _, i := range b.Indices {
			seen[i] = true
		}
	}
	require.Len(t, seen, 35, "no picture comes twice")

	inOrder := load(func(o *Options) { o.Shuffle = false }, 3, 0)
	require.Equal(t, []int{7, 8, 9, 10, 11, 12, 13}, inOrder[1].Indices)
	// A picture's augmentation does not hang on its place in the epoch.
	for slot, i := range want[0].Indices {
		if i < 35 {
			require.Equal(t, inOrder[i/7].Geometry[i%7], want[0].Geometry[slot])
			require.Equal(t, inOrder[i/7].Colour[i%7], want[0].Colour[slot])
		}
	}
}

func TestAnotherEpochAugmentsAnew(t *testing.T) {
	l := newLoader(t, &memorySource{n: 40, side: 16}, Options{Batch: 40, Train: true, Augment: true})
	a, b := epochOf(t, l, 0, 0)[0], epochOf(t, l, 1, 0)[0]
	require.Equal(t, a.Indices, b.Indices)
	require.Equal(t, a.Pixels, b.Pixels)
	require.NotEqual(t, a.Geometry, b.Geometry)
	require.NotEqual(t, a.Colour, b.Colour)
}

func TestCacheReadsEachPictureOnce(t *testing.T) {
	src := &memorySource{n: 20, side: 16}
	l := newLoader(t, src, Options{Batch: 6, CacheBytes: 20 * 16 * 16 * 3})
	first := epochOf(t, l, 0, 0)
	require.EqualValues(t, 20, src.opened.Load())
	require.Equal(t, first[2].Pixels, epochOf(t, l, 0, 0)[2].Pixels)
	require.EqualValues(t, 20, src.opened.Load())

	src = &memorySource{n: 20, side: 16}
	l = newLoader(t, src, Options{Batch: 6, CacheBytes: 20*16*16*3 - 1})
	epochOf(t, l, 0, 0)
	epochOf(t, l, 1, 0)
	require.EqualValues(t, 40, src.opened.Load(), "one byte too few: nothing is kept")
}

func TestBadPicturesAreReplacedAndNamed(t *testing.T) {
	bad := map[int]bool{3: true, 4: true, 11: true}
	for _, workers := range []int{1, 4} {
		src := &memorySource{n: 12, side: 16, bad: bad}
		l := newLoader(t, src, Options{Batch: 6, Workers: workers})
		var opened int64
		for epoch := range 2 {
			batches := epochOf(t, l, 0, 0)
			require.Equal(t, []int{0, 1, 2, 5, 5, 5}, batches[0].Indices)
			require.Equal(t, []int32{0, 1, 0, 1, 1, 1}, batches[0].Labels)
			require.Equal(t, []int{6, 7, 8, 9, 10, 0}, batches[1].Indices, "around the end")
			require.Equal(t, batches[0].Pixels[5*768:], batches[0].Pixels[3*768:4*768])
			require.Len(t, batches[0].Bad, 2)
			require.Len(t, batches[1].Bad, 1)
			var b *BadImage
			require.ErrorAs(t, batches[0].Bad[1], &b)
			require.Equal(t, 4, b.Index)
			require.ErrorIs(t, b, errBadPicture)
			require.ErrorContains(t, b, "picture 4 (memory)")
			if epoch == 0 {
				opened = src.opened.Load()
			}
		}
		require.Equal(t, opened, src.opened.Load(), "neither good nor bad pictures are read again")
		require.Len(t, l.Bad(), 3)
	}
}

func TestBlankAndFail(t *testing.T) {
	src := &memorySource{n: 12, side: 16, bad: map[int]bool{3: true, 8: true}}
	l := newLoader(t, src, Options{Batch: 6, OnBadImage: "blank"})
	b := epochOf(t, l, 0, 0)[0]
	require.Equal(t, []int32{0, 1, 0, -1, 0, 1}, b.Labels)
	require.Equal(t, []int{0, 1, 2, 3, 4, 5}, b.Indices)
	require.Equal(t, make([]byte, 768), b.Pixels[3*768:4*768])
	require.Len(t, b.Bad, 1)

	l = newLoader(t, src, Options{Batch: 6, OnBadImage: "fail"})
	l.Start(context.Background(), 0, 0)
	_, err := l.Next()
	require.ErrorIs(t, err, errBadPicture)
	require.ErrorContains(t, err, "picture 3 (memory)")
	_, again := l.Next()
	require.Equal(t, err, again)
	require.Len(t, epochOf(t, newLoader(t, &memorySource{n: 12, side: 16}, Options{Batch: 6, OnBadImage: "fail"}), 0, 0), 2)
}

func TestNothingReadable(t *testing.T) {
	src := &memorySource{n: 5, side: 16, bad: map[int]bool{0: true, 1: true, 2: true, 3: true, 4: true}}
	l := newLoader(t, src, Options{Batch: 5})
	l.Start(context.Background(), 0, 0)
	_, err := l.Next()
	require.ErrorContains(t, err, "none of the 5 pictures can be read")
	require.ErrorIs(t, err, errBadPicture)
}

func TestNewLoaderRefuses(t *testing.T) {
	src := &memorySource{n: 5, side: 16}
	for want, opt := range map[string]Options{
		"batch size is 0":                  {},
		"5 pictures, fewer than one batch": {Batch: 6, Train: true, DropLast: true},
		"on-bad-image is \"ignore\"":       {Batch: 1, OnBadImage: "ignore"},
		"too large":                        {Batch: 1 << 61},
	} {
		_, err := NewLoader(src, testInput, opt)
		require.ErrorContains(t, err, want)
	}
	_, err := NewLoader(&memorySource{}, testInput, Options{Batch: 1})
	require.ErrorContains(t, err, "empty")
	_, err = NewLoader(src, Input{}, Options{Batch: 1})
	require.ErrorContains(t, err, "input.size")
	_, err = newLoader(t, src, Options{Batch: 1}).Next()
	require.ErrorContains(t, err, "before Start")
}

// slowSource counts the pictures that were asked for while nobody took any.
type slowSource struct {
	memorySource
	delay time.Duration
}

func (s *slowSource) Open(i int) (image.Image, error) {
	time.Sleep(s.delay)
	return s.memorySource.Open(i)
}

func TestPrefetchIsBounded(t *testing.T) {
	src := &slowSource{memorySource: memorySource{n: 100, side: 4}}
	l := newLoader(t, src, Options{Batch: 5, CacheBytes: -1})
	l.Start(context.Background(), 0, 0)
	require.Eventually(t, func() bool { return src.opened.Load() == prefetch*5 }, 5*time.Second, time.Millisecond)
	time.Sleep(30 * time.Millisecond)
	require.EqualValues(t, prefetch*5, src.opened.Load(), "no more than the batches that fit")
	_, err := l.Next()
	require.NoError(t, err)
	require.Eventually(t, func() bool { return src.opened.Load() == (prefetch+1)*5 }, 5*time.Second, time.Millisecond)
}

func TestWaitCountsBlockedTime(t *testing.T) {
	src := &slowSource{memorySource: memorySource{n: 4, side: 4}, delay: 20 * time.Millisecond}
	l := newLoader(t, src, Options{Batch: 4, Workers: 1})
	epochOf(t, l, 0, 0)
	require.GreaterOrEqual(t, l.Wait(), 60*time.Millisecond)
	waited := l.Wait()
	l.Start(context.Background(), 1, 0)
	time.Sleep(200 * time.Millisecond) // the cache fills the batch meanwhile
	drain(t, l)
	require.Less(t, l.Wait()-waited, 40*time.Millisecond)
}

func goroutinesFallTo(t *testing.T, n int) {
	t.Helper()
	for began := time.Now(); runtime.NumGoroutine() > n; time.Sleep(time.Millisecond) {
		if time.Since(began) > 5*time.Second {
			stacks := make([]byte, 1<<16)
			t.Fatalf("%d goroutines are left of %d:\n%s", runtime.NumGoroutine(), n, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

func TestCancelLeavesNoGoroutine(t *testing.T) {
	before := runtime.NumGoroutine()
	for taken := range 4 {
		src := &slowSource{memorySource: memorySource{n: 1000, side: 4}, delay: time.Millisecond}
		l, err := NewLoader(src, testInput, Options{Batch: 8, Workers: 4})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(context.Background())
		l.Start(ctx, 0, 0)
		for range taken {
			_, err := l.Next()
			require.NoError(t, err)
		}
		cancel()
		_, err = l.Next()
		require.ErrorIs(t, err, context.Canceled)
		goroutinesFallTo(t, before)
	}
	// Without Next, and when nobody takes the batches.
	l, err := NewLoader(&memorySource{n: 1000, side: 4}, testInput, Options{Batch: 8})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	l.Start(ctx, 0, 0)
	cancel()
	goroutinesFallTo(t, before)
	l.Start(context.Background(), 0, 0)
	l.Start(context.Background(), 1, 0)
	l.Stop()
	goroutinesFallTo(t, before)
}

func TestDeadlineIsReported(t *testing.T) {
	src := &slowSource{memorySource: memorySource{n: 10, side: 4}, delay: 50 * time.Millisecond}
	l := newLoader(t, src, Options{Batch: 10, Workers: 1})
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	l.Start(ctx, 0, 0)
	_, err := l.Next()
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestStartBeyondTheEnd(t *testing.T) {
	l := newLoader(t, &memorySource{n: 10, side: 4}, Options{Batch: 5})
	require.Empty(t, epochOf(t, l, 0, 2))
	require.Len(t, epochOf(t, l, 0, 1), 1)
}

// A set in an archive, through the loader, with one file that is no picture.
func TestLoaderOnImageNetSamples(t *testing.T) {
	src, err := OpenSource(sharedData(t, "imagenet-samples.tar"), "train")
	require.NoError(t, err)
	defer src.(io.Closer).Close()
	l, err := NewLoader(Subset(src, []int{5, 50, 95, 20}), Input{Size: 64, Stored: 72}, Options{Batch: 3})
	require.NoError(t, err)
	batches := epochOf(t, l, 0, 0)
	require.Len(t, batches, 2)
	require.Equal(t, []int32{5, 50, 95}, batches[0].Labels)
	require.Empty(t, batches[0].Bad)
	require.False(t, slices.Equal(batches[0].Pixels[:1000], make([]byte, 1000)))
}

func BenchmarkLoader(b *testing.B) {
	src, err := OpenSource(sharedData(b, "imagenet-samples.tar"), "train")
	require.NoError(b, err)
	defer src.(io.Closer).Close()
	in := Input{Size: 227, Stored: 256, Augment: Augment{Crop: "random", Flip: true, Colour: "pca"}}
	for name, cache := range map[string]int64{"decoding": -1, "cached": 0} {
		b.Run(name, func(b *testing.B) {
			l, err := NewLoader(src, in, Options{Batch: 20, Train: true, Shuffle: true, Augment: true, CacheBytes: cache})
			require.NoError(b, err)
			epochOf(b, l, 0, 0)
			pictures := 0
			b.ResetTimer()
			for i := range b.N {
				for _, batch := range epochOf(b, l, i, 0) {
					pictures += batch.N
				}
			}
			b.ReportMetric(float64(pictures)/b.Elapsed().Seconds(), "img/s")
		})
	}
}
