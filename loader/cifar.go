package loader

import (
	"bufio"
	"fmt"
	"image"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// cifarKind is one of the two binary formats of https://www.cs.toronto.edu/~kriz/cifar.html:
// records of labelBytes labels, of which the last counts, and the red, green
// and blue planes of a 32×32 picture, row by row.
type cifarKind struct {
	name       string
	train, val []string
	labelBytes int
	classes    int
	names      string // the file with a class name per line
}

var cifarKinds = []cifarKind{
	{"CIFAR-10", []string{"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"},
		[]string{"test_batch.bin"}, 1, 10, "batches.meta.txt"},
	{"CIFAR-100", []string{"train.bin"}, []string{"test.bin"}, 2, 100, "fine_label_names.txt"},
}

var cifar10Names = []string{"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"}

const (
	cifarSide   = 32
	cifarPixels = cifarSide * cifarSide
)

func (k *cifarKind) record() int { return k.labelBytes + 3*cifarPixels }

// findCIFAR returns the folder of CIFAR's binary files, path itself or the one
// their archive unpacks to, and the kind; nil where there are none.
func findCIFAR(path string) (string, *cifarKind) {
	for _, dir := range []string{path, filepath.Join(path, "cifar-10-batches-bin"), filepath.Join(path, "cifar-100-binary")} {
		for i := range cifarKinds {
			k := &cifarKinds[i]
			for _, name := range []string{k.train[0], k.val[0]} {
				if info, err := os.Stat(filepath.Join(dir, name)); err == nil && info.Mode().IsRegular() {
					return dir, k
				}
			}
		}
	}
	return "", nil
}

// cifar holds the records of one split.
type cifar struct {
	kind    *cifarKind
	classes []string
	files   []string
	first   []int // the number of the first picture of each file
	data    []byte
}

func openCIFAR(dir string, kind *cifarKind, split string) (Source, error) {
	c := &cifar{kind: kind, classes: kind.readNames(dir)}
	names := kind.train
	if split == "val" {
		names = kind.val
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("open %s (%s): %w: unpack the whole archive again", dir, kind.name, err)
		}
		if err := kind.check(data); err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		c.files = append(c.files, path)
		c.first = append(c.first, len(c.data)/kind.record())
		c.data = append(c.data, data...)
	}
	return c, nil
}

// check says what is wrong with a file of records.
func (k *cifarKind) check(data []byte) error {
	size := k.record()
	if len(data) == 0 || len(data)%size != 0 {
		return fmt.Errorf("its %d bytes are not a whole number of %s records of %d: is the download complete?", len(data), k.name, size)
	}
	for i := 0; i < len(data); i += size {
		if label := int(data[i+k.labelBytes-1]); label >= k.classes {
			return fmt.Errorf("record %d has label %d, but %s has the classes 0 to %d: is it another format?", i/size, label, k.name, k.classes-1)
		}
	}
	return nil
}

// readNames reads the classes' names from the file beside the pictures, and
// falls back to known names or numbers when that is absent or incomplete.
func (k *cifarKind) readNames(dir string) []string {
	var names []string
	if f, err := os.Open(filepath.Join(dir, k.names)); err == nil {
		defer f.Close()
		for s := bufio.NewScanner(f); s.Scan(); {
			if name := strings.TrimSpace(s.Text()); name != "" {
				names = append(names, name)
			}
		}
	}
	if len(names) == k.classes {
		return names
	}
	if k.classes == len(cifar10Names) {
		return cifar10Names
	}
	names = make([]string, k.classes)
	for i := range names {
		names[i] = strconv.Itoa(i)
	}
	return names
}

func (c *cifar) Len() int          { return len(c.data) / c.kind.record() }
func (c *cifar) Classes() []string { return c.classes }
func (c *cifar) Label(i int) int {
	return int(c.data[i*c.kind.record()+c.kind.labelBytes-1])
}

func (c *cifar) Name(i int) string {
	f := len(c.first) - 1
	for c.first[f] > i {
		f--
	}
	return fmt.Sprintf("%s#%d", c.files[f], i-c.first[f])
}

func (c *cifar) Open(i int) (image.Image, error) {
	planes := c.data[i*c.kind.record()+c.kind.labelBytes:][:3*cifarPixels]
	img := image.NewRGBA(image.Rect(0, 0, cifarSide, cifarSide))
	for p := range cifarPixels {
		img.Pix[4*p] = planes[p]
		img.Pix[4*p+1] = planes[cifarPixels+p]
		img.Pix[4*p+2] = planes[2*cifarPixels+p]
		img.Pix[4*p+3] = 255
	}
	return img, nil
}
