package bench

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"vkalexnet/engine"
)

// table is a Markdown table whose columns also line up as plain text.
type table struct{ rows [][]string }

func newTable(head ...string) *table { return &table{[][]string{head}} }

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) write(w io.Writer) error {
	widths := make([]int, len(t.rows[0]))
	for _, row := range t.rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for n, row := range t.rows {
		for i, cell := range row {
			b.WriteString("| " + cell + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+1))
		}
		b.WriteString("|\n")
		if n == 0 {
			for _, width := range widths {
				b.WriteString("|" + strings.Repeat("-", width+2))
			}
			b.WriteString("|\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// na is what stands where there is no number.
func na(why string) string { return "n/a (" + why + ")" }

// digits writes a positive number with three digits that mean something.
func digits(v float64) string {
	if v <= 0 || math.IsInf(v, 0) || math.IsNaN(v) {
		return fmt.Sprint(v)
	}
	places := 2 - int(math.Floor(math.Log10(v)))
	return strconv.FormatFloat(v, 'f', min(max(places, 0), 9), 64)
}

func (r *Result) milliseconds() string {
	if r.Stats == nil {
		return na(r.NA)
	}
	return digits(1e3 * r.Stats.Median)
}

// spread is the distance of the quartiles from the median.
func (r *Result) spread() string {
	switch {
	case r.Stats == nil:
		return ""
	case r.Stats.N < 3:
		return na("fewer than 3 samples")
	}
	s := r.Stats
	return fmt.Sprintf("−%.1f +%.1f %%", 100*(1-s.Q1/s.Median), 100*(s.Q3/s.Median-1))
}

func (r *Result) drift() string {
	switch {
	case r.Stats == nil:
		return ""
	case r.Stats.Drift == nil:
		return na("fewer than 6 samples")
	}
	text := strings.Replace(fmt.Sprintf("%+.1f %%", 100**r.Stats.Drift), "-", "−", 1) // as the spread has it
	if r.Stats.Drifts() {
		text += " (unsteady)"
	}
	return text
}

func (r *Result) samples() string {
	if r.Stats == nil {
		return "0"
	}
	return fmt.Sprint(r.Stats.N)
}

// quantity is a rate in units of scale, or why there is none.
func (r *Result) quantity(rate func() (float64, bool), scale float64, why string) string {
	if r.Stats == nil {
		return ""
	}
	v, ok := rate()
	if !ok {
		return na(why)
	}
	return digits(v / scale)
}

// percent is a share of a peak; why there is no rate stands beside it.
func (r *Result) percent(share func() (float64, bool), work float64) string {
	v, ok := share()
	switch {
	case ok:
		return fmt.Sprintf("%.1f %%", 100*v)
	case r.Stats == nil || work == 0:
		return ""
	}
	return na("no peak measured")
}

const (
	noProducts = "no products"
	noBytes    = "not counted"
)

// groupTitle heads a group of results that share a table.
func groupTitle(r *Result) string {
	t := r.Where() + ": " + r.Mode
	if r.Mode == Infer || r.Mode == Train { // the table has a column for the variants
		t = r.where("") + ": " + r.Mode
	}
	if r.Model != "" {
		t += ", " + r.Model
	}
	if r.Mode == Layers {
		t += fmt.Sprintf(", batch %d", r.Batch)
	}
	return t
}

// groups are the results in runs that share a table, in their order.
func (rep *Report) groups() [][]*Result {
	var groups [][]*Result
	index := map[string]int{}
	for i := range rep.Results {
		r := &rep.Results[i]
		title := groupTitle(r)
		n, ok := index[title]
		if !ok {
			n = len(groups)
			index[title] = n
			groups = append(groups, nil)
		}
		groups[n] = append(groups[n], r)
	}
	return groups
}

// resultTable is the table of one group.
func resultTable(group []*Result) *table {
	switch group[0].Mode {
	case Layers:
		t := newTable("layer", "pass", "ms", "spread", "share of all", "GFLOP/s", "of fp32 peak", "GB/s at least", "of peak")
		total := 0.0
		for _, r := range group {
			if r.Layer != "" && r.Stats != nil {
				total += r.Stats.Median
			}
		}
		for _, r := range group {
			part := ""
			if r.Stats != nil && total > 0 && r.Layer != "" {
				part = fmt.Sprintf("%.1f %%", 100*r.Stats.Median/total)
			}
			layer := r.Layer
			if layer == "" {
				layer = r.Test
			}
			t.row(layer, r.Pass, r.milliseconds(), r.spread(), part,
				r.quantity(r.FLOPRate, 1e9, noProducts), r.percent(r.FLOPShare, r.FLOPs),
				r.quantity(r.ByteRate, 1e9, noBytes), r.percent(r.ByteShare, r.Bytes))
		}
		return t
	case Peak, GEMM:
		t := newTable("test", "ms", "spread", "GFLOP/s", "GB/s", "of peak", "drift", "samples", "note")
		for _, r := range group {
			flops, bytes, part := "", "", ""
			if r.FLOPs > 0 {
				flops = r.quantity(r.FLOPRate, 1e9, "")
				if r.Mode == GEMM {
					part = r.percent(r.FLOPShare, r.FLOPs)
				}
			}
			if r.Bytes > 0 {
				bytes = r.quantity(r.ByteRate, 1e9, "")
			}
			t.row(r.Test, r.milliseconds(), r.spread(), flops, bytes, part, r.drift(), r.samples(), r.Note)
		}
		return t
	case Loader:
		t := newTable("stage", "images/s", "ms", "spread", "drift", "samples", "note")
		for _, r := range group {
			t.row(r.Test, r.quantity(r.ImageRate, 1, "no images"), r.milliseconds(), r.spread(), r.drift(), r.samples(), r.Note)
		}
		return t
	default:
		t := newTable("batch", "how", "images/s", "ms", "spread", "GFLOP/s", "of fp32 peak", "ms/image", "memory/image", "drift", "samples", "checked")
		for _, r := range group {
			checked, perImage := na("not compared"), ""
			if r.Checked != nil {
				checked = fmt.Sprintf("off by %.0e", r.Checked.Error)
			}
			if r.Stats == nil {
				checked = ""
			} else if r.Images > 0 {
				perImage = digits(1e3 * r.Stats.Median / r.Images)
			}
			memory := ""
			if r.Memory > 0 && r.Batch > 0 {
				memory = digits(float64(r.Memory)/float64(r.Batch)/(1<<20)) + " MiB"
			}
			t.row(fmt.Sprint(r.Batch), r.how(), r.quantity(r.ImageRate, 1, "no images"), r.milliseconds(), r.spread(),
				r.quantity(r.FLOPRate, 1e9, noProducts), r.percent(r.FLOPShare, r.FLOPs), perImage, memory, r.drift(), r.samples(), checked)
		}
		return t
	}
}

// how names the way in which a batch was computed: its precision, and what Variant
// says beside it.
func (r *Result) how() string {
	if slices.Contains(strings.FieldsFunc(r.Variant, betweenWords), r.precision()) {
		return r.Variant
	}
	return strings.TrimSuffix(r.precision()+", "+r.Variant, ", ")
}

// WriteMarkdown writes the tables of several reports.
func WriteMarkdown(w io.Writer, reports []*Report) error {
	for i, rep := range reports {
		if name := reportTitle(reports, i); name != "" {
			if _, err := fmt.Fprintf(w, "## %s\n\n", name); err != nil {
				return err
			}
		}
		if err := rep.WriteMarkdown(w); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(w); err != nil {
			return err
		}
	}
	return nil
}

// WriteMarkdown writes the environment and a table for each device, mode and model.
func (rep *Report) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	for _, line := range rep.about() {
		b.WriteString("- " + line + "\n")
	}
	for _, group := range rep.groups() {
		fmt.Fprintf(&b, "\n**%s**\n\n", groupTitle(group[0]))
		if err := resultTable(group).write(&b); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// about is the environment, the devices and the warnings, a line each.
func (rep *Report) about() []string {
	e := rep.Environment
	join := func(parts ...string) string {
		return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ", ")
	}
	short := func(name, s string) string {
		if s == "" {
			return ""
		}
		return name + " " + s[:min(12, len(s))]
	}
	lines := []string{join(strings.TrimSpace(e.Program+" "+e.Version), short("commit", e.Commit), short("kernels", e.Shaders), e.GoVersion, e.Time)}
	threads, memory, load := "", "", ""
	if e.Threads > 0 {
		threads = fmt.Sprintf("%d threads", e.Threads)
	}
	if e.Memory > 0 {
		memory = fmt.Sprintf("%s GiB", digits(float64(e.Memory)/(1<<30)))
	}
	if e.Load != nil {
		load = fmt.Sprintf("load %.1f before the run", *e.Load)
	}
	if e.Governor != "" {
		load = join("governor "+e.Governor, load)
	}
	lines = append(lines, join(e.OS, e.Kernel, e.CPU, threads, memory, load))
	for _, d := range rep.Devices {
		line := d.Describe()
		switch {
		case d.Driver == "":
			line += ": plain loops, for comparison"
		case d.Type == engine.Software:
			line += ": a software driver, its figures are the CPU's"
		}
		lines = append(lines, line)
	}
	var names []string
	for name := range e.Variables {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		names[i] += "=" + e.Variables[name]
	}
	if len(names) > 0 {
		lines = append(lines, strings.Join(names, ", "))
	}
	for _, warning := range rep.Warnings {
		lines = append(lines, "WARNING: "+warning)
	}
	return lines
}

// WriteJSON writes the whole report.
func (rep *Report) WriteJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(rep)
}

// WriteJSONL writes the report without its results on the first line, then each
// result on a line of its own.
func (rep *Report) WriteJSONL(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	head := *rep
	head.Results = []Result{}
	if err := encoder.Encode(head); err != nil {
		return err
	}
	for _, r := range rep.Results {
		if err := encoder.Encode(r); err != nil {
			return err
		}
	}
	return nil
}

// WriteCSV writes a row per result: times in seconds, rates per second, all
// samples in the last column.
func (rep *Report) WriteCSV(w io.Writer) error {
	rows := csv.NewWriter(w)
	_ = rows.Write([]string{"device", "uuid", "software", "mode", "model", "batch", "test", "variant", "n", "median_s", "q1_s", "q3_s", "mad_s", "min_s", "max_s", "drift",
		"images_per_s", "flops_per_s", "bytes_per_s", "flops_share", "bytes_share", "memory_bytes", "na", "note", "samples_s"})
	number := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	for i := range rep.Results {
		r := &rep.Results[i]
		row := []string{r.Device, r.UUID, fmt.Sprint(r.Software), r.Mode, r.Model, fmt.Sprint(r.Batch), r.Test, r.Variant}
		if s := r.Stats; s != nil {
			drift := ""
			if s.Drift != nil {
				drift = number(*s.Drift)
			}
			row = append(row, fmt.Sprint(s.N), number(s.Median), number(s.Q1), number(s.Q3), number(s.MAD), number(s.Min), number(s.Max), drift)
		} else {
			row = append(row, "0", "", "", "", "", "", "", "")
		}
		for _, value := range []func() (float64, bool){r.ImageRate, r.FLOPRate, r.ByteRate, r.FLOPShare, r.ByteShare} {
			cell := ""
			if v, ok := value(); ok {
				cell = number(v)
			}
			row = append(row, cell)
		}
		samples := make([]string, len(r.Samples))
		for i, v := range r.Samples {
			samples[i] = number(v)
		}
		_ = rows.Write(append(row, fmt.Sprint(r.Memory), r.NA, r.Note, strings.Join(samples, " ")))
	}
	rows.Flush()
	return rows.Error()
}
