package bench

import (
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"maps"
	"slices"
	"strings"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Parse(pageText))

type htmlTable struct {
	Title string
	Head  []string
	Rows  [][]string
}

type htmlFigure struct {
	Title, Text string
	SVG         template.HTML
}

type htmlReport struct {
	Name   string
	About  []string
	Tables []htmlTable
}

// WriteHTML writes a page of the reports that needs no other file.
func WriteHTML(w io.Writer, reports []*Report) error {
	data := struct {
		Title, Devices string
		Figures        []htmlFigure
		Reports        []htmlReport
	}{Title: "Benchmark results"}
	var devices []string
	for _, rep := range reports {
		for i := range rep.Results {
			if d := rep.Results[i].where(""); !slices.Contains(devices, d) {
				devices = append(devices, d)
			}
		}
	}
	data.Devices = strings.Join(devices, "; ")
	data.Figures = slices.Concat(sideBySide(reports), growthFigures(reports), layerFigures(reports))
	for i, rep := range reports {
		h := htmlReport{Name: reportTitle(reports, i), About: rep.about()}
		for _, group := range rep.groups() {
			t := resultTable(group)
			h.Tables = append(h.Tables, htmlTable{groupTitle(group[0]), t.rows[0], t.rows[1:]})
		}
		data.Reports = append(data.Reports, h)
	}
	return page.Execute(w, data)
}

// reportName tells several reports apart by letters; one needs no name.
func reportName(reports []*Report, i int) string {
	if len(reports) == 1 {
		return ""
	}
	return fmt.Sprintf("%c", 'A'+i%26)
}

// reportTitle heads a report's tables: its letter and its name.
func reportTitle(reports []*Report, i int) string {
	letter, name := reportName(reports, i), reports[i].Name
	if letter == "" || name == "" {
		return letter + name
	}
	return letter + ": " + name
}

// seriesName names a device in a figure of several reports.
func seriesName(reports []*Report, i int, r *Result) string {
	if name := reportName(reports, i); name != "" {
		return name + ": " + r.Where()
	}
	return r.Where()
}

// kindName says whose a bar or line is: the program's where the page has several, the
// file's where a figure has several of one program, and the device's where the page has
// several. So one thing has one name, and one colour, in all figures.
func kindName(reports []*Report, i int, r *Result, shown func(*Report) bool) string {
	programs, devices := map[string]bool{}, map[string]bool{}
	files := 0
	program := reports[i].program()
	for _, rep := range reports {
		if shown(rep) && rep.program() == program {
			files++
		}
		for _, q := range rep.Results {
			if q.Mode == Infer || q.Mode == Train {
				programs[rep.program()], devices[q.Device] = true, true
			}
		}
	}
	var parts []string
	if len(programs) > 1 {
		parts = append(parts, program)
	}
	if files > 1 {
		parts = append(parts, reportTitle(reports, i))
	}
	if len(devices) > 1 || len(parts) == 0 {
		short := *r
		if name, _, _ := strings.Cut(r.Device, " ("); !slices.ContainsFunc(slices.Collect(maps.Keys(devices)), func(d string) bool { return d != r.Device && strings.HasPrefix(d, name) }) {
			short.Device = name // without the compiler and such in brackets
		}
		parts = append(parts, short.where(""))
	}
	return strings.Join(parts, ", ")
}

// program is what the report measured: of another program's results, which a script of
// ours wrote, the beginning of the version.
func (rep *Report) program() string {
	if name, _, found := strings.Cut(rep.Environment.Version, " "); found {
		return name
	}
	return rep.Environment.Program
}

// way is the variant without the precision and the program, which figures tell apart otherwise.
func (r *Result) way() string {
	words := strings.FieldsFunc(r.Variant, betweenWords)
	words = slices.DeleteFunc(words, func(w string) bool { return w == r.precision() || w == "PyTorch" || w == "onnxruntime" })
	switch {
	case len(words) > 0:
		return strings.Join(words, " ")
	case r.Checked != nil:
		return "from the host"
	}
	return r.Mode
}

// growthBatches is how many batch sizes make a run one that shows how things grow.
const growthBatches = 5

// grows says that a report has a network's mode with many batch sizes.
func (rep *Report) grows(mode, model string) bool {
	batches := map[int]bool{}
	for _, r := range rep.Results {
		if r.Mode == mode && r.Model == model {
			batches[r.Batch] = true
		}
	}
	return len(batches) >= growthBatches
}

func (rep *Report) has(mode, model string) bool {
	return slices.ContainsFunc(rep.Results, func(r Result) bool { return r.Mode == mode && r.Model == model })
}

// modelsAndModes are those of infer and train in the reports, in their order.
func modelsAndModes(reports []*Report) (all [][2]string) {
	for _, rep := range reports {
		for _, r := range rep.Results {
			if k := [2]string{r.Model, r.Mode}; (r.Mode == Infer || r.Mode == Train) && !slices.Contains(all, k) {
				all = append(all, k)
			}
		}
	}
	return all
}

func modeTitle(model, mode string) string {
	if mode == Train {
		return model + ", training"
	}
	return model + ", inference"
}

// sideBySide has a figure for each model and mode: images per second by batch and
// precision, all devices and programs beside each other.
func sideBySide(reports []*Report) []htmlFigure {
	var figures []htmlFigure
	var palette []string
	for _, k := range modelsAndModes(reports) {
		model, mode := k[0], k[1]
		type group struct {
			batch     int
			precision string
		}
		bars := map[group][]bar{}
		shown := func(rep *Report) bool { return rep.has(mode, model) && !rep.grows(mode, model) }
		for n, rep := range reports {
			if !shown(rep) {
				continue
			}
			for i := range rep.Results {
				r := &rep.Results[i]
				if r.Mode != mode || r.Model != model {
					continue
				}
				kind := kindName(reports, n, r, shown)
				b := bar{name: kind + ", " + r.way(), kind: kind}
				if v, ok := r.ImageRate(); ok {
					b.value = v
				} else {
					b.why = na(r.NA)
				}
				g := group{r.Batch, r.precision()}
				bars[g] = append(bars[g], b)
			}
		}
		groups := slices.SortedFunc(maps.Keys(bars), func(a, b group) int {
			return cmp.Or(cmp.Compare(a.batch, b.batch), cmp.Compare(slices.Index(precisions, a.precision), slices.Index(precisions, b.precision)))
		})
		c := barChart{unit: "images/s", palette: palette}
		var missing []string
		for _, g := range groups {
			name := fmt.Sprintf("batch %d, %s", g.batch, g.precision)
			if !slices.ContainsFunc(bars[g], func(b bar) bool { return b.why == "" }) {
				missing = append(missing, name) // the tables say why
				continue
			}
			for _, b := range bars[g] {
				c.add(name, b)
			}
		}
		palette = c.palette
		if len(groups) == 0 {
			continue
		}
		text := "Images per second, longer is faster. Medians of whole batches."
		if len(missing) > 0 {
			text += " Without a result, as the tables below explain: " + strings.Join(missing, "; ") + "."
		}
		figures = append(figures, htmlFigure{Title: modeTitle(model, mode), Text: text, SVG: c.svg()})
	}
	return figures
}

// growthFigures show for runs of many batch sizes what a picture costs in each.
func growthFigures(reports []*Report) []htmlFigure {
	var figures []htmlFigure
	for _, k := range modelsAndModes(reports) {
		model, mode := k[0], k[1]
		var c lineChart
		shown := func(rep *Report) bool { return rep.grows(mode, model) }
		for n, rep := range reports {
			if !shown(rep) {
				continue
			}
			// One way is enough: resident where there is one.
			resident := slices.ContainsFunc(rep.Results, func(r Result) bool { return r.Mode == mode && r.Model == model && r.way() == "resident" })
			for i := range rep.Results {
				r := &rep.Results[i]
				if r.Mode != mode || r.Model != model || r.Stats == nil || r.Images == 0 || resident && r.way() != "resident" {
					continue
				}
				series := r.precision() + ", " + kindName(reports, n, r, shown)
				c.add("milliseconds a picture", series, float64(r.Batch), 1e3*r.Stats.Median/r.Images)
				if r.Memory > 0 {
					c.add("MiB a picture", series, float64(r.Batch), float64(r.Memory)/r.Images/(1<<20))
				}
			}
		}
		if len(c.panels) > 0 {
			figures = append(figures, htmlFigure{Title: modeTitle(model, mode) + ": growth with the batch",
				Text: "What a picture costs in batches of different sizes. Memory is all that the run takes on the device, parameters included.", SVG: c.svg()})
		}
	}
	return figures
}

// layerFigures has the bars and the roofline of every training step that was
// measured layer by layer.
func layerFigures(reports []*Report) []htmlFigure {
	var figures []htmlFigure
	for n, rep := range reports {
		for _, group := range rep.groups() {
			if group[0].Mode != Layers {
				continue
			}
			bars := stackChart{unit: "ms"}
			var roof roofline
			for _, r := range group {
				if r.Layer == "" || r.Stats == nil {
					continue
				}
				bars.add(r.Layer, r.Pass, 1e3*r.Stats.Median)
				roof.add(r)
			}
			if len(bars.groups) == 0 {
				continue
			}
			where := fmt.Sprintf("%s, batch %d, %s", group[0].Model, group[0].Batch, seriesName(reports, n, group[0]))
			figures = append(figures, htmlFigure{Title: "A training step by layer: " + where,
				Text: "Milliseconds by the device's timestamps, each call on its own.", SVG: bars.svg()})
			if len(roof.points) > 0 && roof.flops > 0 && roof.bytes > 0 {
				figures = append(figures, htmlFigure{Title: "Roofline: " + where,
					Text: "The line is the most that the device's own measured peaks allow: its memory's bandwidth on the slope, its multiply-adds on the level. Bytes count every tensor once, so a point on the slope's side may lie above it where data stays in a cache.",
					SVG:  roof.svg()})
			}
		}
	}
	return figures
}
