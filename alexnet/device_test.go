package alexnet

import (
	"testing"

	"github.com/stretchr/testify/require"

	"vkalexnet/engine"
	"vkalexnet/layers"
	"vkalexnet/shaders"
)

// TestDevicesTrainAsTheGoldenFile is TestReferenceTrainsAsTheGoldenFile on
// every Vulkan device.
func TestDevicesTrainAsTheGoldenFile(t *testing.T) {
	infos, err := engine.Devices()
	if err != nil {
		t.Skipf("needs a Vulkan device: %v", err)
	}
	net := parse(t, goldenTOML)
	for _, info := range infos {
		if info.Rejected != "" {
			continue
		}
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
				copy(d.input[d.layout.step:], layers.StepWords(layers.Step{}, step.LR, step.GradScale))
				for i, l := range labels {
					d.input[d.layout.labels+i] = uint32(l)
				}
				require.NoError(t, engine.Upload(dev, d.hostInput, d.input))
				res, err := d.runTrain(goldenBatch, step)
				require.NoError(t, err)
				return res
			}, nil)
		})
	}
}

// TestMemoryPlanGrowsWithTheBatch checks the plan against what is taken.
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
