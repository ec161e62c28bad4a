package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"vkalexnet/alexnet"
	"vkalexnet/loader"
	"vkalexnet/weights"
)

func newEval() *cobra.Command {
	var f modelFlags
	var data, format, confusion string
	cmd := &cobra.Command{
		Use:   "eval --weights FILE --data DIR",
		Short: "Measure the accuracy of a trained network",
		Long: `Measures top-1 and top-5 accuracy and the loss on the validation pictures of a data set
(on all of its pictures where it has none), and says how they were prepared.`,
		Example: "  vkalexnet eval --weights runs/cifar --data cifar-10-batches-bin --crops 10",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			if data == "" {
				return usagef("which pictures? --data takes a folder, an archive, a list, or \"synthetic\"")
			}
			if confusion != "" { // before the long part
				if info, err := os.Stat(filepath.Dir(confusion)); err != nil || !info.IsDir() {
					return usagef("--confusion %s: there is no folder %s", confusion, filepath.Dir(confusion))
				}
			}
			result, net, err := evaluate(cmd, &f, data)
			if err != nil {
				return err
			}
			for _, bad := range result.Bad {
				warn(cmd, "skipped: %v", bad)
			}
			if err := printResult(cmd.OutOrStdout(), format, result); err != nil {
				return err
			}
			if confusion == "" {
				return nil
			}
			if err := writeConfusion(confusion, net, result.Confusion); err != nil {
				return fmt.Errorf("write the confusion matrix: %w", err)
			}
			return nil
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&data, "data", "", `pictures, as train takes them (required)`)
	cmd.Flags().StringVar(&confusion, "confusion", "", "CSV file for the confusion matrix: a row per class, a column per answer")
	addFormat(cmd, &format, "text", "json")
	return cmd
}

func printResult(out io.Writer, format string, result *alexnet.EvalResult) error {
	if format == "json" {
		return writeJSON(out, struct {
			*alexnet.EvalResult
			Unreadable int `json:"unreadable"`
		}{result, len(result.Bad)})
	}
	_, err := fmt.Fprintf(out, "top-1     %.2f %%\ntop-%d     %.2f %%\nloss      %.4f\nimages    %d\nprotocol  %s\n",
		100*result.Top1, result.K, 100*result.Top5, result.Loss, result.Images, result.Protocol)
	return err
}

func evaluate(cmd *cobra.Command, f *modelFlags, data string) (*alexnet.EvalResult, *alexnet.Network, error) {
	net, file, err := f.network()
	if err != nil {
		return nil, nil, err
	}
	src, err := loader.OpenSource(data, "val")
	if errors.Is(err, loader.ErrNoSplit) {
		if src, err = loader.OpenSource(data, "train"); err == nil {
			warn(cmd, "data: %s has no validation pictures of its own: all of it is evaluated", data)
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
	result, err := alexnet.Evaluate(cmd.Context(), o.exec, net, src, alexnet.EvalOptions{
		Batch: batch, Crops: f.crops, Workers: f.workers,
		Progress: func(done, total int) { bar.update(done, "evaluating") },
	})
	return result, net, err
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
