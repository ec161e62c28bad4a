// Package bench holds what a benchmark's results are: the file that they are
// kept in, their statistics, the comparison of two of them, and the tables and
// the page that show them. It measures nothing itself but the calls it is given.
package bench

import (
	"encoding/json"
	"fmt"
	"os"

	"vkalexnet/engine"
)

// Schema names the form of a results file.
const Schema = "vkalexnet-bench/1"

// Report is a file of results: one run of `vkalexnet bench`, or of another
// program that prints the same.
type Report struct {
	Schema      string        `json:"schema"`
	Environment Environment   `json:"environment"`
	Devices     []engine.Info `json:"devices"`
	Results     []Result      `json:"results"`
	// Warnings are what a reader has to know to believe the figures.
	Warnings []string `json:"warnings,omitempty"`
	// Name tells reports on one page apart, beside a letter; it may be empty.
	Name string `json:"-"`
}

// The modes of a benchmark.
const (
	Infer  = "infer"
	Train  = "train"
	Layers = "layers"
	Peak   = "peak"
	Loader = "loader"
	GEMM   = "gemm"
)

// Result is one test on one device.
type Result struct {
	Device   string `json:"device"` // its name
	UUID     string `json:"uuid,omitempty"`
	Software bool   `json:"software,omitempty"` // a software driver, or a CPU
	Mode     string `json:"mode"`
	Model    string `json:"model,omitempty"`
	Batch    int    `json:"batch,omitempty"`
	// Test tells the tests of a mode apart: "conv2 forward".
	Test string `json:"test"`
	// Variant says how the same test was done where there is more than one way:
	// "fp32 eager".
	Variant string `json:"variant,omitempty"`
	// Precision is fp32, bf16x3, tf32, fp16 or bf16; where it is empty, Variant may say.
	Precision string `json:"precision,omitempty"`
	// Layer and Pass are the parts of a Test of mode layers.
	Layer string `json:"layer,omitempty"`
	Pass  string `json:"pass,omitempty"`

	// Images, FLOPs and Bytes are what one sample processes. Bytes are the
	// fewest that can be moved: every tensor read or written once.
	Images float64 `json:"images,omitempty"`
	FLOPs  float64 `json:"flops,omitempty"`
	Bytes  float64 `json:"bytes,omitempty"`
	// Samples are the measured times in seconds, in the order they were taken.
	Samples []float64 `json:"samples,omitempty"`
	// Stats sums them up; nil where there are none, and then NA says why.
	Stats *Stats `json:"stats,omitempty"`
	NA    string `json:"na,omitempty"`
	// PeakFLOPs and PeakBytes are the device's own measured peaks, per second.
	PeakFLOPs float64 `json:"peak_flops,omitempty"`
	PeakBytes float64 `json:"peak_bytes,omitempty"`
	// Memory is what the test takes on the device, in bytes.
	Memory uint64 `json:"memory,omitempty"`
	// Checked says how the result was compared with the CPU reference.
	Checked *Check `json:"checked,omitempty"`
	// Note is what else there is to know: "best of 4 kernels: 16 chains, fused".
	Note string `json:"note,omitempty"`
}

// Check is a comparison with the CPU reference that was passed.
type Check struct {
	Pictures int     `json:"pictures"` // how many the reference computed
	Tensors  int     `json:"tensors"`
	Error    float64 `json:"error"` // the largest relative difference, |got - want|₂ / |want|₂
	Limit    float64 `json:"limit"`
}

// Environment is where and with what the results were measured.
type Environment struct {
	Program   string `json:"program"`
	Version   string `json:"version"`
	Commit    string `json:"commit,omitempty"`
	GoVersion string `json:"go,omitempty"`
	// Shaders is the SHA-256 of all kernels.
	Shaders string `json:"shaders,omitempty"`
	Time    string `json:"time"` // RFC 3339
	OS      string `json:"os"`
	Kernel  string `json:"kernel,omitempty"`
	CPU     string `json:"cpu,omitempty"`
	Threads int    `json:"threads,omitempty"`
	Memory  uint64 `json:"memory,omitempty"` // bytes
	// Governor is the CPU's frequency governor, Load the machine's load average
	// over the last minute before the run.
	Governor  string            `json:"governor,omitempty"`
	Load      *float64          `json:"load,omitempty"`
	Variables map[string]string `json:"variables,omitempty"`
	Command   []string          `json:"command,omitempty"`
}

// ReadReport reads a results file: one JSON report, or JSON lines as
// WriteJSONL writes them.
func ReadReport(path string) (*Report, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read results: %w", err)
	}
	defer f.Close()
	decoder := json.NewDecoder(f)
	var r Report
	if err := decoder.Decode(&r); err != nil {
		return nil, fmt.Errorf("read results: %s: %w", path, err)
	}
	if r.Schema != Schema {
		return nil, fmt.Errorf("read results: %s: its schema is %q, not %q: is it a file of `vkalexnet bench -o json`?", path, r.Schema, Schema)
	}
	for decoder.More() {
		var one Result
		if err := decoder.Decode(&one); err != nil {
			return nil, fmt.Errorf("read results: %s: result %d: %w", path, len(r.Results)+1, err)
		}
		r.Results = append(r.Results, one)
	}
	for i := range r.Results {
		res := &r.Results[i]
		for _, s := range res.Samples {
			if !(s > 0) {
				return nil, fmt.Errorf("read results: %s: result %d (%s): a sample of %g s", path, i+1, res.Test, s)
			}
		}
		// What the file says of its samples is not relied on.
		res.Stats = NewStats(res.Samples)
	}
	return &r, nil
}

// rate is work per second of the median.
func (r *Result) rate(work float64) (float64, bool) {
	if r.Stats == nil || work == 0 {
		return 0, false
	}
	return work / r.Stats.Median, true
}

// ImageRate is in images per second; false where there is none to tell.
func (r *Result) ImageRate() (float64, bool) { return r.rate(r.Images) }

// FLOPRate is in floating-point operations per second.
func (r *Result) FLOPRate() (float64, bool) { return r.rate(r.FLOPs) }

// ByteRate is in bytes per second.
func (r *Result) ByteRate() (float64, bool) { return r.rate(r.Bytes) }

// FLOPShare is FLOPRate over the device's measured peak.
func (r *Result) FLOPShare() (float64, bool) { return share(r.FLOPRate, r.PeakFLOPs) }

// ByteShare is ByteRate over the device's measured peak.
func (r *Result) ByteShare() (float64, bool) { return share(r.ByteRate, r.PeakBytes) }

func share(rate func() (float64, bool), peak float64) (float64, bool) {
	v, ok := rate()
	if !ok || peak == 0 {
		return 0, false
	}
	return v / peak, true
}

// Where names the device with what must be said of it.
func (r *Result) Where() string { return r.where(r.Variant) }

func (r *Result) where(variant string) string {
	name := r.Device
	if variant != "" {
		name += ", " + variant
	}
	if r.Software {
		name += " (software)"
	}
	return name
}
