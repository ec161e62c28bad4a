package loader

import (
	"fmt"

	"github.com/go-gl/mathgl/mgl32"
)

// Views returns the geometries of the views that an evaluation averages over:
// 1 is the centre crop; 5 the crops at the upper left, upper right, centre,
// lower left and lower right; 10 those and then their mirror images (Krizhevsky
// et al. 2012, section 4.1). The corners are those of the room that training's
// random crops have, Pad included.
func Views(in Input, crops int) ([]mgl32.Mat3, error) {
	if err := in.Check(); err != nil {
		return nil, err
	}
	in = in.WithDefaults()
	switch crops {
	case 1:
		return []mgl32.Mat3{in.CentreGeometry()}, nil
	case 5, 10:
	default:
		return nil, fmt.Errorf("%d views are not defined: use 1, 5 or 10", crops)
	}
	lo, hi := -in.Augment.Pad, in.Stored+in.Augment.Pad-in.Size
	if lo == hi {
		return nil, fmt.Errorf("%d views need room for crops, but input.size and input.stored are both %d: use 1", crops, in.Size)
	}
	c := in.centreOffset()
	var views []mgl32.Mat3
	for _, at := range [][2]int{{lo, lo}, {hi, lo}, {c, c}, {lo, hi}, {hi, hi}} {
		views = append(views, mgl32.Translate2D(float32(at[0]), float32(at[1])))
	}
	if crops == 10 {
		for _, v := range views[:5] {
			views = append(views, v.Mul3(mirror(in.Size)))
		}
	}
	return views, nil
}
