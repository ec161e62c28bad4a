package main

import (
	"strings"

	"vkalexnet/alexnet"
)

// runEvents writes a run's events for TensorBoard. The first failure is told
// and ends it: the run itself is unharmed.
type runEvents struct {
	log  *alexnet.EventLog
	o    *alexnet.Options
	tell func(error)
}

// withEvents are the options with their events written as well. The file is
// made with the first event, when the run's folder is there.
func withEvents(o alexnet.Options, tell func(error)) (alexnet.Options, func()) {
	e, shown, failed := &runEvents{o: &o, tell: tell}, o.Progress, false
	first := int64(0)
	if o.Resume != nil {
		first = o.Resume.State.Step
	}
	o.Progress = func(event alexnet.Event) {
		if shown != nil {
			shown(event)
		}
		if failed {
			return
		}
		err := error(nil)
		if e.log == nil {
			e.log, err = alexnet.OpenEvents(o.OutputDir, first)
		}
		if err == nil {
			err = e.write(event)
		}
		if failed = err != nil; failed {
			tell(err)
		}
	}
	return o, func() {
		if e.log != nil {
			if err := e.log.Close(); err != nil {
				tell(err)
			}
		}
	}
}

func (e *runEvents) write(event alexnet.Event) error {
	type scalar struct {
		tag   string
		value float64
	}
	var all []scalar
	step := event.Step
	switch event.Kind {
	case "step":
		m := event.StepMetrics
		all = []scalar{{"train/loss", m.Loss}, {"train/lr", float64(m.LR)}, {"train/images_per_second", m.ImagesPerSecond}, {"train/data_wait", m.DataWait}}
	case "epoch":
		all = []scalar{{"train/epoch_loss", event.TrainLoss}}
		if v := event.Eval; v != nil {
			all = append(all, scalar{"val/loss", v.Loss}, scalar{"val/top1", v.Top1}, scalar{"val/top5", v.Top5})
		}
	}
	for _, s := range all {
		if err := e.log.Scalar(s.tag, step, s.value); err != nil {
			return err
		}
	}
	if event.Kind != "epoch" {
		return nil
	}
	params, err := e.o.Exec.Params()
	if err != nil || len(params) == 0 || len(params[0].Shape) != 4 {
		return nil // the device is lost, or the network has no kernels: nothing to show
	}
	picture, err := filterPicture(params[0], strings.EqualFold(e.o.Net.Input.Order, "BGR"))
	if err != nil {
		return err
	}
	return e.log.Image(params[0].Name, step, picture)
}
