package alexnet

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"vkalexnet/engine"
	"vkalexnet/layers"
)

type peakFMA struct {
	Y                  engine.Buffer
	Threads, Rounds    uint32
	Factor, Term       float32
	SixteenSums, Fused bool
}

type peakCopy struct {
	X, Y  engine.Buffer
	Quads uint32
}

var (
	peakFMAKernel  = engine.Declare[peakFMA]("peak_fma")
	peakCopyKernel = engine.Declare[peakCopy]("peak_copy")
)

// Probe is a small program that measures one ability of a device.
type Probe struct {
	Name  string
	Note  string
	FLOPs float64 // of one Once
	Bytes float64 // moved by one Once
	once  func() error
	times int // how often once is called for one Once, when not 1
	close func()
}

// Once runs the probe and says how long it took, wall clock.
func (p *Probe) Once() (time.Duration, error) {
	n := max(1, p.times)
	start := time.Now()
	for range n {
		if err := p.once(); err != nil {
			return 0, err
		}
	}
	return time.Since(start) / time.Duration(n), nil
}

// Close frees what the probe holds on the device.
func (p *Probe) Close() { p.close() }

const (
	// probeTime is how long a probe should take: long beside a submission, short
	// beside a watchdog's patience.
	probeTime = 40 * time.Millisecond
	// probeWords is the size of the buffers of the bandwidth probe: larger than
	// the caches of today's GPUs.
	probeWords = 256 << 20 / engine.WordBytes
)

// run compiles a recording and makes a probe of it.
func runProbe(dev *engine.Device, name string, record func(r *engine.Recording), close func()) (*Probe, error) {
	r := engine.NewRecording(dev.Info)
	r.Label(name)
	record(r)
	program, err := dev.Compile(r, engine.Options{})
	if err != nil {
		close()
		return nil, err
	}
	return &Probe{Name: name, once: program.Run, close: func() { program.Free(); close() }}, nil
}

// lengthen makes probes of more and more rounds until one takes long enough.
func lengthen(make func(rounds int) (*Probe, error), most int) (*Probe, error) {
	rounds := 1
	for {
		p, err := make(rounds)
		if err != nil {
			return nil, err
		}
		if _, err = p.Once(); err != nil { // the first run prepares
			p.Close()
			return nil, err
		}
		took, err := p.Once()
		if err != nil {
			p.Close()
			return nil, err
		}
		if took >= probeTime/2 || rounds >= most {
			return p, nil
		}
		p.Close()
		factor := int(min(8, max(2, float64(probeTime)/float64(max(took, time.Microsecond)))))
		rounds = min(most, rounds*factor)
	}
}

// FMAProbes measure the rate of float32 multiply-adds in registers, in a few
// ways: which one a device does best differs, and the best is its peak.
func FMAProbes(dev *engine.Device) (probes []*Probe, err error) {
	threads := 1 << 18
	if dev.Type == engine.Software {
		threads = 1 << 12
	}
	defer func() {
		if err != nil {
			for _, p := range probes {
				p.Close()
			}
		}
	}()
	for _, fused := range []bool{true, false} {
		for _, sixteen := range []bool{false, true} {
			sums, how := 8, "multiply and add"
			if sixteen {
				sums = 16
			}
			if fused {
				how = "fma"
			}
			out, err := dev.NewBuffer("peak", alignPage(threads), engine.OnDevice)
			if err != nil {
				return probes, err
			}
			p, err := lengthen(func(rounds int) (*Probe, error) {
				p, err := runProbe(dev, "FMA rate", func(r *engine.Recording) {
					peakFMAKernel.Record(r, engine.Threads(threads), peakFMA{Y: out, Threads: uint32(threads), Rounds: uint32(rounds),
						Factor: 0.999, Term: 0.001, SixteenSums: sixteen, Fused: fused})
				}, func() {})
				if err != nil {
					return nil, err
				}
				p.Note = fmt.Sprintf("%s, %d sums", how, sums)
				p.FLOPs = 2 * 16 * float64(rounds) * float64(sums) * float64(threads)
				return p, nil
			}, 1<<20)
			if err != nil {
				dev.Free(out)
				return probes, err
			}
			release := p.close
			p.close = func() { release(); dev.Free(out) }
			probes = append(probes, p)
		}
	}
	return probes, nil
}

// CopyProbes measure the bandwidth of the device's memory: one large buffer is
// copied to another by a kernel, and by the driver's own command. The better one
// is the peak.
func CopyProbes(dev *engine.Device) (probes []*Probe, err error) {
	words := int(min(probeWords, dev.Limits.StorageRange/engine.WordBytes, dev.Limits.Allocation/engine.WordBytes, Room(dev)/8/engine.WordBytes)) &^ 63
	if words == 0 {
		return nil, errors.New("too little memory is free")
	}
	x, err := dev.NewBuffer("copy from", words, engine.OnDevice)
	if err != nil {
		return nil, err
	}
	y, err := dev.NewBuffer("copy to", words, engine.OnDevice)
	if err != nil {
		dev.Free(x)
		return nil, err
	}
	release := func() { dev.Free(x); dev.Free(y) }
	fill, err := runProbe(dev, "fill", func(r *engine.Recording) { r.Fill(x, 0x3f800000) }, func() {})
	if err == nil {
		err = fill.once()
		fill.Close()
	}
	if err != nil {
		release()
		return nil, err
	}
	for _, command := range []bool{false, true} {
		how := "kernel"
		if command {
			how = "copy command"
		}
		p, err := lengthen(func(rounds int) (*Probe, error) {
			p, err := runProbe(dev, "memory bandwidth", func(r *engine.Recording) {
				for i := range rounds {
					from, to := x, y
					if i%2 == 1 {
						from, to = y, x
					}
					if command {
						r.Copy(to, from)
					} else {
						peakCopyKernel.Record(r, engine.Threads(words/4), peakCopy{X: from, Y: to, Quads: uint32(words / 4)})
					}
				}
			}, func() {})
			if err != nil {
				return nil, err
			}
			p.Bytes = 2 * engine.WordBytes * float64(words) * float64(rounds)
			p.Note = fmt.Sprintf("%s, bytes read and written, buffers of %s", how, engine.Bytes(uint64(words)*engine.WordBytes))
			return p, nil
		}, 1<<10)
		if err != nil {
			for _, p := range probes {
				p.Close()
			}
			release()
			return nil, err
		}
		probes = append(probes, p)
	}
	last := probes[len(probes)-1]
	inner := last.close
	last.close = func() { inner(); release() }
	return probes, nil
}

// TransferProbes measure what it costs to talk to the device: copies to it and
// back in bytes per second, and the time of a submission that does next to nothing.
func TransferProbes(dev *engine.Device) ([]*Probe, error) {
	const words = 32 << 20 / engine.WordBytes
	b, err := dev.NewBuffer("transfer", words, engine.OnDevice)
	if err != nil {
		return nil, err
	}
	submit, err := runProbe(dev, "submission", func(r *engine.Recording) { r.Fill(b.Slice(0, 64), 0) }, func() {})
	if err != nil {
		dev.Free(b)
		return nil, err
	}
	submit.Note, submit.times = "one fill of 256 bytes, waited for; mean of 100", 100
	host := make([]float32, words)
	note := "32 MiB from and to ordinary memory"
	up := &Probe{Name: "host to device", Note: note, Bytes: words * engine.WordBytes, once: func() error { return engine.Upload(dev, b, host) }, close: func() {}}
	down := &Probe{Name: "device to host", Note: note, Bytes: words * engine.WordBytes, once: func() error { return engine.Download(dev, b, host) }, close: func() { dev.Free(b) }}
	return []*Probe{submit, up, down}, nil
}

// GEMMProbe is the product of two square matrices of side n, as the forward
// pass of a fully connected layer of n inputs and n outputs on a batch of n,
// which is how the engine computes products. A few rows are first compared with
// the CPU reference; the error wraps ErrWrongResult where they differ by more
// than rounding explains.
func GEMMProbe(dev *engine.Device, n int) (*Probe, *BenchCheck, error) {
	layer := layers.Linear{Out: n}
	plan, err := layer.Plan(layers.Shape{C: n, H: 1, W: 1})
	if err != nil {
		return nil, nil, err
	}
	v := &verifier{dev: dev, batch: n, rng: rand.New(rand.NewPCG(benchSeed, uint64(n)))}
	x := v.random(n*n, 1)
	params := [][]float32{v.random(n*n, 1), v.random(n, 1)}
	slots := layers.Slots[engine.Buffer]{Batch: n, Plan: plan}
	take := func(into *engine.Buffer, name string, words int, data []float32) {
		if err == nil {
			*into, err = buffer(v, name, words, data)
		}
	}
	packed := make([]float32, n*plan.In.Pitch())
	layers.PackExamples(packed, x, n, plan.In)
	take(&slots.X, "A", len(packed), packed)
	for i, w := range params {
		packed := make([]float32, len(w))
		plan.PackParam(i, packed, w)
		var b engine.Buffer
		take(&b, plan.Params[i].Name, len(w), packed)
		slots.Params = append(slots.Params, b)
	}
	take(&slots.Y, "C", n*plan.Out.Pitch(), nil)
	if err != nil {
		v.free()
		return nil, nil, err
	}
	p, err := runProbe(dev, fmt.Sprintf("%d×%d×%d", n, n, n), func(r *engine.Recording) { layer.Forward(r, &slots) }, v.free)
	if err != nil {
		return nil, nil, err
	}
	p.FLOPs = 2 * float64(n) * float64(n) * float64(n)
	check, err := checkGEMM(v, p, layer, plan, slots, x, params)
	if err != nil {
		p.Close()
		return nil, check, err
	}
	return p, check, nil
}

// checkGEMM runs the probe and compares the first rows of the product.
func checkGEMM(v *verifier, p *Probe, layer layers.Linear, plan layers.Plan, slots layers.Slots[engine.Buffer], x []float32, params [][]float32) (*BenchCheck, error) {
	if err := p.once(); err != nil {
		return nil, err
	}
	rows := min(v.batch, 8)
	cpu := layers.Slots[[]float32]{Batch: rows, Plan: plan, X: x[:rows*plan.In.Len()], Y: make([]float32, rows*plan.Out.Len()), Params: params}
	layer.ForwardCPU(&cpu)
	got, err := v.examples(slots.Y, plan.Out, layers.FP32)
	if err != nil {
		return nil, err
	}
	c := &BenchCheck{Pictures: rows, Tensors: 1, Error: relativeError(got[:len(cpu.Y)], cpu.Y), Limit: 1e-5}
	if !(c.Error <= c.Limit) {
		return c, fmt.Errorf("%w: %d rows of the product differ from the CPU reference's by %.2g of their size, and rounding explains %.2g", ErrWrongResult, rows, c.Error, c.Limit)
	}
	return c, nil
}
