package loader

import (
	"fmt"

	"github.com/go-gl/mathgl/mgl32"
)

// Batch is a number of pictures with what the network's input stage needs.
type Batch struct {
	// N is the number of pictures; the last batch of an epoch can be short.
	N int
	// Stored is the pictures' side.
	Stored int
	// Pixels are interleaved RGB bytes [N, Stored, Stored, 3].
	Pixels []byte
	// Labels are the classes, -1 where there is none.
	Labels []int32
	// Geometry maps output pixels (x, y, 1) to stored pixels, Colour maps
	// (R, G, B, 1) to the network's channels; one of each per picture.
	Geometry []mgl32.Mat3
	Colour   []mgl32.Mat4
	// Indices are the pictures' numbers in the source.
	Indices []int
	// Bad has a *BadImage for each picture that could not be read.
	Bad []error
	// Epoch and Index say which batch this is; Last marks the epoch's last.
	Epoch, Index int
	Last         bool
}

// BadImage is the error of a picture that could not be read.
type BadImage struct {
	Index int // in the source
	Name  string
	Err   error
}

func (b *BadImage) Error() string { return fmt.Sprintf("picture %d (%s): %v", b.Index, b.Name, b.Err) }

// Unwrap returns the cause.
func (b *BadImage) Unwrap() error { return b.Err }
