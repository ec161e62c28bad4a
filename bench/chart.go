package bench

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"slices"
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

// svgText collects the elements of a picture.
type svgText struct{ strings.Builder }

func (s *svgText) add(format string, args ...any) { fmt.Fprintf(&s.Builder, format+"\n", args...) }

func (s *svgText) text(x, y float64, anchor, class, text string) {
	s.add(`<text x="%.1f" y="%.1f" text-anchor="%s" class="%s">%s</text>`, x, y, anchor, class, html.EscapeString(text))
}

func (s *svgText) picture(width, height float64) template.HTML {
	return template.HTML(fmt.Sprintf(`<svg viewBox="0 0 %.0f %.0f" width="%.0f" role="img" xmlns="http://www.w3.org/2000/svg">`+"\n%s</svg>", width, height, width, s.String()))
}

// legend writes the names with their colours in lines and gives the height.
func (s *svgText) legend(names []string, x0 float64) float64 {
	x, y := x0, 14.0
	for i, name := range names {
		width := 26 + letter*float64(utf8.RuneCountInString(name))
		if x > x0 && x+width > chartWidth {
			x, y = x0, y+20
		}
		s.add(`<rect x="%.1f" y="%.1f" width="12" height="12" rx="2" fill="%s"/>`, x, y-10, colours[i%len(colours)])
		s.text(x+17, y, "start", "label", name)
		x += width
	}
	return y + 12
}

// barChart has groups of horizontal bars, a bar per series, beside each other
// or stacked.
type barChart struct {
	unit    string
	stacked bool
	groups  []string
	series  []string
	values  map[[2]string]float64
	why     map[[2]string]string // in place of a value
}

func (c *barChart) add(group, series string, value float64, why string) {
	if c.values == nil {
		c.values, c.why = map[[2]string]float64{}, map[[2]string]string{}
	}
	if !slices.Contains(c.groups, group) {
		c.groups = append(c.groups, group)
	}
	if !slices.Contains(c.series, series) {
		c.series = append(c.series, series)
	}
	k := [2]string{group, series}
	c.values[k] += value
	c.why[k] = why
}

func (c *barChart) svg() template.HTML {
	var s svgText
	left := 0.0
	for _, g := range c.groups {
		left = max(left, 12+letter*float64(utf8.RuneCountInString(g)))
	}
	const right = 90 // for the last bar's number
	y := 6.0
	if len(c.series) > 1 {
		y = s.legend(c.series, 0)
	}
	largest := 0.0
	for _, g := range c.groups {
		sum := 0.0
		for _, name := range c.series {
			v := c.values[[2]string{g, name}]
			sum += v
			if !c.stacked {
				largest = max(largest, v)
			}
		}
		if c.stacked {
			largest = max(largest, sum)
		}
	}
	if largest == 0 {
		largest = 1
	}
	scale := (chartWidth - left - right) / largest
	const thick = 16.0
	for _, g := range c.groups {
		top, x, sum := y, left, 0.0
		for i, name := range c.series {
			k := [2]string{g, name}
			v, has := c.values[k]
			if !has {
				continue
			}
			if c.why[k] != "" {
				s.text(left+4, y+thick-4, "start", "number", c.why[k])
			} else {
				width := v * scale
				s.add(`<rect x="%.2f" y="%.1f" width="%.2f" height="%.1f" fill="%s"><title>%s, %s: %s %s</title></rect>`,
					x, y, max(width, 0.5), thick-2, colours[i%len(colours)], html.EscapeString(g), html.EscapeString(name), digits(v), c.unit)
				if c.stacked {
					x += width
				} else {
					s.text(x+width+5, y+thick-5, "start", "number", digits(v))
				}
			}
			sum += v
			if !c.stacked {
				y += thick
			}
		}
		if c.stacked {
			s.text(x+5, y+thick-5, "start", "number", digits(sum)+" "+c.unit)
			y += thick
		}
		s.text(left-8, (top+y)/2+3, "end", "label", g)
		y += 6
	}
	s.add(`<line x1="%.1f" y1="0" x2="%.1f" y2="%.1f" class="axis"/>`, left, left, y)
	return s.picture(chartWidth, y+4)
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
	top := s.legend(passes, 60)
	const left, height, bottom = 60.0, 360.0, 40.0
	xAt := func(v float64) float64 {
		return left + (chartWidth-left-20)*(math.Log(v)-math.Log(x0))/(math.Log(x1)-math.Log(x0))
	}
	yAt := func(v float64) float64 {
		return top + height*(1-(math.Log(v)-math.Log(y0))/(math.Log(y1)-math.Log(y0)))
	}
	for _, v := range ticks(x0, x1) {
		s.add(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="grid"/>`, xAt(v), top, xAt(v), top+height)
		s.text(xAt(v), top+height+16, "middle", "number", plain(v))
	}
	for _, v := range ticks(y0/1e9, y1/1e9) {
		s.add(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="grid"/>`, left, yAt(v*1e9), float64(chartWidth-20), yAt(v*1e9))
		s.text(left-6, yAt(v*1e9)+4, "end", "number", plain(v))
	}
	s.text((left+chartWidth)/2, top+height+34, "middle", "label", "FLOP per byte moved at least")
	s.add(`<text transform="translate(14,%.1f) rotate(-90)" text-anchor="middle" class="label">GFLOP/s</text>`, top+height/2)
	// The slope enters at the left edge or at the bottom, whichever comes first.
	from := max(x0, y0/f.bytes)
	s.add(`<polyline points="%.1f,%.1f %.1f,%.1f %.1f,%.1f" class="roof"/>`, xAt(from), yAt(from*f.bytes), xAt(knee), yAt(f.flops), xAt(x1), yAt(f.flops))
	s.text(chartWidth-24, yAt(f.flops)-6, "end", "label", digits(f.flops/1e9)+" GFLOP/s")
	middle := math.Sqrt(from * knee)
	s.text(xAt(middle)-8, yAt(middle*f.bytes)-4, "end", "label", digits(f.bytes/1e9)+" GB/s")
	var taken [][2]float64
	for _, p := range f.points {
		x, y := xAt(p.intensity), yAt(p.rate)
		s.add(`<circle cx="%.1f" cy="%.1f" r="5" fill="%s"><title>%s %s: %s GFLOP/s, %.0f %% of what the roof allows</title></circle>`, x, y, colours[slices.Index(passes, p.pass)%len(colours)],
			html.EscapeString(p.layer), html.EscapeString(p.pass), digits(p.rate/1e9), 100*p.rate/min(f.flops, p.intensity*f.bytes))
		// A label that would lie on another one moves up or down, if there is room.
		for _, dy := range []float64{0, -12, 12, -24, 24} {
			at := [2]float64{x + 8, y + 4 + dy}
			width := letter * float64(utf8.RuneCountInString(p.layer))
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

// plain writes a tick's number.
func plain(v float64) string { return fmt.Sprintf("%.4g", v) }
