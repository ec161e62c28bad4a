package bench

import (
	"errors"
	"fmt"
	"io"
)

// Comparison is one test of a report beside the same test of the first one.
type Comparison struct {
	A, B *Result
	Ratio
}

// CompareReports finds for every result of b the one of a that measured the
// same test, on the same device and in the same way where a has that, otherwise
// the only other one. What has no counterpart, or several, is counted in unmatched;
// what was measured in neither is left out.
func CompareReports(a, b *Report) (rows []Comparison, unmatched int) {
	for i := range b.Results {
		rb := &b.Results[i]
		var same, others []*Result
		for j := range a.Results {
			ra := &a.Results[j]
			if ra.Mode != rb.Mode || ra.Model != rb.Model || ra.Batch != rb.Batch || ra.Test != rb.Test {
				continue
			}
			if ra.Device == rb.Device && ra.UUID == rb.UUID && ra.Variant == rb.Variant {
				same = append(same, ra)
			} else {
				others = append(others, ra)
			}
		}
		if len(same) == 0 {
			same = others
		}
		if len(same) != 1 {
			unmatched++
			continue
		}
		if same[0].Stats == nil && rb.Stats == nil {
			continue
		}
		rows = append(rows, Comparison{A: same[0], B: rb, Ratio: Compare(same[0].Samples, rb.Samples)})
	}
	return rows, unmatched
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
	Mode   string `json:"mode"`
	Model  string `json:"model,omitempty"`
	Batch  int    `json:"batch,omitempty"`
	Test   string `json:"test"`
	A      string `json:"a"`
	B      string `json:"b"`
	AStats *Stats `json:"a_stats,omitempty"`
	BStats *Stats `json:"b_stats,omitempty"`
	Ratio
}

// ComparisonsForJSON leaves the samples out, which the compared files have.
func ComparisonsForJSON(rows []Comparison) []ComparisonRow {
	out := make([]ComparisonRow, len(rows))
	for i, c := range rows {
		out[i] = ComparisonRow{c.B.Mode, c.B.Model, c.B.Batch, c.B.Test, c.A.Where(), c.B.Where(), c.A.Stats, c.B.Stats, c.Ratio}
	}
	return out
}
