package alexnet

import (
	"fmt"
	"slices"

	"vkalexnet/engine"
	"vkalexnet/layers"
	"vkalexnet/loader"
)

// Inspector is what executors offer beside [Executor]: a look inside the
// network. Those of [NewDevice] and [NewReference] are Inspectors, for
// inference as well as for training. Nothing of it changes a parameter.
type Inspector interface {
	// Outputs runs the batch forward, without dropout, through the layers up to
	// the one with that index, and gives that layer's output: [N, C, H, W].
	Outputs(b *loader.Batch, layer int) ([]float32, error)
	// Gradients runs the batch forward, without dropout, and back from the
	// logits, whose gradients dlogits [N, classes] are given, to the output of
	// the layer with that index. It returns that output, y, and its gradient,
	// dy, both [N, C, H, W]. A convolution or fully connected layer that a ReLU
	// follows has no output of its own here, as devices compute both at once:
	// ask for the ReLU.
	Gradients(b *loader.Batch, layer int, dlogits []float32) (y, dy []float32, err error)
}

var _ = []Inspector{(*device)(nil), (*reference)(nil)}

// checkInside says whether a look inside is possible.
func checkInside(net *Network, b *loader.Batch, capacity, layer int) error {
	if layer < 0 || layer >= len(net.Layers) {
		return fmt.Errorf("layer %d of network %q: it has layers 0 to %d", layer, net.Name, len(net.Layers)-1)
	}
	return net.CheckBatch(b, capacity, net.NumClasses())
}

func checkGradients(net *Network, b *loader.Batch, capacity, layer int, dlogits []float32) error {
	if err := checkInside(net, b, capacity, layer); err != nil {
		return err
	}
	if want := b.N * net.NumClasses(); len(dlogits) != want {
		return fmt.Errorf("gradients of %d logits for %d pictures of %d classes: there must be %d", len(dlogits), b.N, net.NumClasses(), want)
	}
	if layer+1 < len(net.Layers) {
		plans, err := net.Plans()
		if err != nil {
			return err
		}
		if _, relu := net.Layers[layer+1].Layer.(layers.ReLU); relu && len(plans[layer].Params) > 0 {
			return fmt.Errorf("layer %q is followed by a ReLU, which devices compute with it: ask for the gradient at %q", net.Layers[layer].Name, net.Layers[layer+1].Name)
		}
	}
	return nil
}

// Outputs implements Inspector.
func (r *reference) Outputs(b *loader.Batch, layer int) ([]float32, error) {
	if err := checkInside(r.net, b, r.batch, layer); err != nil {
		return nil, err
	}
	g := r
	if r.opt.Precision != layers.FP32 {
		g = r.inFloat(b.N, true)
	}
	g.load(b)
	for i := range layer {
		g.forwardLayer(i, b.N, layers.Step{}, false)
	}
	return slices.Clone(g.forwardLayer(layer, b.N, layers.Step{}, false)), nil
}

// inFloat is the network on the same parameters for n pictures in float32, as
// looks inside are whatever the executor's precision.
func (r *reference) inFloat(n int, inference bool) *reference {
	g := &reference{net: r.net, batch: n, plans: r.plans, specs: r.specs, params: r.params, half: make([][]float32, len(r.specs))}
	g.opt.Seed, g.opt.Inference = r.opt.Seed, inference
	g.allocate()
	return g
}

// Gradients implements Inspector.
func (r *reference) Gradients(b *loader.Batch, layer int, dlogits []float32) (y, dy []float32, err error) {
	if err := checkGradients(r.net, b, r.batch, layer, dlogits); err != nil {
		return nil, nil, err
	}
	g := r
	if r.opt.Inference || r.opt.Precision != layers.FP32 { // in inference activations overwrite each other
		g = r.inFloat(b.N, false)
	}
	g.load(b)
	g.forward(b.N, layers.Step{}, false)
	y = slices.Clone(g.slice(layer, b.N).Y)
	dy = slices.Clone(dlogits)
	for i := len(g.slots) - 1; i > layer; i-- {
		s := g.slice(i, b.N)
		s.Grads, s.DY, s.DX = nil, dy, make([]float32, len(s.X))
		g.net.Layers[i].Layer.BackwardCPU(&s)
		dy = s.DX
	}
	return y, dy, nil
}

// insideKey says which program of a device's looks inside is meant.
type insideKey struct {
	layer     int
	gradients bool
	size      int // of the batch
}

// inside is a compiled look inside a network, with the buffers that it leaves
// its results in; dlogits and dy only for gradients.
type inside struct {
	program        *engine.Program
	dlogits, y, dy engine.Buffer
}

func (i *inside) free(dev *engine.Device) {
	if i.program != nil {
		i.program.Free()
	}
	for _, b := range []engine.Buffer{i.dlogits, i.y, i.dy} {
		dev.Free(b)
	}
}

// upTo is the network's first layers, the last of which writes to y.
func (n *deviceNet) upTo(layer int, y engine.Buffer) *deviceNet {
	m := *n
	net := *n.net
	net.Layers = net.Layers[:layer+1]
	m.net, m.plans, m.logits = &net, n.plans[:layer+1], y
	return &m
}

// recordOutputs records the forward pass up to a layer.
func (n *deviceNet) recordOutputs(r *engine.Recording, layer int, to engine.Buffer) {
	a := n.upTo(layer, to).recordForward(r, false)
	if y := a.slots[layer].Y; y != to { // a ReLU or dropout that is its input
		r.Label("outputs")
		r.Copy(to, y)
	}
}

// recordGradients records the forward pass and the way back to a layer.
func (n *deviceNet) recordGradients(r *engine.Recording, layer int, i *inside) {
	a := n.recordForward(r, false)
	last := len(n.plans) - 1
	r.Label("gradients")
	dy := r.Temp("gradient of the logits", i.dlogits.Len())
	r.Copy(dy, i.dlogits)
	if layer < last {
		r.Copy(i.y, a.slots[layer].Y)
	} else {
		r.Copy(i.y, n.logits.Slice(0, i.y.Len()))
	}
	for k := last; k > layer; k-- {
		dy = n.recordBackward(r, &a, k, dy, false, nil, nil)
	}
	r.Label("gradients")
	r.Copy(i.dy, dy)
}

// look compiles a look inside when it is first asked for.
func (d *device) look(key insideKey) (*inside, error) {
	if i := d.inside[key]; i != nil {
		return i, nil
	}
	i := &inside{}
	fail := func(err error) (*inside, error) {
		i.free(d.dev)
		return nil, fmt.Errorf("look inside layer %q: %w", d.net.Layers[key.layer].Name, err)
	}
	words := key.size * d.plans[key.layer].Out.Pitch()
	var err error
	take := func(to *engine.Buffer, name string, words int, place engine.Place) {
		if err == nil {
			*to, err = d.dev.NewBuffer(name, words, place)
		}
	}
	take(&i.y, "output of "+d.net.Layers[key.layer].Name, words, engine.HostReads)
	inFloat := d.forBatches(key.size) // looks are in float32 whatever the executor's precision
	inFloat.opt.Precision, inFloat.split = layers.FP32, false
	inFloat.opt.Apart = fuseAll // every layer's output and gradient is there to look at
	record := func(r *engine.Recording) { inFloat.recordOutputs(r, key.layer, i.y) }
	if key.gradients {
		take(&i.dlogits, "gradient of the logits", key.size*d.plans[len(d.plans)-1].Out.Pitch(), engine.HostWrites)
		take(&i.dy, "gradient of the output of "+d.net.Layers[key.layer].Name, words, engine.HostReads)
		record = func(r *engine.Recording) { inFloat.recordGradients(r, key.layer, i) }
	}
	if err != nil {
		return fail(err)
	}
	if i.program, err = d.compile(record); err != nil {
		return fail(err)
	}
	if d.inside == nil {
		d.inside = map[insideKey]*inside{}
	}
	d.inside[key] = i
	return i, nil
}

// download brings a layer's tensor to the host's layout.
func (d *device) download(from engine.Buffer, n int, shape layers.Shape) ([]float32, error) {
	packed := make([]float32, n*shape.Pitch())
	if err := engine.Download(d.dev, from.Slice(0, len(packed)), packed); err != nil {
		return nil, err
	}
	values := make([]float32, n*shape.Len())
	layers.UnpackExamples(values, packed, n, shape)
	return values, nil
}

// Outputs implements Inspector.
func (d *device) Outputs(b *loader.Batch, layer int) ([]float32, error) {
	if err := checkInside(d.net, b, d.batch, layer); err != nil {
		return nil, err
	}
	i, err := d.look(insideKey{layer: layer, size: d.size(b.N)})
	if err != nil {
		return nil, err
	}
	s, err := d.load(b, TrainStep{})
	if err != nil {
		return nil, err
	}
	if err := d.run(s, b.N, i.program); err != nil {
		return nil, err
	}
	return d.download(i.y, b.N, d.plans[layer].Out)
}

// Gradients implements Inspector.
func (d *device) Gradients(b *loader.Batch, layer int, dlogits []float32) (y, dy []float32, err error) {
	if err := checkGradients(d.net, b, d.batch, layer, dlogits); err != nil {
		return nil, nil, err
	}
	i, err := d.look(insideKey{layer: layer, gradients: true, size: d.size(b.N)})
	if err != nil {
		return nil, nil, err
	}
	logits := d.plans[len(d.plans)-1].Out
	packed := make([]float32, i.dlogits.Len())
	layers.PackExamples(packed, dlogits, b.N, logits)
	if err := engine.Upload(d.dev, i.dlogits, packed); err != nil {
		return nil, nil, err
	}
	s, err := d.load(b, TrainStep{})
	if err != nil {
		return nil, nil, err
	}
	if err := d.run(s, b.N, i.program); err != nil {
		return nil, nil, err
	}
	shape := d.plans[layer].Out
	if y, err = d.download(i.y, b.N, shape); err != nil {
		return nil, nil, err
	}
	dy, err = d.download(i.dy, b.N, shape)
	return y, dy, err
}
