package loader

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// maxShards bounds what a pattern can ask for.
const maxShards = 100_000

// expandBraces lists what a pattern with {000..146} and {a,b} stands for, in
// order; braces may lie in braces. Numbers keep the width of the first.
func expandBraces(pattern string) ([]string, error) {
	open := strings.IndexByte(pattern, '{')
	if open < 0 {
		if strings.Contains(pattern, "}") {
			return nil, fmt.Errorf("pattern %q has a } without its {", pattern)
		}
		return []string{pattern}, nil
	}
	depth, end := 0, -1
	cuts := []int{open}
	for i := open; i < len(pattern) && end < 0; i++ {
		switch pattern[i] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				end = i
			}
		case ',':
			if depth == 1 {
				cuts = append(cuts, i)
			}
		}
	}
	if end < 0 {
		return nil, fmt.Errorf("pattern %q has a { without its }", pattern)
	}
	cuts = append(cuts, end)
	var choices []string
	if first, last, ok := strings.Cut(pattern[open+1:end], ".."); ok && len(cuts) == 2 {
		lo, err := strconv.Atoi(first)
		hi, err2 := strconv.Atoi(last)
		if err != nil || err2 != nil || lo < 0 || hi < lo {
			return nil, fmt.Errorf("pattern %q: {%s} is not a range of numbers such as {000..146}", pattern, pattern[open+1:end])
		}
		if hi-lo >= maxShards {
			return nil, fmt.Errorf("pattern %q asks for %d files: %d are read", pattern, hi-lo+1, maxShards)
		}
		for n := lo; n <= hi; n++ {
			choices = append(choices, fmt.Sprintf("%0*d", len(first), n))
		}
	} else {
		for k := range len(cuts) - 1 {
			part, err := expandBraces(pattern[cuts[k]+1 : cuts[k+1]])
			if err != nil {
				return nil, err
			}
			if choices = append(choices, part...); len(choices) > maxShards {
				return nil, fmt.Errorf("pattern %q asks for more than %d files", pattern, maxShards)
			}
		}
	}
	rest, err := expandBraces(pattern[end+1:])
	if err != nil {
		return nil, err
	}
	if len(choices) > maxShards/max(1, len(rest)) {
		return nil, fmt.Errorf("pattern %q asks for %d files: %d are read", pattern, len(choices)*len(rest), maxShards)
	}
	var all []string
	for _, c := range choices {
		for _, r := range rest {
			all = append(all, pattern[:open]+c+r)
		}
	}
	return all, nil
}

// expandShards lists the files that a pattern of braces and *, ? stands for.
func expandShards(pattern string) ([]string, error) {
	names, err := expandBraces(pattern)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, name := range names {
		if !strings.ContainsAny(name, "*?") {
			if _, err := os.Stat(name); err != nil {
				return nil, fmt.Errorf("a shard of the pattern is missing: %w", err)
			}
			paths = append(paths, name)
			continue
		}
		found, err := filepath.Glob(name)
		if err != nil {
			return nil, fmt.Errorf("pattern %q: %w", name, err)
		}
		paths = append(paths, found...)
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("no file fits the pattern %q", pattern)
	}
	return paths, nil
}

var (
	valShard   = regexp.MustCompile(`(?i)(^|[^a-z])(val|valid|validation|test)([^a-z]|$)`)
	trainShard = regexp.MustCompile(`(?i)(^|[^a-z])(train|training)([^a-z]|$)`)
)

// openShards opens tar files that are one data set. Those with "val",
// "validation" or "test" in their names are the split "val", when others are
// not.
func openShards(what string, paths []string, split string) (Source, error) {
	var train, val []string
	for _, p := range paths {
		if name := filepath.Base(p); valShard.MatchString(name) && !trainShard.MatchString(name) {
			val = append(val, p)
		} else {
			train = append(train, p)
		}
	}
	if len(train) == 0 {
		train, val = val, nil
	}
	t, err := indexTars(train)
	if err != nil {
		return nil, err
	}
	if !t.isWebDataset() {
		t.Close()
		a, err := indexTars(paths)
		if err == nil {
			err = a.chooseOrClose(what, split)
		}
		if err != nil {
			return nil, err
		}
		return a, nil
	}
	if split == "val" && len(val) == 0 {
		t.Close()
		return nil, fmt.Errorf("open %s as val: none of its %d archives has val, validation or test in its name: %w", what, len(paths), ErrNoSplit)
	}
	if err := t.webDataset(nil); err != nil {
		t.Close()
		return nil, fmt.Errorf("read shards %s: %w", what, err)
	}
	if split == "train" {
		return t, nil
	}
	t.Close()
	v, err := indexTars(val)
	if err != nil {
		return nil, err
	}
	if err := v.webDataset(t.classes); err != nil {
		v.Close()
		return nil, fmt.Errorf("read shards %s: %w", what, err)
	}
	return v, nil
}

func (a *archive) chooseOrClose(what, split string) error {
	err := a.choose(split)
	if err != nil {
		a.Close()
		return fmt.Errorf("read archive %s: %w", what, err)
	}
	return nil
}

func (a *archive) isWebDataset() bool {
	return slices.ContainsFunc(a.members, func(m member) bool { return strings.HasSuffix(m.path, ".cls") })
}

// sampleKey is what the members of a WebDataset sample share: the path up to
// the first dot of its last part.
func sampleKey(p string) string {
	dir, base := path.Split(p)
	key, _, _ := strings.Cut(base, ".")
	return dir + key
}

// webDataset joins pictures with their .cls. Classes, when given, are those of
// training; else they are the lines of classnames.txt beside the shards where
// those are enough, or numbers.
func (a *archive) webDataset(classes []string) error {
	type sample struct {
		file int
		key  string
	}
	labels := map[sample]int32{}
	most := -1
	for _, m := range a.members {
		if !strings.HasSuffix(m.path, ".cls") {
			continue
		}
		n, err := strconv.Atoi(m.text)
		if err != nil || n < 0 || n > maxListLabel || classes != nil && n >= len(classes) {
			return fmt.Errorf("%s/%s holds %q: it must be the number of a class, from 0 to %d", a.paths[m.file], m.path, m.text, cmpLimit(classes))
		}
		most = max(most, n)
		labels[sample{m.file, sampleKey(m.path)}] = int32(n)
	}
	var kept []member
	last := int32(0)
	unlabelled, example := 0, ""
	for _, m := range a.members {
		if strings.HasSuffix(m.path, ".cls") {
			continue
		}
		label, ok := labels[sample{m.file, sampleKey(m.path)}]
		switch {
		case ok:
			last = label
		case m.damage != "":
			label = last
		default:
			unlabelled, example = unlabelled+1, a.paths[m.file]+"/"+m.path
			continue
		}
		m.label = label
		kept = append(kept, m)
	}
	if len(kept) == 0 {
		return errors.New("no picture has a .cls beside it")
	}
	if unlabelled > 0 {
		return fmt.Errorf("%d of %d pictures have no .cls, as %s", unlabelled, unlabelled+len(kept), example)
	}
	a.members, a.classes = kept, classes
	if classes == nil {
		if a.classes = classNames(filepath.Dir(a.paths[0])); len(a.classes) <= most {
			a.classes = nil
			for n := range most + 1 {
				a.classes = append(a.classes, strconv.Itoa(n))
			}
		}
	}
	return nil
}

func cmpLimit(classes []string) int {
	if classes != nil {
		return len(classes) - 1
	}
	return maxListLabel
}

// classNames are the lines of a folder's classnames.txt.
func classNames(dir string) []string {
	data, err := os.ReadFile(filepath.Join(dir, "classnames.txt"))
	if err != nil || len(data) > 1<<22 {
		return nil
	}
	var names []string
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" {
			names = append(names, line)
		}
	}
	return names
}
