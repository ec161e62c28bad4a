package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"vkalexnet/alexnet"
	"vkalexnet/loader"
	"vkalexnet/weights"
)

func newEval() *cobra.Command {
	var f modelFlags
	var e evalFlags
	cmd := &cobra.Command{
		Use:   "eval --weights FILE --data DIR",
		Short: "Measure the accuracy of a trained network",
		Long: `Measures top-1 and top-5 accuracy and the loss on the validation pictures of a data set
(on all of its pictures where it has none), and says how they were prepared.

--protocol prepares them as published numbers were measured: caffe warps to 256×256 and
crops the centre, torchvision scales the short side to 256 and crops the centre, paper10
averages the probabilities of ten views. Without it the network's own preparation is
used. Networks for other crops than 224 and 227 keep the proportion of 8 to 7.`,
		Example: "  vkalexnet eval --weights runs/cifar --data cifar-10-batches-bin --crops 10\n" +
			"  vkalexnet eval --weights runs/imagenet --data imagenet --protocol caffe --misses misses.csv --confusion confusion.png",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			if err := e.check(cmd, &f); err != nil {
				return err
			}
			result, net, err := evaluate(cmd, &f, &e)
			if err != nil {
				return err
			}
			for _, bad := range result.Bad {
				warn(cmd, "skipped: %s", visible(bad.Error()))
			}
			if err := printResult(cmd.OutOrStdout(), &e, net, result); err != nil {
				return err
			}
			return e.write(net, result)
		},
	}
	f.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&e.data, "data", "", `pictures, as train takes them (required)`)
	flags.StringVar(&e.protocol, "protocol", "", "how pictures are prepared: "+strings.Join(alexnet.Protocols, ", ")+" (default: as the network says)")
	flags.StringVar(&e.confusion, "confusion", "", "file for the confusion matrix, .csv or .png: a row per class, a column per answer")
	flags.StringVar(&e.misses, "misses", "", "CSV file for the misclassified pictures, the surest mistakes first, with probabilities")
	flags.BoolVar(&e.perClass, "per-class", false, "also list precision, recall and F1 of every class")
	_ = cmd.RegisterFlagCompletionFunc("protocol", cobra.FixedCompletions(alexnet.Protocols, cobra.ShellCompDirectiveNoFileComp))
	addFormat(cmd, &e.format, "text", "json")
	return cmd
}

// evalFlags are the flags of eval beside those of the model.
type evalFlags struct {
	data, protocol, format, confusion, misses string
	perClass                                  bool
	missed                                    []miss
}

// miss is a picture whose best class is wrong.
type miss struct {
	file                  string
	label, answer         int
	labelProb, answerProb float32
}

func (e *evalFlags) check(cmd *cobra.Command, f *modelFlags) error {
	switch {
	case e.data == "":
		return usagef("which pictures? --data takes a folder, an archive, a list, or \"synthetic\"")
	case e.protocol != "" && !slices.Contains(alexnet.Protocols, e.protocol):
		return usagef("--protocol %s%s: it must be %s", e.protocol, alexnet.DidYouMean(e.protocol, alexnet.Protocols), strings.Join(alexnet.Protocols, ", "))
	case e.protocol != "" && cmd.Flags().Lookup("crops").Changed:
		return usagef("--protocol %s says how many crops there are: leave --crops out", e.protocol)
	}
	for flag, path := range map[string]string{"confusion": e.confusion, "misses": e.misses} { // before the long part
		if path == "" {
			continue
		}
		if info, err := os.Stat(filepath.Dir(path)); err != nil || !info.IsDir() {
			return usagef("--%s %s: there is no folder %s", flag, path, filepath.Dir(path))
		}
	}
	return nil
}

// write writes the files that were asked for.
func (e *evalFlags) write(net *alexnet.Network, result *alexnet.EvalResult) error {
	if e.confusion != "" {
		write := writeConfusion
		if strings.EqualFold(filepath.Ext(e.confusion), ".png") {
			write = drawConfusion
		}
		if err := write(e.confusion, net, result.Confusion); err != nil {
			return fmt.Errorf("write the confusion matrix: %w", err)
		}
	}
	if e.misses != "" {
		if err := writeMisses(e.misses, net, e.missed); err != nil {
			return fmt.Errorf("write the misses: %w", err)
		}
	}
	return nil
}

func printResult(out io.Writer, e *evalFlags, net *alexnet.Network, result *alexnet.EvalResult) error {
	var scores []alexnet.ClassScore
	if e.perClass {
		scores = net.Scores(result.Confusion)
	}
	if e.format == "json" {
		return writeJSON(out, struct {
			*alexnet.EvalResult
			Unreadable int                  `json:"unreadable"`
			Scores     []alexnet.ClassScore `json:"classes,omitempty"`
		}{result, len(result.Bad), scores})
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if len(scores) > 0 {
		fmt.Fprintln(table, "class\timages\tprecision\trecall\tF1")
	}
	for _, s := range scores {
		fmt.Fprintf(table, "%s\t%d\t%.2f %%\t%.2f %%\t%.2f %%\n", s.Name, s.Images, 100*s.Precision, 100*s.Recall, 100*s.F1)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "top-1     %.2f %%\ntop-%d     %.2f %%\nloss      %.4f\nimages    %d\nprotocol  %s\n",
		100*result.Top1, result.K, 100*result.Top5, result.Loss, result.Images, result.Protocol)
	return err
}

func evaluate(cmd *cobra.Command, f *modelFlags, e *evalFlags) (*alexnet.EvalResult, *alexnet.Network, error) {
	net, file, err := f.network()
	if err != nil {
		return nil, nil, err
	}
	crops := f.crops
	if e.protocol != "" {
		if net, crops, err = net.WithProtocol(e.protocol); err != nil {
			return nil, nil, err
		}
	}
	src, err := loader.OpenSource(e.data, "val")
	if errors.Is(err, loader.ErrNoSplit) {
		if src, err = loader.OpenSource(e.data, "train"); err == nil {
			warn(cmd, "data: %s has no validation pictures of its own: all of it is evaluated", e.data)
		}
	}
	if err != nil {
		return nil, nil, err
	}
	if c, ok := src.(io.Closer); ok {
		defer c.Close()
	}
	if src, err = withLabelsOf(net, src); err != nil {
		return nil, nil, err
	}
	sayDecoder(cmd, src)
	batch := min(f.batch, src.Len())
	o, err := f.open(cmd, net, file, batch)
	if err != nil {
		return nil, nil, err
	}
	defer o.close()
	bar := newProgress(cmd.ErrOrStderr(), "image", 0, src.Len())
	defer bar.stop()
	ctx, stop := interruptible(cmd, "stopping after this batch (again: stop at once)")
	defer stop()
	seen := 0
	result, err := alexnet.Evaluate(ctx, o.exec, net, src, alexnet.EvalOptions{
		Batch: batch, Crops: crops, Workers: f.workers, Protocol: e.protocol, Each: e.each,
		Progress: func(done, total int) {
			seen = done
			bar.update(done, "evaluating")
		},
	})
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w after %d of %d pictures: there is no result, and nothing was written", alexnet.ErrInterrupted, seen, src.Len())
	}
	return result, net, err
}

// each keeps the picture when the network is wrong about it.
func (e *evalFlags) each(p alexnet.Prediction, label int) error {
	if e.misses == "" {
		return nil
	}
	if answer := p.Best(1)[0]; answer != label {
		e.missed = append(e.missed, miss{p.Name, label, answer, p.Probs[label], p.Probs[answer]})
	}
	return nil
}

// writeMisses writes a row per picture, the surest mistakes first.
func writeMisses(path string, net *alexnet.Network, missed []miss) error {
	sort.SliceStable(missed, func(i, j int) bool { return missed[i].answerProb > missed[j].answerProb })
	return weights.Replace(path, func(w io.Writer) error {
		rows := csv.NewWriter(w)
		_ = rows.Write([]string{"file", "class", "answer", "prob_of_class", "prob_of_answer"})
		for _, m := range missed {
			_ = rows.Write([]string{m.file, net.ClassName(m.label), net.ClassName(m.answer),
				strconv.FormatFloat(float64(m.labelProb), 'g', -1, 32), strconv.FormatFloat(float64(m.answerProb), 'g', -1, 32)})
		}
		rows.Flush()
		return rows.Error()
	})
}

// writeConfusion writes how often pictures of each class were taken for which.
func writeConfusion(path string, net *alexnet.Network, counts [][]int) error {
	return weights.Replace(path, func(w io.Writer) error {
		rows := csv.NewWriter(w)
		head := []string{"class"}
		for i := range counts {
			head = append(head, net.ClassName(i))
		}
		_ = rows.Write(head)
		for i, row := range counts {
			cells := []string{net.ClassName(i)}
			for _, n := range row {
				cells = append(cells, strconv.Itoa(n))
			}
			_ = rows.Write(cells)
		}
		rows.Flush()
		return rows.Error()
	})
}
