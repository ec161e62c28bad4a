// Command picture writes one of the generated pictures that training never
// sees, as PNG, at twice its size.
package main

import (
	"fmt"
	"image"
	"image/png"
	"os"

	"golang.org/x/image/draw"

	"vkalexnet/loader"
)

func main() {
	if err := write(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func write() error {
	src, err := loader.OpenSource("synthetic", "val")
	if err != nil {
		return err
	}
	small, err := src.Open(4)
	if err != nil {
		return err
	}
	large := image.NewRGBA(image.Rect(0, 0, 2*small.Bounds().Dx(), 2*small.Bounds().Dy()))
	draw.CatmullRom.Scale(large, large.Rect, small, small.Bounds(), draw.Src, nil)
	return png.Encode(os.Stdout, large)
}
