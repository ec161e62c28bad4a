package alexnet

import (
	"errors"
	"strings"
	"time"

	"vkalexnet/engine"
	"vkalexnet/layers"
)

// LayerTime is the time of one pass of one layer on the device.
type LayerTime struct {
	Layer string // "conv2"; the input stage is "input", the loss "softmax"
	// Pass is "forward", "backward", "backward input", "backward weight" or
	// "update".
	Pass     string
	Duration time.Duration
	FLOPs    int64 // of matrix products, two per multiply-add
	// Bytes is the least that the pass can move: every tensor that it needs,
	// read or written once. 0 where it is not known.
	Bytes int64
	// Kernel is the one that computed its matrix product, if it has one.
	Kernel string
}

// ErrNoTimestamps says that a device's timestamps do not tell the time.
var ErrNoTimestamps = errors.New("the driver's timestamps do not advance")

// LayerTimes are the times of the last training step, in the order of the step.
// The run must have been opened with BenchLayers.
func (r *BenchRun) LayerTimes() ([]LayerTime, error) {
	calls, err := r.dev.train.Timings()
	if err != nil {
		return nil, err
	}
	times := layerTimes(calls)
	total := time.Duration(0)
	for i := range times {
		total += times[i].Duration
		times[i].Bytes = r.dev.leastBytes(times[i].Layer, times[i].Pass)
	}
	if total == 0 {
		return nil, ErrNoTimestamps
	}
	return times, nil
}

// layerTimes adds up the calls by layer and pass.
func layerTimes(calls []engine.CallTime) []LayerTime {
	var times []LayerTime
	label, part := "", ""
	for i, c := range calls {
		if c.Label != label {
			label, part = c.Label, ""
		}
		layer, pass := splitLabel(c.Label)
		// What follows a product under the same label, such as the sum of its
		// parts, belongs to it, and so do the steps into Winograd's form before it.
		product := calls[i:]
		if !strings.HasPrefix(c.Kernel, "winograd") {
			product = product[:1]
		}
		for _, c := range product {
			if strings.HasSuffix(c.Kernel, "_backward_input") {
				part = " input"
				break
			}
			if strings.HasSuffix(c.Kernel, "_backward_weight") {
				part = " weight"
				break
			}
		}
		if pass == "backward" {
			pass += part
		}
		at := -1
		for i, t := range times {
			if t.Layer == layer && t.Pass == pass {
				at = i
			}
		}
		if at < 0 {
			at = len(times)
			times = append(times, LayerTime{Layer: layer, Pass: pass})
		}
		times[at].Duration += c.Duration
		times[at].FLOPs += c.FLOPs
		if strings.HasPrefix(c.Kernel, "gemm_") {
			times[at].Kernel = c.Kernel
		}
	}
	return times
}

// splitLabel takes the labels of deviceNet's recordings apart.
func splitLabel(label string) (layer, pass string) {
	for _, pass := range []string{"forward", "backward", "update"} {
		if layer, ok := strings.CutSuffix(label, " "+pass); ok {
			if pass == "update" {
				if dot := strings.LastIndexByte(layer, '.'); dot >= 0 {
					layer = layer[:dot]
				}
			}
			return layer, pass
		}
	}
	return label, "forward"
}

// leastBytes is what a pass of a layer must move at least; see LayerTime.
func (n *deviceNet) leastBytes(layer, pass string) int64 {
	if layer == "input" && n.pictures.IsZero() {
		s := n.net.Input.WithDefaults().Stored
		return int64(n.batch) * int64(3*s*s+n.opt.Precision.Words(engine.WordBytes*n.net.InputShape().Len()))
	}
	for i, l := range n.net.Layers {
		if l.Name != layer {
			continue
		}
		p := n.plans[i]
		in, out, keep := int64(n.batch*p.In.Len()), int64(n.batch*p.Out.Len()), int64(n.batch*p.KeepWords)
		var params int64
		for _, q := range p.Params {
			params += int64(q.Len())
		}
		copied := params // what products read
		if n.opt.Precision != layers.FP32 {
			half := func(elements int64) int64 { return int64(n.opt.Precision.Words(int(elements))) }
			in, copied = half(in), half(params)
			if i < len(n.net.Layers)-1 || pass != "forward" {
				out = half(out)
			}
		}
		words := int64(0)
		switch pass {
		case "forward":
			words = in + copied + out + keep
		case "backward":
			words = out + in + keep
			if p.NeedsX {
				words += in
			}
			if p.NeedsY {
				words += out
			}
		case "backward input":
			words = out + copied + in
		case "backward weight":
			words = in + out + params
			if n.fusesUpdate(i) { // w and v read and written, the gradient never
				words = in + out + 4*params
				if n.opt.Precision != layers.FP32 {
					words += copied
				}
			}
		case "update":
			words = 5 * params // w and v read and written, g read
			if n.opt.Precision != layers.FP32 {
				words += copied
			}
		}
		return words * engine.WordBytes
	}
	return 0
}
