package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"vkalexnet/loader"
)

func newData() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "data",
		Short: "Check a data set",
		Args:  noArguments,
		RunE:  func(cmd *cobra.Command, args []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newDataCheck())
	return cmd
}

// dataReport is what data check found out.
type dataReport struct {
	Data     string           `json:"data"`
	Decoder  string           `json:"decoder,omitempty"`
	Splits   []splitReport    `json:"splits"`
	Counts   map[string]int   `json:"counts"` // findings by kind
	Findings []loader.Finding `json:"findings"`
}

type splitReport struct {
	Split    string       `json:"split"`
	Pictures int          `json:"pictures"`
	Classes  []classCount `json:"classes"`
}

type classCount struct {
	Class    string `json:"class"`
	Pictures int    `json:"pictures"`
}

func newDataCheck() *cobra.Command {
	var format string
	var workers int
	cmd := &cobra.Command{
		Use:   "check DATA",
		Short: "Find empty, unreadable, CMYK, misnamed and duplicate pictures",
		Long: `Decodes every picture of a data set and lists those that are empty or unreadable, in CMYK,
named after another format than their content's, or the same as another one (byte for
byte, also across train and val); and counts the pictures of each class.

The exit code is 1 when anything was found.`,
		Example: "  vkalexnet data check imagenet --format json",
		Args:    needArguments(1, "which pictures? give a folder, an archive or a list"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if workers < 0 {
				return usagef("--workers %d: it must not be negative", workers)
			}
			return checkData(cmd, args[0], format, workers)
		},
	}
	cmd.Flags().IntVarP(&workers, "workers", "j", 0, "goroutines that decode, 0: one per processor")
	addFormat(cmd, &format, "text", "json")
	return cmd
}

func checkData(cmd *cobra.Command, data, format string, workers int) error {
	splits, closeAll, err := openSplits(data)
	if err != nil {
		return err
	}
	defer closeAll()
	ctx, stop := interruptible(cmd, "stopping (again: stop at once)")
	defer stop()
	report := dataReport{Data: data, Decoder: loader.DecoderOf(splits["train"]), Counts: map[string]int{}, Findings: []loader.Finding{}}
	checker := loader.Checker{Workers: workers}
	for _, split := range []string{"train", "val"} {
		src := splits[split]
		if src == nil {
			continue
		}
		bar := newProgress(cmd.ErrOrStderr(), "image", 0, src.Len())
		checker.Progress = func(done, _ int) { bar.update(done, "checking "+split) }
		findings, err := checker.Check(ctx, split, src)
		bar.stop()
		if err != nil {
			return err
		}
		report.Findings = append(report.Findings, findings...)
		report.Splits = append(report.Splits, countClasses(split, src))
	}
	for _, f := range report.Findings {
		report.Counts[f.Kind]++
	}
	if format == "json" {
		err = writeJSON(cmd.OutOrStdout(), report)
	} else {
		err = report.write(cmd.OutOrStdout())
	}
	switch n := len(report.Findings); {
	case err != nil || n == 0:
		return err
	case n == 1:
		return fmt.Errorf("one thing is wrong with the pictures of %s", data)
	default:
		return fmt.Errorf("%d things are wrong with the pictures of %s", n, data)
	}
}

func countClasses(split string, src loader.Source) splitReport {
	r := splitReport{Split: split, Pictures: src.Len(), Classes: []classCount{}}
	counts := make([]int, len(src.Classes()))
	for i := range src.Len() {
		if label := src.Label(i); label >= 0 && label < len(counts) {
			counts[label]++
		}
	}
	for i, name := range src.Classes() {
		r.Classes = append(r.Classes, classCount{name, counts[i]})
	}
	return r
}

func (r *dataReport) write(w io.Writer) error {
	for _, f := range r.Findings {
		fmt.Fprintf(w, "%-10s  %s: %s\n", f.Kind, visible(f.Name), visible(f.Detail))
	}
	for _, s := range r.Splits {
		fmt.Fprintf(w, "%s: %d pictures, %d classes\n", s.Split, s.Pictures, len(s.Classes))
		for _, c := range s.Classes {
			fmt.Fprintf(w, "  %7d  %s\n", c.Pictures, visible(c.Class))
		}
	}
	for _, kind := range loader.Findings {
		if _, err := fmt.Fprintf(w, "%-10s  %d\n", kind, r.Counts[kind]); err != nil {
			return err
		}
	}
	return nil
}
