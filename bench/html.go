package bench

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
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
		Title   string
		Figures []htmlFigure
		Reports []htmlReport
	}{Title: "Benchmark results"}
	data.Figures = append(sideBySide(reports), layerFigures(reports)...)
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

// sideBySide has a figure for each model and mode: images per second, all
// devices beside each other.
func sideBySide(reports []*Report) []htmlFigure {
	var figures []htmlFigure
	type key struct{ mode, model string }
	seen := map[key]bool{}
	for _, rep := range reports {
		for i := range rep.Results {
			r := &rep.Results[i]
			k := key{r.Mode, r.Model}
			if r.Mode != Infer && r.Mode != Train || seen[k] {
				continue
			}
			seen[k] = true
			title := r.Model + ", classifying"
			if r.Mode == Train {
				title = r.Model + ", training"
			}
			c := barChart{unit: "images/s"}
			for n, rep := range reports {
				for j := range rep.Results {
					if q := &rep.Results[j]; q.Mode == k.mode && q.Model == k.model {
						v, ok := q.ImageRate()
						why := ""
						if !ok {
							why = na(q.NA)
						}
						c.add(fmt.Sprintf("batch %d", q.Batch), seriesName(reports, n, q), v, why)
					}
				}
			}
			figures = append(figures, htmlFigure{Title: title, Text: "Images per second, longer is faster. Medians of whole batches, wall clock.", SVG: c.svg()})
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
			bars := barChart{unit: "ms", stacked: true}
			var roof roofline
			for _, r := range group {
				if r.Layer == "" || r.Stats == nil {
					continue
				}
				bars.add(r.Layer, r.Pass, 1e3*r.Stats.Median, "")
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
