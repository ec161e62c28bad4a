package alexnet

import "fmt"

// BestMetrics are the choices of Options.BestBy, the usual one first.
var BestMetrics = []string{"top1", "top5", "loss"}

// bestValue is what an evaluation's rank among the others depends on.
func bestValue(by string, eval *EvalResult) float64 {
	switch by {
	case "top5":
		return eval.Top5
	case "loss":
		return eval.Loss
	}
	return eval.Top1
}

// bestText is how such a value is called and written.
func bestText(by string, value float64) (name, text string) {
	switch by {
	case "top5":
		return "top-5", fmt.Sprintf("%.2f %%", 100*value)
	case "loss":
		return "loss", fmt.Sprintf("%.4f", value)
	}
	return "top-1", fmt.Sprintf("%.2f %%", 100*value)
}

// better says whether an evaluation is the best so far.
func (t *Trainer) better(eval *EvalResult) bool {
	v := bestValue(t.opt.BestBy, eval)
	if t.opt.BestBy == "loss" {
		return t.state.BestEpoch == 0 || v < t.state.Best
	}
	return t.state.BestEpoch == 0 || v > t.state.Best
}

// stalled says that Patience has run out.
func (t *Trainer) stalled() bool {
	return t.opt.Patience > 0 && t.state.BestEpoch > 0 && t.state.Epoch-t.state.BestEpoch >= t.opt.Patience
}
