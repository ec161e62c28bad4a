package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"vkalexnet/alexnet"
	"vkalexnet/loader"
	"vkalexnet/weights"
)

func newImport() *cobra.Command {
	var output, model, mean, labels string
	cmd := &cobra.Command{
		Use:   "import FILE -o weights.safetensors",
		Short: "Convert weights from Caffe, PyTorch or ONNX",
		Long: `Reads a Caffe model (.caffemodel), a state dict or checkpoint of PyTorch (.pth), an ONNX
model or safetensors under torchvision's names, and writes them with the network that
they belong to. Nothing in the file is executed. infer, eval and train take the same
files directly as --weights.`,
		Example: `  vkalexnet import bvlc_alexnet.caffemodel --mean imagenet_mean.binaryproto -o alexnet.safetensors
  vkalexnet import alexnet-owt-7be5be79.pth -o alexnet.safetensors`,
		Args: needArguments(1, "which file? Give a .caffemodel, .pth, .onnx or .safetensors file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output == "" {
				return usagef("where to? -o takes the name of the file to write")
			}
			return importWeights(cmd, args[0], output, model, mean, labels)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&output, "output", "o", "", "safetensors file to write (required)")
	flags.StringVar(&model, "model", "", "preset or network's TOML file (default: recognised from names and shapes)")
	flags.StringVar(&mean, "mean", "", "Caffe's .binaryproto with the mean picture")
	addLabels(cmd, &labels)
	_ = cmd.RegisterFlagCompletionFunc("model", completeModel)
	return cmd
}

func importWeights(cmd *cobra.Command, path, output, model, mean, labels string) error {
	file, format, err := readFile(path)
	if err != nil {
		return err
	}
	var chosen *alexnet.Network
	if model != "" {
		if chosen, err = loadModel(model); err != nil {
			return err
		}
	}
	net, adopted, notes, err := alexnet.Adopt(file, format, chosen)
	if err != nil {
		return fmt.Errorf("import %s: %w", path, err)
	}
	named := *net
	if mean != "" {
		note, err := addMean(&named.Input, mean)
		if err != nil {
			return err
		}
		notes = append(notes, note)
	}
	if labels != "" {
		if named.Classes, err = readLabels(labels, named.NumClasses()); err != nil {
			return err
		}
	}
	adopted.Metadata["network"] = string(named.TOML())
	adopted.Tensors = named.WithMean(adopted.Tensors)
	if err := weights.WriteSafetensors(output, adopted); err != nil {
		return err
	}
	for _, note := range notes {
		warn(cmd, "%s", note)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s: %s, %d tensors, network %s, %d classes -> %s\n", path, format, len(adopted.Tensors), named.Name, named.NumClasses(), output)
	return nil
}

// addMean takes a mean picture, [1, 3, height, width] in BGR, for one that is to
// be taken off pixel by pixel where it has the size of the network's stored
// pictures, else for the means of its channels. It says which.
func addMean(in *loader.Input, path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read mean: %w", err)
	}
	t, err := weights.ParseBlob(data)
	if err != nil {
		return "", fmt.Errorf("read mean %s: %w", path, err)
	}
	n := len(t.Shape)
	if n < 3 || t.Shape[n-3] != 3 || len(t.Data) == 0 || len(t.Data) != 3*t.Shape[n-2]*t.Shape[n-1] {
		return "", fmt.Errorf("read mean %s: its shape is %v; one picture of 3 channels is expected", path, t.Shape)
	}
	with := in.WithDefaults()
	size := len(t.Data) / 3
	planes := [][]float32{t.Data[:size], t.Data[size : 2*size], t.Data[2*size:]}
	if with.Order == "RGB" {
		slices.Reverse(planes)
	}
	in.Mean, in.MeanPicture = make([]float32, 3), nil
	for c, plane := range planes {
		sum := 0.0
		for _, v := range plane {
			if v != v || v < 0 || v > 255 {
				return "", fmt.Errorf("read mean %s: it holds %g; the mean of values from 0 to 255 is expected", path, v)
			}
			sum += float64(v)
		}
		in.Mean[c] = float32(sum / float64(size))
	}
	if t.Shape[n-2] == with.Stored && t.Shape[n-1] == with.Stored {
		in.MeanPicture = slices.Concat(planes...)
		return fmt.Sprintf("mean: the picture in %s, averages %v (%s)", path, in.Mean, with.Order), nil
	}
	return fmt.Sprintf("mean: %v (%s), of the channels of %s, whose %d×%d pixels are not the network's %d×%[6]d", in.Mean, with.Order, path, t.Shape[n-1], t.Shape[n-2], with.Stored), nil
}

func addLabels(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVar(file, "labels", "", "text file with a class name a line (default: those in the weights, ILSVRC's for 1,000 classes)")
}

// readLabels reads a class name from each line. Empty lines do not count.
func readLabels(path string, classes int) ([]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read labels: %w", err)
	}
	if !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0 {
		return nil, fmt.Errorf("read labels %s: it is no text in UTF-8: save it as such, a class name a line", path)
	}
	var names []string
	empty := 0 // the first empty line
	for i, line := range strings.Split(strings.TrimSpace(strings.TrimPrefix(string(text), "\ufeff")), "\n") {
		if name := strings.TrimSpace(line); name != "" {
			names = append(names, name)
		} else if empty == 0 {
			empty = i + 1
		}
	}
	if len(names) != classes {
		where := ""
		if empty > 0 {
			where = fmt.Sprintf(" (line %d is empty, which is no name)", empty)
		}
		return nil, fmt.Errorf("read labels %s: %d names for the network's %d classes%s; give one a line", path, len(names), classes, where)
	}
	return names, nil
}
