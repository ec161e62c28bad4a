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
	"slices"
	"strings"
)

// member is a picture in an archive: a range of the file, or its bytes.
type member struct {
	path         string
	label        int32
	offset, size int64
	data         []byte
}

// archive is a set of pictures in a tar file.
type archive struct {
	path    string
	file    *os.File // nil when the members are in memory
	classes []string
	members []member
}

func (a *archive) Len() int          { return len(a.members) }
func (a *archive) Classes() []string { return a.classes }
func (a *archive) Label(i int) int   { return int(a.members[i].label) }
func (a *archive) Name(i int) string { return a.path + "/" + a.members[i].path }

func (a *archive) Open(i int) (image.Image, error) {
	m := &a.members[i]
	data := m.data
	if a.file != nil {
		if m.size > maxFileBytes {
			return nil, fmt.Errorf("read %s: it has %d bytes: the most read is %d", a.Name(i), m.size, int64(maxFileBytes))
		}
		data = make([]byte, m.size)
		if _, err := a.file.ReadAt(data, m.offset); err != nil {
			return nil, fmt.Errorf("read %s: %w", a.Name(i), err)
		}
	}
	img, err := decode(data, maxPixels)
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", a.Name(i), err)
	}
	return img, nil
}

// Close closes the archive's file.
func (a *archive) Close() error {
	if a.file == nil {
		return nil
	}
	return a.file.Close()
}

func openTar(name, split string, compressed bool) (Source, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open archive: %w", err)
	}
	a := &archive{path: name}
	if compressed {
		a.members, err = readTarGz(f)
		f.Close()
	} else {
		a.file = f
		a.members, err = indexTar(f)
	}
	if err == nil {
		err = a.choose(split)
	}
	if err != nil {
		a.Close()
		return nil, fmt.Errorf("read archive %s: %w", name, err)
	}
	return a, nil
}

// indexTar lists the pictures of an uncompressed archive by their offsets.
func indexTar(r io.ReadSeeker) ([]member, error) {
	end, err := r.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	var members []member
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return members, nil
		}
		if err != nil {
			return nil, fmt.Errorf("after %d pictures: %w: is the file complete?", len(members), err)
		}
		p, ok := memberPath(h)
		if !ok {
			continue
		}
		// The reader takes whole blocks from r, so that r stands where the
		// member's bytes begin.
		at, err := r.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		if h.Size < 0 || h.Size > end-at {
			return nil, fmt.Errorf("%s has %d bytes at offset %d, but the file ends at %d: it is incomplete", h.Name, h.Size, at, end)
		}
		members = append(members, member{path: p, offset: at, size: h.Size})
	}
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
		if !ok {
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

// memberPath returns the clean path of a member that is a picture.
func memberPath(h *tar.Header) (string, bool) {
	if h.Typeflag != tar.TypeReg || !IsPicture(h.Name) {
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
		if err := unknownClasses(classes, a.classes); err != nil {
			return err
		}
		index := classIndex(classes)
		for i := range a.members {
			m := &a.members[i]
			m.label = int32(index[a.classes[m.label]])
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

// Encoded reads a member into buf.
func (a *archive) Encoded(i int, buf []byte) ([]byte, error) {
	m := &a.members[i]
	if a.file == nil {
		return append(buf[:0], m.data...), nil
	}
	if m.size > maxFileBytes {
		return nil, fmt.Errorf("read %s: it has %d bytes: the most read is %d", a.Name(i), m.size, int64(maxFileBytes))
	}
	data := grow(&buf, int(m.size))
	if _, err := a.file.ReadAt(data, m.offset); err != nil {
		return nil, fmt.Errorf("read %s: %w", a.Name(i), err)
	}
	return data, nil
}
