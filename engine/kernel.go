package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"reflect"
	"sort"
	"strings"
	"sync"
)

// Kernel is a compute shader with its arguments: A is a struct whose fields
// have the names of the shader's buffers (Buffer), push constants and
// specialization constants (uint32, int32, float32, bool); unexported fields
// are the caller's own. Case and
// underscores do not matter, and embedded structs count as their fields; whether a number is a push constant or a
// specialization constant is the shader's business alone.
type Kernel[A any] struct{ *kernel }

type kernel struct {
	name   string
	fields []field
}

type field struct {
	name  string // normalised
	label string // as written in Go
	index []int
	kind  reflect.Kind // Struct for a Buffer
}

var registry struct {
	mu      sync.Mutex
	kernels []*kernel
}

// Declare binds the arguments A to the shader name (without ".spv"). It only
// notes them down; CheckKernels compares them with the shader.
func Declare[A any](name string) Kernel[A] {
	t := reflect.TypeFor[A]()
	if t.Kind() != reflect.Struct {
		panic("engine: the arguments of kernel " + name + " are not a struct")
	}
	k := &kernel{name: name}
	for _, f := range reflect.VisibleFields(t) {
		if f.Anonymous || !f.IsExported() {
			continue
		}
		kind := f.Type.Kind()
		if f.Type == reflect.TypeFor[Buffer]() {
			kind = reflect.Struct
		} else if kind != reflect.Uint32 && kind != reflect.Int32 && kind != reflect.Float32 && kind != reflect.Bool {
			panic(fmt.Sprintf("engine: argument %s of kernel %s is a %s", f.Name, name, f.Type))
		}
		k.fields = append(k.fields, field{normal(f.Name), f.Name, f.Index, kind})
	}
	registry.mu.Lock()
	registry.kernels = append(registry.kernels, k)
	registry.mu.Unlock()
	return Kernel[A]{k}
}

// Record appends a call to the recording.
func (k Kernel[A]) Record(r *Recording, grid Grid, args A) {
	v := reflect.ValueOf(args)
	c := call{kernel: k.kernel, grid: grid, label: r.label, flops: r.flops}
	for _, f := range k.fields {
		switch value := v.FieldByIndex(f.index); f.kind {
		case reflect.Struct:
			c.buffers = append(c.buffers, value.Interface().(Buffer))
			c.numbers = append(c.numbers, 0)
		case reflect.Float32:
			c.buffers = append(c.buffers, Buffer{})
			c.numbers = append(c.numbers, math.Float32bits(float32(value.Float())))
		case reflect.Int32:
			c.buffers = append(c.buffers, Buffer{})
			c.numbers = append(c.numbers, uint32(int32(value.Int())))
		case reflect.Bool:
			c.buffers = append(c.buffers, Buffer{})
			n := uint32(0)
			if value.Bool() {
				n = 1
			}
			c.numbers = append(c.numbers, n)
		default:
			c.buffers = append(c.buffers, Buffer{})
			c.numbers = append(c.numbers, uint32(value.Uint()))
		}
	}
	r.flops = 0
	r.calls = append(r.calls, c)
}

func normal(name string) string { return strings.ToLower(strings.ReplaceAll(name, "_", "")) }

// link is a kernel's fields matched with its shader's interface.
type link struct {
	*kernelInterface
	words       []uint32
	bufferField []int // per buffer slot: index into kernel.fields
	constField  []int
	pushField   []int
	localField  [3]int // LocalX, LocalY, LocalZ or -1
}

func (k *kernel) link(words []uint32) (*link, error) {
	in, err := readSpirv(words)
	if err != nil {
		return nil, fmt.Errorf("kernel %s: %w", k.name, err)
	}
	l := &link{kernelInterface: in, words: words, localField: [3]int{-1, -1, -1}}
	used := make([]bool, len(k.fields))
	var problems []error
	find := func(what, name string, kinds ...reflect.Kind) int {
		for i, f := range k.fields {
			if f.name != normal(name) {
				continue
			}
			used[i] = true
			for _, kind := range kinds {
				if f.kind == kind {
					return i
				}
			}
			problems = append(problems, fmt.Errorf("kernel %s: %s %s is a %s in Go", k.name, what, name, f.kind))
			return -1
		}
		problems = append(problems, fmt.Errorf("kernel %s: its Go arguments have no field for the %s %q", k.name, what, name))
		return -1
	}
	goKinds := map[scalarKind][]reflect.Kind{kindUint: {reflect.Uint32, reflect.Bool}, kindInt: {reflect.Int32}, kindFloat: {reflect.Float32}, kindBool: {reflect.Bool}}
	for _, b := range in.buffers {
		l.bufferField = append(l.bufferField, find("buffer", b.name, reflect.Struct))
	}
	for _, c := range in.constants {
		l.constField = append(l.constField, find("specialization constant", c.name, goKinds[c.kind]...))
	}
	for _, p := range in.push {
		l.pushField = append(l.pushField, find("push constant", p.name, goKinds[p.kind]...))
	}
	for axis, name := range []string{"localx", "localy", "localz"} {
		for i, f := range k.fields {
			if f.name == name && in.localID[axis] >= 0 {
				l.localField[axis] = i
				used[i] = true
			}
		}
	}
	for i, f := range k.fields {
		if !used[i] {
			problems = append(problems, fmt.Errorf("kernel %s: the shader has nothing named %s", k.name, f.label))
		}
	}
	return l, errors.Join(problems...)
}

// CheckKernels compares every declared kernel with its shader in shaders and
// reports all disagreements at once, and shaders that no kernel declares. It
// needs no device.
func CheckKernels(shaders fs.FS) error {
	registry.mu.Lock()
	kernels := append([]*kernel(nil), registry.kernels...)
	registry.mu.Unlock()
	var problems []error
	declared := map[string]bool{}
	for _, k := range kernels {
		declared[k.name+".spv"] = true
		words, err := readModule(shaders, k.name)
		if err == nil {
			_, err = k.link(words)
		}
		if err != nil {
			problems = append(problems, err)
		}
	}
	files, err := fs.Glob(shaders, "*.spv")
	if err != nil {
		return err
	}
	sort.Strings(files)
	for _, f := range files {
		if !declared[f] {
			problems = append(problems, fmt.Errorf("shader %s: no kernel declares it", f))
		}
	}
	return errors.Join(problems...)
}

func readModule(shaders fs.FS, name string) ([]uint32, error) {
	data, err := fs.ReadFile(shaders, name+".spv")
	if err != nil {
		return nil, fmt.Errorf("kernel %s: %w", name, err)
	}
	words, err := spirvWords(data)
	if err != nil {
		return nil, fmt.Errorf("kernel %s: %w", name, err)
	}
	return words, nil
}
