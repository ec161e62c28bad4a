package tests

import (
	"context"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"vkalexnet/alexnet"
	"vkalexnet/engine"
	"vkalexnet/loader"
)

// batches reads the first n batches of synthetic pictures, augmented.
func batches(t *testing.T, net *alexnet.Network, size, n int) []*loader.Batch {
	l, err := loader.NewLoader(loader.Synthetic(size*n, 5), net.Input, loader.Options{Batch: size, Workers: 2, Train: true, Shuffle: true, Augment: true, Seed: 1})
	require.NoError(t, err)
	l.Start(context.Background(), 0, 0)
	defer l.Stop()
	var all []*loader.Batch
	for range n {
		b, err := l.Next()
		require.NoError(t, err)
		all = append(all, b)
	}
	return all
}

func preset(t *testing.T, name string) *alexnet.Network {
	net, err := alexnet.Load(name)
	require.NoError(t, err)
	return net
}

// train runs the batches and gives every picture's loss.
func train(t *testing.T, exec alexnet.Executor, net *alexnet.Network, all []*loader.Batch, accumulate int) (losses []float64) {
	params, err := net.InitialParams(3)
	require.NoError(t, err)
	require.NoError(t, exec.SetParams(params))
	for i, b := range all {
		res, err := exec.Train(b, alexnet.TrainStep{LR: 0.002, Count: uint64(i), Accumulate: i%accumulate != 0, Update: i%accumulate == accumulate-1,
			GradScale: 1 / float32(b.N*accumulate)})
		require.NoError(t, err)
		for _, l := range res.Loss {
			losses = append(losses, float64(l))
		}
	}
	return losses
}

func requireNear(t *testing.T, want, got []float64, relative float64) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		require.InDelta(t, want[i], got[i], relative*math.Max(1, math.Abs(want[i])), "picture %d", i)
	}
}

// options are those of the network's own solver.
func options(net *alexnet.Network) alexnet.ExecOptions {
	return alexnet.ExecOptions{SGD: net.Solver.SGD(), Seed: 9, Dropout: true}
}

// TestTraining trains whole networks for a few steps, dropout and augmentation
// included, on every device and on the CPU: the losses agree.
func TestTraining(t *testing.T) {
	cases := []struct {
		model                    string
		batch, steps, accumulate int
		weights                  []float32
	}{
		{"alexnet-small", 7, 4, 1, nil},
		{"alexnet-small", 5, 4, 2, nil},
		{"alexnet-cifar", 6, 3, 1, []float32{0.5, 3, 1, 1, 0.25, 2, 1.5, 1, 0.75, 4}},
	}
	eachDevice(t, func(t *testing.T, d *engine.Device) {
		for _, c := range cases {
			t.Run(c.model, func(t *testing.T) {
				net := preset(t, c.model)
				all := batches(t, net, c.batch, c.steps)
				opt := options(net)
				opt.ClassWeights = c.weights
				cpu, err := alexnet.NewReference(net, c.batch, opt)
				require.NoError(t, err)
				want := train(t, cpu, net, all, c.accumulate)
				dev, err := alexnet.NewDevice(d, net, c.batch, opt)
				require.NoError(t, err)
				defer dev.Close()
				got := train(t, dev, net, all, c.accumulate)
				requireNear(t, want, got, 1e-4)
				wantEval, err := cpu.Eval(all[0])
				require.NoError(t, err)
				gotEval, err := dev.Eval(all[0])
				require.NoError(t, err)
				for i := range wantEval.Logits {
					require.InDelta(t, wantEval.Logits[i], gotEval.Logits[i], 1e-3, "logit %d", i)
				}
			})
		}
	})
}

// TestFullSizeStep runs a step of the full-size network at batch 2 on one
// device against the CPU.
func TestFullSizeStep(t *testing.T) {
	if testing.Short() {
		t.Skip("full-size networks take a minute on the CPU")
	}
	net := preset(t, "alexnet").WithClasses(10)
	all := batches(t, net, 2, 2)
	cpu, err := alexnet.NewReference(net, 2, options(net))
	require.NoError(t, err)
	want := train(t, cpu, net, all, 1)
	eachDevice(t, func(t *testing.T, d *engine.Device) {
		dev, err := alexnet.NewDevice(d, net, 2, options(net))
		require.NoError(t, err)
		defer dev.Close()
		requireNear(t, want, train(t, dev, net, all, 1), 1e-4)
	})
}
