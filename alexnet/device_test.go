package alexnet

import (
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vkalexnet/engine"
	"vkalexnet/layers"
	"vkalexnet/loader"
	"vkalexnet/shaders"
	"vkalexnet/weights"
)

// TestDevicesTrainAsTheGoldenFile is TestReferenceTrainsAsTheGoldenFile on
// every Vulkan device.
func TestDevicesTrainAsTheGoldenFile(t *testing.T) {
	infos := usableDevices(t)
	net := parse(t, goldenTOML)
	for _, info := range infos {
		t.Run(info.Name, func(t *testing.T) {
			dev, err := engine.Open(info, shaders.FS)
			require.NoError(t, err)
			defer dev.Close()
			exec, err := NewDevice(dev, net, goldenBatch, ExecOptions{SGD: net.Solver.SGD()})
			require.NoError(t, err)
			defer exec.Close()
			d := exec.(*device)
			shape := net.InputShape()
			d.pictures, err = dev.NewBuffer("pictures", goldenBatch*shape.Pitch(), engine.HostWrites)
			require.NoError(t, err)
			defer dev.Free(d.pictures)
			packed := make([]float32, d.pictures.Len())
			goldenSteps(t, exec, 2e-5, func(x []float32, labels []int32, step TrainStep) BatchResult {
				layers.PackExamples(packed, x, goldenBatch, shape)
				require.NoError(t, engine.Upload(dev, d.pictures, packed))
				require.NoError(t, d.prepareTrain(step))
				s := &d.slots[0]
				for i, l := range labels {
					s.words[d.layout.labels+i] = uint32(l)
				}
				require.NoError(t, engine.Upload(dev, s.host, s.words))
				require.NoError(t, d.loadStep(s, step))
				res, err := d.runTrain(s, goldenBatch, step)
				require.NoError(t, err)
				return res
			}, nil)
		})
	}
}

// TestStagingChangesNothing trains with batches staged beside the step before
// and without, in and out of order.
func TestStagingChangesNothing(t *testing.T) {
	infos := usableDevices(t)
	info, err := engine.Select(infos, "auto")
	require.NoError(t, err)
	dev, err := engine.Open(info, shaders.FS)
	require.NoError(t, err)
	defer dev.Close()
	net, err := Load("alexnet-small")
	require.NoError(t, err)
	l, err := loader.NewLoader(loader.Synthetic(20, 1), net.Input, loader.Options{Batch: 4, Workers: 1, Train: true, Augment: true})
	require.NoError(t, err)
	l.Start(t.Context(), 0, 0)
	defer l.Stop()
	var all []*loader.Batch
	for range 5 {
		b, err := l.Next()
		require.NoError(t, err)
		all = append(all, b)
	}
	run := func(stage func(d *device, i int)) (losses []float32) {
		exec, err := NewDevice(dev, net, 4, ExecOptions{SGD: net.Solver.SGD(), Dropout: true})
		require.NoError(t, err)
		defer exec.Close()
		params, err := net.InitialParams(1)
		require.NoError(t, err)
		require.NoError(t, exec.SetParams(params))
		for i, b := range all {
			stage(exec.(*device), i)
			res, err := exec.Train(b, TrainStep{LR: 0.01, Count: uint64(i), Update: true, GradScale: 0.25})
			require.NoError(t, err)
			losses = append(losses, res.Loss...)
		}
		return losses
	}
	want := run(func(d *device, _ int) {
		require.ErrorContains(t, d.Stage(&loader.Batch{N: 5, Stored: all[0].Stored}), "does not fit: this executor was made for 1 to 4")
	})
	require.Equal(t, want, run(func(d *device, i int) { require.NoError(t, d.Stage(all[i])) }))
	require.Equal(t, want, run(func(d *device, i int) { // too many, and others first
		require.NoError(t, d.Stage(all[(i+1)%5]))
		require.NoError(t, d.Stage(all[(i+2)%5]))
		require.NoError(t, d.Stage(all[i]))
	}))
}

// TestShortBatches runs batches of every size up to 3, in programs for 1, 2 and 3
// pictures on the same parameters, and compares with the CPU; what a longer
// batch left behind must not show.
func TestShortBatches(t *testing.T) {
	net := parse(t, tinyTOML)
	all := tinyBatch(t, net, 3)
	first := func(n int) *loader.Batch {
		b := *all
		b.N = n
		return &b
	}
	opt := ExecOptions{Inference: true, ShortBatches: true}
	ref := ready(t, net, 3, opt)
	params := paramsOf(t, ref)
	require.NoError(t, Prepare(ref))
	infos := usableDevices(t)
	dev := openDevice(t, infos[len(infos)-1]) // one is enough: tests of layers run on all
	warm, err := NewDevice(dev, net, 1, opt)  // the device takes its staging buffer
	require.NoError(t, err)
	require.NoError(t, Prepare(warm))
	warm.Close()
	before := dev.Allocated()
	exec, err := NewDevice(dev, net, 3, opt)
	require.NoError(t, err)
	require.NoError(t, exec.SetParams(params))
	require.NoError(t, Prepare(exec))
	d := exec.(*device)
	require.Equal(t, []int{1, 2, 3}, d.sizes())
	require.Len(t, d.evals, 3)
	plan, err := PlanMemory(dev.Info, net, 3, opt)
	require.NoError(t, err)
	taken := dev.Allocated() - before
	require.InDelta(t, plan.Total(), taken, 0.2*float64(plan.Total()), "planned and taken")
	for _, n := range []int{3, 1, 2, 3, 1} {
		b := first(n)
		want, err := ref.Eval(b)
		require.NoError(t, err)
		got, err := exec.Eval(b)
		require.NoError(t, err)
		require.InDeltaSlice(t, want.Logits, got.Logits, 1e-4, "%d pictures", n)
		require.InDeltaSlice(t, want.Loss, got.Loss, 1e-4, "%d pictures", n)
		require.Equal(t, want.Rank, got.Rank)
	}
	require.Equal(t, taken, dev.Allocated()-before, "a batch takes no memory")
	dlogits := make([]float32, 2*net.NumClasses())
	dlogits[1], dlogits[net.NumClasses()+2] = 1, -2
	last := 3 // pool1
	for _, n := range []int{2, 1} {
		wantY, wantDY, err := ref.(Inspector).Gradients(first(n), last, dlogits[:n*net.NumClasses()])
		require.NoError(t, err)
		y, dy, err := exec.(Inspector).Gradients(first(n), last, dlogits[:n*net.NumClasses()])
		require.NoError(t, err)
		require.InDeltaSlice(t, wantY, y, 1e-4)
		require.InDeltaSlice(t, wantDY, dy, 1e-4)
	}
	exec.Close()
	require.Equal(t, before, dev.Allocated(), "everything is given back")
	_, err = NewReference(net, 3, ExecOptions{ShortBatches: true})
	require.ErrorContains(t, err, "in inference only")
}

// TestMemoryPlanIsWhatIsTaken compares the plan with what an executor holds once it
// has trained and evaluated.
func TestMemoryPlanIsWhatIsTaken(t *testing.T) {
	info, err := engine.Select(usableDevices(t), "auto")
	require.NoError(t, err)
	dev := openDevice(t, info)
	net := parse(t, tinyTOML)
	batch := tinyBatch(t, net, 3)
	taken := func(opt ExecOptions) (plan, held uint64) {
		opt.SGD = net.Solver.SGD()
		m, err := PlanMemory(info, net, 3, opt)
		require.NoError(t, err)
		before := dev.Allocated()
		exec, err := NewDevice(dev, net, 3, opt)
		require.NoError(t, err)
		defer exec.Close()
		_, err = exec.Eval(batch)
		require.NoError(t, err)
		if !opt.Inference {
			_, err = exec.Train(batch, TrainStep{LR: 0.01, GradScale: 1, Update: !opt.KeepGrads})
			require.NoError(t, err)
		}
		return m.Total(), dev.Allocated() - before
	}
	taken(ExecOptions{}) // and the device's own staging buffer
	for name, opt := range map[string]ExecOptions{
		"inference": {Inference: true}, "short batches": {Inference: true, ShortBatches: true},
		"training": {}, "steps of several batches": {KeepGrads: true}, "fp16": {Precision: layers.FP16},
		"class weights": {ClassWeights: []float32{1, 2, 3}},
	} {
		plan, held := taken(opt)
		if opt.ShortBatches {
			require.LessOrEqual(t, held, plan, name) // programs are compiled as batches come
			continue
		}
		require.Equal(t, plan, held, name)
	}
}

func TestMemoryPlanGrowsWithTheBatch(t *testing.T) {
	net, err := Load("alexnet-small")
	require.NoError(t, err)
	info := engine.Info{Limits: engine.Limits{StorageRange: 128 << 20, Allocation: 1 << 30, GroupCount: 65535, Invocations: 1024, Shared: 32768}}
	last := MemoryPlan{}
	for _, batch := range []int{1, 2, 16, 100} {
		m, err := PlanMemory(info, net, batch, ExecOptions{SGD: net.Solver.SGD()})
		require.NoError(t, err)
		require.Greater(t, m.Temporary, last.Temporary)
		require.Greater(t, m.Total(), m.Weights+m.Momentum)
		require.Less(t, m.Inference, m.Temporary)
		last = m
	}
}

// A mean picture is taken off where the crop comes from, on the CPU, on every
// device and after a file in between; one of equal pixels is as three numbers.
func TestMeanPicture(t *testing.T) {
	net, err := ParseNetwork([]byte(strings.Replace(smallNet, `order = "BGR"`, "order = \"BGR\"\nstored = 12\nmean = [104, 117, 123]\nstd = [50, 60, 70]\n[input.augment]\ncrop = \"random\"\nflip = true", 1)), "test")
	require.NoError(t, err)
	stored := net.Input.Stored
	params, err := net.InitialParams(1)
	require.NoError(t, err)
	l, err := loader.NewLoader(loader.Synthetic(20, 1), net.Input, loader.Options{Batch: 4, Workers: 1, Train: true, Augment: true})
	require.NoError(t, err)
	l.Start(t.Context(), 0, 0)
	defer l.Stop()
	b, err := l.Next()
	require.NoError(t, err)
	logits := func(net *Network, open func(net *Network) (Executor, error)) []float32 {
		for i := range b.Colour { // the centre's colours on the crops of training
			b.Colour[i] = net.Input.Normalise()
		}
		exec, err := open(net)
		require.NoError(t, err)
		defer exec.Close()
		require.NoError(t, exec.SetParams(params))
		res, err := exec.Eval(b)
		require.NoError(t, err)
		return res.Logits
	}
	reference := func(net *Network) (Executor, error) { return NewReference(net, 4, ExecOptions{Inference: true}) }
	plain := logits(net, reference)

	flat := *net
	for _, m := range net.Input.Mean {
		for range stored * stored {
			flat.Input.MeanPicture = append(flat.Input.MeanPicture, m)
		}
	}
	require.InDeltaSlice(t, plain, logits(&flat, reference), 1e-4)

	uneven := *net
	for i := range 3 * stored * stored {
		uneven.Input.MeanPicture = append(uneven.Input.MeanPicture, float32(i%stored+i/stored%stored))
	}
	want := logits(&uneven, reference)
	require.Greater(t, math.Abs(float64(plain[0]-want[0])), 1e-3)
	path := filepath.Join(t.TempDir(), "w.safetensors")
	require.NoError(t, weights.WriteSafetensors(path, &weights.File{Tensors: uneven.WithMean(params), Metadata: map[string]string{networkKey: string(uneven.TOML())}}))
	read, file, err := ReadWeights(path)
	require.NoError(t, err)
	require.Equal(t, uneven.Input, read.Input)
	require.Len(t, file.Tensors, len(params))
	require.Contains(t, read.Input.Protocol(1), "mean picture")
	_, _, err = read.WithProtocol("torchvision") // which stores 9 pixels
	require.ErrorContains(t, err, "the mean picture has")

	for _, info := range usableDevices(t) {
		t.Run(info.Name, func(t *testing.T) {
			dev, err := engine.Open(info, shaders.FS)
			require.NoError(t, err)
			defer dev.Close()
			got := logits(read, func(net *Network) (Executor, error) { return NewDevice(dev, net, 4, ExecOptions{Inference: true}) })
			require.InDeltaSlice(t, want, got, 1e-4)
		})
	}
}

// TestShortMemorySaysWhatFits follows the advice of the error.
func TestShortMemorySaysWhatFits(t *testing.T) {
	info, err := engine.Select(usableDevices(t), "auto")
	require.NoError(t, err)
	net := parse(t, tinyTOML)
	opt := ExecOptions{SGD: net.Solver.SGD()}
	plan, err := PlanMemory(info, net, 20, opt)
	require.NoError(t, err)
	fits := func(batch int, opt ExecOptions) error {
		dev := openDevice(t, info)
		dev.Info.Free = plan.Total()
		exec, err := NewDevice(dev, net, batch, opt)
		if err == nil {
			exec.Close()
		}
		return err
	}
	require.NoError(t, fits(20, opt))
	err = fits(100, opt)
	require.ErrorIs(t, err, engine.ErrOutOfMemory)
	require.ErrorContains(t, err, "for a batch of 100")
	var largest, batch, steps int
	_, advice, _ := strings.Cut(err.Error(), "the largest batch that fits is ")
	_, scanErr := fmt.Sscanf(advice, "%d: --batch-size %d --grad-accum-steps %d gives a step of the same size", &largest, &batch, &steps)
	require.NoError(t, scanErr, err)
	require.NoError(t, fits(largest, opt))
	require.Error(t, fits(largest+1, opt))
	require.GreaterOrEqual(t, batch*steps, 100)
	opt.KeepGrads = true
	require.NoError(t, fits(batch, opt))

	err = fits(1000, ExecOptions{Inference: true})
	require.ErrorIs(t, err, engine.ErrOutOfMemory)
	require.NotContains(t, err.Error(), "--grad-accum-steps")
	plan = MemoryPlan{Batch: 1, Input: 1}
	require.ErrorContains(t, fits(1, opt), "no batch fits: choose a smaller network or another device")
}

// Callers close what is not nil.
func TestADeviceThatCannotBeMadeIsNil(t *testing.T) {
	net := parse(t, tinyTOML)
	exec, err := NewDevice(openDevice(t, usableDevices(t)[0]), net, 0, ExecOptions{Inference: true})
	require.ErrorContains(t, err, "a batch of 0 pictures")
	require.True(t, exec == nil) // require.Nil takes a nil in an interface for nil
}

func TestLargestBatch(t *testing.T) {
	for most := range 20 {
		for limit := range 22 {
			require.Equal(t, min(most, limit), LargestBatch(most, func(n int) bool { return n <= limit }), "most %d, limit %d", most, limit)
		}
	}
}
