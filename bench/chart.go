package bench

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// colours can be told apart by people who see red and green alike (Okabe and
// Ito, "Color Universal Design", 2008).
var colours = []string{"#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#7f7f7f"}

const (
	chartWidth = 860
	letter     = 6.6 // of the average character at 12 px
)

// colourOf is the colour of a name's place in a palette.
func colourOf(palette []string, name string) string {
	return colours[slices.Index(palette, name)%len(colours)]
}

// svgText collects the elements of a picture.
type svgText struct{ strings.Builder }

func (s *svgText) add(format string, args ...any) { fmt.Fprintf(&s.Builder, format+"\n", args...) }

func (s *svgText) text(x, y float64, anchor, class, text string) {
	s.add(`<text x="%.1f" y="%.1f" text-anchor="%s" class="%s">%s</text>`, x, y, anchor, class, html.EscapeString(text))
}

func (s *svgText) picture(width, height float64) template.HTML {
	return template.HTML(fmt.Sprintf(`<svg viewBox="0 0 %.0f %.0f" width="%.0f" role="img" xmlns="http://www.w3.org/2000/svg">`+"\n%s</svg>", width, height, width, s.String()))
}

// legend writes the names with their colours in lines and gives the height; a name's
// colour is that of its place in the palette.
func (s *svgText) legend(names, palette []string, x0 float64) float64 {
	x, y := x0, 14.0
	for _, name := range names {
		width := 26 + letter*float64(utf8.RuneCountInString(name))
		if x > x0 && x+width > chartWidth {
			x, y = x0, y+20
		}
		s.add(`<rect x="%.1f" y="%.1f" width="12" height="12" rx="2" fill="%s"/>`, x, y-10, colourOf(palette, name))
		s.text(x+17, y, "start", "label", name)
		x += width
	}
	return y + 12
}

// barChart has groups of horizontal bars, each with its name at its left. Bars of one
// kind have one colour.
type barChart struct {
	unit    string
	groups  []string
	bars    map[string][]bar
	kinds   []string // those of the bars
	palette []string // those of this figure and the ones before it
}

type bar struct {
	name, kind string
	value      float64
	why        string // in place of a value
}

func (c *barChart) add(group string, b bar) {
	if c.bars == nil {
		c.bars = map[string][]bar{}
	}
	if c.bars[group] == nil {
		c.groups = append(c.groups, group)
	}
	c.bars[group] = append(c.bars[group], b)
	if !slices.Contains(c.kinds, b.kind) {
		c.kinds = append(c.kinds, b.kind)
	}
	if !slices.Contains(c.palette, b.kind) {
		c.palette = append(c.palette, b.kind)
	}
}

func (c *barChart) svg() template.HTML {
	var s svgText
	const thick, right = 17.0, 80.0 // right: for the longest bar's number
	left, largest := 0.0, 0.0
	for _, group := range c.groups {
		for _, b := range c.bars[group] {
			left = max(left, 24+letter*float64(utf8.RuneCountInString(b.name)))
			largest = max(largest, b.value)
		}
	}
	left = min(left, chartWidth/2)
	if largest == 0 {
		largest = 1
	}
	scale := (chartWidth - left - right) / largest
	y := 2.0
	if len(c.kinds) > 1 {
		y = s.legend(c.kinds, c.palette, 0)
	}
	for _, group := range c.groups {
		s.text(0, y+13, "start", "head", group)
		y += 20
		top := y
		for _, b := range c.bars[group] {
			s.text(left-8, y+thick-5, "end", "label", elided(b.name, int((left-12)/letter)))
			if b.why != "" {
				s.text(left+5, y+thick-5, "start", "number", b.why)
			} else {
				s.add(`<rect x="%.2f" y="%.1f" width="%.2f" height="%.1f" fill="%s"><title>%s, %s: %s %s</title></rect>`,
					left, y, max(b.value*scale, 0.5), thick-3, colourOf(c.palette, b.kind), html.EscapeString(group), html.EscapeString(b.name), grouped(b.value), c.unit)
				s.text(left+b.value*scale+5, y+thick-5, "start", "number", grouped(b.value))
			}
			y += thick
		}
		s.add(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="axis"/>`, left, top-2, left, y-1)
		y += 9
	}
	return s.picture(chartWidth, y)
}

// elided is a text with its middle left out where it is too long; a bar's title has it whole.
func elided(text string, most int) string {
	letters := []rune(text)
	if len(letters) <= most {
		return text
	}
	return string(letters[:most/2]) + "…" + string(letters[len(letters)-(most-1)/2:])
}

// stackChart has a horizontal bar for each group, in which the series follow each other.
type stackChart struct {
	unit   string
	groups []string
	series []string
	values map[[2]string]float64
}

func (c *stackChart) add(group, series string, value float64) {
	if c.values == nil {
		c.values = map[[2]string]float64{}
	}
	if !slices.Contains(c.groups, group) {
		c.groups = append(c.groups, group)
	}
	if !slices.Contains(c.series, series) {
		c.series = append(c.series, series)
	}
	c.values[[2]string{group, series}] += value
}

func (c *stackChart) svg() template.HTML {
	var s svgText
	const thick, right = 16.0, 90.0
	left, largest := 0.0, 0.0
	for _, g := range c.groups {
		left = max(left, 12+letter*float64(utf8.RuneCountInString(g)))
		sum := 0.0
		for _, name := range c.series {
			sum += c.values[[2]string{g, name}]
		}
		largest = max(largest, sum)
	}
	if largest == 0 {
		largest = 1
	}
	scale := (chartWidth - left - right) / largest
	top := s.legend(c.series, c.series, left)
	y := top
	for _, g := range c.groups {
		x, sum := left, 0.0
		for i, name := range c.series {
			v := c.values[[2]string{g, name}]
			if v == 0 {
				continue
			}
			s.add(`<rect x="%.2f" y="%.1f" width="%.2f" height="%.1f" fill="%s"><title>%s, %s: %s %s</title></rect>`,
				x, y, max(v*scale, 0.5), thick-2, colours[i%len(colours)], html.EscapeString(g), html.EscapeString(name), digits(v), c.unit)
			x, sum = x+v*scale, sum+v
		}
		s.text(x+5, y+thick-5, "start", "number", digits(sum)+" "+c.unit)
		s.text(left-8, y+thick-5, "end", "label", g)
		y += thick + 4
	}
	s.add(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="axis"/>`, left, top-2, left, y-2)
	return s.picture(chartWidth, y+4)
}

// lineChart has panels beside each other over the same series: a quantity by batch size,
// both axes logarithmic.
type lineChart struct {
	panels []string // what each shows, with its unit
	series []string
	points map[[2]string][][2]float64 // by panel and series: batch and value
}

func (c *lineChart) add(panel, series string, batch, value float64) {
	if c.points == nil {
		c.points = map[[2]string][][2]float64{}
	}
	if !slices.Contains(c.panels, panel) {
		c.panels = append(c.panels, panel)
	}
	if !slices.Contains(c.series, series) {
		c.series = append(c.series, series)
	}
	k := [2]string{panel, series}
	c.points[k] = append(c.points[k], [2]float64{batch, value})
}

func (c *lineChart) svg() template.HTML {
	var s svgText
	const height, bottom, margin = 250.0, 42.0, 58.0
	top := s.legend(c.series, c.series, margin) + 18
	width := chartWidth / float64(len(c.panels))
	for i, panel := range c.panels {
		left, right := float64(i)*width+margin, float64(i+1)*width-16
		var batches []float64
		y0, y1 := math.Inf(1), math.Inf(-1)
		for _, name := range c.series {
			for _, p := range c.points[[2]string{panel, name}] {
				if !slices.Contains(batches, p[0]) {
					batches = append(batches, p[0])
				}
				y0, y1 = min(y0, p[1]), max(y1, p[1])
			}
		}
		if len(batches) == 0 {
			continue
		}
		// From one of the axis' numbers to another.
		below, above := ticks(y0/5.01, y0), ticks(y1, y1*5.01)
		y0, y1 = below[len(below)-1], above[0]
		if y0 == y1 {
			y1 *= 2
		}
		x0, x1 := slices.Min(batches), slices.Max(batches)*1.0001
		xAt := func(v float64) float64 { return left + (right-left)*math.Log(v/x0)/math.Log(x1/x0) }
		yAt := func(v float64) float64 { return top + height*(1-math.Log(v/y0)/math.Log(y1/y0)) }
		s.text(left-margin+6, top-10, "start", "head", panel)
		for _, v := range ticks(y0, y1) {
			s.add(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="grid"/>`, left, yAt(v), right, yAt(v))
			s.text(left-6, yAt(v)+4, "end", "number", grouped(v))
		}
		for _, v := range batches {
			s.add(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="grid"/>`, xAt(v), top, xAt(v), top+height)
			s.text(xAt(v), top+height+16, "middle", "number", grouped(v))
		}
		s.text((left+right)/2, top+height+34, "middle", "label", "batch")
		for n, name := range c.series {
			colour, line := colours[n%len(colours)], ""
			for _, p := range c.points[[2]string{panel, name}] {
				line += fmt.Sprintf(" %.1f,%.1f", xAt(p[0]), yAt(p[1]))
				s.add(`<circle cx="%.1f" cy="%.1f" r="3.5" fill="%s"><title>%s, batch %s: %s</title></circle>`, xAt(p[0]), yAt(p[1]), colour, html.EscapeString(name), grouped(p[0]), digits(p[1]))
			}
			s.add(`<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`, strings.TrimSpace(line), colour)
		}
	}
	return s.picture(chartWidth, top+height+bottom)
}

// roofline is the diagram of Williams, Waterman and Patterson ("Roofline: an
// insightful visual performance model", 2009): rate over intensity.
type roofline struct {
	flops, bytes float64 // peaks per second
	points       []roofPoint
}

type roofPoint struct {
	layer, pass     string
	intensity, rate float64 // FLOP/byte, FLOP/s
}

// add takes results that have both operations and bytes.
func (f *roofline) add(r *Result) {
	f.flops, f.bytes = r.PeakFLOPs, r.PeakBytes
	if rate, ok := r.FLOPRate(); ok && r.Bytes > 0 {
		f.points = append(f.points, roofPoint{r.Layer, r.Pass, r.FLOPs / r.Bytes, rate})
	}
}

func (f *roofline) svg() template.HTML {
	var s svgText
	var passes []string
	knee := f.flops / f.bytes
	x0, x1, y0, y1 := knee/4, knee*4, f.flops/4, f.flops*1.3
	for _, p := range f.points {
		x0, x1 = min(x0, p.intensity/1.6), max(x1, p.intensity*2.2)
		y0, y1 = min(y0, p.rate/1.6), max(y1, p.rate*1.3)
		if !slices.Contains(passes, p.pass) {
			passes = append(passes, p.pass)
		}
	}
	top := s.legend(passes, passes, 60)
	const left, height, bottom = 60.0, 360.0, 40.0
	xAt := func(v float64) float64 {
		return left + (chartWidth-left-20)*(math.Log(v)-math.Log(x0))/(math.Log(x1)-math.Log(x0))
	}
	yAt := func(v float64) float64 {
		return top + height*(1-(math.Log(v)-math.Log(y0))/(math.Log(y1)-math.Log(y0)))
	}
	for _, v := range ticks(x0, x1) {
		s.add(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="grid"/>`, xAt(v), top, xAt(v), top+height)
		s.text(xAt(v), top+height+16, "middle", "number", grouped(v))
	}
	for _, v := range ticks(y0/1e9, y1/1e9) {
		s.add(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="grid"/>`, left, yAt(v*1e9), float64(chartWidth-20), yAt(v*1e9))
		s.text(left-6, yAt(v*1e9)+4, "end", "number", grouped(v))
	}
	s.text((left+chartWidth)/2, top+height+34, "middle", "label", "FLOP per byte moved at least")
	s.add(`<text transform="translate(14,%.1f) rotate(-90)" text-anchor="middle" class="label">GFLOP/s</text>`, top+height/2)
	// The slope enters at the left edge or at the bottom, whichever comes first.
	from := max(x0, y0/f.bytes)
	s.add(`<polyline points="%.1f,%.1f %.1f,%.1f %.1f,%.1f" class="roof"/>`, xAt(from), yAt(from*f.bytes), xAt(knee), yAt(f.flops), xAt(x1), yAt(f.flops))
	s.text(chartWidth-24, yAt(f.flops)-6, "end", "label", grouped(f.flops/1e9)+" GFLOP/s")
	middle := math.Sqrt(from * knee)
	s.text(xAt(middle)-8, yAt(middle*f.bytes)-4, "end", "label", grouped(f.bytes/1e9)+" GB/s")
	var taken [][2]float64
	for _, p := range f.points {
		x, y := xAt(p.intensity), yAt(p.rate)
		s.add(`<circle cx="%.1f" cy="%.1f" r="5" fill="%s"><title>%s %s: %s GFLOP/s, %.0f %% of what the roof allows</title></circle>`, x, y, colours[slices.Index(passes, p.pass)%len(colours)],
			html.EscapeString(p.layer), html.EscapeString(p.pass), digits(p.rate/1e9), 100*p.rate/min(f.flops, p.intensity*f.bytes))
		// A label that would lie on another one moves up or down, if there is room.
		width := letter * float64(utf8.RuneCountInString(p.layer))
		for _, d := range [][2]float64{{8, 0}, {-width - 4, 0}, {8, -11}, {8, 11}, {-width - 4, -11}, {-width - 4, 11}, {8, -22}, {8, 22}} {
			at := [2]float64{x + d[0], y + 4 + d[1]}
			if !slices.ContainsFunc(taken, func(t [2]float64) bool { return math.Abs(t[0]-at[0]) < width+4 && math.Abs(t[1]-at[1]) < 11 }) {
				taken = append(taken, at)
				s.text(at[0], at[1], "start", "number", p.layer)
				break
			}
		}
	}
	return s.picture(chartWidth, top+height+bottom)
}

// ticks are 1, 2 and 5 times powers of ten within a range, powers of ten alone
// where it is long.
func ticks(low, high float64) []float64 {
	var all []float64
	factors := []float64{1, 2, 5}
	if high/low > 1e3 {
		factors = factors[:1]
	}
	for e := math.Floor(math.Log10(low)); e <= math.Ceil(math.Log10(high)); e++ {
		for _, f := range factors {
			if v := f * math.Pow(10, e); v >= low && v <= high {
				all = append(all, v)
			}
		}
	}
	return all
}

// grouped writes a positive number with three digits that mean something, and commas
// between thousands.
func grouped(v float64) string {
	text := digits(v)
	if strings.Contains(text, ".") && v == math.Trunc(v) {
		text = strconv.FormatFloat(v, 'f', 0, 64)
	}
	whole, rest, found := strings.Cut(text, ".")
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if found {
		if rest = strings.TrimRight(rest, "0"); rest != "" {
			whole += "." + rest
		}
	}
	return whole
}
