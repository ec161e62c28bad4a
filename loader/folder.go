package loader

import (
	"fmt"
	"image"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// picture is one file of a folder or archive, named from its root.
type picture struct {
	path  string
	label int32
}

// folder is a set of pictures, one folder per class.
type folder struct {
	root     string
	classes  []string
	pictures []picture
}

func (f *folder) Len() int          { return len(f.pictures) }
func (f *folder) Classes() []string { return f.classes }
func (f *folder) Label(i int) int   { return int(f.pictures[i].label) }
func (f *folder) Name(i int) string { return filepath.Join(f.root, f.pictures[i].path) }
func (f *folder) Open(i int) (image.Image, error) {
	return ReadImage(f.Name(i))
}

const layouts = "a folder of pictures has train/<class>/… and val/<class>/… (or validation/ or test/), " +
	"or <class>/… directly, or files named <wnid>_….JPEG"

func openFolder(path, split string) (Source, error) {
	dirs, loose, err := list(path)
	if err != nil {
		return nil, err
	}
	trainDir, valDir := splitDirs(dirs)
	dir := trainDir
	if split == "val" {
		dir = valDir
	}
	switch {
	case split == "val" && valDir == "":
		return nil, fmt.Errorf("open %s as val: there is no val/, validation/ or test/ in it: %w", path, ErrNoSplit)
	case split == "train" && trainDir == "" && valDir != "":
		return nil, fmt.Errorf("open %s as train: it has %s/ but no train/: %s", path, valDir, layouts)
	}
	root := filepath.Join(path, dir)
	if dir != "" {
		if dirs, loose, err = list(root); err != nil {
			return nil, err
		}
	}
	f, err := readClasses(root, dirs, loose, split == "train")
	if err != nil {
		return nil, err
	}
	if split == "val" && trainDir != "" {
		trainClasses, loose, err := list(filepath.Join(path, trainDir))
		if err != nil {
			return nil, err
		}
		if len(trainClasses) == 0 {
			trainClasses, _ = flatClasses(loose)
		}
		if err := f.relabel(trainClasses); err != nil {
			return nil, fmt.Errorf("open %s: %w", root, err)
		}
	}
	return f, nil
}

// splitDirs finds the folders of the splits. A lone test/ among class folders
// is a class.
func splitDirs(dirs []string) (train, val string) {
	others := 0
	for _, d := range dirs {
		if d == "train" {
			train = d
		} else if !slices.Contains(splitNames["val"], d) {
			others++
		}
	}
	if train == "" && others > 0 {
		return "", ""
	}
	for _, name := range splitNames["val"] {
		if slices.Contains(dirs, name) {
			return train, name
		}
	}
	return train, ""
}

// list returns a folder's sub-folders and its pictures, sorted, hidden ones
// left out and symbolic links followed; one that leads nowhere and is named as a
// picture is one.
func list(dir string) (dirs, pictures []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("list pictures: %w", err)
	}
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, ".") || name == "__MACOSX" {
			continue
		}
		kind := e.Type()
		if kind&os.ModeSymlink != 0 {
			info, err := os.Stat(filepath.Join(dir, name))
			switch {
			case err == nil:
				kind = info.Mode().Type()
			case isPicture(name): // one that cannot be read
				kind = 0
			default:
				return nil, nil, fmt.Errorf("follow the symbolic link: %w", err)
			}
		}
		switch { // a pipe or a device holds no pictures
		case kind.IsDir():
			dirs = append(dirs, name)
		case kind.IsRegular() && isPicture(name):
			pictures = append(pictures, name)
		}
	}
	return dirs, pictures, nil
}

// Walk calls found for every picture in a folder, and then for those below it,
// folder by folder, in the order of their names, and with the error of each folder
// below that cannot be listed. It returns found's first error, or the folder's own.
func Walk(folder string, found func(path string, err error) error) error {
	return walk(folder, 0, found)
}

func walk(folder string, depth int, found func(path string, err error) error) error {
	const deepest = 16 // ends a circle of symbolic links
	dirs, pictures, err := list(folder)
	if depth > deepest {
		err = fmt.Errorf("list %s: folders are nested more than %d deep: is there a circle of symbolic links?", folder, deepest)
	}
	if err != nil && depth > 0 {
		return found(folder, err)
	}
	if err != nil {
		return err
	}
	for _, p := range pictures {
		if err := found(filepath.Join(folder, p), nil); err != nil {
			return err
		}
	}
	for _, d := range dirs {
		if err := walk(filepath.Join(folder, d), depth+1, found); err != nil {
			return err
		}
	}
	return nil
}

// readClasses lists the pictures of the class folders of root, or labels the
// loose pictures by the WordNet ids in their names.
func readClasses(root string, classes, loose []string, needAll bool) (*folder, error) {
	f := &folder{root: root}
	if len(classes) == 0 {
		if len(loose) == 0 {
			return nil, fmt.Errorf("open %s: no class folders and no pictures in it: %s", root, layouts)
		}
		names, other := flatClasses(loose)
		if isValidation(other) {
			return readValidation(root, loose)
		}
		if other != "" {
			return nil, fmt.Errorf("open %s: no classes: %d pictures lie directly in it, and %q does not begin with a WordNet id: %s",
				root, len(loose), other, layouts)
		}
		f.classes = names
		index := classIndex(names)
		for _, p := range loose {
			f.pictures = append(f.pictures, picture{p, int32(index[wnidOf(p)])})
		}
		return f, nil
	}
	var empty []string
	for label, class := range classes {
		before := len(f.pictures)
		err := Walk(filepath.Join(root, class), func(path string, err error) error {
			if err == nil {
				path, err = filepath.Rel(root, path)
			}
			f.pictures = append(f.pictures, picture{path, int32(label)})
			return err
		})
		if err != nil {
			return nil, err
		}
		if len(f.pictures) == before {
			empty = append(empty, class)
		}
	}
	if len(f.pictures) == 0 {
		return nil, fmt.Errorf("open %s: no pictures (%s) in its %d class folders: %s: %s",
			root, strings.Join(pictureExtensions, " "), len(classes), abbreviate(classes), layouts)
	}
	if needAll && len(empty) > 0 {
		return nil, fmt.Errorf("open %s: %d of %d class folders have no pictures (%s): %s: fill or remove them",
			root, len(empty), len(classes), strings.Join(pictureExtensions, " "), abbreviate(empty))
	}
	f.classes = classes
	return f, nil
}

// flatClasses returns the sorted WordNet ids of the names, or the first name
// that has none.
func flatClasses(names []string) (classes []string, other string) {
	for _, n := range names {
		id := wnidOf(n)
		if id == "" {
			return nil, n
		}
		classes = append(classes, id)
	}
	slices.Sort(classes)
	return slices.Compact(classes), ""
}

// relabel gives the pictures the labels that their classes have in classes.
func (f *folder) relabel(classes []string) error {
	to, err := relabelling(classes, f.classes)
	if err != nil {
		return err
	}
	for i := range f.pictures {
		p := &f.pictures[i]
		p.label = to[p.label]
	}
	f.classes = classes
	return nil
}
