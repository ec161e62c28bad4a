package alexnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sort"

	"vkalexnet/loader"

	"github.com/go-gl/mathgl/mgl32"
)

// EvalOptions are the choices of [Evaluate] and [Classify].
type EvalOptions struct {
	Batch int // pictures at a time: at most what the executor was made for
	// Crops is the number of views of each picture whose probabilities are
	// averaged: 1 (or 0), 5 or 10; see loader.Views.
	Crops   int
	Workers int // goroutines that decode; one per processor when 0
	// OnBadImage says what becomes of a picture that cannot be read: "skip"
	// (or "") leaves it out and reports it, "fail" ends with its error.
	OnBadImage string
	// Progress is told how many of the pictures are done.
	Progress func(done, total int)
	// Each is told what the network says of every picture that has a label, in
	// order; its error ends the evaluation. Only for [Evaluate].
	Each func(p Prediction, label int) error
	// Name of the protocol, for EvalResult.Protocol; empty for the network's own.
	Protocol string
}

// EvalResult is how well a network does on labelled pictures.
type EvalResult struct {
	Images int `json:"images"` // that were read and have a label
	// Top1 and Top5 are the shares (0 to 1) of the pictures whose class is the
	// best, or among the best five (or all, when there are fewer: K).
	Top1 float64 `json:"top1"`
	Top5 float64 `json:"top5"`
	K    int     `json:"k"`
	Loss float64 `json:"loss"` // mean cross-entropy, in nats
	// Confusion counts pictures by class [right][best].
	Confusion [][]int `json:"-"`
	// Bad are the pictures that could not be read.
	Bad []*loader.BadImage `json:"-"`
	// Protocol is how the pictures were prepared and the views averaged.
	Protocol string `json:"protocol"`
}

// Prediction is what a network says of one picture.
type Prediction struct {
	Index  int       // of the picture in its source
	Name   string    // as the source calls it
	Probs  []float32 // one per class, the mean over the views
	Logits []float32 // one per class, the mean over the views
	Err    error     // the picture could not be read; the rest is empty
}

// Evaluate measures the network on all labelled pictures of src. Its result
// depends on nothing but the executor's parameters and the pictures. When ctx
// is cancelled it ends with ctx's error.
func Evaluate(ctx context.Context, exec Executor, net *Network, src loader.Source, opt EvalOptions) (*EvalResult, error) {
	v, err := newViewer(net, src, opt)
	if err != nil {
		return nil, err
	}
	return v.evaluate(ctx, exec)
}

// Classify calls each with what the network says of every picture of src, in
// order; an error of each ends it.
func Classify(ctx context.Context, exec Executor, net *Network, src loader.Source, opt EvalOptions, each func(Prediction) error) error {
	v, err := newViewer(net, src, opt)
	if err != nil {
		return err
	}
	return v.run(ctx, exec, func(_ *loader.Batch, s scores) error { return each(s.Prediction) })
}

// viewer shows the pictures of one source to executors. It keeps small sets in
// memory from one use to the next.
type viewer struct {
	net    *Network
	loader *loader.Loader
	opt    EvalOptions
	views  []mgl32.Mat3
}

func newViewer(net *Network, src loader.Source, opt EvalOptions) (*viewer, error) {
	opt.Crops = max(opt.Crops, 1)
	views, err := loader.Views(net.Input, opt.Crops)
	if err != nil {
		return nil, err
	}
	onBad := opt.OnBadImage
	if onBad == "" || onBad == "skip" {
		onBad = "blank" // its place stays, so that no other picture counts twice
	}
	l, err := loader.NewLoader(src, net.Input, loader.Options{Batch: opt.Batch, Workers: opt.Workers, OnBadImage: onBad})
	if err != nil {
		return nil, err
	}
	return &viewer{net: net, loader: l, opt: opt, views: views}, nil
}

// scores is what all views of one picture gave.
type scores struct {
	Prediction
	label int32
	loss  float64
	rank  int
}

// run calls each with the scores of every picture, in order.
func (v *viewer) run(ctx context.Context, exec Executor, each func(*loader.Batch, scores) error) error {
	v.loader.Start(ctx, 0, 0)
	defer v.loader.Stop()
	src, done := v.loader.Source(), 0
	for {
		b, err := v.loader.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		all, err := v.show(exec, b)
		if err != nil {
			return err
		}
		bad := map[int]error{}
		for _, err := range b.Bad {
			var image *loader.BadImage
			if errors.As(err, &image) {
				bad[image.Index] = err
			}
		}
		for i := range all {
			s := &all[i]
			s.Index, s.label = b.Indices[i], b.Labels[i]
			s.Name, s.Err = src.Name(s.Index), bad[s.Index]
			if s.Err != nil {
				s.Probs, s.Logits = nil, nil
			}
			if err := each(b, *s); err != nil {
				return err
			}
		}
		done += b.N
		if v.opt.Progress != nil {
			v.opt.Progress(done, src.Len())
		}
	}
}

// show runs all views of a batch and averages them.
func (v *viewer) show(exec Executor, b *loader.Batch) ([]scores, error) {
	classes := v.net.NumClasses()
	probs, logits := make([]float64, b.N*classes), make([]float64, b.N*classes)
	all := make([]scores, b.N)
	for _, view := range v.views {
		shown := *b
		shown.Geometry = make([]mgl32.Mat3, b.N)
		for i := range shown.Geometry {
			shown.Geometry[i] = view
		}
		res, err := exec.Eval(&shown)
		if err != nil {
			return nil, err
		}
		for i := range b.N {
			all[i].loss, all[i].rank = float64(res.Loss[i]), int(res.Rank[i])
			own := res.Logits[i*classes:][:classes]
			if !finite(own) {
				return nil, fmt.Errorf("the network's scores of %s are not numbers: its weights are damaged, or it was trained with too high a learning rate", v.loader.Source().Name(b.Indices[i]))
			}
			addSoftmax(probs[i*classes:][:classes], logits[i*classes:][:classes], own, 1/float64(len(v.views)))
		}
	}
	for i := range all {
		s := &all[i]
		p := probs[i*classes:][:classes]
		s.Probs, s.Logits = toFloat32(p), toFloat32(logits[i*classes:][:classes])
		if label := int(b.Labels[i]); len(v.views) > 1 && label >= 0 {
			s.rank = rankOf(p, label)
			s.loss = -math.Log(max(p[label], math.SmallestNonzeroFloat32))
		}
	}
	return all, nil
}

// addSoftmax adds weight times the probabilities, and the logits themselves.
func addSoftmax(probs, sums []float64, logits []float32, weight float64) {
	highest := math.Inf(-1)
	for _, l := range logits {
		highest = max(highest, float64(l))
	}
	total := 0.0
	for _, l := range logits {
		total += math.Exp(float64(l) - highest)
	}
	for j, l := range logits {
		probs[j] += weight * math.Exp(float64(l)-highest) / total
		sums[j] += weight * float64(l)
	}
}

// rankOf counts the classes that beat the label's: a higher score, or the same
// and a lower index, as layers.SoftmaxLossCPU does.
func rankOf(scores []float64, label int) int {
	rank := 0
	for j, s := range scores {
		if s > scores[label] || s == scores[label] && j < label {
			rank++
		}
	}
	return rank
}

func toFloat32(v []float64) []float32 {
	f := make([]float32, len(v))
	for i, x := range v {
		f[i] = float32(x)
	}
	return f
}

// evaluate adds up the labelled pictures.
func (v *viewer) evaluate(ctx context.Context, exec Executor) (*EvalResult, error) {
	classes := v.net.NumClasses()
	r := &EvalResult{K: min(5, classes), Protocol: protocolName(v.opt.Protocol, v.net.Input, v.opt.Crops), Confusion: make([][]int, classes)}
	for i := range r.Confusion {
		r.Confusion[i] = make([]int, classes)
	}
	top1, topK, loss := 0, 0, 0.0
	err := v.run(ctx, exec, func(_ *loader.Batch, s scores) error {
		if s.Err != nil || s.label < 0 {
			return nil
		}
		r.Images++
		loss += s.loss
		if s.rank == 0 {
			top1++
		}
		if s.rank < r.K {
			topK++
		}
		r.Confusion[s.label][s.Best(1)[0]]++
		if v.opt.Each != nil {
			return v.opt.Each(s.Prediction, int(s.label))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("evaluate: %w", err)
	}
	r.Bad = v.loader.Bad()
	if r.Images == 0 {
		return nil, fmt.Errorf("evaluate: none of the %d pictures has a label and can be read", v.loader.Source().Len())
	}
	n := float64(r.Images)
	r.Top1, r.Top5, r.Loss = float64(top1)/n, float64(topK)/n, loss/n
	return r, nil
}

// Softmax gives the probabilities of one picture's logits.
func Softmax(logits []float32) []float32 {
	probs, sums := make([]float64, len(logits)), make([]float64, len(logits))
	addSoftmax(probs, sums, logits, 1)
	return toFloat32(probs)
}

// Best are the likeliest k classes, the likeliest first; logits, whose float32
// values are less crowded near 1, decide between equal probabilities, and then
// the lower index.
func (p Prediction) Best(k int) []int {
	order := make([]int, len(p.Probs))
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(i, j int) bool {
		a, b := order[i], order[j]
		return p.Probs[a] > p.Probs[b] || p.Probs[a] == p.Probs[b] && p.Logits[a] > p.Logits[b]
	})
	return order[:min(k, len(order))]
}
