package loader

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"image"
	"image/color"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Finding is something wrong with a picture of a data set.
type Finding struct {
	// Kind is one of Findings.
	Kind string `json:"kind"`
	// Name is the picture, Split where it is.
	Name  string `json:"name"`
	Split string `json:"split"`
	// Detail says what was found: the error, the true format, the twin.
	Detail string `json:"detail"`
}

// The kinds of findings: no bytes at all; not to be decoded; four colours of
// ink, which many programs take for others; a content that the name's ending
// does not fit; the same bytes as an earlier picture.
const (
	FindingEmpty      = "empty"
	FindingUnreadable = "unreadable"
	FindingCMYK       = "cmyk"
	FindingMisnamed   = "misnamed"
	FindingDuplicate  = "duplicate"
)

// Findings are all kinds, in the order of reports.
var Findings = []string{FindingEmpty, FindingUnreadable, FindingCMYK, FindingMisnamed, FindingDuplicate}

// Checker looks at every picture of one or more splits.
type Checker struct {
	Workers  int // one per processor when 0
	Progress func(done, total int)
	seen     map[[sha256.Size]byte]string
}

// extensionsOf are the endings that fit a format.
var extensionsOf = map[string][]string{
	"JPEG": {".jpg", ".jpeg", ".jfif", ".jpe"}, "PNG": {".png"}, "GIF": {".gif"}, "BMP": {".bmp"}, "TIFF": {".tif", ".tiff"},
	"WebP": {".webp"}, "PPM": {".ppm"}, "PGM": {".pgm"},
}

// checked is what was found out about one picture.
type checked struct {
	findings []Finding
	hash     [sha256.Size]byte
	hashed   bool
}

// Check returns what is wrong with the pictures of src, in their order.
// Duplicates are also found across the calls of one Checker.
func (c *Checker) Check(ctx context.Context, split string, src Source) ([]Finding, error) {
	if c.seen == nil {
		c.seen = map[[sha256.Size]byte]string{}
	}
	workers := c.Workers
	if workers < 1 {
		workers = runtime.GOMAXPROCS(0)
	}
	results := make([]checked, src.Len())
	var next, done atomic.Int64
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= src.Len() {
					return
				}
				results[i] = checkOne(split, src, i)
				if n := done.Add(1); c.Progress != nil {
					c.Progress(int(n), src.Len())
				}
			}
		})
	}
	group.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var all []Finding
	for i, r := range results {
		all = append(all, r.findings...)
		if !r.hashed {
			continue
		}
		if twin, ok := c.seen[r.hash]; ok {
			all = append(all, Finding{FindingDuplicate, src.Name(i), split, "the same as " + twin})
			continue
		}
		c.seen[r.hash] = src.Name(i)
	}
	return all, nil
}

func checkOne(split string, src Source, i int) (r checked) {
	add := func(kind, detail string) {
		r.findings = append(r.findings, Finding{kind, src.Name(i), split, detail})
	}
	inner, at := Inner(src, i)
	files, ok := inner.(Encoded)
	if !ok {
		img, err := src.Open(i)
		if err != nil {
			add(FindingUnreadable, err.Error())
			return r
		}
		r.hash, r.hashed = hashPixels(img), true
		return r
	}
	data, err := files.Encoded(at, nil)
	if err != nil {
		add(FindingUnreadable, err.Error())
		return r
	}
	if len(data) == 0 {
		add(FindingEmpty, "the file is empty")
		return r
	}
	r.hash, r.hashed = sha256.Sum256(data), true
	f := formatOf(data)
	if ext := strings.ToLower(filepath.Ext(src.Name(i))); f != nil && !slices.Contains(extensionsOf[f.name], ext) {
		add(FindingMisnamed, fmt.Sprintf("the name ends in %s, the content is %s", ext, f.name))
	}
	if _, err := decode(data, maxPixels); err != nil {
		add(FindingUnreadable, err.Error())
		return r
	}
	if c, err := f.config(bytes.NewReader(data)); err == nil && c.ColorModel == color.CMYKModel {
		add(FindingCMYK, fmt.Sprintf("%s of four inks; it is read as RGB", f.name))
	}
	return r
}

// hashPixels sums up pictures that are no files.
func hashPixels(img image.Image) (sum [sha256.Size]byte) {
	h := sha256.New()
	b := img.Bounds()
	fmt.Fprintf(h, "%d×%d\n", b.Dx(), b.Dy())
	row, read := make([]byte, 4*b.Dx()), rowReader(img)
	for y := range b.Dy() {
		read(row, y)
		h.Write(row)
	}
	return [sha256.Size]byte(h.Sum(nil))
}
