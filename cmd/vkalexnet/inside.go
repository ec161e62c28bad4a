package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"vkalexnet/alexnet"
	"vkalexnet/loader"
	"vkalexnet/weights"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/palette"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// layerNamed is the index of a layer of the network.
func layerNamed(net *alexnet.Network, name string) (int, error) {
	var names []string
	for i, l := range net.Layers {
		if l.Name == name {
			return i, nil
		}
		names = append(names, l.Name)
	}
	hint := alexnet.DidYouMean(name, names)
	if hint == "" {
		hint = ": its layers are " + strings.Join(names, ", ")
	}
	return 0, usagef("network %q has no layer %q%s", net.Name, name, hint)
}

// features collects the outputs of one layer for all pictures.
type features struct {
	names []string
	shape []int
	data  []float32
}

// outputs runs every picture, as its centre crop, up to a layer and calls each
// with its output; a picture that cannot be read is reported and left out.
func outputs(ctx context.Context, cmd *cobra.Command, exec alexnet.Executor, net *alexnet.Network, layer int, src loader.Source, batch, workers int,
	each func(name string, values []float32) error) (bad int, err error) {
	look, ok := exec.(alexnet.Inspector)
	if !ok {
		return 0, fmt.Errorf("%s does not give the outputs of layers", exec.Name())
	}
	l, err := loader.NewLoader(src, net.Input, loader.Options{Batch: batch, Workers: workers, OnBadImage: "blank"})
	if err != nil {
		return 0, err
	}
	l.Start(ctx, 0, 0)
	defer l.Stop()
	for {
		b, err := l.Next()
		if errors.Is(err, io.EOF) {
			return bad, nil
		}
		if err != nil {
			return bad, err
		}
		values, err := look.Outputs(b, layer)
		if err != nil {
			return bad, err
		}
		unread := map[int]bool{}
		for _, err := range b.Bad {
			warn(cmd, "skipped: %s", visible(err.Error()))
			bad++
			if image := (*loader.BadImage)(nil); errors.As(err, &image) {
				unread[image.Index] = true
			}
		}
		n := len(values) / b.N
		for i, index := range b.Indices {
			if unread[index] {
				continue
			}
			if err := each(src.Name(index), values[i*n:][:n]); err != nil {
				return bad, err
			}
		}
	}
}

// featuresShape is that of one picture's output: [C, H, W], or [features].
func featuresShape(net *alexnet.Network, layer int) ([]int, error) {
	plans, err := net.Plans()
	if err != nil {
		return nil, err
	}
	out := plans[layer].Out
	if out.H == 1 && out.W == 1 {
		return []int{out.C}, nil
	}
	return []int{out.C, out.H, out.W}, nil
}

// write writes a .npy or a .safetensors file.
func (f *features) write(path, layer, protocol string) error {
	t := weights.Tensor{Name: layer, Shape: append([]int{len(f.names)}, f.shape...), Data: f.data}
	if strings.EqualFold(filepath.Ext(path), ".npy") {
		return weights.Replace(path, func(w io.Writer) error { return weights.WriteNPY(w, t) })
	}
	names, err := json.Marshal(f.names)
	if err != nil {
		return err
	}
	return weights.WriteSafetensors(path, &weights.File{
		Tensors:  []weights.Tensor{t},
		Metadata: map[string]string{"files": string(names), "layer": layer, "protocol": protocol},
	})
}

// checkFeatures says whether the flags of features can be meant.
func checkFeatures(layer, output string) error {
	if layer == "" {
		if output != "" {
			return usagef("-o %s: it is the file of --features", output)
		}
		return nil
	}
	if ext := strings.ToLower(filepath.Ext(output)); ext != ".npy" && ext != ".safetensors" {
		return usagef("--features %s: -o takes a file that ends in .npy or .safetensors, not %q", layer, output)
	}
	if info, err := os.Stat(filepath.Dir(output)); err != nil || !info.IsDir() {
		return usagef("-o %s: there is no folder %s", output, filepath.Dir(output))
	}
	return nil
}

// inferFeatures writes the outputs of a layer for all pictures.
func inferFeatures(cmd *cobra.Command, o *opened, src loader.Source, batch, workers int, layer, output string) error {
	at, err := layerNamed(o.net, layer)
	if err != nil {
		return err
	}
	f := &features{}
	if f.shape, err = featuresShape(o.net, at); err != nil {
		return err
	}
	bad, err := outputs(cmd.Context(), cmd, o.exec, o.net, at, src, batch, workers, func(name string, values []float32) error {
		f.names, f.data = append(f.names, name), append(f.data, values...)
		return nil
	})
	if err != nil {
		return err
	}
	if len(f.names) == 0 {
		return fmt.Errorf("none of the %d pictures could be read", src.Len())
	}
	if err := f.write(output, layer, o.net.Input.Protocol(1)); err != nil {
		return fmt.Errorf("write features: %w", err)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s: %s of %d pictures, %v each\n", output, layer, len(f.names), f.shape)
	if bad > 0 {
		return fmt.Errorf("%d of %d pictures could not be read and have no row in %s (a .safetensors file names those that have)", bad, src.Len(), output)
	}
	return nil
}

// explain draws for every picture why the network takes it for its best class.
func explain(cmd *cobra.Command, o *opened, src loader.Source, batch int, folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("explain: %w", err)
	}
	used := map[string]int{}
	bad := 0
	for i := range src.Len() {
		if err := cmd.Context().Err(); err != nil {
			return err
		}
		name := src.Name(i)
		picture, err := src.Open(i)
		if err != nil {
			warn(cmd, "skipped: %s: %s", visible(name), visible(err.Error()))
			bad++
			continue
		}
		grad, err := alexnet.GradCAM(o.exec, o.net, picture, -1)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		occlusion, err := alexnet.Occlusion(cmd.Context(), o.exec, o.net, picture, grad.Class, batch)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		base := strings.Trim(strings.NewReplacer("/", "_", "\\", "_", ":", "_").Replace(name), "_.")
		if base == "" || base == "-" {
			base = "picture"
		}
		used[base]++
		if n := used[base]; n > 1 { // another of the same name
			base += "-" + strconv.Itoa(n)
		}
		for kind, h := range map[string]*alexnet.HeatMap{"gradcam": grad, "occlusion": occlusion} {
			if err := writePNG(filepath.Join(folder, base+"."+kind+".png"), enlarged(h.Overlay())); err != nil {
				return fmt.Errorf("explain: %w", err)
			}
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s: %s %.2f %%, Grad-CAM peak %.3g, hiding a place loses up to %.1f %% → %s.*.png\n", visible(name), o.net.ClassName(grad.Class),
			100*grad.Prob, grad.Peak, 100*occlusion.Peak, visible(filepath.Join(folder, base)))
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d pictures could not be read", bad, src.Len())
	}
	return nil
}

// enlarged repeats pixels until a picture is at least 224 wide.
func enlarged(small *image.RGBA) *image.RGBA {
	zoom := (223 + small.Rect.Dx()) / small.Rect.Dx()
	large := image.NewRGBA(image.Rect(0, 0, zoom*small.Rect.Dx(), zoom*small.Rect.Dy()))
	for y := range large.Rect.Dy() {
		for x := range large.Rect.Dx() {
			large.SetRGBA(x, y, small.RGBAAt(x/zoom, y/zoom))
		}
	}
	return large
}

func newView() *cobra.Command {
	var f modelFlags
	var folder string
	var only []string
	cmd := &cobra.Command{
		Use:   "view --weights FILE -o DIR [PATH...]",
		Short: "Draw the first layer's kernels and the feature maps of pictures",
		Long: `Draws the kernels of the first layer as DIR/kernels.png. For every picture, of the places
that infer takes, it draws the output of each convolution (after its ReLU) and pooling layer
as a grid of grey maps, one for each channel, each stretched to its own range.`,
		Example: "  vkalexnet view --weights runs/imagenet -o views cat.jpg --layers conv1,pool5",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			if folder == "" {
				return usagef("where to? -o takes a folder")
			}
			return view(cmd, &f, args, folder, only)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVarP(&folder, "output", "o", "", "folder for the pictures (required)")
	cmd.Flags().StringSliceVar(&only, "layers", nil, "layers to draw (default: all that have maps)")
	return cmd
}

func view(cmd *cobra.Command, f *modelFlags, paths []string, folder string, only []string) error {
	net, file, err := f.network()
	if err != nil {
		return err
	}
	plans, err := net.Plans()
	if err != nil {
		return err
	}
	var which []int
	for i, l := range net.Layers {
		switch kind := l.Layer.Kind(); {
		case kind == "maxpool", kind == "relu" && i > 0 && net.Layers[i-1].Layer.Kind() == "conv",
			kind == "conv" && !(i+1 < len(net.Layers) && net.Layers[i+1].Layer.Kind() == "relu"):
			which = append(which, i)
		}
	}
	if len(only) > 0 {
		which = nil
		for _, name := range only {
			at, err := layerNamed(net, name)
			if err != nil {
				return err
			}
			if plans[at].Out.H*plans[at].Out.W == 1 {
				return usagef("--layers %s: its output is %d numbers and no maps; infer --features writes it", name, plans[at].Out.C)
			}
			which = append(which, at)
		}
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("view: %w", err)
	}
	save := func(name string, picture image.Image) error {
		path := filepath.Join(folder, name+".png")
		if err := writePNG(path, picture); err != nil {
			return fmt.Errorf("view: %w", err)
		}
		fmt.Fprintln(cmd.OutOrStdout(), visible(path))
		return nil
	}
	specs, err := net.ParamSpecs()
	if err != nil {
		return err
	}
	if kernels, ok := file.Get(specs[0].Name); ok && len(kernels.Shape) == 4 {
		picture, err := filterPicture(kernels, strings.EqualFold(net.Input.Order, "BGR"))
		if err != nil {
			return err
		}
		if err := save("kernels", picture); err != nil {
			return err
		}
	}
	if len(paths) == 0 {
		return nil
	}
	src, err := collect(cmd.InOrStdin(), paths)
	if err != nil {
		return err
	}
	if src.Len() == 0 {
		return fmt.Errorf("no pictures in %s", strings.Join(paths, ", "))
	}
	batch := min(f.batch, src.Len())
	o, err := f.open(cmd, net, file, batch)
	if err != nil {
		return err
	}
	defer o.close()
	bad := 0
	for _, at := range which {
		k := 0
		bad, err = outputs(cmd.Context(), cmd, o.exec, net, at, src, batch, f.workers, func(name string, values []float32) error {
			k++
			base := strings.TrimSuffix(filepath.Base(name), filepath.Ext(name))
			if src.Len() > 1 {
				base = fmt.Sprintf("%d-%s", k, base)
			}
			out := plans[at].Out
			picture, err := filterPicture(weights.Tensor{Name: net.Layers[at].Name, Shape: []int{out.C, 1, out.H, out.W}, Data: values}, false)
			if err != nil {
				return err
			}
			return save(base+"."+net.Layers[at].Name, picture)
		})
		if err != nil {
			return err
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d pictures could not be read", bad, src.Len())
	}
	return nil
}

// confusionGrid is a confusion matrix as gonum's heat map takes it, each row as
// shares, the first class on top.
type confusionGrid [][]int

func (g confusionGrid) Dims() (int, int) { return len(g), len(g) }
func (g confusionGrid) X(c int) float64  { return float64(c) }
func (g confusionGrid) Y(r int) float64  { return float64(r) }
func (g confusionGrid) Z(c, r int) float64 {
	row := g[len(g)-1-r]
	total := 0
	for _, n := range row {
		total += n
	}
	return float64(row[c]) / math.Max(1, float64(total))
}

// drawConfusion draws the matrix: a row per class, a column per answer, the
// darker the larger the share of the class's pictures; with numbers where they fit.
func drawConfusion(path string, net *alexnet.Network, counts [][]int) error {
	n := len(counts)
	p := plot.New()
	p.X.Label.Text, p.Y.Label.Text = "answer", "class"
	p.Title.Text = "share of each class's pictures"
	blues := make([]color.Color, 256)
	for i := range blues {
		v := float64(i) / 255
		blues[i] = color.RGBA{uint8(255 - 224*v), uint8(255 - 165*v), uint8(255 - 75*v), 255}
	}
	cells := plotter.NewHeatMap(confusionGrid(counts), confusionPalette(blues))
	cells.Min, cells.Max = 0, 1
	cells.Rasterized = n > 100
	p.Add(cells)
	const most = 40 // classes whose names fit
	if n <= most {
		var x, y []plot.Tick
		labels := plotter.XYLabels{}
		for i := range n {
			x = append(x, plot.Tick{Value: float64(i), Label: net.ClassName(i)})
			y = append(y, plot.Tick{Value: float64(n - 1 - i), Label: net.ClassName(i)})
			for j, count := range counts[i] {
				if count > 0 && n <= 20 {
					labels.XYs = append(labels.XYs, plotter.XY{X: float64(j), Y: float64(n - 1 - i)})
					labels.Labels = append(labels.Labels, strconv.Itoa(count))
				}
			}
		}
		p.X.Tick.Marker, p.Y.Tick.Marker = plot.ConstantTicks(x), plot.ConstantTicks(y)
		p.X.Tick.Label.Rotation = math.Pi / 3
		p.X.Tick.Label.XAlign, p.X.Tick.Label.YAlign = draw.XRight, draw.YCenter
		if len(labels.XYs) > 0 {
			numbers, err := plotter.NewLabels(labels)
			if err != nil {
				return err
			}
			for i := range numbers.TextStyle {
				numbers.TextStyle[i].XAlign, numbers.TextStyle[i].YAlign = draw.XCenter, draw.YCenter
				at := labels.XYs[i]
				if (confusionGrid(counts)).Z(int(at.X), int(at.Y)) > 0.6 {
					numbers.TextStyle[i].Color = color.White
				}
			}
			p.Add(numbers)
		}
	}
	side := vg.Length(max(14, min(30, n+6))) * vg.Centimeter
	canvas := vgimg.New(side, side)
	const margin = vg.Centimeter / 2
	p.Draw(draw.Crop(draw.New(canvas), margin, -margin, margin, -margin))
	return weights.Replace(path, func(w io.Writer) error {
		_, err := vgimg.PngCanvas{Canvas: canvas}.WriteTo(w)
		return err
	})
}

type confusionPalette []color.Color

func (c confusionPalette) Colors() []color.Color { return slices.Clone([]color.Color(c)) }

var _ palette.Palette = confusionPalette(nil)
