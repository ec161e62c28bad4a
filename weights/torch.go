package weights

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"strconv"
	"strings"
)

// torchMagic is the first value of a sequential file: LONG1 of ten bytes,
// 0x1950a86a20f9469cfc6c.
var torchMagic = []byte{0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, '.'}

// torchStorage is an array that tensors are cut from. Its bytes may follow
// after the pickle that names it.
type torchStorage struct {
	kind  string
	count int // elements
	bytes []byte
	// root and start: this one is a part of another.
	root  *torchStorage
	start int
}

// torchView is a tensor before its numbers are read.
type torchView struct {
	storage       *torchStorage
	offset        int
	shape, stride []int
}

// torchReader reads one file.
type torchReader struct {
	data     []byte
	storages map[string]*torchStorage
	open     func(key string) ([]byte, error) // of a zip file
}

// ParseTorch reads a state dict that torch.save wrote, in any of its three
// containers (zip, sequential, tar), alone or in a training checkpoint under
// "state_dict" or "model". Prefixes that data parallelism adds to the names
// ("module.") are left out. Nothing in the file is executed.
func ParseTorch(data []byte) (*File, error) {
	r := &torchReader{data: data, storages: map[string]*torchStorage{}}
	var object any
	var err error
	switch {
	case isZip(data):
		object, err = r.readZip()
	case isTar(data):
		object, err = r.readTar()
	default:
		object, err = r.readSequence()
	}
	if err != nil {
		return nil, err
	}
	return r.stateDict(object)
}

func isZip(data []byte) bool { return bytes.HasPrefix(data, []byte("PK\x03\x04")) }
func isTar(data []byte) bool { return len(data) > 262 && string(data[257:262]) == "ustar" }
func isSequence(data []byte) bool {
	return len(data) > 15 && data[0] == 0x80 && bytes.HasPrefix(data[2:], torchMagic)
}

// readZip reads <root>/data.pkl, whose storages are <root>/data/<key>.
func (r *torchReader) readZip() (any, error) {
	z, err := zip.NewReader(bytes.NewReader(r.data), int64(len(r.data)))
	if err != nil {
		return nil, fmt.Errorf("this zip file cannot be read: %w", err)
	}
	entries := map[string]*zip.File{}
	root := ""
	for _, e := range z.File {
		entries[e.Name] = e
		if folder, ok := strings.CutSuffix(e.Name, "data.pkl"); ok {
			root = folder
		}
	}
	entry := func(name string) ([]byte, error) {
		e, ok := entries[root+name]
		if !ok {
			return nil, fmt.Errorf("the zip file has no entry %q", root+name)
		}
		offset, err := e.DataOffset()
		if err != nil {
			return nil, fmt.Errorf("zip entry %q: %w", e.Name, err)
		}
		if e.Method != zip.Store {
			return nil, fmt.Errorf("zip entry %q is compressed, which torch.save never does", e.Name)
		}
		size, have := e.UncompressedSize64, uint64(len(r.data))
		if offset < 0 || uint64(offset) > have || size > have-uint64(offset) {
			return nil, fmt.Errorf("zip entry %q: %d bytes at %d are outside of the file's %d", e.Name, size, offset, have)
		}
		b := r.data[offset : uint64(offset)+size]
		if sum := crc32.ChecksumIEEE(b); sum != e.CRC32 {
			return nil, fmt.Errorf("zip entry %q is damaged: its checksum is %08x, written was %08x; use another copy of the file", e.Name, sum, e.CRC32)
		}
		return b, nil
	}
	if order, err := entry("byteorder"); err == nil && string(order) != "little" {
		return nil, fmt.Errorf("the file's byte order is %q; only little can be read", order)
	}
	program, err := entry("data.pkl")
	if err != nil {
		return nil, fmt.Errorf("this is no file of torch.save: %w", err)
	}
	r.open = func(key string) ([]byte, error) { return entry("data/" + key) }
	object, _, err := unpickle(program, r.storage, r.rebuild)
	return object, err
}

// readSequence reads PyTorch 0.1.10's to 1.5's form: magic number, protocol,
// system, object, keys of the storages, and each one's count and bytes.
func (r *torchReader) readSequence() (any, error) {
	if !isSequence(r.data) {
		return nil, errors.New("this is no file of torch.save: it has no magic number")
	}
	rest := r.data
	var values [5]any
	for i := range values {
		var err error
		if values[i], err = r.next(&rest); err != nil {
			return nil, err
		}
	}
	if values[1] != 1001 {
		return nil, fmt.Errorf("protocol %s of torch.save is not known", keyOf(values[1]))
	}
	keys, ok := values[4].(*pickleList)
	if !ok {
		return nil, errors.New("the list of storages is missing")
	}
	for _, key := range keys.items {
		s := r.find(key)
		if s == nil {
			return nil, fmt.Errorf("storage %s belongs to no tensor", keyOf(key))
		}
		var err error
		if s.bytes, rest, err = storageBytes(rest, s); err != nil {
			return nil, fmt.Errorf("storage %s: %w", keyOf(key), err)
		}
	}
	return values[3], nil
}

// next runs the pickle that data begin with, and cuts it off.
func (r *torchReader) next(data *[]byte) (any, error) {
	v, used, err := unpickle(*data, r.storage, r.rebuild)
	*data = (*data)[used:]
	return v, err
}

// storageBytes cuts a storage's count and bytes off.
func storageBytes(data []byte, s *torchStorage) (body, rest []byte, err error) {
	if len(data) < 8 {
		return nil, nil, io.ErrUnexpectedEOF
	}
	count, rest := binary.LittleEndian.Uint64(data), data[8:]
	size := uint64(elementSizes[s.kind])
	if count > uint64(len(rest))/size {
		return nil, nil, fmt.Errorf("it announces %d elements of %d bytes, and %d bytes follow", count, size, len(rest))
	}
	if s.count >= 0 && uint64(s.count) != count {
		return nil, nil, fmt.Errorf("it has %d elements, its tensors expect %d", count, s.count)
	}
	s.count = int(count)
	return rest[:count*size], rest[count*size:], nil
}

// readTar reads the form of before 0.1.10: entries "storages", "tensors" and
// "pickle", which refers to the tensors by their number.
func (r *torchReader) readTar() (any, error) {
	entries := map[string][]byte{}
	for t := tar.NewReader(bytes.NewReader(r.data)); ; {
		h, err := t.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("this tar file cannot be read: %w", err)
		}
		name := strings.TrimPrefix(h.Name, "./")
		switch name {
		case "storages", "tensors", "pickle":
			if h.Size > int64(len(r.data)) || entries[name] != nil || h.Typeflag != tar.TypeReg {
				return nil, fmt.Errorf("tar entry %q with %d bytes cannot be what torch.save wrote", name, h.Size)
			}
			b := make([]byte, h.Size)
			if _, err := io.ReadFull(t, b); err != nil {
				return nil, fmt.Errorf("tar entry %q: %w", name, err)
			}
			entries[name] = b
		}
	}
	for _, name := range []string{"storages", "tensors", "pickle"} {
		if entries[name] == nil {
			return nil, fmt.Errorf("this is no file of torch.save: the tar file has no entry %q", name)
		}
	}
	if err := r.tarStorages(entries["storages"]); err != nil {
		return nil, fmt.Errorf("tar entry storages: %w", err)
	}
	views, err := r.tarTensors(entries["tensors"])
	if err != nil {
		return nil, fmt.Errorf("tar entry tensors: %w", err)
	}
	load := func(id any) (any, error) {
		if t, ok := id.(pickleTuple); ok && len(t) > 0 {
			return t[0], nil // a class that has its source beside it
		}
		v, ok := views[keyOf(id)]
		if !ok {
			return nil, fmt.Errorf("tensor %s is not in the file", keyOf(id))
		}
		return v, nil
	}
	object, _, err := unpickle(entries["pickle"], load, r.rebuild)
	return object, err
}

// tarStorages reads a count, that many storages, and the list of views of them.
func (r *torchReader) tarStorages(rest []byte) error {
	count, err := r.next(&rest)
	if err != nil {
		return err
	}
	for range number64(count) {
		v, err := r.next(&rest)
		if err != nil {
			return err
		}
		t, ok := v.(pickleTuple)
		if !ok || len(t) != 3 {
			return errors.New("a storage is no key, place and type")
		}
		class, _ := t[2].(pickleClass)
		kind, ok := storageTypes[class]
		if !ok {
			return fmt.Errorf("storage of type %q cannot be read", class)
		}
		s := &torchStorage{kind: kind, count: -1}
		if s.bytes, rest, err = storageBytes(rest, s); err != nil {
			return err
		}
		r.storages[keyOf(t[0])] = s
	}
	v, err := r.next(&rest)
	if err != nil {
		return err
	}
	list, _ := v.(*pickleList)
	if list == nil {
		return errors.New("the list of views is missing")
	}
	for _, v := range list.items {
		t, ok := v.(pickleTuple)
		if !ok || len(t) != 4 {
			return errors.New("a view is no target, root, offset and count")
		}
		root := r.find(t[1])
		if root == nil {
			return fmt.Errorf("view of storage %s, which is not in the file", keyOf(t[1]))
		}
		r.storages[keyOf(t[0])] = &torchStorage{kind: root.kind, count: number64(t[3]), root: root, start: number64(t[2])}
	}
	return nil
}

// tarTensors reads a count and that many tensors: key, storage and type as a
// pickle, then dimensions (int32 and four bytes), sizes, strides and offset.
func (r *torchReader) tarTensors(rest []byte) (map[string]*torchView, error) {
	views := map[string]*torchView{}
	count, err := r.next(&rest)
	if err != nil {
		return nil, err
	}
	for range number64(count) {
		v, err := r.next(&rest)
		if err != nil {
			return nil, err
		}
		t, ok := v.(pickleTuple)
		if !ok || len(t) != 3 {
			return nil, errors.New("a tensor is no key, storage and type")
		}
		view := &torchView{storage: r.find(t[1])}
		if view.storage == nil {
			return nil, fmt.Errorf("storage %s is not in the file", keyOf(t[1]))
		}
		if len(rest) < 8 {
			return nil, io.ErrUnexpectedEOF
		}
		dims := int(binary.LittleEndian.Uint32(rest))
		rest = rest[8:]
		if dims > maxDims || len(rest) < 16*dims+8 {
			return nil, fmt.Errorf("a tensor of %d dimensions, and %d bytes follow", dims, len(rest))
		}
		var all []int
		for range 2*dims + 1 {
			n := binary.LittleEndian.Uint64(rest)
			if n > math.MaxInt64 {
				return nil, fmt.Errorf("size %d of a tensor", n)
			}
			all, rest = append(all, int(n)), rest[8:]
		}
		view.shape, view.stride, view.offset = all[:dims], all[dims:2*dims], all[2*dims]
		views[keyOf(t[0])] = view
	}
	return views, nil
}

// maxDims is more than any layer has.
const maxDims = 16

// number64 is a pickled number, -1 where it is none.
func number64(v any) int {
	if n, ok := v.(int); ok {
		return n
	}
	return -1
}

// keyOf is a pickled string or number as text. Other values, which may contain
// themselves, are not printed.
func keyOf(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case int:
		return strconv.Itoa(v)
	}
	return fmt.Sprintf("(a %T)", v)
}

func (r *torchReader) find(key any) *torchStorage { return r.storages[keyOf(key)] }

// storage is a persistent id: ("storage", class, key, place, count) and in a
// sequential file a view (key, offset, count) or None.
func (r *torchReader) storage(id any) (any, error) {
	t, ok := id.(pickleTuple)
	if !ok || len(t) < 5 || t[0] != "storage" {
		return nil, errors.New("a persistent id is no storage")
	}
	class, _ := t[1].(pickleClass)
	kind, ok := storageTypes[class]
	if !ok {
		return nil, fmt.Errorf("storage of type %q cannot be read", class)
	}
	key, ok := t[2].(string)
	if !ok {
		return nil, errors.New("a storage's key is no string")
	}
	s := r.storages[key]
	if s == nil {
		s = &torchStorage{kind: kind, count: number64(t[4])}
		if s.count < 0 {
			return nil, fmt.Errorf("storage %s has no number of elements", key)
		}
		r.storages[key] = s
		if r.open != nil {
			b, err := r.open(key)
			if err != nil {
				return nil, err
			}
			if int64(len(b))/elementSizes[kind] < int64(s.count) {
				return nil, fmt.Errorf("storage %s has %d bytes, too few for %d elements of %s", key, len(b), s.count, kind)
			}
			s.bytes = b
		}
	}
	if s.kind != kind {
		return nil, fmt.Errorf("storage %s is of types %s and %s", key, s.kind, kind)
	}
	if len(t) > 5 && t[5] != nil {
		v, ok := t[5].(pickleTuple)
		if !ok || len(v) != 3 {
			return nil, fmt.Errorf("storage %s: a view that is no key, offset and count", key)
		}
		return &torchStorage{kind: kind, count: number64(v[2]), root: s, start: number64(v[1])}, nil
	}
	return s, nil
}

// rebuild is torch._utils._rebuild_tensor: storage, offset, size, stride.
func (r *torchReader) rebuild(args pickleTuple) (any, error) {
	if len(args) < 4 {
		return nil, fmt.Errorf("%d arguments", len(args))
	}
	v := &torchView{offset: number64(args[1])}
	var ok bool
	if v.storage, ok = args[0].(*torchStorage); !ok {
		return nil, errors.New("its first argument is no storage")
	}
	for i, to := range []*[]int{&v.shape, &v.stride} {
		t, ok := args[2+i].(pickleTuple)
		if !ok || len(t) > maxDims {
			return nil, errors.New("size and stride must be tuples")
		}
		for _, n := range t {
			*to = append(*to, number64(n))
		}
	}
	return v, nil
}

// stateDict finds the dictionary of tensors and reads them.
func (r *torchReader) stateDict(object any) (*File, error) {
	d, ok := object.(*pickleDict)
	if !ok {
		return nil, fmt.Errorf("the file holds a %T, not a state dict; save torch.save(model.state_dict(), …)", object)
	}
	for _, key := range []string{"state_dict", "model"} {
		if inner, ok := d.get(key).(*pickleDict); ok {
			d = inner
			break
		}
	}
	f := &File{Metadata: map[string]string{}}
	budget := int64(len(r.data)) // every number took a byte at least
	seen := map[string]bool{}
	for _, p := range d.pairs {
		name, ok := p[0].(string)
		view, isTensor := p[1].(*torchView)
		if !ok || !isTensor {
			continue
		}
		name = plainName(name)
		if seen[name] {
			return nil, fmt.Errorf("two tensors are named %q", name)
		}
		seen[name] = true
		t, err := view.tensor(name, budget)
		if err != nil {
			return nil, fmt.Errorf("tensor %s: %w", name, err)
		}
		budget -= int64(len(t.Data))
		f.Tensors = append(f.Tensors, t)
	}
	if len(f.Tensors) == 0 {
		return nil, errors.New(`the file holds no tensors by name: neither a state dict nor a checkpoint with one under "state_dict" or "model"`)
	}
	return f, nil
}

// plainName takes out what DataParallel adds.
func plainName(name string) string {
	name = strings.TrimPrefix(name, "module.")
	return strings.Replace(name, ".module.", ".", 1)
}

// get is the last value of a key.
func (d *pickleDict) get(key string) any {
	for i := len(d.pairs) - 1; i >= 0; i-- {
		if d.pairs[i][0] == key {
			return d.pairs[i][1]
		}
	}
	return nil
}

// tensor reads the numbers of a view, at most limit.
func (v *torchView) tensor(name string, limit int64) (Tensor, error) {
	s, start := v.storage, v.offset
	if s.root != nil {
		if s.start < 0 || s.count < 0 || s.start > s.root.count-s.count {
			return Tensor{}, fmt.Errorf("its storage is elements %d+%d of one with %d", s.start, s.count, s.root.count)
		}
		if s.root.root != nil {
			return Tensor{}, errors.New("its storage is a view of a view")
		}
		start += s.start
		if v.offset < 0 || v.offset > s.count {
			return Tensor{}, fmt.Errorf("it begins at element %d of %d", v.offset, s.count)
		}
		s = s.root
	}
	count, err := elements(v.shape, limit)
	if err != nil {
		return Tensor{}, err
	}
	if len(v.stride) != len(v.shape) {
		return Tensor{}, fmt.Errorf("size %v and stride %v", v.shape, v.stride)
	}
	size := int(elementSizes[s.kind])
	have := int64(len(s.bytes) / size)
	last := int64(start)
	for i, d := range v.shape {
		if v.stride[i] < 0 || d > 1 && int64(v.stride[i]) > have {
			return Tensor{}, fmt.Errorf("stride %v in a storage of %d elements", v.stride, have)
		}
		if d > 1 {
			last += int64(d-1) * int64(v.stride[i]) // neither is above the size of the file
		}
		if last < 0 || count > 0 && last >= have {
			return Tensor{}, fmt.Errorf("size %v, stride %v and offset %d go beyond its storage of %d elements", v.shape, v.stride, start, have)
		}
	}
	if start < 0 || count > 0 && last >= have {
		return Tensor{}, fmt.Errorf("offset %d is beyond its storage of %d elements", start, have)
	}
	t := Tensor{Name: name, Shape: v.shape, Data: make([]float32, count)}
	index := make([]int, len(v.shape))
	at := start
	for i := range t.Data {
		t.Data[i] = number(s.kind, s.bytes[at*size:])
		for d := len(index) - 1; d >= 0; d-- {
			index[d]++
			at += v.stride[d]
			if index[d] < v.shape[d] {
				break
			}
			at -= index[d] * v.stride[d]
			index[d] = 0
		}
	}
	return t, nil
}
