package main

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"vkalexnet/alexnet"
	"vkalexnet/loader"
)

func newInfer() *cobra.Command {
	var f modelFlags
	var top int
	var format, output string
	var inside insideFlags
	cmd := &cobra.Command{
		Use:   "infer --weights FILE PATH...",
		Short: "Classify pictures",
		Long: `Classifies pictures. PATH is a file, a folder (all pictures in it and below), "-" for a
picture on standard input, or synthetic:N for N generated ones (up to 500) that training
never sees.

JPEG, PNG, GIF (its first picture), BMP, TIFF, WebP, PPM and PGM are read. The orientation
that a camera notes (EXIF) is not applied.

A file that cannot be read gives an error in its place; the others are done, and the
exit code is 1.

With --features the output of a layer is written instead: [pictures, channels, height,
width], or [pictures, features] of a fully connected one; a .safetensors file has the
names of the pictures as "files" in its metadata. With --explain DIR two heat maps are
drawn for each picture, of the places that speak for its likeliest class: by the gradient
at the last convolution (Grad-CAM), and by hiding one place after the other.`,
		Example: `  vkalexnet infer --weights runs/imagenet cat.jpg dog.png
  curl -s $URL | vkalexnet infer --weights runs/imagenet -
  vkalexnet infer --weights runs/imagenet --format jsonl photos > photos.jsonl
  vkalexnet infer --weights runs/imagenet --features fc7 -o fc7.safetensors photos
  vkalexnet infer --weights runs/imagenet --explain why cat.jpg`,
		Args: needArguments(0, "which pictures? Give files, folders, \"-\" or synthetic:N"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			if top < 1 {
				return usagef("--topk %d: it must be at least 1", top)
			}
			if err := inside.check(&f); err != nil {
				return err
			}
			return infer(cmd, &f, &inside, args, top, newPredictionWriter(cmd.OutOrStdout(), format, output == "logit"), output == "logit")
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&inside.layer, "features", "", "write the output of this layer, as pool5, fc6 or fc7, instead of classes")
	cmd.Flags().StringVarP(&inside.output, "output", "o", "", "file for --features: .npy or .safetensors")
	cmd.Flags().StringVar(&inside.explain, "explain", "", "folder for heat maps of what speaks for the likeliest class")
	cmd.Flags().IntVarP(&top, "topk", "k", 5, "number of classes to print")
	addFormat(cmd, &format, "text", "json", "jsonl", "csv")
	addOneOf(cmd, &output, "output-type", "numbers to print", "prob", "logit")
	return cmd
}

// insideFlags are the flags of infer that look inside the network.
type insideFlags struct{ layer, output, explain string }

func (i *insideFlags) check(f *modelFlags) error {
	if (i.layer != "" || i.explain != "") && f.crops != 1 {
		return usagef("--crops %d: --features and --explain show the centre crop alone", f.crops)
	}
	if i.layer != "" && i.explain != "" {
		return usagef("--features and --explain: one at a time")
	}
	return checkFeatures(i.layer, i.output)
}

func infer(cmd *cobra.Command, f *modelFlags, inside *insideFlags, paths []string, top int, w predictionWriter, logits bool) error {
	src, err := collect(cmd.InOrStdin(), paths)
	if err != nil {
		return err
	}
	net, file, err := f.network()
	if err != nil {
		return err
	}
	if src.Len() == 0 {
		return fmt.Errorf("no pictures in %s", strings.Join(paths, ", "))
	}
	if inside.layer != "" {
		if _, err := layerNamed(net, inside.layer); err != nil { // before the device is opened
			return err
		}
	}
	batch := min(f.batch, src.Len())
	if inside.explain != "" {
		batch = f.batch // occlusion shows many versions of each
	}
	o, err := f.open(cmd, net, file, batch)
	if err != nil {
		return err
	}
	defer o.close()
	warn(cmd, "protocol: %s", net.Input.Protocol(f.crops))
	told := "what is done is written"
	if inside.layer != "" {
		told = "no file is written"
	}
	ctx, stop := interruptible(cmd, "stopping after this batch; "+told+" (again: stop at once)")
	defer stop()
	cmd.SetContext(ctx)
	switch {
	case inside.layer != "":
		return inferFeatures(cmd, o, src, batch, f.workers, inside.layer, inside.output)
	case inside.explain != "":
		return explain(cmd, o, src, batch, inside.explain)
	}
	bad, done := 0, 0
	err = alexnet.Classify(ctx, o.exec, net, src, alexnet.EvalOptions{Batch: batch, Crops: f.crops, Workers: f.workers}, func(p alexnet.Prediction) error {
		if p.Err != nil {
			bad++
		}
		done++
		return w.write(ranking(net, p, top, logits))
	})
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w after %d of %d pictures", alexnet.ErrInterrupted, done, src.Len())
	}
	if err := errors.Join(err, w.close()); err != nil {
		return err
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d pictures could not be read", bad, src.Len())
	}
	return nil
}

// ranking is a prediction with its likeliest classes.
func ranking(net *alexnet.Network, p alexnet.Prediction, top int, logits bool) prediction {
	if p.Err != nil {
		err := p.Err
		if bad := (*loader.BadImage)(nil); errors.As(err, &bad) {
			err = bad.Err // without the name, which stands beside it
		}
		return prediction{File: p.Name, Error: err.Error()}
	}
	result := prediction{File: p.Name}
	for _, class := range p.Best(top) {
		result.Top = append(result.Top, ranked{Class: class, Label: net.ClassName(class), Prob: p.Probs[class], Logit: p.Logits[class]})
	}
	if logits {
		result.Logits = p.Logits
	}
	return result
}

// pictures is a source of unlabelled pictures from all kinds of places.
type pictures struct {
	names []string
	open  []func() (image.Image, error)
}

func (p *pictures) add(name string, open func() (image.Image, error)) {
	p.names = append(p.names, name)
	p.open = append(p.open, open)
}

func (p *pictures) Len() int                        { return len(p.names) }
func (p *pictures) Classes() []string               { return nil }
func (p *pictures) Label(int) int                   { return -1 }
func (p *pictures) Name(i int) string               { return p.names[i] }
func (p *pictures) Open(i int) (image.Image, error) { return p.open[i]() }

// collect finds the pictures that the arguments of infer mean.
func collect(stdin io.Reader, paths []string) (*pictures, error) {
	var p pictures
	for _, path := range paths {
		info, err := os.Stat(path)
		switch {
		case path == "-":
			data, err := io.ReadAll(stdin)
			if err != nil {
				return nil, fmt.Errorf("read standard input: %w", err)
			}
			p.add("-", func() (image.Image, error) { return loader.Decode(bytes.NewReader(data)) })
		case err == nil && info.IsDir():
			if err := p.addFolder(path); err != nil {
				return nil, err
			}
		case err != nil && strings.HasPrefix(path, "synthetic:"):
			src, err := loader.OpenSource("synthetic", "val")
			if err != nil {
				return nil, err
			}
			count, err := strconv.Atoi(strings.TrimPrefix(path, "synthetic:"))
			if err != nil || count < 1 || count > src.Len() {
				return nil, usagef("%s: how many pictures? There are %d", path, src.Len())
			}
			for i := range count {
				p.add(src.Name(i), func() (image.Image, error) { return src.Open(i) })
			}
		default: // a file that is not there is one that cannot be read
			p.add(path, func() (image.Image, error) { return loader.ReadImage(path) })
		}
	}
	return &p, nil
}

// addFolder adds the pictures in a folder and below. A folder below that cannot
// be listed counts as one that cannot be read: the others are still to be done.
func (p *pictures) addFolder(folder string) error {
	return loader.Walk(folder, func(path string, err error) error {
		p.add(path, func() (image.Image, error) {
			if err != nil {
				return nil, err
			}
			return loader.ReadImage(path)
		})
		return nil
	})
}
