package bench

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Comparison is one test of a report beside the same test of the first one. Its
// ratio is how many times faster B is.
type Comparison struct {
	A, B *Result
	Ratio
}

// Comparisons are the tests that two reports have in common.
type Comparisons struct {
	Rows []Comparison
	// Unmatched are results of the second report whose test the first one lacks,
	// or has on several other devices.
	Unmatched int
	// Hidden are ways of the second report that are slower than one shown.
	Hidden int
}

// test is what two results must share to be compared.
type test struct {
	mode, model, name string
	batch             int
	precision         string
}

func testOf(r *Result, precision bool) test {
	t := test{r.Mode, r.Model, r.Test, r.Batch, ""}
	if precision {
		t.precision = r.precision()
	}
	return t
}

// precision is the format that the test stores and multiplies in. Files that do not
// say have it in the variant's words: "PyTorch amp fp16 graph".
func (r *Result) precision() string {
	if r.Precision != "" {
		return r.Precision
	}
	for _, word := range strings.FieldsFunc(r.Variant, betweenWords) {
		if slices.Contains(precisions, word) {
			return word
		}
	}
	return "fp32"
}

// precisions are the names of formats, in the order of pages.
var precisions = []string{"fp32", "bf16x3", "tf32", "fp16", "bf16"}

func betweenWords(c rune) bool { return c == ' ' || c == ',' }

// CompareReports compares the results of two reports test by test: the same mode,
// model, batch and precision, on the same device where both have it, otherwise with
// the first one's device if it has only one. Where the same test was done in
// several ways (resident or not, as a graph or not), a result is compared with the
// same way; one whose way b lacks, with b's fastest. With all, every way of a,
// in every precision, is compared with every one of b. What neither measured is left out.
func CompareReports(a, b *Report, all bool) Comparisons {
	var c Comparisons
	var order []test
	seenA, seenB := map[test][]*Result{}, map[test][]*Result{}
	for i := range a.Results {
		k := testOf(&a.Results[i], !all)
		if seenA[k] == nil {
			order = append(order, k)
		}
		seenA[k] = append(seenA[k], &a.Results[i])
	}
	for i := range b.Results {
		k := testOf(&b.Results[i], !all)
		seenB[k] = append(seenB[k], &b.Results[i])
		if seenA[k] == nil {
			c.Unmatched++
		}
	}
	for _, k := range order {
		onA, onB := byDevice(seenA[k]), byDevice(seenB[k])
		for _, device := range devicesOf(seenB[k]) {
			ways := onA[device]
			if ways == nil && len(onA) == 1 {
				ways = onA[seenA[k][0].Device]
			}
			if ways == nil {
				c.Unmatched += len(onB[device])
				continue
			}
			c.pair(ways, onB[device], all)
		}
	}
	return c
}

func byDevice(results []*Result) map[string][]*Result {
	m := map[string][]*Result{}
	for _, r := range results {
		m[r.Device] = append(m[r.Device], r)
	}
	return m
}

func devicesOf(results []*Result) (devices []string) {
	for _, r := range results {
		if !slices.Contains(devices, r.Device) {
			devices = append(devices, r.Device)
		}
	}
	return devices
}

// pair compares the ways in which one test was done on a device of either report.
func (c *Comparisons) pair(a, b []*Result, all bool) {
	shown := map[*Result]bool{}
	row := func(ra, rb *Result) {
		shown[rb] = true
		if ra.Stats != nil || rb.Stats != nil {
			c.Rows = append(c.Rows, Comparison{A: ra, B: rb, Ratio: Compare(ra.Samples, rb.Samples)})
		}
	}
	fastest := b[0]
	for _, rb := range b {
		if rb.Stats != nil && (fastest.Stats == nil || rb.Stats.Median < fastest.Stats.Median) {
			fastest = rb
		}
	}
	for _, ra := range a {
		same := slices.IndexFunc(b, func(rb *Result) bool { return rb.Variant == ra.Variant })
		switch {
		case all:
			for _, rb := range b {
				row(ra, rb)
			}
		case same >= 0:
			row(ra, b[same])
		default:
			row(ra, fastest)
		}
	}
	for _, rb := range b {
		if !shown[rb] && rb.Stats != nil {
			c.Hidden++
		}
	}
}

// ErrSlower is wrapped by the error of CheckSlower.
var ErrSlower = errors.New("slower than allowed")

// CheckSlower fails when a test of b takes more than (1 + share) times as long
// as before and the difference is more than chance.
func CheckSlower(rows []Comparison, share float64) error {
	var found []error
	for _, c := range rows {
		if c.Verdict == Slower && 1/c.Value > 1+share {
			found = append(found, fmt.Errorf("%w: %s takes %.1f %% longer", ErrSlower, c.B.Title(), 100*(1/c.Value-1)))
		}
	}
	return errors.Join(found...)
}

// Title names a test for people.
func (r *Result) Title() string {
	t := r.Mode
	if r.Model != "" {
		t += " " + r.Model
	}
	if r.Batch > 0 {
		t += fmt.Sprintf(" batch %d", r.Batch)
	}
	if r.Test != r.Mode {
		t += " " + r.Test
	}
	return t
}

// WriteComparison writes the rows as a Markdown table.
func WriteComparison(w io.Writer, rows []Comparison) error {
	t := newTable("test", "A", "B", "A ms", "B ms", "B is", "95 % interval", "")
	for _, c := range rows {
		ratio, interval := na("no samples"), "n/a"
		if c.Value > 0 {
			ratio = fmt.Sprintf("%.3f× as fast", c.Value)
			if c.Why == "" {
				interval = fmt.Sprintf("%.3f – %.3f", c.Low, c.High)
			}
		}
		verdict := c.Verdict
		if c.Why != "" {
			verdict += " (" + c.Why + ")"
		}
		t.row(c.B.Title(), c.A.Where(), c.B.Where(), c.A.milliseconds(), c.B.milliseconds(), ratio, interval, verdict)
	}
	return t.write(w)
}

// ComparisonRow is a comparison as JSON has it.
type ComparisonRow struct {
	Mode  string `json:"mode"`
	Model string `json:"model,omitempty"`
	Batch int    `json:"batch,omitempty"`
	// Precision is B's: with all variants, A's may be another.
	Precision string `json:"precision"`
	Test      string `json:"test"`
	A         string `json:"a"`
	B         string `json:"b"`
	AStats    *Stats `json:"a_stats,omitempty"`
	BStats    *Stats `json:"b_stats,omitempty"`
	Ratio
}

// ComparisonsForJSON leaves the samples out, which the compared files have.
func ComparisonsForJSON(rows []Comparison) []ComparisonRow {
	out := make([]ComparisonRow, len(rows))
	for i, c := range rows {
		out[i] = ComparisonRow{c.B.Mode, c.B.Model, c.B.Batch, c.B.precision(), c.B.Test, c.A.Where(), c.B.Where(), c.A.Stats, c.B.Stats, c.Ratio}
	}
	return out
}
