package loader

import (
	"archive/tar"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// The names of ILSVRC2012's files.
const (
	imagenetTrain  = "ILSVRC2012_img_train.tar"
	imagenetVal    = "ILSVRC2012_img_val.tar"
	imagenetDevkit = "ILSVRC2012_devkit_t12"
	groundTruth    = "ILSVRC2012_validation_ground_truth.txt"
	kaggleSolution = "LOC_val_solution.csv"
)

// errNoTruth says which files tell the classes of the validation pictures.
var errNoTruth = fmt.Errorf("the names of the validation pictures do not tell their classes: put beside them %s.tar.gz (or its folder, with data/meta.mat and data/%s), "+
	"or Kaggle's %s", imagenetDevkit, groundTruth, kaggleSolution)

// openImageNet opens ILSVRC2012's archives in a folder, in place.
func openImageNet(dir, split string) (Source, error) {
	name := map[string]string{"train": imagenetTrain, "val": imagenetVal}[split]
	if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
		if split == "val" {
			return nil, fmt.Errorf("open %s as val: there is no %s in it: %w", dir, name, ErrNoSplit)
		}
		return nil, fmt.Errorf("open %s as train: it has %s but no %s", dir, imagenetVal, name)
	}
	if split == "train" {
		return openTar(filepath.Join(dir, name), split, false)
	}
	truth, err := readTruth(dir)
	if err != nil {
		return nil, err
	}
	a, err := indexTars([]string{filepath.Join(dir, name)})
	if err != nil {
		return nil, err
	}
	classes := truth.classes()
	if _, err := os.Stat(filepath.Join(dir, imagenetTrain)); err == nil {
		t, err := openTar(filepath.Join(dir, imagenetTrain), "train", false)
		if err != nil {
			a.Close()
			return nil, err
		}
		used := classes
		classes = t.Classes()
		t.(io.Closer).Close()
		if err := unknownClasses(classes, used); err != nil {
			a.Close()
			return nil, fmt.Errorf("open %s: %w", dir, err)
		}
	}
	a.classes = classes
	index := classIndex(classes)
	for i := range a.members {
		m := &a.members[i]
		wnid, ok := truth[stem(m.path)]
		if !ok && m.damage == "" {
			a.Close()
			return nil, fmt.Errorf("open %s: %s has no class in the ground truth, which has %d pictures", dir, m.path, len(truth))
		}
		m.label = int32(index[wnid])
	}
	if len(a.members) == 0 {
		a.Close()
		return nil, fmt.Errorf("open %s: %s holds no pictures", dir, name)
	}
	return a, nil
}

// truthMap maps the names of validation pictures, without their ending, to
// their WordNet ids.
type truthMap map[string]string

func (t truthMap) classes() []string {
	seen := map[string]bool{}
	var ids []string
	for _, id := range t {
		if !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

func stem(name string) string {
	name = path.Base(filepath.ToSlash(name))
	return strings.TrimSuffix(name, path.Ext(name))
}

// readTruth finds the validation pictures' classes in dir or, for Kaggle's
// layout (ILSVRC/Data/CLS-LOC), up to four folders above.
func readTruth(dir string) (truthMap, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	for range 5 {
		if f, err := os.Open(filepath.Join(abs, kaggleSolution)); err == nil {
			defer f.Close()
			t, err := parseSolution(f)
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", f.Name(), err)
			}
			return t, nil
		}
		for _, kit := range []string{filepath.Join(abs, imagenetDevkit, "data"), filepath.Join(abs, "data"), abs} {
			if _, err := os.Stat(filepath.Join(kit, groundTruth)); err != nil {
				continue
			}
			numbers, err := os.ReadFile(filepath.Join(kit, groundTruth))
			if err != nil {
				return nil, err
			}
			meta, err := os.ReadFile(filepath.Join(kit, "meta.mat"))
			if err != nil {
				return nil, fmt.Errorf("%s gives numbers; meta.mat of the devkit says which WordNet ids they are: %w", groundTruth, err)
			}
			return joinTruth(kit, numbers, meta)
		}
		if f, err := os.Open(filepath.Join(abs, imagenetDevkit+".tar.gz")); err == nil {
			defer f.Close()
			return readDevkit(f)
		}
		abs = filepath.Dir(abs)
	}
	return nil, fmt.Errorf("open %s: %w", dir, errNoTruth)
}

// readDevkit reads ILSVRC2012_devkit_t12.tar.gz.
func readDevkit(f *os.File) (truthMap, error) {
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	var numbers, meta []byte
	for tr := tar.NewReader(z); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", f.Name(), err)
		}
		var to *[]byte
		switch path.Base(h.Name) {
		case groundTruth:
			to = &numbers
		case "meta.mat":
			to = &meta
		default:
			continue
		}
		if *to, err = io.ReadAll(io.LimitReader(tr, maxMeta)); err != nil {
			return nil, fmt.Errorf("read %s: %s: %w", f.Name(), h.Name, err)
		}
	}
	if numbers == nil || meta == nil {
		return nil, fmt.Errorf("read %s: it lacks %s or meta.mat", f.Name(), groundTruth)
	}
	return joinTruth(f.Name(), numbers, meta)
}

// joinTruth joins line n, an ILSVRC2012_ID, with that number's WordNet id.
func joinTruth(where string, numbers, meta []byte) (truthMap, error) {
	ids, err := parseMeta(meta)
	if err != nil {
		return nil, fmt.Errorf("read meta.mat of %s: %w", where, err)
	}
	t := truthMap{}
	for k, field := range strings.Fields(string(numbers)) {
		n, err := strconv.Atoi(field)
		if err != nil || ids[n] == "" {
			return nil, fmt.Errorf("read %s of %s: line %d is %q, which is no ILSVRC2012_ID in meta.mat", groundTruth, where, k+1, field)
		}
		t[fmt.Sprintf("ILSVRC2012_val_%08d", k+1)] = ids[n]
	}
	if len(t) == 0 {
		return nil, fmt.Errorf("read %s of %s: it is empty", groundTruth, where)
	}
	return t, nil
}

// parseSolution reads Kaggle's LOC_val_solution.csv: a line per picture, its
// name and boxes that begin with the WordNet id.
func parseSolution(r io.Reader) (truthMap, error) {
	rows := csv.NewReader(r)
	rows.FieldsPerRecord = 2
	t := truthMap{}
	for {
		row, err := rows.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		id, _, _ := strings.Cut(strings.TrimSpace(row[1]), " ")
		if row[0] == "ImageId" {
			continue
		}
		if wnidOf(id+"_") == "" {
			line, _ := rows.FieldPos(1)
			return nil, fmt.Errorf("line %d: %q does not begin with a WordNet id", line, row[1])
		}
		t[row[0]] = id
	}
	if len(t) == 0 {
		return nil, errors.New("it names no pictures")
	}
	return t, nil
}

// isValidation says whether a picture is named as in ILSVRC2012's validation set.
func isValidation(name string) bool { return strings.HasPrefix(path.Base(name), "ILSVRC2012_val_") }

// readValidation labels loose validation pictures by the ground truth.
func readValidation(root string, loose []string) (*folder, error) {
	truth, err := readTruth(root)
	if err != nil {
		return nil, err
	}
	f := &folder{root: root, classes: truth.classes()}
	index := classIndex(f.classes)
	for _, p := range loose {
		id, ok := truth[stem(p)]
		if !ok {
			return nil, fmt.Errorf("open %s: %s has no class in the ground truth, which has %d pictures", root, p, len(truth))
		}
		f.pictures = append(f.pictures, picture{p, int32(index[id])})
	}
	return f, nil
}
