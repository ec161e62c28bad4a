package alexnet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"time"

	"vkalexnet/engine"
	"vkalexnet/layers"
	"vkalexnet/shaders"
	"vkalexnet/weights"
)

// Tuned is what [Tune] measured of one matrix product.
type Tuned struct {
	Product string        `json:"product"`
	FLOPs   int64         `json:"flops"`
	Chosen  layers.Tuning `json:"chosen"`
	Table   layers.Tuning `json:"table"` // what the fixed table says
	Time    time.Duration `json:"time"`  // of the chosen tuning on the device
	TableIs time.Duration `json:"table_time"`
	// Candidates are the times of all that compute the right result, at a first look; on
	// software drivers without the safe one.
	Candidates []TunedTime `json:"candidates"`
	Rejected   []string    `json:"rejected,omitempty"` // tunings that do not compile there or compute something else
}

// TunedTime is how long a tuning took on the device.
type TunedTime struct {
	layers.Tuning
	Time time.Duration `json:"time"`
}

// TuneOptions are the choices of [Tune].
type TuneOptions struct {
	// Budget ends the search: products that it does not reach keep the table's tuning.
	Budget time.Duration
	// Again tries candidates that lost the device or ended a process before.
	Again bool
	// Progress, if not nil, is called before each product is measured.
	Progress func(done, total int, product string)
	// Warn, if not nil, is told of candidates that are not tried any more, in a line.
	Warn func(text string)

	trying func(on []trial) error // for tests: instead of the driver's mishaps
}

type compare struct {
	X, Y, Found engine.Buffer
	Count, Each uint32
	Unset       float32
	Format      uint32 // layers.Precision
}

var compareKernel = engine.Declare[compare]("compare")

const (
	// unset marks elements that no kernel has written: a number of every precision.
	unset = float32(57344)
	// A candidate is dropped when it takes this much longer than the best one at
	// the first look.
	tuneDrop = 1.3
	// tuneRuns is how often the others are timed; the median counts.
	tuneRuns = 5
)

// products are the distinct matrix products of the network's passes on a device,
// the most work first.
func (n *deviceNet) products() []layers.Product {
	var all []layers.Product
	seen := map[string]bool{}
	first := firstTrained(n.specs)
	for i, p := range n.plans {
		s := layers.Slots[engine.Buffer]{Batch: n.batch, Plan: p, Tuning: n.tuning, NoDX: i == first, Precision: n.opt.Precision, Split: n.split, FloatY: i == len(n.plans)-1}
		for _, product := range layers.Products(n.net.Layers[i].Layer, n.info, &s, !n.opt.Inference) {
			if key := product.String(); !seen[key] {
				seen[key] = true
				all = append(all, product)
			}
		}
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].FLOPs() > all[j].FLOPs() })
	return all
}

// Tune measures for every matrix product of the network's passes which tuning
// the device is fastest with. Each candidate's result is first compared with that
// of the table's safe row; one that differs by more than rounding explains, or
// that the driver cannot compile, is dropped; one that ends the process or loses the
// device is not tried at the next start. known are choices of before, which
// are kept. The results of a product do not depend on when it was tuned, but on
// the choice: a run must keep to one.
func Tune(ctx context.Context, dev *engine.Device, net *Network, batch int, opt ExecOptions, known layers.Choices, how TuneOptions) (layers.Choices, []Tuned, error) {
	n, err := newDeviceNet(dev.Info, net, batch, opt, func(name string, words int, _ engine.Place) (engine.Buffer, error) {
		return engine.PlannedBuffer(name, words), nil
	})
	if err != nil {
		return nil, nil, err
	}
	choices := layers.Choices{}
	for k, v := range known {
		choices[k] = v
	}
	var products []layers.Product
	for _, p := range n.products() {
		if _, ok := choices[p.String()]; !ok {
			products = append(products, p)
		}
	}
	if len(products) == 0 || !dev.Features.Timestamps {
		return choices, nil, nil
	}
	t, err := newTuner(dev, products)
	if err != nil {
		return nil, nil, fmt.Errorf("tune %s for %s: %w", net.Name, dev.Name, err)
	}
	defer t.free()
	t.trials, t.trying = openTrials(&dev.Info, how.Again), how.trying
	defer t.trials.close()
	if text := t.trials.warning(); text != "" && how.Warn != nil && !how.Again {
		how.Warn(text)
	}
	var tuned []Tuned
	deadline := time.Now().Add(how.Budget)
	for i, p := range products {
		if err := ctx.Err(); err != nil {
			return choices, tuned, err
		}
		if how.Budget > 0 && time.Now().After(deadline) {
			break
		}
		if how.Progress != nil {
			how.Progress(i, len(products), p.String())
		}
		result, err := t.product(ctx, p)
		if ctx.Err() != nil {
			return choices, tuned, ctx.Err()
		}
		if err != nil {
			return choices, tuned, fmt.Errorf("tune %s: %w", p, err)
		}
		choices[p.String()] = result.Chosen
		tuned = append(tuned, *result)
	}
	return choices, tuned, nil
}

// tuner has the operands that every product borrows.
type tuner struct {
	dev                   *engine.Device
	a, b, c, wanted, seen engine.Buffer
	trials                *trials
	trying                func(on []trial) error
}

func newTuner(dev *engine.Device, products []layers.Product) (*tuner, error) {
	var most [3]int
	candidates := 0
	for _, p := range products {
		a, b, c := p.Words()
		most = [3]int{max(most[0], a), max(most[1], b), max(most[2], c)}
		candidates = max(candidates, len(p.Candidates(&dev.Info)))
	}
	t := &tuner{dev: dev}
	var err error
	take := func(into *engine.Buffer, name string, words int) {
		if err == nil {
			*into, err = dev.NewBuffer(name, alignPage(words), engine.OnDevice)
		}
	}
	take(&t.a, "tuning: first operand", most[0])
	take(&t.b, "tuning: second operand", most[1])
	take(&t.c, "tuning: result", most[2])
	take(&t.wanted, "tuning: safe result", most[2])
	take(&t.seen, "tuning: differences", candidates*exampleWords)
	rng := rand.New(rand.NewPCG(1, 2))
	operands, _ := products[0].Formats()
	values := make([]float32, 1<<20)
	for i := range values {
		values[i] = 2*rng.Float32() - 1
	}
	noise := make([]uint32, operands.Words(len(values)))
	operands.Pack(noise, values)
	for _, operand := range []engine.Buffer{t.a, t.b} {
		for first := 0; first < operand.Len() && err == nil; first += len(noise) {
			n := min(len(noise), operand.Len()-first)
			err = engine.Upload(dev, operand.Slice(first, n), noise[:n])
		}
	}
	if err != nil {
		t.free()
		return nil, err
	}
	return t, nil
}

// exampleWords is the distance of buffers that are parts of one.
const exampleWords = 64

func (t *tuner) free() {
	for _, b := range []engine.Buffer{t.a, t.b, t.c, t.wanted, t.seen} {
		t.dev.Free(b)
	}
}

// together are the candidates that are timed by one program: all, but on a
// software driver, where each takes so long that Ctrl-C should not wait for all.
func (t *tuner) together(which []int) [][]int {
	if t.dev.Software() {
		return slices.Collect(slices.Chunk(which, 1))
	}
	return [][]int{which}
}

// product finds the best tuning of one product.
func (t *tuner) product(ctx context.Context, p layers.Product) (*Tuned, error) {
	candidates := p.Candidates(&t.dev.Info)
	table := p.Table(&t.dev.Info)
	result := &Tuned{Product: p.String(), FLOPs: p.FLOPs(), Table: table, Chosen: table}
	a, b, c := p.Words()
	_, format := p.Formats()
	count := c * format.PerWord()
	var nothing [1]uint32
	format.Pack(nothing[:], slices.Repeat([]float32{unset}, format.PerWord()))
	operandA, operandB, out, wanted := t.a.Slice(0, a), t.b.Slice(0, b), t.c.Slice(0, c), t.wanted.Slice(0, c)
	record := func(which []int, each func(r *engine.Recording, i int)) *engine.Recording {
		r := engine.NewRecording(t.dev.Info)
		for _, i := range which {
			r.Label(strconv.Itoa(i))
			each(r, i)
		}
		return r
	}
	times := func(which []int, runs int) (map[int]time.Duration, error) {
		var programs []*engine.Program
		defer func() {
			for _, program := range programs {
				program.Free()
			}
		}()
		for _, some := range t.together(which) {
			program, err := t.dev.Compile(record(some, func(r *engine.Recording, i int) {
				p.Record(r, candidates[i], operandA, operandB, out)
			}), engine.Options{Timing: true})
			if err != nil {
				return nil, err
			}
			programs = append(programs, program)
		}
		samples := map[int][]time.Duration{}
		for range runs {
			sums := map[int]time.Duration{}
			for _, program := range programs {
				if err := ctx.Err(); err != nil {
					return nil, err
				}
				if err := program.Run(); err != nil {
					return nil, err
				}
				calls, err := program.Timings()
				if err != nil {
					return nil, err
				}
				for _, call := range calls {
					i, err := strconv.Atoi(call.Label)
					if err != nil {
						return nil, err
					}
					sums[i] += call.Duration
				}
			}
			for i, d := range sums {
				samples[i] = append(samples[i], d)
			}
		}
		medians := map[int]time.Duration{}
		for i, s := range samples {
			slices.Sort(s)
			medians[i] = s[len(s)/2]
		}
		return medians, nil
	}

	// The table's rows are used anyway. Of the others, what does not end well is not
	// tried again.
	attempt := func(which []int, do func() error) error {
		var on []trial
		for _, i := range which {
			if of := trialOf(p, candidates[i]); i > 0 && candidates[i] != table && !slices.Contains(on, of) {
				on = append(on, of)
			}
		}
		return t.trials.attempt(on, func() error {
			if t.trying != nil {
				if err := t.trying(on); err != nil {
					return err
				}
			}
			return do()
		})
	}
	reject := func(i int, err error) {
		result.Rejected = append(result.Rejected, fmt.Sprintf("%s: %v", candidates[i].Name, err))
	}

	// Which of them compile, side by side but for those that one of ended a process.
	groups := [][]int{nil}
	for i := range candidates {
		of := trialOf(p, candidates[i])
		switch why := t.trials.fatal(of); {
		case i == 0 || candidates[i] == table:
			groups[0] = append(groups[0], i)
		case why != "":
			reject(i, errors.New(why))
		case t.trials.suspect(of):
			groups = append(groups, []int{i})
		default:
			groups[0] = append(groups[0], i)
		}
	}
	var usable []int
	for _, some := range groups {
		recordings := make([]*engine.Recording, len(some))
		for n, i := range some {
			recordings[n] = record([]int{i}, func(r *engine.Recording, i int) { p.Record(r, candidates[i], operandA, operandB, out) })
		}
		err := attempt(some, func() error {
			for n, err := range t.dev.Prepare(recordings...) {
				switch i := some[n]; {
				case errors.Is(err, engine.ErrDeviceLost) || err != nil && i == 0:
					return err
				case err != nil:
					reject(i, err)
				default:
					usable = append(usable, i)
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}

	// Which of them compute the same as the safe one, the first.
	var computed []int
	for _, i := range usable {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		err := attempt([]int{i}, func() error {
			check, err := t.dev.Compile(record([]int{i}, func(r *engine.Recording, i int) {
				to, found := out, t.seen.Slice(i*exampleWords, exampleWords)
				if i == 0 {
					to = wanted
					r.Fill(t.seen, 0)
				}
				r.Fill(to, nothing[0])
				p.Record(r, candidates[i], operandA, operandB, to)
				const each = 64
				compareKernel.Record(r, engine.Threads((count+each-1)/each), compare{X: to, Y: wanted, Found: found, Count: uint32(count), Each: each, Unset: unset, Format: uint32(format)})
			}), engine.Options{})
			if err != nil {
				return err
			}
			defer check.Free()
			return check.Run()
		})
		switch {
		case errors.Is(err, engine.ErrDeviceLost) || err != nil && i == 0:
			return nil, err
		case err != nil: // too little memory for the parts of its sum, for one
			reject(i, err)
		default:
			computed = append(computed, i)
		}
	}
	found := make([]float32, t.seen.Len())
	if err := engine.Download(t.dev, t.seen, found); err != nil {
		return nil, err
	}
	var right []int
	for _, i := range computed {
		difference, size := found[i*exampleWords], found[i*exampleWords+1]
		if limit := float32(2*formatLimit(p.Terms(), format)*format.Unit()+splitLimit(candidates[i])) * size; !(difference <= limit) || !(size > 0) {
			reject(i, fmt.Errorf("differs from the safe kernel by %g where rounding explains %g", difference, limit))
			continue
		}
		right = append(right, i)
	}
	if len(right) == 0 {
		return nil, fmt.Errorf("%w: every tuning computes something else than the safe one: run vkalexnet verify", ErrWrongResult)
	}

	// Which of them is fastest: a first look at all, then a longer one at the best. On
	// software drivers the safe one is ten times as slow as the others, and takes most of the time.
	if t.dev.Type == engine.Software && len(right) > 1 && right[0] == 0 && candidates[0] != table {
		right = right[1:]
	}
	first, err := times(right, 2)
	if err != nil {
		return nil, err
	}
	best := time.Duration(math.MaxInt64)
	for _, i := range right {
		result.Candidates = append(result.Candidates, TunedTime{candidates[i], first[i]})
		best = min(best, first[i])
	}
	var good []int
	for _, i := range right {
		if float64(first[i]) <= tuneDrop*float64(best) || candidates[i] == table {
			good = append(good, i)
		}
	}
	last, err := times(good, tuneRuns)
	if err != nil {
		return nil, err
	}
	result.Time = math.MaxInt64
	for _, i := range good {
		if last[i] < result.Time {
			result.Time, result.Chosen = last[i], candidates[i]
		}
		if candidates[i] == table {
			result.TableIs = last[i]
		}
	}
	return result, nil
}

// tuningFile is the choices kept on disk for one device and driver. They count
// only for the kernels that they were measured with.
type tuningFile struct {
	Device  string         `json:"device"`
	Driver  string         `json:"driver"`
	Kernels string         `json:"kernels"` // shaders.Hash
	Choices layers.Choices `json:"choices"`
}

func tuningPath(info *engine.Info) string {
	dir := engine.CacheDir()
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, "tuning-"+info.DriverKey+".json")
}

// ReadChoices are the choices that were stored for a device: none where there
// are none, or where they were measured with other kernels or another driver.
func ReadChoices(info *engine.Info) layers.Choices {
	data, err := os.ReadFile(tuningPath(info))
	if err != nil {
		return nil
	}
	var f tuningFile
	if json.Unmarshal(data, &f) != nil || f.Driver != info.DriverKey || f.Kernels != shaders.Hash() {
		return nil
	}
	for k, t := range f.Choices {
		if !t.Sound() || !t.Fits(info) {
			delete(f.Choices, k)
		}
	}
	return f.Choices
}

// StoreChoices keeps choices for the next run on the device. It is a convenience:
// the error can be told and forgotten.
func StoreChoices(info *engine.Info, choices layers.Choices) error {
	path := tuningPath(info)
	if path == "" {
		return errors.New("store what tuning found: the system names no folder for caches")
	}
	data, err := json.MarshalIndent(tuningFile{info.Name, info.DriverKey, shaders.Hash(), choices}, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("store what tuning found: %w", err)
	}
	return weights.Replace(path, func(w io.Writer) error { _, err := w.Write(data); return err })
}
