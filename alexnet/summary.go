package alexnet

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"vkalexnet/layers"
)

// Summary is what can be said of a network without running it.
type Summary struct {
	Name   string         `json:"name"`
	Input  [3]int         `json:"input"` // channels, height, width
	Layers []LayerSummary `json:"layers"`
	Params int64          `json:"parameters"`
	// MACs counts the multiply-adds of convolutions and fully connected layers
	// in one forward pass of one picture; TrainingMACs those of forward and
	// backward together, without the gradient of the pixels, which nobody needs.
	MACs         int64         `json:"macs"`
	TrainingMACs int64         `json:"training_macs"`
	Memory       []MemoryUsage `json:"memory"`
}

// LayerSummary is one row of the table.
type LayerSummary struct {
	Name   string `json:"name"`
	Kind   string `json:"kind"`
	Output [3]int `json:"output"` // channels, height, width
	Params int64  `json:"parameters"`
	MACs   int64  `json:"macs"`
}

// MemoryUsage is what the numbers of a network take at a batch size, in bytes.
// What a device needs beside them (kernels' scratch space, alignment) is not
// in it, nor what it saves by letting tensors share memory.
type MemoryUsage struct {
	Batch     int   `json:"batch"`
	Weights   int64 `json:"weights"`
	Momentum  int64 `json:"momentum"`
	Gradients int64 `json:"gradients"`
	// Activations are the outputs of all layers, which training keeps, and the
	// gradients of the two largest neighbours.
	Activations int64 `json:"activations"`
	// Training is the sum; Inference takes the weights and the two largest
	// neighbouring outputs.
	Training  int64 `json:"training"`
	Inference int64 `json:"inference"`
}

// GFLOP is the forward pass's floating-point operations of one picture in
// billions, two per multiply-add.
func (s *Summary) GFLOP() float64 { return 2e-9 * float64(s.MACs) }

// TrainingGFLOP is the same for a forward and a backward pass.
func (s *Summary) TrainingGFLOP() float64 { return 2e-9 * float64(s.TrainingMACs) }

// Summarize adds up a network; memory is listed for each of the batch sizes.
func Summarize(n *Network, batches ...int) (*Summary, error) {
	plans, err := n.Plans()
	if err != nil {
		return nil, err
	}
	dims := func(s layers.Shape) [3]int { return [3]int{s.C, s.H, s.W} }
	s := &Summary{Name: n.Name, Input: dims(n.InputShape())}
	outputs, largest := int64(n.InputShape().Len()), int64(0)
	first := true // the first layer with parameters passes no gradient on
	for i, l := range n.Layers {
		p := plans[i]
		row := LayerSummary{Name: l.Name, Kind: l.Layer.Kind(), Output: dims(p.Out)}
		for _, q := range p.Params {
			row.Params += int64(q.Len())
		}
		if row.Params > 0 {
			row.MACs = p.MACs
			s.TrainingMACs += 3 * row.MACs
			if first {
				s.TrainingMACs -= row.MACs
				first = false
			}
		}
		s.Layers = append(s.Layers, row)
		s.Params += row.Params
		s.MACs += row.MACs
		outputs += int64(p.Out.Len())
		largest = max(largest, int64(p.In.Len()+p.Out.Len()))
	}
	for _, b := range batches {
		m := MemoryUsage{Batch: b, Weights: 4 * s.Params, Momentum: 4 * s.Params, Gradients: 4 * s.Params,
			Activations: 4 * int64(b) * (outputs + largest)}
		m.Training = m.Weights + m.Momentum + m.Gradients + m.Activations
		m.Inference = m.Weights + 4*int64(b)*largest
		s.Memory = append(s.Memory, m)
	}
	return s, nil
}

// WriteTo writes the tables as text.
func (s *Summary) WriteTo(w io.Writer) (int64, error) {
	var text strings.Builder
	fmt.Fprintf(&text, "%s: input %d×%d×%d (channels, height, width)\n\n", s.Name, s.Input[0], s.Input[1], s.Input[2])
	t := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	names, kinds := len("layer"), len("kind") // words of one width are not moved to the right
	for _, l := range s.Layers {
		names, kinds = max(names, len(l.Name)), max(kinds, len(l.Kind))
	}
	fmt.Fprintf(t, "%-*s\t%-*s\toutput\tparameters\tMMAC\t\n", names, "layer", kinds, "kind")
	for _, l := range s.Layers {
		params, macs := "", ""
		if l.Params > 0 {
			params, macs = thousands(l.Params), fmt.Sprintf("%.1f", 1e-6*float64(l.MACs))
		}
		fmt.Fprintf(t, "%-*s\t%-*s\t%d×%d×%d\t%s\t%s\t\n", names, l.Name, kinds, l.Kind, l.Output[0], l.Output[1], l.Output[2], params, macs)
	}
	fmt.Fprintf(t, "%-*s\t\t\t%s\t%.1f\t\n", names, "total", thousands(s.Params), 1e-6*float64(s.MACs))
	if err := t.Flush(); err != nil {
		return 0, err
	}
	fmt.Fprintf(&text, "\nper picture: %.3f GFLOP forward, %.3f GFLOP in training (2 per multiply-add)\n", s.GFLOP(), s.TrainingGFLOP())
	if len(s.Memory) > 0 {
		fmt.Fprint(&text, "\nmemory in MiB:\n")
		fmt.Fprint(t, "batch\tweights\tmomentum\tgradients\tactivations\ttraining\tinference\t\n")
		for _, m := range s.Memory {
			fmt.Fprintf(t, "%d\t", m.Batch)
			for _, v := range []int64{m.Weights, m.Momentum, m.Gradients, m.Activations, m.Training, m.Inference} {
				fmt.Fprintf(t, "%.1f\t", float64(v)/(1<<20))
			}
			fmt.Fprint(t, "\n")
		}
		if err := t.Flush(); err != nil {
			return 0, err
		}
	}
	count, err := io.WriteString(w, text.String())
	return int64(count), err
}

// thousands writes a count with commas.
func thousands(n int64) string {
	digits := fmt.Sprint(n)
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}
