package main

import (
	"fmt"
	"image/color"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	_ "gonum.org/v1/plot/vg/vgimg" // PNG
	_ "gonum.org/v1/plot/vg/vgsvg" // SVG

	"vkalexnet/weights"
)

func newPlot() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "plot RUN...",
		Short: "Draw loss and accuracy of one or more runs",
		Long: `Draws the training loss (lines) with the validation loss (dots), and the validation
accuracy, of the runs in these folders over their steps.`,
		Example: "  vkalexnet plot runs/a runs/b -o compared.svg",
		Args:    needArguments(0, "which runs? Give their folders"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if format := pictureFormat(output); format != "svg" && format != "png" {
				return usagef("--output %s: its name must end in .svg or .png", output)
			}
			var runs []*runFolder
			for _, path := range args {
				r, err := readRun(path)
				if err != nil {
					return err
				}
				runs = append(runs, r)
			}
			if err := plotRuns(runs, output); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), output)
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "runs.svg", "file to write: .svg or .png")
	return cmd
}

// plotRuns draws the losses above, the accuracies below.
func plotRuns(runs []*runFolder, path string) error {
	losses, accuracy := plot.New(), plot.New()
	losses.Y.Label.Text, losses.Y.Min, losses.Legend.Top = "loss (nats), dots: validation", 0, true
	accuracy.X.Label.Text, accuracy.Y.Label.Text = "step", "validation top-1 (%)"
	accuracy.Y.Min, accuracy.Y.Max = 0, 100
	last := 1.0
	for i, r := range runs {
		var train, val, top1 plotter.XYs
		for _, m := range r.metrics {
			step := float64(m.Step)
			last = max(last, step)
			switch {
			case m.Kind == "step":
				train = append(train, plotter.XY{X: step, Y: m.Loss})
			case m.ValLoss != nil:
				val = append(val, plotter.XY{X: step, Y: *m.ValLoss})
				top1 = append(top1, plotter.XY{X: step, Y: 100 * m.ValTop1})
			}
		}
		ink := plotutil.DarkColors[i%len(plotutil.DarkColors)]
		add(losses, r.path, averaged(train), ink, false)
		dots(losses, val, ink)
		add(accuracy, r.path, top1, ink, true)
	}
	for _, p := range []*plot.Plot{losses, accuracy} {
		p.Add(plotter.NewGrid())
		p.X.Min, p.X.Max = 0, last
		p.Legend.XOffs, p.Legend.Padding = -vg.Centimeter/2, vg.Points(3)
	}
	losses.Legend.YOffs, accuracy.Legend.YOffs = -vg.Centimeter/2, vg.Centimeter/2
	losses.Y.Max *= 1.05
	canvas, err := draw.NewFormattedCanvas(24*vg.Centimeter, 20*vg.Centimeter, pictureFormat(path))
	if err != nil {
		return fmt.Errorf("draw %s: %w", path, err)
	}
	const margin = vg.Centimeter / 2
	inside := draw.Crop(draw.New(canvas), margin, -margin, margin, -margin)
	for i, tile := range plot.Align([][]*plot.Plot{{losses}, {accuracy}}, draw.Tiles{Rows: 2, Cols: 1, PadY: margin}, inside) {
		[]*plot.Plot{losses, accuracy}[i].Draw(tile[0])
	}
	return weights.Replace(path, func(w io.Writer) error {
		_, err := canvas.WriteTo(w)
		return err
	})
}

// pictureFormat is what a file's name ends in, after the dot.
func pictureFormat(path string) string {
	return strings.ToLower(strings.TrimPrefix(filepath.Ext(path), "."))
}

// dots draws points without a line.
func dots(p *plot.Plot, points plotter.XYs, ink color.Color) {
	scatter, err := plotter.NewScatter(points)
	if err != nil {
		return // none, or none that are numbers
	}
	scatter.Color, scatter.Shape, scatter.Radius = ink, draw.CircleGlyph{}, vg.Points(2.5)
	p.Add(scatter)
}
