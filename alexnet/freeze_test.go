package alexnet

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vkalexnet/engine"
	"vkalexnet/layers"
	"vkalexnet/weights"
)

// frozen is alexnet-small with layers that do not learn.
func frozen(t *testing.T, words ...string) *Network {
	net, err := Load("alexnet-small")
	require.NoError(t, err)
	net, err = net.FineTuned(FineTuning{Freeze: words})
	require.NoError(t, err)
	return net
}

// TestFrozenLayersTrain trains with frozen layers on every executor: frozen
// parameters keep their bits, the others and the losses agree with the CPU's,
// and the first step's updates are those of a run in which nothing is frozen.
func TestFrozenLayersTrain(t *testing.T) {
	whole, err := Load("alexnet-small")
	require.NoError(t, err)
	for _, words := range [][]string{{"conv1..conv5"}, {"conv2"}} {
		t.Run(strings.Join(words, ","), func(t *testing.T) {
			net := frozen(t, words...)
			specs, err := net.ParamSpecs()
			require.NoError(t, err)
			start, err := net.InitialParams(1)
			require.NoError(t, err)
			b := someBatch(t, net, 3)
			run := func(exec Executor, steps int) (losses []float32, params []weights.Tensor) {
				require.NoError(t, exec.SetParams(start))
				for i := range steps {
					res, err := exec.Train(b, TrainStep{LR: 0.01, Count: uint64(i), Update: true, GradScale: 1.0 / 3})
					require.NoError(t, err)
					losses = append(losses, res.Loss...)
				}
				params, err := exec.Params()
				require.NoError(t, err)
				return losses, params
			}
			opt := ExecOptions{SGD: net.Solver.SGD(), Dropout: true, Seed: 3}
			ref, err := NewReference(whole, 3, opt)
			require.NoError(t, err)
			_, free := run(ref, 1)
			ref, err = NewReference(net, 3, opt)
			require.NoError(t, err)
			_, once := run(ref, 1)
			for i, s := range specs {
				if s.Frozen() {
					require.Equal(t, start[i].Data, once[i].Data, s.Name)
				} else {
					require.Equal(t, free[i].Data, once[i].Data, s.Name)
				}
			}
			ref, err = NewReference(net, 3, opt)
			require.NoError(t, err)
			wantLoss, want := run(ref, 3)
			infos := usableDevices(t)
			for _, info := range infos {
				t.Run(info.Name, func(t *testing.T) {
					dev := openDevice(t, info)
					for _, accumulate := range []bool{false, true} {
						exec, err := NewDevice(dev, net, 3, opt)
						require.NoError(t, err)
						if accumulate {
							require.NoError(t, exec.(*device).prepareTrain(TrainStep{}))
						}
						losses, params := run(exec, 3)
						nearly(t, wantLoss, losses, 1e-5, "losses")
						momentum, err := exec.Momentum()
						require.NoError(t, err)
						for i, s := range specs {
							if s.Frozen() {
								require.Equal(t, start[i].Data, params[i].Data, s.Name)
								require.Equal(t, make([]float32, s.Len()), momentum[i].Data, s.Name)
							} else {
								nearly(t, want[i].Data, params[i].Data, 1e-5, s.Name)
							}
						}
						require.NoError(t, exec.SetMomentum(momentum))
						exec.Close()
					}
				})
			}
		})
	}
}

// TestFrozenLayersCostNothing looks for them in what is recorded and planned.
func TestFrozenLayersCostNothing(t *testing.T) {
	info := engine.Info{Limits: engine.Limits{StorageRange: 128 << 20, Allocation: 1 << 30, GroupCount: 65535, Invocations: 1024, Shared: 32768}}
	rows := layers.Tunings(&info)
	whole, err := Load("alexnet-small")
	require.NoError(t, err)
	opt := ExecOptions{SGD: whole.Solver.SGD(), Dropout: true}
	wholePlan, err := PlanMemory(info, whole, 8, opt)
	require.NoError(t, err)

	net := frozen(t, "conv1..conv5") // all below the first layer that learns
	all, err := Recordings(info, net, 8, opt, rows[len(rows)-1])
	require.NoError(t, err)
	for _, r := range all[1:] {
		require.NotContains(t, r.String(), "gradient of conv")
		for _, never := range []string{"conv1 backward", "conv2 backward", "conv3 backward", "relu1 backward", "pool1 backward", "conv1.weight update"} {
			require.NotContains(t, r.String(), never)
		}
	}
	require.Contains(t, all[1].String(), "fc6 backward")
	require.NotContains(t, all[1].String(), "gradient of the input of fc6")
	plan, err := PlanMemory(info, net, 8, opt)
	require.NoError(t, err)
	specs, err := net.ParamSpecs()
	require.NoError(t, err)
	saved := uint64(0)
	for _, s := range specs {
		if s.Frozen() {
			saved += uint64(alignParam(s.Len())) * engine.WordBytes
		}
	}
	require.Positive(t, saved)
	require.Equal(t, wholePlan.Momentum-saved, plan.Momentum)
	require.Less(t, plan.Temporary, wholePlan.Temporary)
	require.Equal(t, wholePlan.Weights, plan.Weights)

	net = frozen(t, "conv2") // between two that learn: the gradient passes through
	all, err = Recordings(info, net, 8, opt, rows[len(rows)-1])
	require.NoError(t, err)
	for _, r := range all[1:] {
		require.NotContains(t, r.String(), "gradient of conv2.")
	}
	require.Contains(t, all[1].String(), "momentum of conv1.weight")
	require.Contains(t, all[2].String(), "gradient of conv1.weight")
	require.Contains(t, all[1].String(), "conv2 backward")
}

func TestFineTunedErrors(t *testing.T) {
	net, err := Load("alexnet")
	require.NoError(t, err)
	for _, c := range []struct {
		f    FineTuning
		want string
	}{
		{FineTuning{Freeze: []string{"conv6"}}, `no layer "conv6" with parameters: did you mean "conv`},
		{FineTuning{Freeze: []string{"relu1"}}, `no layer "relu1" with parameters`},
		{FineTuning{Freeze: []string{"conv5..conv1"}}, `"conv5" comes after "conv1"`},
		{FineTuning{Freeze: []string{"conv1..fc8"}}, "nothing is left to train"},
		{FineTuning{LRFactors: map[string]float32{"fc9": 10}}, `no layer "fc9"`},
		{FineTuning{LRFactors: map[string]float32{"fc8": -1}}, "at least 0"},
	} {
		_, err := net.FineTuned(c.f)
		require.ErrorContains(t, err, c.want)
	}
	tuned, err := net.FineTuned(FineTuning{Freeze: []string{"conv1..conv5", "fc6"}, LRFactors: map[string]float32{"fc8": 10}})
	require.NoError(t, err)
	again, err := ParseNetwork(tuned.TOML(), "again")
	require.NoError(t, err)
	require.Equal(t, tuned.Layers, again.Layers)
	file := &weights.File{}
	require.ErrorContains(t, tuned.Reinitialise(file, []string{"conv2"}, 1), "leave one of them out")
	require.NoError(t, tuned.Reinitialise(file, []string{"fc8"}, 1))
	require.Len(t, file.Tensors, 2)
	thawed, err := tuned.FineTuned(FineTuning{})
	require.NoError(t, err)
	require.False(t, thawed.Layers[0].Frozen)
}
