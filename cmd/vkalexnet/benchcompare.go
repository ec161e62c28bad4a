package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"vkalexnet/bench"
	"vkalexnet/weights"
)

func newBenchCompare() *cobra.Command {
	var limit, format string
	var all bool
	cmd := &cobra.Command{
		Use:   "compare A.json B.json...",
		Short: "Tell faster from slower from chance",
		Long: `Compares every test of the other files with the same test of the first one: the ratio
of the medians, its 95 % interval (bootstrap), and "faster" or "slower" where the
interval leaves 1 out, "cannot tell" otherwise. The same test is one of the same mode,
model, batch and precision, on the same device where both files have it, otherwise with
the first file's device if it has only one. The interval knows the spread within each
run, not what changes between runs.

Where a test was done in several ways (with pictures from the host or resident; in
another program eagerly or as a graph), the same ways are compared. A result of the
first file whose way the other one lacks is compared with the other's fastest, which the
row names. --all-variants compares every way with every other, in all precisions.`,
		Example: `  vkalexnet bench compare before.json after.json --fail-if-slower 5%
  vkalexnet bench compare result.json torch.json      # scripts/torch_bench.py`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 {
				return fmt.Errorf("which results? Give two or more JSON files that bench wrote, not %d", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			share := -1.0
			if limit != "" {
				v, err := strconv.ParseFloat(strings.TrimSuffix(limit, "%"), 64)
				if err != nil || !(v >= 0) {
					return usagef("--fail-if-slower %s: it must be a percentage such as 5%%", limit)
				}
				share = v / 100
			}
			first, err := bench.ReadReport(args[0])
			if err != nil {
				return err
			}
			var rows []bench.Comparison
			for _, path := range args[1:] {
				other, err := bench.ReadReport(path)
				if err != nil {
					return err
				}
				compared := bench.CompareReports(first, other, all)
				if compared.Unmatched > 0 {
					warn(cmd, "%s: %d of %d results have no counterpart in %s and are left out", path, compared.Unmatched, len(other.Results), args[0])
				}
				if compared.Hidden > 0 {
					warn(cmd, "%s: %d results were done in other ways than those shown: --all-variants shows them", path, compared.Hidden)
				}
				rows = append(rows, compared.Rows...)
			}
			if len(rows) == 0 {
				return fmt.Errorf("compare %s: no test is in both files", strings.Join(args, " and "))
			}
			if format == "json" {
				err = writeJSON(cmd.OutOrStdout(), bench.ComparisonsForJSON(rows))
			} else {
				err = bench.WriteComparison(cmd.OutOrStdout(), rows)
			}
			if err == nil && share >= 0 {
				err = bench.CheckSlower(rows, share)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&all, "all-variants", false, "compare every way in which a test was done with every other")
	cmd.Flags().StringVar(&limit, "fail-if-slower", "", `exit code 1 when a test takes longer by more than this and by more than chance, as in "5%"`)
	addFormat(cmd, &format, "text", "json")
	return cmd
}

func newBenchReport() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "report RESULT.json...",
		Short: "Draw results into one HTML page",
		Long: `Makes one HTML file of the results, with charts and tables, which needs no other file
and no network; or, where the file ends in .md, the tables alone.`,
		Example: "  vkalexnet bench report result.json torch.json -o report.html",
		Args:    needArguments(0, "which results? Give one or more JSON files that bench wrote"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if out == "" {
				return usagef("where to? -o takes the page's path")
			}
			return writeBenchPage(out, args)
		},
	}
	addAlias(cmd, "out", "output")
	cmd.Flags().StringVarP(&out, "output", "o", "", "HTML or Markdown file to write, also --out (required)")
	return cmd
}

func writeBenchPage(out string, paths []string) error {
	var reports []*bench.Report
	for _, path := range paths {
		r, err := bench.ReadReport(path)
		if err != nil {
			return err
		}
		r.Name = strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
		reports = append(reports, r)
	}
	write := bench.WriteHTML
	if filepath.Ext(out) == ".md" {
		write = bench.WriteMarkdown
	}
	if err := weights.Replace(out, func(w io.Writer) error { return write(w, reports) }); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}
