package loader

/*
#cgo linux LDFLAGS: -ldl
#include <stdlib.h>
#include "turbo.h"
*/
import "C"

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"
)

// JPEG decoders, the words of SetJPEG.
const (
	JPEGAuto  = "auto"  // libjpeg-turbo where it is installed
	JPEGTurbo = "turbo" // libjpeg-turbo, or an error
	JPEGGo    = "go"    // Go's own
)

// GoJPEG is the name of Go's own decoder, whose bits may change with Go.
var GoJPEG = "Go image/jpeg (" + runtime.Version() + ")"

// jpegChoice is what SetJPEG chose; "" is "auto".
var jpegChoice atomic.Value

// SetJPEG chooses the decoder of all JPEG files from now on: "auto", "turbo"
// or "go". It is an error to ask for "turbo" where libjpeg-turbo is missing.
func SetJPEG(which string) error {
	switch which {
	case JPEGAuto, JPEGGo:
	case JPEGTurbo:
		if err := loadTurbo(); err != nil {
			return err
		}
	default:
		return fmt.Errorf("choose a JPEG decoder: %q is none of auto, turbo, go", which)
	}
	jpegChoice.Store(which)
	return nil
}

// JPEGDecoder names the decoder in use: "libjpeg-turbo 2.1.5" or GoJPEG.
func JPEGDecoder() string {
	if useTurbo() {
		return turbo.name
	}
	return GoJPEG
}

func useTurbo() bool {
	choice, _ := jpegChoice.Load().(string)
	return choice != JPEGGo && loadTurbo() == nil
}

var turbo struct {
	once sync.Once
	name string
	err  error
	idle sync.Pool // of *turboDecoder
}

func turboNames() []string {
	switch runtime.GOOS {
	case "windows":
		return []string{"turbojpeg.dll", "libturbojpeg.dll"}
	case "darwin", "ios":
		return []string{"libturbojpeg.0.dylib", "/opt/homebrew/opt/jpeg-turbo/lib/libturbojpeg.0.dylib", "/usr/local/opt/jpeg-turbo/lib/libturbojpeg.0.dylib"}
	}
	return []string{"libturbojpeg.so.0", "libturbojpeg.so"}
}

func turboHint() string {
	switch runtime.GOOS {
	case "windows":
		return "install libjpeg-turbo, or put its turbojpeg.dll beside the program"
	case "darwin", "ios":
		return "install it with: brew install jpeg-turbo"
	}
	return "install it with: apt install libturbojpeg0   (Fedora: dnf install turbojpeg; Arch: pacman -S libjpeg-turbo)"
}

// loadTurbo opens libjpeg-turbo once.
func loadTurbo() error {
	turbo.once.Do(func() {
		var tried []string
		for _, name := range turboNames() {
			cname := C.CString(name)
			var message [256]C.char
			code := C.turbo_open(cname, &message[0], C.size_t(len(message)))
			C.free(unsafe.Pointer(cname))
			if code != 0 {
				tried = append(tried, C.GoString(&message[0]))
				continue
			}
			turbo.name = "libjpeg-turbo " + turboVersion(C.GoString(C.turbo_path()), name)
			turbo.idle.New = func() any { return newTurboDecoder() }
			return
		}
		turbo.err = fmt.Errorf("libjpeg-turbo is not installed (%s): %s", strings.Join(tried, "; "), turboHint())
	})
	return turbo.err
}

// turboVersion reads the version out of the library's file, which has no
// function to tell it: "2.1.5", or the file's name.
func turboVersion(path, name string) string {
	const before = "libjpeg-turbo version "
	if data, err := os.ReadFile(path); err == nil {
		if i := bytes.Index(data, []byte(before)); i >= 0 {
			rest := data[i+len(before):]
			if end := bytes.IndexAny(rest, " \x00\n"); end > 0 && end < 32 {
				return string(rest[:end])
			}
		}
		if real, err := filepath.EvalSymlinks(path); err == nil {
			name = filepath.Base(real)
		}
	}
	return "(" + name + ")"
}

// turboDecoder is one worker's decoder with its memory.
type turboDecoder struct {
	handle unsafe.Pointer
	pixels []byte
}

func newTurboDecoder() *turboDecoder {
	d := &turboDecoder{handle: C.turbo_new()}
	if d.handle != nil {
		runtime.AddCleanup(d, func(h unsafe.Pointer) { C.turbo_free(h) }, d.handle)
	}
	return d
}

// errNotTurbo says that a picture is for Go's decoder: it is of four inks, or it is damaged in a way that Go's decoder may judge.
var errNotTurbo = errors.New("not for libjpeg-turbo")

// TurboJPEG's TJCS; the others are of four inks.
const (
	tjRGB   = 0
	tjYCbCr = 1
	tjGrey  = 2
)

// decode reads a JPEG file, at a half, quarter or eighth of its size where both
// sides are then still at least three times least (0: always at full size); size is
// the whole one. The picture lies in the decoder's memory until its next call.
func (d *turboDecoder) decode(data []byte, most, least int) (img image.Image, size image.Point, err error) {
	if d.handle == nil || len(data) == 0 {
		return nil, size, errNotTurbo
	}
	var w, h, samp, space C.int
	if C.turbo_header(d.handle, (*C.uchar)(&data[0]), C.ulong(len(data)), &w, &h, &samp, &space) != 0 {
		return nil, size, errNotTurbo
	}
	width, height := int(w), int(h)
	if width < 1 || height < 1 || width > most/height {
		return nil, size, errNotTurbo // whose error names the numbers
	}
	grey := space == tjGrey
	if !grey && space != tjYCbCr && space != tjRGB {
		return nil, size, errNotTurbo
	}
	size = image.Pt(width, height)
	scale := scaleFor(width, height, least)
	width, height = ceilDiv(width, scale), ceilDiv(height, scale)
	r, bytes, flag := image.Rect(0, 0, width, height), 4, C.int(0)
	if grey {
		bytes, flag = 1, 1
	}
	pixels := grow(&d.pixels, bytes*width*height)
	if C.turbo_pixels(d.handle, (*C.uchar)(&data[0]), C.ulong(len(data)), (*C.uchar)(&pixels[0]), C.int(width), C.int(height), flag) != 0 {
		return nil, size, errNotTurbo
	}
	if grey {
		return &image.Gray{Pix: pixels, Stride: width, Rect: r}, size, nil
	}
	return &image.RGBA{Pix: pixels, Stride: 4 * width, Rect: r}, size, nil
}

// scaleFor is the largest of 8, 4, 2 that leaves both sides at least three
// times least, else 1. Shrinking in the DCT is close to averaging pixels, and
// what is left is shrunk by the same filter as ever; TestScaledDCTKeepsQuality
// measures the difference.
func scaleFor(width, height, least int) int {
	if least > 0 {
		for scale := 8; scale > 1; scale /= 2 {
			if min(width, height)/scale >= 3*least {
				return scale
			}
		}
	}
	return 1
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }

// subsampling is how many luma samples one chroma sample spans on each axis.
func subsampling(ratio image.YCbCrSubsampleRatio) (x, y int) {
	switch ratio {
	case image.YCbCrSubsampleRatio422:
		return 2, 1
	case image.YCbCrSubsampleRatio420:
		return 2, 2
	case image.YCbCrSubsampleRatio440:
		return 1, 2
	case image.YCbCrSubsampleRatio411:
		return 4, 1
	case image.YCbCrSubsampleRatio410:
		return 4, 2
	}
	return 1, 1
}

// turboJPEG decodes with libjpeg-turbo at full size; errNotTurbo leaves it to
// Go's decoder. The picture keeps its memory.
func turboJPEG(data []byte, most int) (image.Image, error) {
	if !useTurbo() {
		return nil, errNotTurbo
	}
	d := turbo.idle.Get().(*turboDecoder)
	defer turbo.idle.Put(d)
	img, _, err := d.decode(data, most, 0)
	d.pixels = nil
	return img, err
}

// StoreEncoded decodes an encoded picture, as Decode does, and stores it as
// Store does. Where whole is false, libjpeg-turbo decodes large JPEG files at a
// half, quarter or eighth of their size, where that leaves at least three times
// the stored side: the bytes are then a little others, and come sooner.
func StoreEncoded(dst, data []byte, stored int, mode string, whole bool) error {
	if f := formatOf(data); f != nil && f.name == "JPEG" && useTurbo() {
		least := stored
		if whole {
			least = 0
		}
		d := turbo.idle.Get().(*turboDecoder)
		defer turbo.idle.Put(d)
		if img, size, err := d.decode(data, maxPixels, least); err == nil {
			return storeOf(dst, img, size, stored, mode)
		}
	}
	img, err := decode(data, maxPixels)
	if err != nil {
		return err
	}
	return Store(dst, img, stored, mode)
}
