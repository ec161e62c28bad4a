package main

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"vkalexnet/alexnet"
	"vkalexnet/engine"
	"vkalexnet/layers"
	"vkalexnet/shaders"
)

// shaderStats is what a driver's compiler made of every kernel.
type shaderStats struct {
	Device string   `json:"device"`
	Models []string `json:"models"`
	// Candidates are the networks whose products are compiled with every tuning that
	// the tuner tries.
	Candidates             []string        `json:"candidates,omitempty"`
	Batches                []int           `json:"batches"`
	Kernels                []*kernelStats  `json:"kernels"`
	Missing                []string        `json:"not_compiled,omitempty"` // kernels that no row compiled here uses
	rows                   []layers.Tuning // those that fit the device
	matrices, matricesBF16 bool            // the device has such cooperative matrices
}

// kernelStats is one pipeline and the rows of the tuning table that use it.
type kernelStats struct {
	Rows []string `json:"rows"`
	engine.PipelineStatistics
}

func newShaderStats() *cobra.Command {
	var device, format string
	var models, candidates []string
	var batches []int
	var all bool
	cmd := &cobra.Command{
		Use:   "shader-stats",
		Short: "Print what the driver's compiler makes of every kernel",
		Long: `Compiles every kernel as the training and evaluation steps of networks use it, with
every row of the tuning table that fits the device, and the matrix products with every
tuning that tune tries there, in each precision; and prints the registers, shared
memory, spills and occupancy that the driver's compiler reports. Nothing is computed,
so RADV's null hardware (RADV_FORCE_FAMILY=navi21) serves as well as a GPU. Exit code 1
when a kernel spills vector registers or takes scratch memory.`,
		Hidden: true, // for those who work on the kernels: make shader-stats
		Args:   noArguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkBatches("batch-size", batches...); err != nil {
				return err
			}
			dev, err := openForStatistics(device)
			if err != nil {
				return err
			}
			defer dev.Close()
			stats, err := collectShaderStats(dev, models, candidates, batches)
			if err != nil {
				return err
			}
			if format == "json" {
				err = writeJSON(cmd.OutOrStdout(), stats)
			} else {
				err = stats.print(cmd.OutOrStdout(), all)
			}
			if err != nil {
				return err
			}
			return stats.check(!cmd.Flags().Changed("model"))
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&models, "model", []string{"alexnet", "alexnet-owt", "alexnet-2012", "alexnet-cifar"}, "presets or paths of networks' TOML files")
	flags.StringSliceVar(&candidates, "candidates", []string{"alexnet"}, "networks whose products are compiled with every tuning that tune tries")
	flags.IntSliceVarP(&batches, "batch-size", "b", []int{1, 8, 128}, "batch sizes, in pictures")
	flags.BoolVar(&all, "all", false, "a line for every pipeline, not for every kernel and row of the tuning table")
	addDevice(cmd, &device)
	addFormat(cmd, &format, "text", "json")
	return cmd
}

// openForStatistics opens the device that query chooses among those whose
// driver tells what it compiles.
func openForStatistics(query string) (*engine.Device, error) {
	infos, err := engine.Devices()
	if err != nil {
		return nil, err
	}
	for i := range infos {
		switch {
		case infos[i].CompileOnly:
			infos[i].Rejected = ""
		case infos[i].Rejected == "" && !infos[i].HasStatistics():
			infos[i].Rejected = "its driver does not tell what it compiles"
		}
	}
	info, err := engine.Select(infos, query)
	if err != nil {
		return nil, err
	}
	return engine.OpenForStatistics(info, shaders.FS)
}

func collectShaderStats(dev *engine.Device, models, candidates []string, batches []int) (*shaderStats, error) {
	stats := &shaderStats{Device: dev.Describe(), Models: models, Candidates: candidates, Batches: batches, rows: layers.Tunings(&dev.Info),
		matrices: len(dev.Features.Matrices) > 0, matricesBF16: len(dev.Features.MatricesBF16) > 0}
	found := map[string]*kernelStats{}
	vector := layers.VectorTuning().Name
	add := func(r *engine.Recording, model, row string, batch int) error {
		pipelines, err := dev.Statistics(r)
		if err != nil {
			return fmt.Errorf("%s, batch %d, row %s: %w", model, batch, row, err)
		}
		for _, p := range pipelines {
			if strings.HasPrefix(row, vector) && !strings.HasPrefix(p.Kernel, vectorKernels) {
				continue // of the device's own row
			}
			stats.add(found, p, model, row)
		}
		return nil
	}
	for _, model := range models {
		net, err := loadModel(model)
		if err != nil {
			return nil, err
		}
		options := alexnet.ExecOptions{SGD: net.Solver.SGD(), Dropout: true}
		for _, row := range append(stats.rows, layers.VectorTuning()) {
			for _, batch := range batches {
				recordings, err := alexnet.Recordings(dev.Info, net, batch, options, row)
				if err != nil {
					return nil, err
				}
				for _, r := range recordings {
					if err := add(r, net.Name, row.Name, batch); err != nil {
						return nil, err
					}
				}
			}
		}
	}
	for _, model := range candidates {
		net, err := loadModel(model)
		if err != nil {
			return nil, err
		}
		// A step in 16 bits, too: some kernels are of no other.
		halves, err := alexnet.Recordings(dev.Info, net, batches[0], alexnet.ExecOptions{SGD: net.Solver.SGD(), Dropout: true, Precision: layers.FP16}, stats.rows[0])
		if err != nil {
			return nil, err
		}
		for _, r := range halves {
			if err := add(r, net.Name, stats.rows[0].Name, batches[0]); err != nil {
				return nil, err
			}
		}
		// The batch is a constant of the kernel for small ones alone; of others its size
		// only decides which tiles waste little.
		largest := slices.Max(batches)
		for _, batch := range batches {
			for _, precision := range []layers.Precision{layers.FP32, layers.FP16, layers.BF16, layers.BF16x3} {
				recordings, err := alexnet.CandidateRecordings(dev.Info, net, batch, alexnet.ExecOptions{SGD: net.Solver.SGD(), Dropout: true, Precision: precision})
				if err != nil {
					return nil, err
				}
				for _, row := range slices.Sorted(maps.Keys(recordings)) {
					if batch < largest && !strings.HasPrefix(row, vector) {
						continue
					}
					if err := add(recordings[row], net.Name, row, batch); err != nil {
						return nil, err
					}
				}
			}
		}
	}
	for _, r := range alexnet.ToolRecordings(dev.Info) {
		pipelines, err := dev.Statistics(r)
		if err != nil {
			return nil, fmt.Errorf("kernels of benchmarks: %w", err)
		}
		for _, p := range pipelines {
			for _, row := range stats.rows {
				stats.add(found, p, "benchmarks", row.Name)
			}
		}
	}
	files, err := fs.Glob(shaders.FS, "*.spv")
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		name := strings.TrimSuffix(f, ".spv")
		if !slices.ContainsFunc(stats.Kernels, func(k *kernelStats) bool { return k.Kernel == name }) {
			stats.Missing = append(stats.Missing, name)
		}
	}
	slices.SortStableFunc(stats.Kernels, func(a, b *kernelStats) int { return strings.Compare(a.Kernel, b.Kernel) })
	return stats, nil
}

// add notes a pipeline's use by a network with a row of the tuning table.
func (s *shaderStats) add(found map[string]*kernelStats, p engine.PipelineStatistics, model, row string) {
	key := fmt.Sprint(p.Kernel, p.Constants, p.Local)
	k := found[key]
	if k == nil {
		k = &kernelStats{PipelineStatistics: p}
		k.Labels = nil
		found[key] = k
		s.Kernels = append(s.Kernels, k)
	}
	if !slices.Contains(k.Rows, row) {
		k.Rows = append(k.Rows, row)
	}
	for _, l := range p.Labels {
		if l = model + " " + l; !slices.Contains(k.Labels, l) {
			k.Labels = append(k.Labels, l)
		}
	}
}

// rowName is the row that a kernel belongs to; "any" for those that the tuning
// table has no say in.
func (s *shaderStats) rowName(k *kernelStats) string {
	if !slices.ContainsFunc(s.rows, func(row layers.Tuning) bool { return !slices.Contains(k.Rows, row.Name) }) {
		return "any"
	}
	if len(k.Rows) > 3 {
		return fmt.Sprintf("%s and %d more", k.Rows[0], len(k.Rows)-1)
	}
	return strings.Join(k.Rows, ",")
}

// statsColumns are the numbers printed, by RADV's names for them; those that a
// driver does not give are left out.
var statsColumns = []struct{ title, statistic string }{
	{"VGPRS", "VGPRs"}, {"SGPRS", "SGPRs"}, {"SHARED", "LDS Size"}, {"SPILLED VGPRS", "Spilled VGPRs"}, {"SCRATCH", "Scratch size"},
	{"SPILLED SGPRS", "Spilled SGPRs"}, {"SUBGROUPS/SIMD", "Subgroups per SIMD"}, {"CODE", "Code size"},
}

func (s *shaderStats) print(w io.Writer, all bool) error {
	fmt.Fprintf(w, "%s\n%s; batches %v; %d pipelines\n", s.Device, strings.Join(s.Models, ", "), s.Batches, len(s.Kernels))
	type line struct{ kernel, row, constants string }
	var lines []line
	groups := map[line][]*kernelStats{}
	for _, k := range s.Kernels {
		l := line{kernel: k.Kernel, row: s.rowName(k)}
		if all {
			l.constants = k.Constants
		}
		if groups[l] == nil {
			lines = append(lines, l)
		}
		groups[l] = append(groups[l], k)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(table, "KERNEL\tROW\tPIPELINES\tTHREADS\tSUBGROUP")
	columns := statsColumns[:0:0]
	for _, c := range statsColumns {
		if slices.ContainsFunc(s.Kernels, func(k *kernelStats) bool { _, ok := k.Value(c.statistic); return ok }) {
			columns = append(columns, c)
			fmt.Fprint(table, "\t"+c.title)
		}
	}
	if all {
		fmt.Fprint(table, "\tFIRST USE")
	}
	fmt.Fprintln(table)
	for _, l := range lines {
		group := groups[l]
		fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%s", l.kernel, l.row, len(group),
			span(group, func(k *kernelStats) (float64, bool) { return float64(k.Local[0] * k.Local[1] * k.Local[2]), true }),
			span(group, func(k *kernelStats) (float64, bool) { return float64(k.Subgroup), k.Subgroup > 0 }))
		for _, c := range columns {
			fmt.Fprint(table, "\t"+span(group, func(k *kernelStats) (float64, bool) { return k.Value(c.statistic) }))
		}
		if all {
			fmt.Fprintf(table, "\t%s (%s)", group[0].Labels[0], l.constants)
		}
		fmt.Fprintln(table)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if len(s.Missing) > 0 {
		fmt.Fprintf(w, "not compiled, as nothing here uses them: %s\n", strings.Join(s.Missing, ", "))
	}
	return nil
}

// span is the smallest and the largest of a number over pipelines.
func span(group []*kernelStats, value func(*kernelStats) (float64, bool)) string {
	var low, high float64
	known := false
	for _, k := range group {
		if v, ok := value(k); ok {
			if !known {
				low, high = v, v
			}
			low, high, known = min(low, v), max(high, v), true
		}
	}
	switch {
	case !known:
		return "n/a"
	case low == high:
		return fmt.Sprintf("%.0f", low)
	}
	return fmt.Sprintf("%.0f–%.0f", low, high)
}

// spills names the statistics that say that vector registers did not suffice,
// in the words of any driver; told is whether the driver has such a statistic.
func (k *kernelStats) spills() (found []string, told bool) {
	for _, v := range k.Values {
		name := strings.ToLower(v.Name)
		if !strings.Contains(name, "scratch") && (!strings.Contains(name, "spill") || strings.Contains(name, "sgpr")) {
			continue
		}
		told = true
		if v.Value > 0 {
			found = append(found, fmt.Sprintf("%s %.0f", v.Name, v.Value))
		}
	}
	return found, told
}

// tunedKernels begins the names of the kernels that only some rows of the tuning
// table use, pairsKernels is in those that only CPU drivers' rows use, matrixKernels and
// matrixBF16Kernels begin those that the tuner tries where a device has matrices of
// fp16 and bf16.
const tunedKernels, pairsKernels = "gemm_", "_pairs_"

// vectorKernels begins the names of those that linear layers use in small batches.
const vectorKernels = "gemm_vector_"

var matrixKernels, matrixBF16Kernels = []string{"gemm_matrix_", "gemm_mma_"}, []string{"gemm_matrix_bf16_", "gemm_mma_bf16_"}

// tried says that a kernel is a candidate of the tuner on the device.
func (s *shaderStats) tried(name string) bool {
	begins := func(prefix string) bool { return strings.HasPrefix(name, prefix) }
	switch {
	case len(s.Candidates) == 0:
		return false
	case slices.ContainsFunc(matrixBF16Kernels, begins):
		return s.matricesBF16
	}
	return s.matrices && slices.ContainsFunc(matrixKernels, begins)
}

// check fails when a kernel spills, or, if all of them are wanted, when one was
// not compiled although every device uses it.
func (s *shaderStats) check(all bool) error {
	for _, name := range s.Missing {
		switch {
		case s.tried(name):
			return fmt.Errorf("kernel %s is no candidate for any product of %s, though %s has matrices", name, strings.Join(s.Candidates, ", "), s.Device)
		case all && !strings.HasPrefix(name, tunedKernels) && !strings.Contains(name, pairsKernels):
			return fmt.Errorf("kernel %s is in no step of %s: a network or a recording that uses it has to be added", name, strings.Join(s.Models, ", "))
		}
	}
	var problems []string
	for _, k := range s.Kernels {
		found, told := k.spills()
		if !told {
			return fmt.Errorf("%s: its driver does not tell whether kernel %s spills", s.Device, k.Kernel)
		}
		if len(found) > 0 {
			problems = append(problems, fmt.Sprintf("%s, row %s, %s (%s): %s", k.Kernel, s.rowName(k), k.Labels[0], k.Constants, strings.Join(found, ", ")))
		}
	}
	if len(problems) > 0 {
		return fmt.Errorf("%d of %d pipelines spill vector registers on %s:\n  %s", len(problems), len(s.Kernels), s.Device, strings.Join(problems, "\n  "))
	}
	return nil
}
