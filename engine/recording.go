package engine

import (
	"fmt"
	"strings"
)

// Recording is a list of kernel calls and copies on buffers: plain data that is
// printed, planned, and compiled into a Program. Recording cannot fail.
type Recording struct {
	info  Info
	calls []call
	temps []*temp
	label string
	flops int64
}

// temp is a buffer that lives only within one run of a program.
type temp struct {
	name  string
	words int
	index int
}

// call is one kernel call, or a copy or a fill when kernel is nil.
type call struct {
	kernel   *kernel
	grid     Grid
	label    string
	flops    int64
	buffers  []Buffer // per field of the kernel
	numbers  []uint32 // per field of the kernel
	from, to Buffer   // a copy's; a fill has no from
	value    uint32   // a fill's
	empty    bool     // over no workgroups
}

// Grid is how much work a call is: threads, or workgroups in three dimensions.
type Grid struct {
	threads int
	groups  [3]int
}

// Threads asks for at least n invocations in one dimension; the engine chooses
// the workgroups. As one dimension has too few groups on some devices they may
// be folded into two: a shader's index is
// gl_GlobalInvocationID.y * gl_NumWorkGroups.x * gl_WorkGroupSize.x + gl_GlobalInvocationID.x,
// and it must check the index against its count.
func Threads(n int) Grid { return Grid{threads: n} }

// Groups asks for x × y × z workgroups.
func Groups(x, y, z int) Grid { return Grid{groups: [3]int{x, y, z}} }

// NewRecording starts a recording for devices like info.
func NewRecording(info Info) *Recording { return &Recording{info: info} }

// Info is the device that the recording is meant for.
func (r *Recording) Info() *Info { return &r.info }

// Temp is a buffer of words 32-bit words that lives from its first to its last
// use in the recording; temporaries share memory. Its content is undefined.
func (r *Recording) Temp(name string, words int) Buffer {
	t := &temp{name: name, words: max(words, 1), index: len(r.temps)}
	r.temps = append(r.temps, t)
	return Buffer{temp: t, n: words}
}

// Label names the calls that follow, for timings and errors: "conv2 forward".
func (r *Recording) Label(s string) { r.label = s }

// Work states the floating-point operations of the next call.
func (r *Recording) Work(flops int64) { r.flops = flops }

// Copy appends a copy of equally long buffers.
func (r *Recording) Copy(to, from Buffer) {
	if to.n != from.n {
		panic(fmt.Sprintf("engine: copy of %d words of %s into %d words of %s", from.n, from.name(), to.n, to.name()))
	}
	r.calls = append(r.calls, call{label: r.label, from: from, to: to})
}

// Fill appends setting every word of a buffer to value.
func (r *Recording) Fill(to Buffer, value uint32) {
	r.calls = append(r.calls, call{label: r.label, to: to, value: value})
}

// MaxWords is the longest range, in words, that one kernel argument may have.
func (r *Recording) MaxWords() int {
	return int(r.info.Limits.StorageRange/WordBytes) &^ (pageWords - 1)
}

// MaxFLOPs is how much work one call should be at most, so that even a slow GPU
// (a discrete one of 1 TFLOP/s, another of 100 GFLOP/s) finishes it within 100 ms
// and no watchdog resets it.
func (r *Recording) MaxFLOPs() int64 {
	switch r.info.Type {
	case Software:
		return 1 << 60
	case Discrete:
		return 100e9
	}
	return 10e9
}

// String lists the calls, one a line.
func (r *Recording) String() string {
	var b strings.Builder
	for i, c := range r.calls {
		if c.kernel == nil && c.from.IsZero() {
			fmt.Fprintf(&b, "%3d %-24s fill %s (%d words)\n", i, c.label, c.to.name(), c.to.n)
			continue
		}
		if c.kernel == nil {
			fmt.Fprintf(&b, "%3d %-24s copy %s → %s (%d words)\n", i, c.label, c.from.name(), c.to.name(), c.from.n)
			continue
		}
		fmt.Fprintf(&b, "%3d %-24s %s", i, c.label, c.kernel.name)
		for f, field := range c.kernel.fields {
			if buf := c.buffers[f]; !buf.IsZero() {
				fmt.Fprintf(&b, " %s=%s[%d:+%d]", field.label, buf.name(), buf.first, buf.n)
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}
