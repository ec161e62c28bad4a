package loader

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Source is a set of labelled pictures. Its methods may be called from several
// goroutines at once. A source that holds a file open is an io.Closer, too.
type Source interface {
	// Len is the number of pictures.
	Len() int
	// Classes are the names of the labels 0..N-1.
	Classes() []string
	// Label is the class of picture i, or -1 where it is not known.
	Label(i int) int
	// Name says which picture i is, for messages: mostly a path.
	Name(i int) string
	// Open decodes picture i.
	Open(i int) (image.Image, error)
}

// ErrNoSplit is wrapped by OpenSource's error when "val" is asked for and the
// path holds one undivided set; Split can hold out a share of it.
var ErrNoSplit = errors.New("no validation pictures of their own")

// Names of the folders of each split, the first that exists is taken.
var splitNames = map[string][]string{
	"train": {"train"},
	"val":   {"val", "validation", "test"},
}

// OpenSource opens the split "train" or "val" of the pictures at path:
//
//   - "synthetic" or "synthetic:N": drawn pictures (see Synthetic);
//   - a folder with train/<class>/… and val/<class>/… (or validation/ or
//     test/), or one set <class>/…, or pictures named <wnid>_….JPEG;
//   - the same inside a .tar (read in place) or .tar.gz (read into memory);
//   - a folder with CIFAR-10's or CIFAR-100's binary files;
//   - a list file of lines "path label" (or, with tabs between, "path label
//     group": see Split), or a folder with train.txt and val.txt;
//   - a folder that WritePack has written;
//   - a folder with ILSVRC2012_img_train.tar (a tar of tars), _img_val.tar and the
//     devkit, or Kaggle's ILSVRC/Data/CLS-LOC with LOC_val_solution.csv;
//   - WebDataset shards: one .tar, a folder of them, or a pattern of their paths
//     such as "shards/train-{000..146}.tar". Those with val, validation or test in
//     their names are "val".
//
// A path without splits is whole as "train"; as "val" it gives an error that
// wraps ErrNoSplit. The classes of "val" are those of "train", in their order.
func OpenSource(path, split string) (Source, error) {
	if _, ok := splitNames[split]; !ok {
		return nil, fmt.Errorf("open %s: the split is %q: it must be \"train\" or \"val\"", path, split)
	}
	if path == "synthetic" || strings.HasPrefix(path, "synthetic:") {
		return openSynthetic(path, split)
	}
	info, err := os.Stat(path)
	if err != nil && strings.ContainsAny(path, "{*?") {
		paths, err := expandShards(path)
		if err != nil {
			return nil, fmt.Errorf("open pictures: %w", err)
		}
		return openShards(path, paths, split)
	}
	if err != nil {
		return nil, fmt.Errorf("open pictures: %w: give a folder, a .tar or .tar.gz of one, a list file or \"synthetic\"; %s", err, layouts)
	}
	if info.IsDir() {
		if _, err := os.Stat(filepath.Join(path, packFile)); err == nil {
			return openPack(path, split)
		}
		if parts, _ := filepath.Glob(filepath.Join(path, "*.pack")); len(parts) > 0 {
			return nil, fmt.Errorf("open %s: it holds packed pictures but no %s: packing was not finished: run the same `vkalexnet pack` again", path, packFile)
		}
		if dir, files := findCIFAR(path); files != nil {
			return openCIFAR(dir, files, split)
		}
		if _, err := os.Stat(filepath.Join(path, "train.txt")); err == nil {
			return openListFolder(path, split)
		}
		if kaggle := filepath.Join(path, "ILSVRC", "Data", "CLS-LOC"); isDir(kaggle) {
			return openFolder(kaggle, split)
		}
		if isFile(filepath.Join(path, imagenetTrain)) || isFile(filepath.Join(path, imagenetVal)) {
			return openImageNet(path, split)
		}
		if dirs, pictures, _ := list(path); len(dirs) == 0 && len(pictures) == 0 {
			if shards, _ := filepath.Glob(filepath.Join(path, "*.tar")); len(shards) > 0 {
				return openShards(path, shards, split)
			}
		}
		return openFolder(path, split)
	}
	kind, err := fileKind(path)
	if err != nil {
		return nil, err
	}
	switch kind {
	case "tar":
		return openShards(path, []string{path}, split)
	case "tar.gz":
		return openTar(path, split, true)
	}
	if split == "val" {
		return nil, fmt.Errorf("open %s as val: a list file is one set: %w", path, ErrNoSplit)
	}
	return openList(path, nil)
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// fileKind tells "tar", "tar.gz" and "list" apart by the file's first bytes.
func fileKind(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("open pictures: %w", err)
	}
	defer f.Close()
	head := make([]byte, 512)
	n, err := io.ReadFull(f, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	head = head[:n]
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return "tar.gz", nil
	case n == 512 && bytes.HasPrefix(head[257:], []byte("ustar")), strings.EqualFold(filepath.Ext(path), ".tar"):
		return "tar", nil
	case bytes.IndexByte(head, 0) >= 0:
		return "", fmt.Errorf("open %s: it is neither a .tar, a .tar.gz nor a text file of lines \"path label\"", path)
	}
	return "list", nil
}

var pictureExtensions = []string{
	".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".jfif", ".jpe",
}

// foreignExtensions are those of pictures that are not read. They are pictures all
// the same, so that --on-bad-image decides about them and none is left out unsaid.
var foreignExtensions = []string{".heic", ".heif", ".avif", ".jxl", ".jp2"}

// isPicture says whether a file's name is that of a picture: a known extension
// in any case, and not hidden.
func isPicture(name string) bool {
	name = filepath.Base(name)
	ext := strings.ToLower(filepath.Ext(name))
	return !strings.HasPrefix(name, ".") && (slices.Contains(pictureExtensions, ext) || slices.Contains(foreignExtensions, ext))
}

// wnidOf returns the WordNet id before the first "_" of an ImageNet file's
// name ("n01440764" of n01440764_10026.JPEG), or "".
func wnidOf(name string) string {
	id, _, ok := strings.Cut(filepath.Base(name), "_")
	if !ok || len(id) != 9 || id[0] != 'n' {
		return ""
	}
	for _, c := range id[1:] {
		if c < '0' || c > '9' {
			return ""
		}
	}
	return id
}

// classIndex maps the classes' names to their labels.
func classIndex(classes []string) map[string]int {
	m := make(map[string]int, len(classes))
	for i, c := range classes {
		m[c] = i
	}
	return m
}

// unknownClasses returns an error that names the classes of val that train
// does not have.
func unknownClasses(train, val []string) error {
	known := classIndex(train)
	var extra []string
	for _, c := range val {
		if _, ok := known[c]; !ok {
			extra = append(extra, c)
		}
	}
	if len(extra) == 0 {
		return nil
	}
	return fmt.Errorf("the validation pictures have %d classes that the %d training classes do not include: %s: rename or remove them",
		len(extra), len(train), abbreviate(extra))
}

// relabelling gives the label that each of the classes of val has among those of
// train.
func relabelling(train, val []string) ([]int32, error) {
	if err := unknownClasses(train, val); err != nil {
		return nil, err
	}
	index := classIndex(train)
	to := make([]int32, len(val))
	for i, class := range val {
		to[i] = int32(index[class])
	}
	return to, nil
}

// abbreviate joins names, the first few only.
func abbreviate(names []string) string {
	const most = 8
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}

// subset is part of another source.
type subset struct {
	Source
	indices []int
}

// Subset is the source made of the given pictures of src, in that order.
func Subset(src Source, indices []int) Source { return &subset{src, indices} }

func (s *subset) Len() int                        { return len(s.indices) }
func (s *subset) grouped() bool                   { return Grouped(s.Source) }
func (s *subset) Group(i int) string              { return s.Source.(grouped).Group(s.indices[i]) }
func (s *subset) Label(i int) int                 { return s.Source.Label(s.indices[i]) }
func (s *subset) Name(i int) string               { return s.Source.Name(s.indices[i]) }
func (s *subset) Open(i int) (image.Image, error) { return s.Source.Open(s.indices[i]) }

// Split holds out a share of src for validation, the same share of each class,
// chosen by seed alone. A class keeps at least one picture in each part where
// it has two or more, and stays in train where it has one; so val is empty
// when no class has two pictures or fraction is 0. Of a source whose pictures
// have groups (the third column of a list file), whole groups are held out.
func Split(src Source, fraction float64, seed uint64) (train, val Source) {
	if Grouped(src) {
		return splitGroups(src, fraction, seed)
	}
	byClass := map[int][]int{}
	for i := range src.Len() {
		byClass[src.Label(i)] = append(byClass[src.Label(i)], i)
	}
	var kept, held []int
	for class, members := range byClass {
		n := len(members)
		k := int(math.Round(fraction * float64(n)))
		if n > 0 && fraction > 0 {
			k = max(0, min(max(k, 1), n-1))
		}
		r := random(seed, purposeSplit, uint64(class))
		r.Shuffle(n, func(a, b int) { members[a], members[b] = members[b], members[a] })
		held = append(held, members[:k]...)
		kept = append(kept, members[k:]...)
	}
	slices.Sort(kept)
	slices.Sort(held)
	return Subset(src, kept), Subset(src, held)
}

// parseCount reads the N of "synthetic:N".
func parseCount(path, s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > 100_000_000 {
		return 0, fmt.Errorf("open %s: the number of pictures after the colon is %q: it must be between 1 and 100,000,000", path, s)
	}
	return n, nil
}
