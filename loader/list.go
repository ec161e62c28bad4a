package loader

import (
	"bufio"
	"errors"
	"fmt"
	"image"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// pictureList is the set of pictures that a text file names.
type pictureList struct {
	classes  []string
	pictures []picture
	groups   []string // per picture; none when the file has no such column
}

func (l *pictureList) Len() int                        { return len(l.pictures) }
func (l *pictureList) Classes() []string               { return l.classes }
func (l *pictureList) Label(i int) int                 { return int(l.pictures[i].label) }
func (l *pictureList) Group(i int) string              { return l.groups[i] }
func (l *pictureList) grouped() bool                   { return len(l.groups) > 0 }
func (l *pictureList) Name(i int) string               { return l.pictures[i].path }
func (l *pictureList) Open(i int) (image.Image, error) { return ReadImage(l.pictures[i].path) }

// openListFolder opens the lists train.txt and val.txt (or validation.txt or
// test.txt) of a folder.
func openListFolder(dir, split string) (Source, error) {
	train, err := openList(filepath.Join(dir, "train.txt"), nil)
	if err != nil || split == "train" {
		return train, err
	}
	for _, name := range splitNames["val"] {
		path := filepath.Join(dir, name+".txt")
		if _, err := os.Stat(path); err == nil {
			return openList(path, train.Classes())
		}
	}
	return nil, fmt.Errorf("open %s as val: there is no val.txt, validation.txt or test.txt beside train.txt: %w", dir, ErrNoSplit)
}

// openList reads a list file whose labels are among classes, or make up the
// classes when that is nil.
func openList(path string, classes []string) (Source, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open list: %w", err)
	}
	defer f.Close()
	lines, err := parseList(f)
	if err != nil {
		return nil, fmt.Errorf("read list %s: %w", path, err)
	}
	l, err := labelList(lines, classes)
	if err != nil {
		return nil, fmt.Errorf("read list %s: %w", path, err)
	}
	dir := filepath.Dir(path)
	for i := range l.pictures {
		if p := &l.pictures[i]; !filepath.IsAbs(p.path) {
			p.path = filepath.Join(dir, filepath.FromSlash(p.path))
		}
	}
	if _, err := os.Stat(l.pictures[0].path); err != nil {
		return nil, fmt.Errorf("read list %s: its first picture: %w: paths are taken from the folder of the list", path, err)
	}
	return l, nil
}

// listLine is one line "path label", or "path label group" with tabs between.
type listLine struct {
	number             int
	path, label, group string
}

// parseList splits each line in two or three at its tabs, or at its last space. A byte
// order mark, carriage returns and empty lines do not count.
func parseList(r io.Reader) ([]listLine, error) {
	var lines []listLine
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for n := 1; s.Scan(); n++ {
		text := s.Text()
		if n == 1 {
			text = strings.TrimPrefix(text, "\ufeff")
		}
		text = strings.TrimSpace(text)
		if text == "" {
			continue
		}
		if strings.ContainsAny(text, "\x00\r") {
			return nil, fmt.Errorf("line %d holds a zero byte or a carriage return in its middle: is it a text file with lines that end in a newline?", n)
		}
		if f := strings.Split(text, "\t"); len(f) == 2 || len(f) == 3 {
			f = append(f, "")
			line := listLine{n, strings.TrimSpace(f[0]), strings.TrimSpace(f[1]), strings.TrimSpace(f[2])}
			if line.label == "" {
				return nil, fmt.Errorf("line %d, %q, has no label between its tabs", n, text)
			}
			lines = append(lines, line)
			continue
		}
		cut := strings.LastIndexAny(text, " \t")
		if cut < 0 {
			return nil, fmt.Errorf("line %d, %q, has no label: each line is \"path label\"", n, text)
		}
		lines = append(lines, listLine{number: n, path: strings.TrimSpace(text[:cut]), label: text[cut+1:]})
	}
	if err := s.Err(); err != nil {
		return nil, err
	}
	for _, line := range lines {
		if (line.group == "") != (lines[0].group == "") {
			return nil, fmt.Errorf("lines %d and %d: either every line has a group (path, label and group with tabs between) or none has", lines[0].number, line.number)
		}
	}
	if len(lines) == 0 {
		return nil, errors.New("it names no pictures: each line is \"path label\"")
	}
	return lines, nil
}

// maxListLabel bounds the number of classes that a mistyped label can ask for.
const maxListLabel = 999_999

// labelList turns labels into 0..N-1: numbers stay what they are, names are
// sorted. Classes, when given, are the only ones allowed.
func labelList(lines []listLine, classes []string) (*pictureList, error) {
	l := &pictureList{classes: classes, pictures: make([]picture, len(lines))}
	if lines[0].group != "" {
		for _, line := range lines {
			l.groups = append(l.groups, line.group)
		}
	}
	_, err := strconv.Atoi(lines[0].label)
	if numbers := err == nil; numbers {
		most := 0
		for i, line := range lines {
			n, err := strconv.Atoi(line.label)
			if err != nil {
				return nil, fmt.Errorf("line %d has the label %q, but line %d has a number: use numbers or names throughout",
					line.number, line.label, lines[0].number)
			}
			if n < 0 || n > maxListLabel || classes != nil && n >= len(classes) {
				limit := maxListLabel
				if classes != nil {
					limit = len(classes) - 1
				}
				return nil, fmt.Errorf("line %d has the label %d: it must be between 0 and %d", line.number, n, limit)
			}
			most = max(most, n)
			l.pictures[i] = picture{line.path, int32(n)}
		}
		if classes == nil {
			for n := range most + 1 {
				l.classes = append(l.classes, strconv.Itoa(n))
			}
		}
		return l, nil
	}
	names := make([]string, len(lines))
	for i, line := range lines {
		names[i] = line.label
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if classes == nil {
		l.classes = names
	} else if err := unknownClasses(classes, names); err != nil {
		return nil, err
	}
	index := classIndex(l.classes)
	for i, line := range lines {
		l.pictures[i] = picture{line.path, int32(index[line.label])}
	}
	return l, nil
}
