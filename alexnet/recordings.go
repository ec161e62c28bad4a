package alexnet

import (
	"vkalexnet/engine"
	"vkalexnet/layers"
)

// Recordings are all that an executor of the network runs on a device like
// info: evaluation, the training step that updates as it goes, and the step and
// update with gradients kept over several batches. The matrix products are cut
// as the row of the tuning table says. Nothing is taken on a device: the
// recordings can be compiled (engine.Device.Statistics) but not run.
func Recordings(info engine.Info, net *Network, batch int, opt ExecOptions, row layers.Tuning) ([]*engine.Recording, error) {
	opt.KeepGrads = false // both ways are recorded
	n, err := planNet(info, net, batch, opt)
	if err != nil {
		return nil, err
	}
	n.tuning = &row
	var all []*engine.Recording
	record := func(steps ...func(r *engine.Recording)) {
		for _, step := range steps {
			r := engine.NewRecording(info)
			step(r)
			all = append(all, r)
		}
	}
	record(n.recordEval)
	if opt.Inference {
		return all, nil
	}
	record(n.recordTrain)
	if err := n.keepGrads(); err != nil {
		return nil, err
	}
	record(n.recordTrain, n.recordUpdates)
	return all, nil
}

// CandidateRecordings are the matrix products of the network's passes on a device like
// info, each with every tuning that [Tune] tries there, by the tuning's name; in
// BF16x3 those that are not fp32's, and the same split in fp16. Like Recordings they can
// be compiled but not run.
func CandidateRecordings(info engine.Info, net *Network, batch int, opt ExecOptions) (map[string]*engine.Recording, error) {
	n, err := planNet(info, net, batch, opt)
	if err != nil {
		return nil, err
	}
	all := map[string]*engine.Recording{}
	for _, p := range n.products() {
		a, b, c := p.Words()
		candidates := p.Candidates(&info)
		if n.split {
			candidates = append(p.SplitCandidates(&info, layers.BF16), p.SplitCandidates(&info, layers.FP16)...)
		}
		for _, t := range candidates {
			r := all[t.Name]
			if r == nil {
				r = engine.NewRecording(info)
				all[t.Name] = r
			}
			r.Label(p.String())
			p.Record(r, t, engine.PlannedBuffer("a", a), engine.PlannedBuffer("b", b), engine.PlannedBuffer("c", c))
		}
	}
	return all, nil
}

// ToolRecordings are the calls of the kernels that no step of a network uses, but
// benchmarks and the tuner do.
func ToolRecordings(info engine.Info) []*engine.Recording {
	r := engine.NewRecording(info)
	x, y := engine.PlannedBuffer("x", exampleWords), engine.PlannedBuffer("y", exampleWords)
	r.Label("peak")
	for _, fused := range []bool{false, true} {
		for _, sixteen := range []bool{false, true} {
			peakFMAKernel.Record(r, engine.Threads(exampleWords), peakFMA{Y: y, Threads: exampleWords, Rounds: 1, SixteenSums: sixteen, Fused: fused})
		}
	}
	peakCopyKernel.Record(r, engine.Threads(exampleWords/4), peakCopy{X: x, Y: y, Quads: exampleWords / 4})
	r.Label("tune")
	compareKernel.Record(r, engine.Threads(1), compare{X: x, Y: x, Found: y, Count: exampleWords, Each: exampleWords, Unset: unset})
	return []*engine.Recording{r}
}
