package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"math"
	"os"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"

	"vkalexnet/alexnet"
	"vkalexnet/weights"
)

// filterPicture shows the kernels of a convolution, weight [out, in, kh, kw], as
// tiles, each stretched to its own range of values. Three input channels are
// shown as red, green and blue (blue, green and red for BGR), others as the
// grey of the first one.
func filterPicture(weight weights.Tensor, bgr bool) (image.Image, error) {
	if len(weight.Shape) != 4 {
		return nil, fmt.Errorf("%s has shape %v: only convolutions have kernels to show", weight.Name, weight.Shape)
	}
	out, in, kh, kw := weight.Shape[0], weight.Shape[1], weight.Shape[2], weight.Shape[3]
	planes := [3]int{0, 0, 0}
	if in == 3 {
		planes = [3]int{0, 1, 2}
		if bgr {
			planes = [3]int{2, 1, 0}
		}
	}
	zoom := max(1, 44/kw)
	columns := int(math.Ceil(math.Sqrt(float64(out) * 1.5)))
	rows := (out + columns - 1) / columns
	const gap = 2
	tileW, tileH := kw*zoom+gap, kh*zoom+gap
	picture := image.NewRGBA(image.Rect(0, 0, columns*tileW+gap, rows*tileH+gap))
	for i := range picture.Pix {
		picture.Pix[i] = 255
	}
	for o := range out {
		kernel := weight.Data[o*in*kh*kw:][:in*kh*kw]
		low, high := float32(math.Inf(1)), float32(math.Inf(-1))
		for _, p := range planes {
			for _, v := range kernel[p*kh*kw:][:kh*kw] {
				low, high = min(low, v), max(high, v)
			}
		}
		scale := float32(0)
		if high > low {
			scale = 255 / (high - low)
		}
		left, top := gap+o%columns*tileW, gap+o/columns*tileH
		for y := range kh * zoom {
			for x := range kw * zoom {
				var rgb [3]uint8
				for c, p := range planes {
					rgb[c] = uint8((kernel[p*kh*kw+y/zoom*kw+x/zoom] - low) * scale)
				}
				picture.SetRGBA(left+x, top+y, color.RGBA{rgb[0], rgb[1], rgb[2], 255})
			}
		}
	}
	return picture, nil
}

func writePNG(path string, picture image.Image) error {
	return weights.Replace(path, func(w io.Writer) error { return png.Encode(w, picture) })
}

// metric is one line of metrics.jsonl, of either kind.
type metric struct {
	alexnet.StepMetrics
	ValLoss *float64 `json:"val_loss"`
	ValTop1 float64  `json:"val_top1"`
	ValTop5 float64  `json:"val_top5"`
}

// drawCurves draws loss.png: the losses above, the accuracies below, over the
// steps of the whole run as metrics.jsonl tells it.
func drawCurves(metrics, path string) error {
	f, err := os.Open(metrics)
	if err != nil {
		return err
	}
	defer f.Close()
	var train, val, top1, top5 plotter.XYs
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var m metric
		if json.Unmarshal(lines.Bytes(), &m) != nil {
			continue // the last line of a run that was killed
		}
		step := float64(m.Step)
		switch {
		case m.Kind == "step":
			train = append(train, plotter.XY{X: step, Y: m.Loss})
		case m.Kind == "epoch" && m.ValLoss != nil:
			val = append(val, plotter.XY{X: step, Y: *m.ValLoss})
			top1 = append(top1, plotter.XY{X: step, Y: m.ValTop1 * 100})
			top5 = append(top5, plotter.XY{X: step, Y: m.ValTop5 * 100})
		}
	}
	blue, red, green := color.RGBA{31, 90, 180, 255}, color.RGBA{200, 60, 40, 255}, color.RGBA{40, 140, 70, 255}
	losses := plot.New()
	losses.Y.Label.Text = "loss (nats)"
	losses.Y.Min = 0
	losses.Legend.Top = true
	add(losses, "training", averaged(train), blue, false)
	add(losses, "validation", val, red, true)

	accuracy := plot.New()
	accuracy.X.Label.Text = "step"
	accuracy.Y.Label.Text = "validation accuracy (%)"
	accuracy.Y.Min, accuracy.Y.Max = 0, 100
	add(accuracy, "top-1", top1, red, true)
	add(accuracy, "top-5", top5, green, true)
	for _, p := range []*plot.Plot{losses, accuracy} {
		p.Add(plotter.NewGrid())
		p.Legend.XOffs, p.Legend.YOffs, p.Legend.Padding = -vg.Centimeter/2, vg.Centimeter/2, vg.Points(3)
		if len(train) > 0 {
			p.X.Min, p.X.Max = 0, train[len(train)-1].X
		}
	}

	losses.Legend.YOffs *= -1 // down from the top
	losses.Y.Max *= 1.05
	canvas := vgimg.New(20*vg.Centimeter, 20*vg.Centimeter)
	const margin = vg.Centimeter / 2
	inside := draw.Crop(draw.New(canvas), margin, -margin, margin, -margin)
	for i, tile := range plot.Align([][]*plot.Plot{{losses}, {accuracy}}, draw.Tiles{Rows: 2, Cols: 1, PadY: margin}, inside) {
		[]*plot.Plot{losses, accuracy}[i].Draw(tile[0])
	}
	return weights.Replace(path, func(w io.Writer) error {
		_, err := vgimg.PngCanvas{Canvas: canvas}.WriteTo(w)
		return err
	})
}

// averaged thins a curve out to 500 points, each the mean of its neighbours.
func averaged(curve plotter.XYs) plotter.XYs {
	const points = 500
	if len(curve) <= points {
		return curve
	}
	thin := make(plotter.XYs, points)
	for i := range thin {
		part := curve[i*len(curve)/points : (i+1)*len(curve)/points]
		for _, xy := range part {
			thin[i].X += xy.X / float64(len(part))
			thin[i].Y += xy.Y / float64(len(part))
		}
	}
	return thin
}

func add(p *plot.Plot, name string, curve plotter.XYs, ink color.Color, dots bool) {
	finite := curve[:0:0]
	for _, xy := range curve {
		if !math.IsNaN(xy.Y) && !math.IsInf(xy.Y, 0) {
			finite = append(finite, xy)
		}
	}
	if len(finite) == 0 {
		return
	}
	line, err := plotter.NewLine(finite)
	if err != nil {
		return
	}
	line.Color = ink
	line.Width = vg.Points(1.5)
	p.Add(line)
	p.Legend.Add(name, line)
	if dots {
		if scatter, err := plotter.NewScatter(finite); err == nil {
			scatter.Color = ink
			scatter.Shape = draw.CircleGlyph{}
			scatter.Radius = vg.Points(2)
			p.Add(scatter)
		}
	}
}
