package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"vkalexnet/alexnet"
	"vkalexnet/weights"
)

func newImport() *cobra.Command {
	var output, model, mean, labels string
	cmd := &cobra.Command{
		Use:   "import FILE -o weights.safetensors",
		Short: "Make weights of Caffe, PyTorch or ONNX ours",
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
	flags.StringVar(&mean, "mean", "", "Caffe's .binaryproto with the mean picture; its channels' means are kept")
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
		if named.Input.Mean, err = meanOf(mean, named.Input.WithDefaults().Order); err != nil {
			return err
		}
		notes = append(notes, fmt.Sprintf("mean: %v (%s), of the channels of %s", named.Input.Mean, named.Input.WithDefaults().Order, mean))
	}
	if labels != "" {
		if named.Classes, err = readLabels(labels, named.NumClasses()); err != nil {
			return err
		}
	}
	adopted.Metadata["network"] = string(named.TOML())
	if err := weights.WriteSafetensors(output, adopted); err != nil {
		return err
	}
	for _, note := range notes {
		warn(cmd, "%s", note)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s: %s, %d tensors, network %s, %d classes -> %s\n", path, format, len(adopted.Tensors), named.Name, named.NumClasses(), output)
	return nil
}

// meanOf averages the channels of a mean picture, [1, 3, height, width] in BGR.
func meanOf(path, order string) ([]float32, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read mean: %w", err)
	}
	t, err := weights.ParseBlob(data)
	if err != nil {
		return nil, fmt.Errorf("read mean %s: %w", path, err)
	}
	n := len(t.Shape)
	if n < 3 || t.Shape[n-3] != 3 || len(t.Data) == 0 || len(t.Data) != 3*t.Shape[n-2]*t.Shape[n-1] {
		return nil, fmt.Errorf("read mean %s: its shape is %v; one picture of 3 channels is expected", path, t.Shape)
	}
	means := make([]float32, 3)
	size := len(t.Data) / 3
	for c := range means {
		sum := 0.0
		for _, v := range t.Data[c*size : (c+1)*size] {
			sum += float64(v)
		}
		means[c] = float32(sum / float64(size))
	}
	if order == "RGB" {
		slices.Reverse(means)
	}
	return means, nil
}

func addLabels(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVar(file, "labels", "", "text file with a class name a line (default: those in the weights, ILSVRC's for 1,000 classes)")
}

// readLabels reads a class name from each line.
func readLabels(path string, classes int) ([]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read labels: %w", err)
	}
	var names []string
	for line := range strings.Lines(strings.TrimPrefix(string(text), "\ufeff")) {
		if name := strings.TrimSpace(line); name != "" {
			names = append(names, name)
		}
	}
	if len(names) != classes {
		return nil, fmt.Errorf("read labels %s: %d names for the network's %d classes; give one a line", path, len(names), classes)
	}
	return names, nil
}
