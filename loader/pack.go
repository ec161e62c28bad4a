package loader

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"sync/atomic"

	"golang.org/x/exp/mmap"
)

// A packed data set is a folder of shards, files of pictures that are decoded
// and stored already, and pack.json, which is written last.
//
// A shard is: the header, packHeader bytes (packMagic, the SHA-256 of all that
// its contents depend on, zeros); the pictures, [size, size, 3] bytes each; the
// tail (see packTail); and 16 bytes: the tail's length (uint64), its CRC-32C
// and packEnd, little-endian.
const (
	packFile    = "pack.json"
	packSchema  = "vkalexnet-pack/1"
	packMagic   = "vkalexpk"
	packEnd     = 0x4b415056 // "VPAK"
	packHeader  = 4096
	packTrailer = 16
	packBatch   = 64
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// packIndex is what pack.json holds.
type packIndex struct {
	Schema  string               `json:"schema"`
	Size    int                  `json:"size"`   // side of the pictures in pixels
	Resize  string               `json:"resize"` // as Input.Resize
	Decoder string               `json:"decoder"`
	Classes []string             `json:"classes"`
	Splits  map[string]packSplit `json:"splits"`
}

type packSplit struct {
	Pictures   int         `json:"pictures"`
	Unreadable int         `json:"unreadable"`
	Shards     []packShard `json:"shards"`
}

type packShard struct {
	File     string `json:"file"`
	Pictures int    `json:"pictures"`
	Tail     string `json:"tail_crc32c"` // which covers the checksums of the pictures
}

// packTail is what a shard knows of its pictures.
type packTail struct {
	crcs   []uint32 // CRC-32C of each picture
	labels []int32
	names  []string
	bad    [][2]string // name and error of those that could not be read
}

func (t *packTail) encode() []byte {
	text := func(b []byte, s string) []byte { return append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	b := binary.AppendUvarint(nil, uint64(len(t.crcs)))
	for i, c := range t.crcs {
		b = binary.LittleEndian.AppendUint32(b, c)
		b = binary.LittleEndian.AppendUint32(b, uint32(t.labels[i]))
	}
	for _, n := range t.names {
		b = text(b, n)
	}
	b = binary.AppendUvarint(b, uint64(len(t.bad)))
	for _, bad := range t.bad {
		b = text(text(b, bad[0]), bad[1])
	}
	return b
}

func decodePackTail(b []byte) (*packTail, error) {
	short := errors.New("its list of pictures is cut off")
	number := func() (int, error) {
		v, n := binary.Uvarint(b)
		if n <= 0 || v > uint64(len(b)-n) { // every item takes a byte at least
			return 0, short
		}
		b = b[n:]
		return int(v), nil
	}
	text := func() (string, error) {
		n, err := number()
		if err != nil {
			return "", err
		}
		s := string(b[:n])
		b = b[n:]
		return s, nil
	}
	n, err := number()
	if err != nil {
		return nil, err
	}
	if n > len(b)/9 {
		return nil, short
	}
	t := &packTail{crcs: make([]uint32, n), labels: make([]int32, n), names: make([]string, n)}
	for i := range n {
		t.crcs[i] = binary.LittleEndian.Uint32(b)
		t.labels[i] = int32(binary.LittleEndian.Uint32(b[4:]))
		b = b[8:]
	}
	for i := range t.names {
		if t.names[i], err = text(); err != nil {
			return nil, err
		}
	}
	if n, err = number(); err != nil {
		return nil, err
	}
	for range n {
		var bad [2]string
		for k := range bad {
			if bad[k], err = text(); err != nil {
				return nil, err
			}
		}
		t.bad = append(t.bad, bad)
	}
	if len(b) != 0 {
		return nil, fmt.Errorf("%d bytes follow its list of pictures", len(b))
	}
	return t, nil
}

// readShard reads and checks all of a shard but its pictures.
func readShard(r io.ReaderAt, length int64, size int) (print [sha256.Size]byte, t *packTail, crc uint32, err error) {
	fail := func(err error) ([sha256.Size]byte, *packTail, uint32, error) { return print, nil, 0, err }
	if length < packHeader+packTrailer {
		return fail(fmt.Errorf("it has %d bytes, fewer than a shard's header", length))
	}
	var head [len(packMagic) + sha256.Size]byte
	if _, err := r.ReadAt(head[:], 0); err != nil {
		return fail(err)
	}
	if string(head[:len(packMagic)]) != packMagic {
		return fail(fmt.Errorf("it begins with %q, not %q", head[:len(packMagic)], packMagic))
	}
	copy(print[:], head[len(packMagic):])
	var end [packTrailer]byte
	if _, err := r.ReadAt(end[:], length-packTrailer); err != nil {
		return fail(err)
	}
	n, crc := binary.LittleEndian.Uint64(end[:]), binary.LittleEndian.Uint32(end[8:])
	if binary.LittleEndian.Uint32(end[12:]) != packEnd || n > uint64(length-packHeader-packTrailer) {
		return fail(errors.New("its end is not that of a shard: it is incomplete"))
	}
	tail := make([]byte, n)
	if _, err := r.ReadAt(tail, length-packTrailer-int64(n)); err != nil {
		return fail(err)
	}
	if got := crc32.Checksum(tail, castagnoli); got != crc {
		return fail(fmt.Errorf("the checksum of its list of pictures is %08x, not %08x: it is damaged", got, crc))
	}
	if t, err = decodePackTail(tail); err != nil {
		return fail(err)
	}
	if want := packHeader + int64(len(t.crcs))*int64(size)*int64(size)*3 + int64(n) + packTrailer; length != want {
		return fail(fmt.Errorf("it has %d bytes; %d pictures of %d×%d make %d", length, len(t.crcs), size, size, want))
	}
	return print, t, crc, nil
}

// PackOptions say how WritePack stores pictures.
type PackOptions struct {
	Size   int    // side of the stored pictures, in pixels
	Resize string // as Input.Resize; "short" when empty
	// PerShard is how many pictures of the source make a shard, 1024 when 0; a
	// multiple of 64.
	PerShard   int
	Workers    int    // one per processor when 0
	OnBadImage string // "skip" (or "") leaves unreadable pictures out, "fail" stops
	// Replace writes a file whole or not at all.
	Replace func(path string, write func(io.Writer) error) error
	// Progress is told how many pictures of the split are done, those of kept
	// shards included, and of each picture that cannot be read.
	Progress func(split string, done, total int, bad error)
}

// PackResult is what WritePack did, by split.
type PackResult struct {
	Split                string
	Pictures, Unreadable int
	Shards, Kept         int // Kept shards were there already
}

// WritePack decodes and stores the pictures of the splits "train" and "val"
// into shards in dir. Shards that an earlier, interrupted call has written are
// kept. What it writes depends on the pictures and their order, Size, Resize,
// PerShard and the decoder alone. An error says which settings of dir differ.
func WritePack(ctx context.Context, dir string, splits map[string]Source, opt PackOptions) ([]PackResult, error) {
	if opt.PerShard == 0 {
		opt.PerShard = 1024
	}
	if opt.PerShard < 0 || opt.PerShard%packBatch != 0 {
		return nil, fmt.Errorf("pack: %d pictures per shard: it must be a multiple of %d", opt.PerShard, packBatch)
	}
	if opt.Progress == nil {
		opt.Progress = func(string, int, int, error) {}
	}
	in := Input{Size: opt.Size, Stored: opt.Size, Resize: opt.Resize}.WithDefaults()
	if err := in.Check(); err != nil {
		return nil, fmt.Errorf("pack: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("pack: %w", err)
	}
	index := packIndex{Schema: packSchema, Size: in.Stored, Resize: in.Resize, Splits: map[string]packSplit{}}
	var results []PackResult
	for _, split := range []string{"train", "val"} {
		src := splits[split]
		if src == nil || src.Len() == 0 {
			continue
		}
		if index.Classes == nil {
			index.Classes, index.Decoder = src.Classes(), DecoderOf(src)
		}
		p := &packer{dir: dir, split: split, src: src, in: in, opt: opt}
		p.fingerprint(index)
		result, shards, err := p.run(ctx)
		if err != nil {
			return results, fmt.Errorf("pack %s: %w", split, err)
		}
		results = append(results, result)
		index.Splits[split] = packSplit{result.Pictures, result.Unreadable, shards}
	}
	if len(results) == 0 {
		return nil, errors.New("pack: there are no pictures")
	}
	text, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return results, err
	}
	err = opt.Replace(filepath.Join(dir, packFile), func(w io.Writer) error { _, err := w.Write(append(text, '\n')); return err })
	if err != nil {
		return results, fmt.Errorf("pack: write %s: %w", packFile, err)
	}
	return results, nil
}

// packer writes the shards of one split.
type packer struct {
	dir, split string
	src        Source
	in         Input
	opt        PackOptions
	print      [sha256.Size]byte
	loader     *Loader
	at         int // the batch that the loader delivers next, -1 when it is not started
}

// fingerprint sums up all that the shards' bytes depend on.
func (p *packer) fingerprint(index packIndex) {
	h := sha256.New()
	fmt.Fprintf(h, "%s %s %d %s as PIL, %q %d %q\n", packSchema, p.split, index.Size, index.Resize, index.Decoder, p.opt.PerShard, index.Classes)
	for i := range p.src.Len() {
		fmt.Fprintf(h, "%d %s\n", p.src.Label(i), p.src.Name(i))
	}
	h.Sum(p.print[:0])
}

func (p *packer) run(ctx context.Context) (PackResult, []packShard, error) {
	n := p.src.Len()
	result := PackResult{Split: p.split, Shards: ceilDiv(n, p.opt.PerShard)}
	bad := "blank" // which the tail tells apart
	if p.opt.OnBadImage == "fail" {
		bad = "fail"
	}
	var err error
	p.at = -1
	p.loader, err = NewLoader(p.src, p.in, Options{Batch: packBatch, Workers: p.opt.Workers, CacheBytes: -1, OnBadImage: bad})
	if err != nil {
		return result, nil, err
	}
	defer p.loader.Stop()
	var shards []packShard
	for k := range result.Shards {
		name := fmt.Sprintf("%s-%05d.pack", p.split, k)
		path := filepath.Join(p.dir, name)
		tail, crc, err := p.kept(path)
		if err != nil {
			return result, nil, err
		}
		if tail != nil {
			result.Kept++
			p.opt.Progress(p.split, min(n, (k+1)*p.opt.PerShard), n, nil)
		} else if tail, crc, err = p.write(ctx, path, k); err != nil {
			return result, nil, fmt.Errorf("write %s: %w", path, err)
		}
		result.Pictures += len(tail.crcs)
		result.Unreadable += len(tail.bad)
		shards = append(shards, packShard{name, len(tail.crcs), fmt.Sprintf("%08x", crc)})
	}
	return result, shards, nil
}

// kept is the shard that is there already, nil where there is none.
func (p *packer) kept(path string) (*packTail, uint32, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	print, tail, crc, err := readShard(f, info.Size(), p.in.Stored)
	if err == nil && print == p.print {
		return tail, crc, nil
	}
	if print == p.print {
		return nil, 0, nil // of this pack, but damaged: it is written again
	}
	return nil, 0, fmt.Errorf("%s is of another pack (other pictures, size, resizing, decoder or pictures per shard): choose another folder, or remove this one", path)
}

func (p *packer) write(ctx context.Context, path string, k int) (tail *packTail, crc uint32, err error) {
	first := k * p.opt.PerShard / packBatch
	if p.at != first {
		p.loader.Start(ctx, 0, first)
		p.at = first
	}
	tail = &packTail{}
	size := p.in.Stored * p.in.Stored * 3
	err = p.opt.Replace(path, func(w io.Writer) error {
		head := make([]byte, packHeader)
		copy(head[copy(head, packMagic):], p.print[:])
		if _, err := w.Write(head); err != nil {
			return err
		}
		last := min(first+p.opt.PerShard/packBatch, p.loader.BatchesPerEpoch())
		for ; p.at < last; p.at++ {
			b, err := p.loader.Next()
			if err != nil {
				return err
			}
			if err := p.writeBatch(w, b, tail, size); err != nil {
				return err
			}
			p.opt.Progress(p.split, min(p.src.Len(), (p.at+1)*packBatch), p.src.Len(), nil)
		}
		end := tail.encode()
		crc = crc32.Checksum(end, castagnoli)
		length := len(end)
		end = binary.LittleEndian.AppendUint64(end, uint64(length))
		end = binary.LittleEndian.AppendUint32(end, crc)
		end = binary.LittleEndian.AppendUint32(end, packEnd)
		_, err := w.Write(end)
		return err
	})
	if err != nil {
		p.at = -1
	}
	return tail, crc, err
}

func (p *packer) writeBatch(w io.Writer, b *Batch, tail *packTail, size int) error {
	bad := map[int]*BadImage{}
	for _, err := range b.Bad {
		if one := (*BadImage)(nil); errors.As(err, &one) {
			bad[one.Index] = one
			p.opt.Progress(p.split, b.Indices[0], p.src.Len(), one)
		}
	}
	for slot, i := range b.Indices {
		if one := bad[i]; one != nil {
			tail.bad = append(tail.bad, [2]string{one.Name, one.Err.Error()})
			continue
		}
		pixels := b.Pixels[slot*size:][:size]
		if _, err := w.Write(pixels); err != nil {
			return err
		}
		tail.crcs = append(tail.crcs, crc32.Checksum(pixels, castagnoli))
		tail.labels = append(tail.labels, int32(p.src.Label(i)))
		tail.names = append(tail.names, p.src.Name(i))
	}
	return nil
}

// Pack is one split of a packed data set, its shards mapped into memory.
type Pack struct {
	index   packIndex
	dir     string
	shards  []*mmap.ReaderAt
	files   []string
	first   []int // number of the first picture of each shard, and of all
	crcs    []uint32
	labels  []int32
	names   []string
	checked []atomic.Bool // pictures whose checksum was right
}

// openPack opens a folder that WritePack has completed.
func openPack(dir, split string) (*Pack, error) {
	text, err := os.ReadFile(filepath.Join(dir, packFile))
	if err != nil {
		return nil, fmt.Errorf("open packed pictures: %w", err)
	}
	p := &Pack{dir: dir, first: []int{0}}
	d := json.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(&p.index); err != nil {
		return nil, fmt.Errorf("open packed pictures: %s: it is damaged: %w: run the same `vkalexnet pack` again", filepath.Join(dir, packFile), err)
	}
	if p.index.Schema != packSchema || p.index.Size < 1 || p.index.Size > maxSide {
		return nil, fmt.Errorf("open packed pictures: %s: schema %q, size %d: this program reads %q: pack again", filepath.Join(dir, packFile), p.index.Schema, p.index.Size, packSchema)
	}
	s, ok := p.index.Splits[split]
	if !ok {
		return nil, fmt.Errorf("open %s as %s: it was packed without such pictures: %w", dir, split, ErrNoSplit)
	}
	for _, shard := range s.Shards {
		if err := p.add(shard); err != nil {
			p.Close()
			return nil, fmt.Errorf("open packed pictures: %s: %w: remove it and run `vkalexnet pack` again", filepath.Join(dir, shard.File), err)
		}
	}
	if len(p.crcs) == 0 {
		p.Close()
		return nil, fmt.Errorf("open packed pictures: %s has none for %s", dir, split)
	}
	p.checked = make([]atomic.Bool, len(p.crcs))
	return p, nil
}

func (p *Pack) add(shard packShard) error {
	if shard.File != filepath.Base(shard.File) {
		return fmt.Errorf("%q is not the name of a file", shard.File)
	}
	r, err := mmap.Open(filepath.Join(p.dir, shard.File))
	if err != nil {
		return err
	}
	p.shards, p.files = append(p.shards, r), append(p.files, shard.File)
	_, t, crc, err := readShard(r, int64(r.Len()), p.index.Size)
	if err != nil {
		return err
	}
	if got := fmt.Sprintf("%08x", crc); got != shard.Tail {
		return fmt.Errorf("its checksum is %s, and %s in %s", got, shard.Tail, packFile)
	}
	for i, label := range t.labels {
		if label < -1 || int(label) >= max(1, len(p.index.Classes)) {
			return fmt.Errorf("%s has the label %d of %d classes", t.names[i], label, len(p.index.Classes))
		}
	}
	p.crcs, p.labels, p.names = append(p.crcs, t.crcs...), append(p.labels, t.labels...), append(p.names, t.names...)
	p.first = append(p.first, len(p.crcs))
	return nil
}

func (p *Pack) Len() int          { return len(p.crcs) }
func (p *Pack) Classes() []string { return p.index.Classes }
func (p *Pack) Label(i int) int   { return int(p.labels[i]) }
func (p *Pack) Name(i int) string { return p.names[i] }

// Size is the side of the pictures, Resize how they were made square.
func (p *Pack) Size() int      { return p.index.Size }
func (p *Pack) Resize() string { return p.index.Resize }

// Close unmaps the shards.
func (p *Pack) Close() error {
	var err error
	for _, s := range p.shards {
		err = errors.Join(err, s.Close())
	}
	return err
}

// Forget compares the checksum of each picture again when it is next read.
func (p *Pack) Forget() {
	for i := range p.checked {
		p.checked[i].Store(false)
	}
}

// Read writes the bytes of picture i to dst, [Size, Size, 3], and compares their
// checksum the first time.
func (p *Pack) Read(i int, dst []byte) error {
	if want := p.index.Size * p.index.Size * 3; len(dst) != want {
		return fmt.Errorf("read packed picture %s: %d bytes do not hold its %d", p.names[i], len(dst), want)
	}
	k := sort.SearchInts(p.first, i+1) - 1
	if _, err := p.shards[k].ReadAt(dst, packHeader+int64(i-p.first[k])*int64(len(dst))); err != nil {
		return fmt.Errorf("read packed picture %s: %w", p.names[i], err)
	}
	if !p.checked[i].Load() {
		if got := crc32.Checksum(dst, castagnoli); got != p.crcs[i] {
			return fmt.Errorf("packed picture %s: its checksum is %08x, not %08x: %s is damaged: remove it and run `vkalexnet pack` again",
				p.names[i], got, p.crcs[i], filepath.Join(p.dir, p.files[k]))
		}
		p.checked[i].Store(true)
	}
	return nil
}

// Open is picture i.
func (p *Pack) Open(i int) (image.Image, error) {
	size := p.index.Size
	pixels := make([]byte, size*size*3)
	if err := p.Read(i, pixels); err != nil {
		return nil, err
	}
	return Picture(pixels, size, size), nil
}

// fits says why the packed pictures are not those that the input wants.
func (p *Pack) fits(in Input) error {
	if in.Stored > p.index.Size {
		return fmt.Errorf("%s has pictures of %d×%[2]d and the network wants %d×%[3]d: pack again with --size %[3]d", p.dir, p.index.Size, in.Stored)
	}
	if in.Resize != p.index.Resize {
		return fmt.Errorf("%s was packed with --resize %s and the network wants %q: pack again with --resize %[3]s", p.dir, p.index.Resize, in.Resize)
	}
	return nil
}
