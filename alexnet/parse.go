package alexnet

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// ParseNetwork reads a network's file; the name of the file is for errors,
// which give the line. A key that is not known is one, and so is a shape that
// is not possible.
func ParseNetwork(text []byte, file string) (*Network, error) {
	n, err := parseNetwork(text)
	if err != nil {
		return nil, withLines(err, file, scanLines(text))
	}
	return n, nil
}

func parseNetwork(text []byte) (*Network, error) {
	f := struct {
		networkFile
		// Layers are decoded one by one: the TOML package gives all tables of
		// an array the same place.
		Layers []map[string]any `toml:"layers"`
	}{networkFile: networkFile{Solver: DefaultSolver()}}
	meta, err := toml.Decode(string(text), &f)
	if err != nil {
		return nil, decodeError(err, -1)
	}
	var problems []error
	for _, p := range unknownKeys(meta.Undecoded(), reflect.TypeFor[networkFile](), "") {
		if p.table != "layers" && !strings.HasPrefix(p.table, "layers.") {
			problems = append(problems, p)
		}
	}
	n := &Network{Name: f.Name, Classes: f.Classes, Input: f.Input.WithDefaults(), Solver: f.Solver}
	for i, table := range f.Layers {
		l, err := parseLayer(table, i)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		n.Layers = append(n.Layers, l.spec())
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return n, n.Check()
}

// parseLayer decodes and checks the i-th of the [[layers]].
func parseLayer(table map[string]any, i int) (*layerFile, error) {
	text, err := toml.Marshal(table)
	if err != nil {
		return nil, &placed{layer: i, table: "layers", err: err}
	}
	f := &layerFile{}
	meta, err := toml.Decode(string(text), f)
	if err != nil {
		return nil, decodeError(err, i)
	}
	var problems []error
	for _, p := range unknownKeys(meta.Undecoded(), reflect.TypeFor[layerFile](), "layers") {
		p.table, p.layer = "layers", i
		problems = append(problems, p)
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	if p := f.check(); p != nil {
		p.table, p.layer = "layers", i
		return nil, p
	}
	return f, nil
}

// placed is an error that belongs to a place in a network's file.
type placed struct {
	table string // "" is the top, "layers" one of the layers
	layer int    // which one
	key   string // "" is the table's header
	line  int    // when already known
	err   error
}

func (p *placed) Error() string { return p.err.Error() }
func (p *placed) Unwrap() error { return p.err }

// unknownKeys makes errors of keys that nothing was decoded from, except of
// those inside a table that is one itself. The root's type says what is known;
// table is the root's name, "" for the top of the file.
func unknownKeys(undecoded []toml.Key, root reflect.Type, table string) []*placed {
	var problems []*placed
	known := map[string]bool{}
	for _, path := range undecoded {
		known[path.String()] = true
	}
	seen := map[string]bool{}
	for _, path := range undecoded {
		parent, key := path[:len(path)-1], path[len(path)-1]
		if seen[path.String()] || len(parent) > 0 && known[parent.String()] {
			continue
		}
		seen[path.String()] = true
		inside := strings.TrimPrefix(strings.TrimSuffix(table+"."+strings.Join(parent, "."), "."), ".")
		where := "at the top"
		if inside != "" {
			where = fmt.Sprintf("in [%s]", inside)
		}
		problems = append(problems, &placed{table: inside, key: key,
			err: fmt.Errorf("unknown key %q %s%s", key, where, suggest(key, keysAt(root, parent)))})
	}
	return problems
}

// keysAt lists the keys that the table at path has in the struct type.
func keysAt(t reflect.Type, path toml.Key) []string {
	for _, step := range path {
		i := slices.Index(tomlKeys(t), step)
		if i < 0 {
			return nil
		}
		t = t.Field(i).Type
		for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct {
			return nil
		}
	}
	return tomlKeys(t)
}

var (
	tomlLastKey = regexp.MustCompile(`\(last key "([^"]*)"\)`)
	tomlLine    = regexp.MustCompile(`line (\d+)`)
	tomlPrefix  = regexp.MustCompile(`^toml: (line \d+ ?)?(\(last key "[^"]*"\))?(: )?(toml: )?`)
)

// decodeError finds the place that an error of the TOML package names; layer
// is the one that was being decoded, or −1.
func decodeError(err error, layer int) error {
	text := err.Error()
	p := &placed{err: errors.New(tomlPrefix.ReplaceAllString(text, ""))}
	var key string
	if m := tomlLastKey.FindStringSubmatch(text); m != nil {
		key = m[1]
	}
	if layer >= 0 {
		p.table, p.layer, p.key = "layers", layer, key
		if key != "" {
			p.err = fmt.Errorf("key %q: %w", key, p.err)
		}
		return p
	}
	if m := tomlLine.FindStringSubmatch(text); m != nil {
		fmt.Sscan(m[1], &p.line)
	}
	if key != "" {
		p.err = fmt.Errorf("key %q: %w", key, p.err)
	}
	return p
}

// withLines puts file and line before each of the joined errors.
func withLines(err error, file string, places []place) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []error
		for _, e := range joined.Unwrap() {
			all = append(all, withLines(e, file, places))
		}
		return errors.Join(all...)
	}
	var p *placed
	if !errors.As(err, &p) {
		return fmt.Errorf("%s: %w", file, err)
	}
	line := p.line
	if line == 0 {
		line = find(places, p)
	}
	if line == 0 {
		return fmt.Errorf("%s: %w", file, err)
	}
	return fmt.Errorf("%s:%d: %w", file, line, err)
}

// place is a line of a network's file that begins a table or sets a key.
type place struct {
	table string
	layer int // which one of tables in an array
	key   string
	line  int
}

var (
	headerLine = regexp.MustCompile(`^\s*\[\[?\s*([^\]]+?)\s*\]`)
	keyLine    = regexp.MustCompile(`^\s*["']?([A-Za-z0-9_-]+)["']?\s*=`)
)

// scanLines finds tables and keys, each on a line of its own as networks are
// written; what it does not see gets the place of the table around it.
func scanLines(text []byte) []place {
	var places []place
	table, index := "", map[string]int{}
	inText := false // inside a text of several lines
	for i, line := range strings.Split(string(text), "\n") {
		quotes := strings.Count(line, `"""`) + strings.Count(line, `'''`)
		if inText {
			inText = quotes%2 == 0
			continue
		}
		inText = quotes%2 == 1
		if m := headerLine.FindStringSubmatch(line); m != nil {
			if _, again := index[m[1]]; again {
				index[m[1]]++
			} else {
				index[m[1]] = 0
			}
			table = m[1]
			places = append(places, place{table, index[table], "", i + 1})
		} else if m := keyLine.FindStringSubmatch(line); m != nil {
			places = append(places, place{table, index[table], m[1], i + 1})
		}
	}
	return places
}

// find is the line of the error's place, or of the nearest thing around it; 0
// when nothing fits.
func find(places []place, p *placed) int {
	line, fit := 0, 0
	for _, q := range places {
		if q.table != p.table || q.table == "layers" && q.layer != p.layer {
			// A table may be written in one line of the table around it.
			if fit == 0 && q.table == "" && q.key != "" && q.key == strings.SplitN(p.table, ".", 2)[0] {
				line = q.line
			}
			// An unknown table is a key of the one around it.
			if p.key != "" && q.key == "" && q.table == strings.TrimPrefix(p.table+"."+p.key, ".") && fit < 2 {
				line, fit = q.line, 2
			}
			continue
		}
		switch {
		case q.key == p.key && fit < 3:
			line, fit = q.line, 3
		case q.key == "" && fit < 1:
			line, fit = q.line, 1
		}
	}
	return line
}

// suggest is the end of an error about a word that is not known.
func suggest(word string, known []string) string {
	slices.Sort(known)
	if text := DidYouMean(word, known); text != "" || len(known) == 0 {
		return text
	}
	return "; known are " + strings.Join(known, ", ")
}

// DidYouMean is the end of an error about a word that is not known: the
// nearest of the known words, or "" when none is near.
func DidYouMean(word string, known []string) string {
	best, distance := "", len(word)/3+2
	for _, k := range known {
		if d := editDistance(word, k); d < distance {
			best, distance = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(": did you mean %q?", best)
}

// editDistance is how many bytes must be put in, taken out or changed to make
// b of a (Levenshtein).
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// keys are a map's keys in order.
func keys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// list writes words for an error.
func list(words []string) string { return strings.Join(words, ", ") }
