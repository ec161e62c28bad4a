package loader

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"image"
	"io"
	"os"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
)

// member is a picture in an archive: a range of the file, or its bytes.
type member struct {
	path         string
	label        int32
	file         int // which of the archive's files
	offset, size int64
	data         []byte
	text         string // what a .cls member holds
	damage       string // what is wrong where a picture should be
}

// archive is a set of pictures in tar files.
type archive struct {
	paths   []string
	files   []*os.File // none when the members are in memory
	classes []string
	members []member
}

func (a *archive) Len() int          { return len(a.members) }
func (a *archive) Classes() []string { return a.classes }
func (a *archive) Label(i int) int   { return int(a.members[i].label) }
func (a *archive) Name(i int) string {
	m := &a.members[i]
	return a.paths[m.file] + "/" + m.path
}

func (a *archive) Open(i int) (image.Image, error) {
	data, err := a.Encoded(i, nil)
	if err != nil {
		return nil, err
	}
	img, err := decode(data, maxPixels)
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", a.Name(i), err)
	}
	return img, nil
}

// Encoded reads a member into buf.
func (a *archive) Encoded(i int, buf []byte) ([]byte, error) {
	m := &a.members[i]
	if m.damage != "" {
		return nil, fmt.Errorf("read %s: %s", a.Name(i), m.damage)
	}
	if len(a.files) == 0 {
		return append(buf[:0], m.data...), nil
	}
	if m.size > maxFileBytes {
		return nil, fmt.Errorf("read %s: it has %d bytes: the most read is %d", a.Name(i), m.size, int64(maxFileBytes))
	}
	data := grow(&buf, int(m.size))
	if _, err := a.files[m.file].ReadAt(data, m.offset); err != nil {
		return nil, fmt.Errorf("read %s: %w", a.Name(i), err)
	}
	return data, nil
}

// Close closes the archive's files.
func (a *archive) Close() error {
	var err error
	for _, f := range a.files {
		err = errors.Join(err, f.Close())
	}
	return err
}

func openTar(name, split string, compressed bool) (Source, error) {
	if !compressed {
		a, err := indexTars([]string{name})
		if err != nil {
			return nil, err
		}
		if err := a.choose(split); err != nil {
			a.Close()
			return nil, fmt.Errorf("read archive %s: %w", name, err)
		}
		return a, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open archive: %w", err)
	}
	defer f.Close()
	a := &archive{paths: []string{name}}
	if a.members, err = readTarGz(f); err == nil {
		err = a.choose(split)
	}
	if err != nil {
		return nil, fmt.Errorf("read archive %s: %w", name, err)
	}
	return a, nil
}

// indexTars opens uncompressed archives and lists their members, several
// archives at once.
func indexTars(paths []string) (*archive, error) {
	a := &archive{paths: paths}
	for _, p := range paths {
		f, err := os.Open(p)
		if err != nil {
			a.Close()
			return nil, fmt.Errorf("open archive: %w", err)
		}
		a.files = append(a.files, f)
	}
	lists := make([][]member, len(paths))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for k, f := range a.files {
		group.Go(func() error {
			var err error
			if lists[k], err = cachedIndex(f); err != nil {
				return fmt.Errorf("read archive %s: %w", paths[k], err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		a.Close()
		return nil, err
	}
	for k, list := range lists {
		for _, m := range list {
			m.file = k
			a.members = append(a.members, m)
		}
	}
	return a, nil
}

// indexTar lists the pictures of an uncompressed archive by their offsets, and
// those of the archives in it (as ILSVRC2012's) as of folders. A damaged header
// between others becomes a member that cannot be read.
func indexTar(r io.ReaderAt, size int64) ([]member, error) {
	return scanTar(r, 0, size, "", 0)
}

func scanTar(r io.ReaderAt, from, end int64, prefix string, depth int) ([]member, error) {
	var members []member
	damaged := func(at int64, what error) {
		members = append(members, member{path: fmt.Sprintf("%sdamaged-at-byte-%d", prefix, at), offset: at, damage: fmt.Sprintf("the archive is damaged at byte %d: %v", at, what)})
		if n := len(members); n > 1 && prefix == "" { // in the class of the one before
			members[n-1].path = path.Join(path.Dir(members[n-2].path), members[n-1].path)
		}
	}
	for {
		section := io.NewSectionReader(r, from, end-from)
		err := scanHeaders(section, from, end, func(h *tar.Header, at int64) error {
			p, ok := memberPath(h)
			switch {
			case !ok:
			case at+h.Size > end && depth == 0:
				return fmt.Errorf("%s has %d bytes at offset %d, but the file ends at %d: it is incomplete", h.Name, h.Size, at, end)
			case h.Size < 0 || at+h.Size > end:
				damaged(at, fmt.Errorf("%s reaches beyond its end", h.Name))
			case strings.HasSuffix(p, ".tar") && depth < 2:
				inner, err := scanTar(r, at, at+h.Size, prefix+strings.TrimSuffix(p, ".tar")+"/", depth+1)
				if err != nil {
					return err
				}
				members = append(members, inner...)
			case strings.HasSuffix(p, ".cls"):
				text := make([]byte, min(h.Size, 64))
				if _, err := r.ReadAt(text, at); err != nil {
					return err
				}
				members = append(members, member{path: prefix + p, offset: at, size: h.Size, text: strings.TrimSpace(string(text))})
			case isPicture(p):
				members = append(members, member{path: prefix + p, offset: at, size: h.Size})
			}
			return nil
		})
		if err == nil {
			return members, nil
		}
		at, _ := section.Seek(0, io.SeekCurrent)
		at += from
		next := int64(-1)
		if errors.Is(err, tar.ErrHeader) && (len(members) > 0 || depth > 0) {
			next = nextHeader(r, at, end)
		}
		switch {
		case next >= 0:
			damaged(max(from, at-tarBlock), err)
			from = next
		case depth > 0:
			damaged(max(from, at-tarBlock), err)
			return members, nil
		default:
			return nil, fmt.Errorf("after %d pictures: %w: is the file complete?", len(members), err)
		}
	}
}

// scanHeaders calls each with every header and where its member begins.
func scanHeaders(section *io.SectionReader, from, end int64, each func(h *tar.Header, at int64) error) error {
	for tr := tar.NewReader(section); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		// The reader takes whole blocks, so that the section stands where the
		// member's bytes begin.
		at, err := section.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		if err := each(h, from+at); err != nil {
			return err
		}
	}
}

const tarBlock = 512

// nextHeader finds the first block from at on that is a header by its magic and
// checksum, -1 where there is none.
func nextHeader(r io.ReaderAt, at, end int64) int64 {
	buf := make([]byte, 1<<20)
	for ; at+tarBlock <= end; at += int64(len(buf)) {
		n, err := r.ReadAt(buf[:min(int64(len(buf)), (end-at)/tarBlock*tarBlock)], at)
		for b := 0; b+tarBlock <= n; b += tarBlock {
			if isTarHeader(buf[b:][:tarBlock]) {
				return at + int64(b)
			}
		}
		if err != nil {
			return -1
		}
	}
	return -1
}

func isTarHeader(b []byte) bool {
	if string(b[257:262]) != "ustar" {
		return false
	}
	want, err := strconv.ParseInt(strings.Trim(string(b[148:156]), " \x00"), 8, 64)
	if err != nil {
		return false
	}
	sum := int64(8 * ' ') // the checksum's own bytes count as spaces
	for i, c := range b {
		if i < 148 || i >= 156 {
			sum += int64(c)
		}
	}
	return sum == want
}

// maxArchiveBytes bounds the pictures of a compressed archive in memory.
const maxArchiveBytes = 4 << 30

// readTarGz reads the pictures of a compressed archive into memory.
func readTarGz(r io.Reader) ([]member, error) {
	z, err := gzip.NewReader(bufio.NewReaderSize(r, 1<<20))
	if err != nil {
		return nil, err
	}
	var members []member
	total := int64(0)
	for tr := tar.NewReader(z); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return members, nil
		}
		if err != nil {
			return nil, fmt.Errorf("after %d pictures: %w: is the file complete?", len(members), err)
		}
		p, ok := memberPath(h)
		if !ok || !isPicture(p) {
			continue
		}
		if total += h.Size; total > maxArchiveBytes {
			return nil, fmt.Errorf("its pictures take more than %d GiB of memory: unpack it, or give an uncompressed .tar, which is read in place",
				maxArchiveBytes>>30)
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			return nil, fmt.Errorf("%s: %w: is the file complete?", h.Name, err)
		}
		members = append(members, member{path: p, size: h.Size, data: data})
	}
}

// memberPath returns the clean path of a member that is a picture, its class or
// an archive.
func memberPath(h *tar.Header) (string, bool) {
	if h.Typeflag != tar.TypeReg || !isPicture(h.Name) && !strings.HasSuffix(h.Name, ".tar") && !strings.HasSuffix(h.Name, ".cls") {
		return "", false
	}
	// A sparse member's bytes do not lie in one piece.
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return "", false
		}
	}
	p := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
	for part := range strings.SplitSeq(p, "/") {
		if strings.HasPrefix(part, ".") || part == "__MACOSX" {
			return "", false
		}
	}
	return p, true
}

// choose keeps the members of the split and labels them.
func (a *archive) choose(split string) error {
	a.members = slices.DeleteFunc(a.members, func(m member) bool { return strings.HasSuffix(m.path, ".cls") })
	if len(a.members) == 0 {
		return errors.New("it holds no pictures: " + layouts)
	}
	slices.SortStableFunc(a.members, func(x, y member) int { return strings.Compare(x.path, y.path) })
	rest := stripLeading(a.members)
	var dirs []string
	for _, p := range rest {
		if d, _, ok := strings.Cut(p, "/"); ok && (len(dirs) == 0 || dirs[len(dirs)-1] != d) {
			dirs = append(dirs, d)
		}
	}
	slices.Sort(dirs)
	trainDir, valDir := splitDirs(slices.Compact(dirs))
	keep := trainDir
	if split == "val" {
		keep = valDir
		if valDir == "" {
			return fmt.Errorf("there is no val/, validation/ or test/ in it: %w", ErrNoSplit)
		}
	} else if trainDir == "" && valDir != "" {
		return fmt.Errorf("it has %s/ but no train/: %s", valDir, layouts)
	}
	all := a.members
	var err error
	if a.members, a.classes, err = label(all, rest, keep); err != nil {
		return err
	}
	if split == "val" && trainDir != "" {
		_, classes, err := label(all, rest, trainDir)
		if err != nil {
			return err
		}
		to, err := relabelling(classes, a.classes)
		if err != nil {
			return err
		}
		for i := range a.members {
			m := &a.members[i]
			m.label = to[m.label]
		}
		a.classes = classes
	}
	return nil
}

// stripLeading returns the members' paths without the folders that all of
// them share, down to a split's folder or to one level of folders.
func stripLeading(members []member) []string {
	rest := make([]string, len(members))
	for i := range members {
		rest[i] = members[i].path
	}
	for {
		lead, _, ok := strings.Cut(rest[0], "/")
		if !ok || lead == "train" || slices.Contains(splitNames["val"], lead) {
			return rest
		}
		for _, p := range rest {
			if !strings.HasPrefix(p, lead+"/") {
				return rest
			}
		}
		for i := range rest {
			rest[i] = rest[i][len(lead)+1:]
		}
	}
}

// label returns the members below dir with their labels: the class is the next
// folder, or the WordNet id in the name where there are no folders.
func label(members []member, rest []string, dir string) ([]member, []string, error) {
	var inFolders, loose []int
	below := make([]string, len(rest))
	for i, p := range rest {
		if dir != "" {
			d, tail, ok := strings.Cut(p, "/")
			if !ok || d != dir {
				continue
			}
			p = tail
		}
		below[i] = p
		if strings.Contains(p, "/") {
			inFolders = append(inFolders, i)
		} else {
			loose = append(loose, i)
		}
	}
	classOf := func(p string) string { class, _, _ := strings.Cut(p, "/"); return class }
	keep := inFolders
	if len(keep) == 0 {
		keep, classOf = loose, wnidOf
	}
	names := make([]string, len(keep))
	for k, i := range keep {
		if names[k] = classOf(below[i]); names[k] == "" {
			return nil, nil, fmt.Errorf("no classes: %q lies in no class folder and does not begin with a WordNet id: %s", members[i].path, layouts)
		}
	}
	classes := slices.Clone(names)
	slices.Sort(classes)
	classes = slices.Compact(classes)
	index := classIndex(classes)
	kept := make([]member, len(keep))
	for k, i := range keep {
		kept[k] = members[i]
		kept[k].label = int32(index[names[k]])
	}
	return kept, classes, nil
}
