package bench

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestStats(t *testing.T) {
	assert.Nil(t, NewStats(nil))
	s := NewStats([]float64{4, 1, 3, 2})
	assert.Equal(t, Stats{N: 4, Median: 2.5, Q1: 1.75, Q3: 3.25, MAD: 1, Min: 1, Max: 4, Mean: 2.5}, *s)
	assert.Equal(t, 7.0, NewStats([]float64{7}).Median)

	steady := NewStats([]float64{1, 1.01, 0.99, 1, 1.01, 0.99})
	require.NotNil(t, steady.Drift)
	assert.False(t, steady.Drifts())
	// The thirds are those of time, not of size.
	slower := NewStats([]float64{1, 1, 1, 1, 1, 1, 1.2, 1.2, 1.2})
	assert.InDelta(t, 0.2, *slower.Drift, 1e-12)
	assert.False(t, slower.Drifts(), "a drift within the quartiles is spread")
	throttled := NewStats([]float64{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1.2, 1.2, 1.2, 1.2})
	assert.InDelta(t, 0.2, *throttled.Drift, 1e-12)
}

func TestCompare(t *testing.T) {
	ten := []float64{10, 10.1, 9.9, 10, 10.1, 9.9}
	five := []float64{5, 5.1, 4.9, 5, 5.05, 4.95}
	noisy := []float64{5, 20, 11, 7, 14, 9}
	for _, c := range []struct {
		name    string
		a, b    []float64
		verdict string
		value   float64
	}{
		{"faster", ten, five, Faster, 2},
		{"slower", five, ten, Slower, 0.5},
		{"the same", ten, ten, CannotTell, 1},
		{"noise", ten, noisy, CannotTell, 1},
		{"few samples", ten[:4], five, CannotTell, 10.0 / 5},
		{"none", nil, five, CannotTell, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := Compare(c.a, c.b)
			assert.Equal(t, c.verdict, r.Verdict)
			assert.InDelta(t, c.value, r.Value, 0.02)
			assert.Equal(t, r, Compare(c.a, c.b), "the same samples give the same interval")
			if len(c.a) >= 5 {
				assert.LessOrEqual(t, r.Low, r.Value)
				assert.GreaterOrEqual(t, r.High, r.Value)
			}
		})
	}
}

func TestSampling(t *testing.T) {
	calls := 0
	count := func() (time.Duration, error) { calls++; return time.Duration(calls) * time.Second, nil }
	samples, err := Sampling{Repeat: 3, Warmup: 2, MaxTime: time.Hour}.Sample(context.Background(), count)
	require.NoError(t, err)
	assert.Equal(t, []float64{3, 4, 5}, samples, "warming up does not count")

	calls = 0
	samples, err = Sampling{Repeat: 50, Warmup: 50, MaxTime: 1}.Sample(context.Background(), count)
	require.NoError(t, err)
	assert.Len(t, samples, 3, "three samples, however little time")
	assert.Equal(t, 4, calls, "one run to warm up, however little time")

	samples, err = Sampling{Repeat: 1, MaxTime: time.Hour}.Sample(context.Background(), func() (time.Duration, error) { return 0, nil })
	require.NoError(t, err)
	assert.Equal(t, []float64{1e-9}, samples, "a coarse clock")

	boom := errors.New("boom")
	_, err = Sampling{Repeat: 1, MaxTime: time.Hour}.Sample(context.Background(), func() (time.Duration, error) { return 0, boom })
	assert.ErrorIs(t, err, boom)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = Sampling{Repeat: 1, MaxTime: time.Hour}.Sample(ctx, count)
	assert.ErrorIs(t, err, context.Canceled)
}

// A device whose clock rises for a second: samples begin when it is steady.
func TestWarmingUpByTime(t *testing.T) {
	for _, c := range []struct {
		name              string
		ramp              time.Duration // until then a run takes from 3 down to 1 times 10 ms
		warm, most, begun time.Duration // when the first sample may begin at the earliest
		slow              bool          // the first sample is still slow
	}{
		{"no ramp", 0, 500 * time.Millisecond, time.Minute, 500 * time.Millisecond, false},
		{"a short ramp", 300 * time.Millisecond, 500 * time.Millisecond, time.Minute, 500 * time.Millisecond, false},
		{"a ramp longer than the time", time.Second, 500 * time.Millisecond, time.Minute, time.Second, false},
		{"no time for it", 4 * time.Second, 500 * time.Millisecond, 2 * time.Second, time.Second, true},
		{"a software device", time.Second, 0, time.Minute, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var begun []time.Duration
				once := func() (time.Duration, error) {
					at := time.Since(start)
					begun = append(begun, at)
					took := 10 * time.Millisecond
					if at < c.ramp {
						took += time.Duration(float64(20*time.Millisecond) * (1 - float64(at)/float64(c.ramp)))
					}
					time.Sleep(took)
					return took, nil
				}
				samples, err := Sampling{Repeat: 10, Warmup: 2, WarmTime: c.warm, MaxTime: c.most}.Sample(t.Context(), once)
				require.NoError(t, err)
				require.Len(t, samples, 10)
				first := begun[len(begun)-10]
				assert.GreaterOrEqual(t, first, c.begun)
				assert.LessOrEqual(t, first, c.begun+c.begun/2+100*time.Millisecond, "no longer than it takes")
				if c.slow {
					assert.Greater(t, samples[0], 0.011)
				} else {
					assert.InDelta(t, 0.010, samples[0], 1e-9)
					assert.False(t, NewStats(samples).Drifts())
				}
			})
		})
	}
}

// sampled is a result of one device.
func sampled(device, variant string, batch int, samples ...float64) Result {
	return Result{Device: device, Mode: Infer, Model: "alexnet", Batch: batch, Test: Infer, Variant: variant, Images: float64(batch), FLOPs: 1e9 * float64(batch),
		Samples: samples, Stats: NewStats(samples)}
}

func exampleReport() *Report {
	load := 0.5
	layer := sampled("<b>GPU</b> & more", "", 16, 0.001, 0.0011, 0.0012)
	layer.Mode, layer.Test, layer.Layer, layer.Pass, layer.Images, layer.Bytes = Layers, "conv1 forward", "conv1", "forward", 0, 1e6
	layer.PeakFLOPs, layer.PeakBytes = 1e14, 1e12
	missing := Result{Device: "<b>GPU</b> & more", Mode: Infer, Model: "alexnet", Batch: 4096, Test: Infer, NA: "out of memory"}
	return &Report{Schema: Schema, Environment: Environment{Program: "vkalexnet", Version: "v1", Time: "2026-01-01T00:00:00Z", OS: "linux/amd64", Load: &load,
		Variables: map[string]string{"VK_DRIVER_FILES": "<x>"}}, Warnings: []string{"a <script>alert(1)</script> of a warning"},
		Results: []Result{sampled("<b>GPU</b> & more", "", 16, 0.1, 0.11, 0.1, 0.12, 0.1, 0.1), sampled("CPU", "fp32 eager", 16, 0.3, 0.31, 0.3, 0.3, 0.3, 0.29), layer, missing}}
}

func write(t *testing.T, name string, f func(io.Writer) error) string {
	path := filepath.Join(t.TempDir(), name)
	var b bytes.Buffer
	require.NoError(t, f(&b))
	require.NoError(t, os.WriteFile(path, b.Bytes(), 0o644))
	return path
}

func TestReportsComeBackAsTheyWere(t *testing.T) {
	want := exampleReport()
	for name, f := range map[string]func(io.Writer) error{"r.json": want.WriteJSON, "r.jsonl": want.WriteJSONL} {
		got, err := ReadReport(write(t, name, f))
		require.NoError(t, err, name)
		want.Devices, got.Devices = nil, nil
		assert.Equal(t, want, got, name)
	}
}

func TestBadReports(t *testing.T) {
	for text, says := range map[string]string{
		``:                     "EOF",
		`{"schema":"other"}`:   `its schema is "other"`,
		`{"schema":"` + Schema: "unexpected EOF",
		`[1]`:                  "cannot unmarshal",
		`{"schema":"` + Schema + `","results":[{"test":"t","samples":[1,0]}]}`: "a sample of 0 s",
		`{"schema":"` + Schema + `","results":[{"test":"t","samples":[-1]}]}`:  "a sample of -1 s",
		`{"schema":"` + Schema + `"} {"test":"t","samples":"no"}`:              "result 1",
	} {
		_, err := ReadReport(write(t, "r.json", func(w io.Writer) error { _, err := io.WriteString(w, text); return err }))
		require.Error(t, err, text)
		assert.Contains(t, err.Error(), says)
	}
	_, err := ReadReport(filepath.Join(t.TempDir(), "none.json"))
	assert.ErrorIs(t, err, os.ErrNotExist)
}

func TestStatisticsInAFileAreNotBelieved(t *testing.T) {
	r := exampleReport()
	r.Results[0].Stats = &Stats{N: 6, Median: 1e-9}
	got, err := ReadReport(write(t, "r.json", r.WriteJSON))
	require.NoError(t, err)
	assert.Equal(t, 0.1, got.Results[0].Stats.Median)
}

func TestCompareReports(t *testing.T) {
	before := &Report{Results: []Result{sampled("GPU", "", 1, 1, 1, 1, 1, 1), sampled("CPU", "", 1, 9, 9, 9, 9, 9), sampled("CPU", "", 2, 9, 9, 9, 9, 9),
		{Device: "GPU", Mode: Infer, Model: "alexnet", Batch: 512, Test: Infer, NA: "out of memory"}}}
	after := &Report{Results: []Result{
		sampled("GPU", "", 1, 1.2, 1.2, 1.2, 1.2, 1.2), // the same device
		sampled("new", "", 2, 3, 3, 3, 3, 3),           // the only one
		sampled("new", "", 1, 3, 3, 3, 3, 3),           // two to choose from
		sampled("GPU", "", 7, 3, 3, 3, 3, 3),           // none
		{Device: "GPU", Mode: Infer, Model: "alexnet", Batch: 512, Test: Infer, NA: "out of memory"},
	}}
	c := CompareReports(before, after, false)
	rows := c.Rows
	require.Len(t, rows, 2)
	assert.Equal(t, 2, c.Unmatched)
	assert.Zero(t, c.Hidden)
	assert.Equal(t, Slower, rows[0].Verdict)
	assert.Equal(t, "GPU", rows[0].A.Device)
	assert.Equal(t, Faster, rows[1].Verdict)

	assert.NoError(t, CheckSlower(rows, 0.25))
	err := CheckSlower(rows, 0.05)
	require.ErrorIs(t, err, ErrSlower)
	assert.Contains(t, err.Error(), "infer alexnet batch 1 takes 20.0 % longer")

	var b strings.Builder
	require.NoError(t, WriteComparison(&b, rows))
	assert.Contains(t, b.String(), "0.833× as fast")
}

// Beside another program, whose ways of doing a test have other names.
func TestCompareReportsOfSeveralVariants(t *testing.T) {
	five := func(v float64) []float64 { return []float64{v, v, v, v, v} }
	ours := &Report{Results: []Result{
		sampled("GPU", "", 128, five(6)...), sampled("GPU", "resident", 128, five(5)...),
		sampled("GPU", "fp16", 128, five(4)...), sampled("GPU", "fp16, resident", 128, five(2)...),
		sampled("GPU", "bf16, resident", 128, five(3)...),
	}}
	ours.Results[4].Variant, ours.Results[4].Precision = "resident", "bf16" // said outright
	failed := sampled("GPU", "PyTorch amp bf16 graph", 128)
	failed.NA = "out of memory"
	theirs := &Report{Results: []Result{
		sampled("GPU", "PyTorch fp32 eager", 128, five(10)...), sampled("GPU", "PyTorch fp32 graph", 128, five(9)...), sampled("GPU", "PyTorch tf32 eager", 128, five(1)...),
		sampled("GPU", "PyTorch amp fp16 eager", 128, five(3)...), sampled("GPU", "PyTorch amp fp16 graph", 128, five(3.5)...),
		sampled("GPU", "PyTorch amp bf16 eager", 128, five(6)...), failed,
	}}
	type row struct{ a, b, verdict string }
	of := func(c Comparisons) (rows []row) {
		for _, r := range c.Rows {
			rows = append(rows, row{r.A.Variant + "/" + r.A.precision(), r.B.Variant, r.Verdict})
		}
		return rows
	}
	c := CompareReports(ours, theirs, false)
	assert.Equal(t, []row{
		{"/fp32", "PyTorch fp32 graph", Slower}, {"resident/fp32", "PyTorch fp32 graph", Slower},
		{"fp16/fp16", "PyTorch amp fp16 eager", Faster}, {"fp16, resident/fp16", "PyTorch amp fp16 eager", Slower},
		{"resident/bf16", "PyTorch amp bf16 eager", Slower},
	}, of(c))
	assert.Equal(t, 1, c.Unmatched, "TF32")
	assert.Equal(t, 2, c.Hidden)
	require.Error(t, CheckSlower(c.Rows, 0.05))

	// The other way round, each of theirs meets the fastest of ours.
	c = CompareReports(theirs, ours, false)
	assert.Contains(t, of(c), row{"PyTorch amp fp16 graph/fp16", "fp16, resident", Faster})
	assert.Contains(t, of(c), row{"PyTorch amp bf16 graph/bf16", "resident", CannotTell})

	// The same ways are compared with each other, however fast another one is.
	c = CompareReports(ours, ours, false)
	require.Len(t, c.Rows, 5)
	for _, r := range c.Rows {
		assert.Same(t, r.A, r.B)
	}
	assert.Zero(t, c.Hidden+c.Unmatched)

	c = CompareReports(ours, theirs, true)
	assert.Len(t, c.Rows, 5*7)
	assert.Zero(t, c.Hidden+c.Unmatched)
}

func TestTables(t *testing.T) {
	var b strings.Builder
	require.NoError(t, exampleReport().WriteMarkdown(&b))
	for _, s := range []string{"160", "n/a (out of memory)", "n/a (not compared)", "WARNING: "} {
		assert.Contains(t, b.String(), s)
	}
	assert.NotContains(t, b.String(), "NaN")

	b.Reset()
	require.NoError(t, exampleReport().WriteCSV(&b))
	rows, err := csv.NewReader(strings.NewReader(b.String())).ReadAll()
	require.NoError(t, err)
	require.Len(t, rows, 5)
	assert.Equal(t, "0.1 0.11 0.1 0.12 0.1 0.1", rows[1][len(rows[1])-1])
	assert.Equal(t, "out of memory", rows[4][len(rows[4])-3])
}

// A run of many batch sizes becomes lines, not bars; names tell apart what differs.
func TestFiguresOfGrowthAndPrograms(t *testing.T) {
	growth := &Report{Environment: Environment{Program: "vkalexnet"}}
	for _, batch := range []int{1, 2, 4, 8, 16} {
		for _, variant := range []string{"", "resident", "fp16, resident"} {
			r := sampled("GPU", variant, batch, 0.001*float64(batch+4))
			r.Memory, r.Checked = uint64(batch+100)<<20, &Check{}
			growth.Results = append(growth.Results, r)
		}
	}
	ours := &Report{Environment: Environment{Program: "vkalexnet"}, Results: []Result{sampled("GPU", "", 128, 0.01), sampled("GPU", "resident", 128, 0.009), sampled("GPU", "fp16, resident", 128, 0.005)}}
	ours.Results[0].Checked = &Check{}
	theirs := &Report{Environment: Environment{Program: "torch_bench.py", Version: "PyTorch 2.11"}, Results: []Result{sampled("GPU", "PyTorch amp fp16 graph", 128, 0.006)}}
	var b strings.Builder
	require.NoError(t, WriteHTML(&b, []*Report{growth, ours, theirs}))
	page := b.String()
	for _, text := range []string{"batch 128, fp32", "batch 128, fp16", ">vkalexnet, from the host<", ">vkalexnet, resident<", ">PyTorch, amp graph<", ">12,800<",
		"growth with the batch", "milliseconds a picture", "MiB a picture", ">fp16, vkalexnet<", "fp32, vkalexnet, batch 16: 1.25", "fp32, vkalexnet, batch 1: 101"} {
		assert.Contains(t, page, text)
	}
	assert.NotContains(t, page, "batch 16, fp32", "growth makes no bars")
	figures := strings.Split(page, "<svg")
	assert.Equal(t, 4, strings.Count(page, "<polyline"), "two panels of two precisions, resident alone")
	assert.Len(t, figures, 3)
}

// Bars say whose they are also in a figure that has one program alone; a program has one
// colour in all figures; what has no result takes a line of text and no bars.
func TestFiguresOfOneProgramAmongSeveral(t *testing.T) {
	ours := &Report{Environment: Environment{Program: "vkalexnet", Version: "abc1234"}, Results: []Result{sampled("Card (driver 1)", "", 128, 0.01)}}
	other := sampled("Card (driver 1)", "PyTorch fp32 eager", 64, 0.006)
	other.Model = "alexnet-owt"
	skipped := Result{Device: other.Device, Mode: Infer, Model: "alexnet-owt", Batch: 64, Test: Infer, Variant: "PyTorch fp16 eager", NA: "no time was left"}
	theirs := &Report{Environment: Environment{Program: "torch_bench.py", Version: "PyTorch 2.11"}, Results: []Result{other, skipped}}
	var b strings.Builder
	require.NoError(t, WriteHTML(&b, []*Report{ours, theirs}))
	charts, _, _ := strings.Cut(b.String(), "Measured with")
	assert.Contains(t, charts, ">PyTorch, eager<")
	assert.Regexp(t, `fill="`+colours[1]+`"><title>batch 64, fp32, PyTorch, eager: 10,667 images/s`, charts)
	assert.Contains(t, charts, "Without a result, as the tables below explain: batch 64, fp16.")
	assert.NotContains(t, charts, ">batch 64, fp16<")
	assert.Contains(t, b.String(), "no time was left")

	// Devices are named where they differ, without what stands in brackets.
	ours.Results = append(ours.Results, sampled("llvmpipe (LLVM 15.0.6, 256 bits)", "", 128, 1))
	b.Reset()
	require.NoError(t, WriteHTML(&b, []*Report{ours}))
	assert.Contains(t, b.String(), ">llvmpipe, infer<")
	assert.Contains(t, b.String(), ">Card, infer<")
	ours.Results[1].Device = "Card (driver 2)"
	b.Reset()
	require.NoError(t, WriteHTML(&b, []*Report{ours}))
	assert.Contains(t, b.String(), ">Card (driver 2), infer<", "two that would be called alike")
}

func TestElided(t *testing.T) {
	assert.Equal(t, "ab×defgh", elided("ab×defgh", 8))
	assert.Equal(t, "ab×d…ghi", elided("ab×defghi", 8))
}

// Whatever the values are, each panel has an axis with at least two numbers.
func TestLineChartAxes(t *testing.T) {
	for _, values := range [][]float64{{1, 1}, {5, 5}, {0.76, 1.97}, {1e-6, 1e6}, {3, 4}, {10, 20}} {
		var c lineChart
		for i, v := range values {
			c.add("ms", "GPU", float64(i+1), v)
		}
		text := string(c.svg())
		assert.NotContains(t, text, "NaN")
		assert.NotContains(t, text, "Inf")
		assert.GreaterOrEqual(t, strings.Count(text, `text-anchor="end" class="number"`), 2, values)
	}
}

func TestGroupedNumbers(t *testing.T) {
	for v, text := range map[float64]string{0.012: "0.012", 5: "5", 50: "50", 256: "256", 1000: "1,000", 24743.4: "24,743", 1234567: "1,234,567", 2.5: "2.5"} {
		assert.Equal(t, text, grouped(v))
	}
}

func TestPageEscapesAndNeedsNothingElse(t *testing.T) {
	var b strings.Builder
	require.NoError(t, WriteHTML(&b, []*Report{exampleReport(), exampleReport()}))
	page := b.String()
	assert.NotContains(t, page, "<script>")
	assert.NotContains(t, page, "<b>")
	assert.Contains(t, page, "&lt;b&gt;GPU&lt;/b&gt; &amp; more")
	for _, outside := range []string{"src=", "href=", "@import", "url("} {
		assert.NotContains(t, page, outside)
	}
	assert.NotContains(t, page, "NaN")
	pictures := strings.Split(page, "<svg")[1:]
	require.NotEmpty(t, pictures)
	for _, p := range pictures {
		text, _, found := strings.Cut(p, "</svg>")
		require.True(t, found)
		d := xml.NewDecoder(strings.NewReader("<svg" + text + "</svg>"))
		for {
			if _, err := d.Token(); err != nil {
				require.ErrorIs(t, err, io.EOF, "each picture is well-formed")
				break
			}
		}
	}
}
