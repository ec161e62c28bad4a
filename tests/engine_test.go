package tests

import (
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"vkalexnet/engine"
	"vkalexnet/layers"
)

// TestPipelinesUnderGarbageCollection creates 400 pipelines while another
// goroutine allocates and the collector runs: calls through the binding would
// lose their arguments under the driver.
func TestPipelinesUnderGarbageCollection(t *testing.T) {
	eachDevice(t, func(t *testing.T, d *engine.Device) {
		var stop atomic.Bool
		done := make(chan struct{})
		go func() {
			defer close(done)
			var keep [][]byte
			for !stop.Load() {
				keep = append(keep, make([]byte, 150<<10))
				if len(keep) > 50 {
					keep = nil
					runtime.GC()
				}
			}
		}()
		b, err := d.NewBuffer("b", 4096, engine.OnDevice)
		require.NoError(t, err)
		// Each window size is another constant, so another pipeline.
		plan, err := layers.LRN{Size: 1, Beta: 1, K: 1}.Plan(layers.Shape{C: 4, H: 1, W: 1})
		require.NoError(t, err)
		for i := range 20 {
			r := engine.NewRecording(d.Info)
			for j := range 20 {
				l := layers.LRN{Size: 2*(i*20+j) + 1, Beta: 1, K: 1}
				l.Forward(r, &layers.Slots[engine.Buffer]{Batch: 1, Plan: plan, X: b.Slice(0, 64), Y: b.Slice(64, 64)})
			}
			p, err := d.Compile(r, engine.Options{})
			require.NoError(t, err)
			p.Free()
		}
		stop.Store(true)
		<-done
	})
}

func TestBuffersRoundTrip(t *testing.T) {
	eachDevice(t, func(t *testing.T, d *engine.Device) {
		for _, place := range []engine.Place{engine.OnDevice, engine.HostWrites, engine.HostReads} {
			b, err := d.NewBuffer("b", 5<<20, place) // more than the staging buffer
			require.NoError(t, err)
			data := make([]uint32, b.Len())
			for i := range data {
				data[i] = uint32(i) * 2654435761
			}
			require.NoError(t, engine.Upload(d, b, data))
			back := make([]uint32, b.Len()-100)
			require.NoError(t, engine.Download(d, b.Slice(100, b.Len()-100), back))
			require.Equal(t, data[100:], back)
			d.Free(b)
		}
		require.Less(t, d.Allocated(), uint64(32<<20), "freed buffers are given back")
	})
}

// TestTwoDevicesAtOnce runs all devices side by side in one process.
func TestTwoDevicesAtOnce(t *testing.T) {
	var devices []*engine.Device
	eachDevice(t, func(t *testing.T, d *engine.Device) {
		again, err := engine.Open(d.Info, testShaders)
		require.NoError(t, err)
		devices = append(devices, again)
	})
	if len(devices) < 2 {
		t.Skip("needs two Vulkan devices")
	}
	errs := make(chan error)
	for _, d := range devices {
		go func() { errs <- doubleRelu(d) }()
	}
	for range devices {
		require.NoError(t, <-errs)
	}
	for _, d := range devices {
		d.Close()
	}
}

func doubleRelu(d *engine.Device) error {
	const n = 1 << 16
	x, err := d.NewBuffer("x", n, engine.OnDevice)
	if err != nil {
		return err
	}
	defer d.Free(x)
	data := make([]float32, n)
	for i := range data {
		data[i] = float32(i%7) - 3
	}
	if err := engine.Upload(d, x, data); err != nil {
		return err
	}
	r := engine.NewRecording(d.Info)
	plan, err := layers.ReLU{}.Plan(layers.Shape{C: n, H: 1, W: 1})
	if err != nil {
		return err
	}
	layers.ReLU{}.Forward(r, &layers.Slots[engine.Buffer]{Batch: 1, Plan: plan, X: x, Y: x})
	p, err := d.Compile(r, engine.Options{})
	if err != nil {
		return err
	}
	defer p.Free()
	for range 20 {
		if err := p.Run(); err != nil {
			return err
		}
	}
	if err := engine.Download(d, x, data); err != nil {
		return err
	}
	for i, v := range data {
		if v != float32(math.Max(0, float64(i%7)-3)) {
			return errWrong
		}
	}
	return nil
}

// TestWarmComputesNothing warms up pipelines that no driver has seen, so that
// several devices share the work, and finds the buffers as they were; the same
// recording then computes. A device that is closed meanwhile ends it.
func TestWarmComputesNothing(t *testing.T) {
	eachDevice(t, func(t *testing.T, d *engine.Device) {
		const n = 64
		x, err := d.NewBuffer("x", n, engine.OnDevice)
		require.NoError(t, err)
		ones := make([]float32, n)
		for i := range ones {
			ones[i] = 1
		}
		require.NoError(t, engine.Write(d, x, func(words []float32) { copy(words, ones) }))
		r := engine.NewRecording(d.Info)
		const pipelines = 4
		first := rand.IntN(1 << 20) // the window's size is a constant of the pipeline
		for i := range pipelines {
			l := layers.LRN{Size: 2*(first+i) + 7, Beta: 1, K: 0.5}
			plan, err := l.Plan(layers.Shape{C: n, H: 1, W: 1})
			require.NoError(t, err)
			l.Forward(r, &layers.Slots[engine.Buffer]{Batch: 1, Plan: plan, X: x, Y: x})
		}
		require.NoError(t, d.Warm(r).Wait())
		got := make([]float32, n)
		require.NoError(t, engine.Download(d, x, got))
		require.Equal(t, ones, got)
		p, err := d.Compile(r, engine.Options{})
		require.NoError(t, err)
		defer p.Free()
		require.NoError(t, p.Run())
		require.NoError(t, engine.Download(d, x, got))
		for _, v := range got {
			require.InDelta(t, 1<<pipelines, v, 1e-2) // x/K, so many times
		}

		again, err := engine.Open(d.Info, testShaders)
		require.NoError(t, err)
		warming := again.Warm(r)
		again.Close()
		_ = warming.Wait() // whether it came to the end or not
		d.Warm(r).Stop()
	})
}

// TestTooMuchMemory asks for more than there is.
func TestTooMuchMemory(t *testing.T) {
	eachDevice(t, func(t *testing.T, d *engine.Device) {
		r := engine.NewRecording(d.Info)
		for range int(d.Memory>>30) + 2 {
			b := r.Temp("huge", 1<<28)
			r.Fill(b.Slice(0, 64), 0)
			defer func() { r.Fill(b.Slice(0, 64), 0) }()
		}
		_, err := d.Compile(r, engine.Options{KeepAll: true})
		require.ErrorIs(t, err, engine.ErrOutOfMemory)
		require.ErrorContains(t, err, "GiB")
	})
}

// TestFewStorageBuffers: where a device lets a kernel bind fewer buffers than it has, it
// is named with both numbers; kernels with fewer are compiled.
func TestFewStorageBuffers(t *testing.T) {
	eachDevice(t, func(t *testing.T, d *engine.Device) {
		info := d.Info
		info.Limits.StorageBuffers = 4 // the least that Vulkan allows
		few, err := engine.Open(info, testShaders)
		require.NoError(t, err)
		defer few.Close()
		compile := func(l layers.Layer) error {
			plan, err := l.Plan(layers.Shape{C: 8, H: 1, W: 1})
			require.NoError(t, err)
			b := engine.PlannedBuffer("b", 64)
			r := engine.NewRecording(few.Info)
			l.Forward(r, &layers.Slots[engine.Buffer]{Batch: 1, Plan: plan, X: b, Y: b, Params: []engine.Buffer{b, b}})
			return few.Prepare(r)[0]
		}
		require.NoError(t, compile(layers.ReLU{}))
		err = compile(layers.Linear{Out: 8})
		require.ErrorContains(t, err, "binds 8 storage buffers, and "+info.Name+" allows 4")
	})
}

// TestLoweredLimits runs the layers again in a process of its own whose devices
// allow much less, so that everything is cut.
func TestLoweredLimits(t *testing.T) {
	if os.Getenv(engine.LimitsVariable) != "" {
		t.Skip("this is the run with lowered limits")
	}
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, "-test.run", "^(TestLayers|TestTraining)$/.*/(conv_3x3|conv_groups|conv_winograd|linear|linear_3|relu|lrn|maxpool|dropout|alexnet-small)$")
	cmd.Env = append(os.Environ(), engine.LimitsVariable+"=storage_range=262144,group_count=70,invocations=128,shared=16384")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}
