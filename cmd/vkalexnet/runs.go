package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/BurntSushi/toml"
	"github.com/spf13/cobra"

	"vkalexnet/alexnet"
)

// runFolder is what a run's folder tells.
type runFolder struct {
	path     string
	settings map[string]any    // config.toml
	config   map[string]string // the same as text
	metrics  []metric          // metrics.jsonl
}

// readRun reads a run's folder.
func readRun(path string) (*runFolder, error) {
	r := &runFolder{path: path, config: map[string]string{}}
	_, err := toml.DecodeFile(filepath.Join(path, alexnet.ConfigFile), &r.settings)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(path, alexnet.ConfigFile), err)
	}
	for key, value := range r.settings {
		r.config[key] = fmt.Sprint(value)
	}
	r.metrics, err = readMetrics(filepath.Join(path, alexnet.MetricsFile))
	if err != nil {
		return nil, fmt.Errorf("%s is not the folder of a run: %w", path, err)
	}
	return r, nil
}

// readMetrics reads metrics.jsonl; a last line that a killed run left unfinished is left out.
func readMetrics(path string) (all []metric, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var m metric
		if json.Unmarshal(lines.Bytes(), &m) == nil {
			all = append(all, m)
		}
	}
	return all, lines.Err()
}

// findRuns finds the folders below a path that hold a run.
func findRuns(root string) (runs []*runFolder, err error) {
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() || entry.Name() != alexnet.MetricsFile {
			return nil
		}
		r, err := readRun(filepath.Dir(path))
		if err == nil {
			runs = append(runs, r)
		}
		return err
	})
	return runs, err
}

func newRuns() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "runs [DIR...]",
		Short: "List training runs and how they differ",
		Long: `Lists the runs in and below each DIR (default: runs): how far each came, its last loss,
its best accuracy, and the settings (in lower case, as config.toml has them) in which
the runs differ.`,
		Example: "  vkalexnet runs\n  vkalexnet runs runs/a runs/b",
		RunE: func(cmd *cobra.Command, given []string) error {
			args := given
			if len(args) == 0 {
				args = []string{"runs"}
			}
			var all []*runFolder
			for _, root := range args {
				runs, err := findRuns(root)
				if errors.Is(err, fs.ErrNotExist) && len(given) == 0 {
					return fmt.Errorf("there is no folder runs here: give the folders of runs")
				}
				if err != nil {
					return fmt.Errorf("look for runs: %w", err)
				}
				all = append(all, runs...)
			}
			if len(all) == 0 {
				return fmt.Errorf("no runs in %s", strings.Join(args, ", "))
			}
			if format == "json" {
				var summaries []runSummary
				for _, r := range all {
					summaries = append(summaries, r.summary())
				}
				return writeJSON(cmd.OutOrStdout(), summaries)
			}
			return writeRuns(cmd.OutOrStdout(), all)
		},
	}
	addFormat(cmd, &format, "text", "json")
	return cmd
}

// runSummary is how far a run came; what it has not measured is nil.
type runSummary struct {
	Run    string         `json:"run"`
	Steps  int64          `json:"steps"`
	Epochs int            `json:"epochs"`
	Loss   *float64       `json:"loss"` // of the last step
	Top1   *float64       `json:"best_top1"`
	Config map[string]any `json:"config"`
}

func (r *runFolder) summary() runSummary {
	s := runSummary{Run: r.path, Config: r.settings}
	for _, m := range r.metrics {
		s.Steps = max(s.Steps, m.Step)
		switch {
		case m.Kind != "epoch":
			s.Loss = &m.Loss
		default:
			s.Epochs++
			if m.ValLoss != nil && (s.Top1 == nil || m.ValTop1 > *s.Top1) {
				s.Top1 = &m.ValTop1
			}
		}
	}
	return s
}

// writeRuns writes the table.
func writeRuns(w io.Writer, runs []*runFolder) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	keys := settingDifferences(runs)
	fmt.Fprintln(t, strings.Join(append([]string{"RUN", "STEPS", "EPOCHS", "LOSS", "BEST TOP-1"}, keys...), "\t"))
	for _, r := range runs {
		s, best, loss := r.summary(), "-", "-"
		if s.Top1 != nil {
			best = fmt.Sprintf("%.2f %%", 100**s.Top1)
		}
		if s.Loss != nil {
			loss = fmt.Sprintf("%.4f", *s.Loss)
			if *s.Loss >= 1e6 { // it diverged
				loss = fmt.Sprintf("%.3g", *s.Loss)
			}
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%s\t%s", s.Run, s.Steps, s.Epochs, loss, best)
		for _, key := range keys {
			value, ok := r.config[key]
			if !ok {
				value = "-"
			}
			fmt.Fprintf(t, "\t%s", value)
		}
		fmt.Fprintln(t)
	}
	return t.Flush()
}

// settingDifferences are the settings that are not the same in all runs; the folder
// always differs and stands in the first column.
func settingDifferences(runs []*runFolder) (keys []string) {
	seen := map[string]bool{"output_dir": true}
	for _, r := range runs {
		for key := range r.config {
			if seen[key] {
				continue
			}
			seen[key] = true
			if slices.ContainsFunc(runs, func(other *runFolder) bool { return other.config[key] != r.config[key] }) {
				keys = append(keys, key)
			}
		}
	}
	slices.Sort(keys)
	return keys
}
