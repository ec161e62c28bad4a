package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"vkalexnet/alexnet"
	"vkalexnet/weights"
)

func newExport() *cobra.Command {
	var f modelFlags
	var output, format, names string
	cmd := &cobra.Command{
		Use:   "export --weights FILE -o FILE",
		Short: "Write weights for other programs",
		Long: `Writes a network's parameters as safetensors, as an ONNX model from normalised pictures to
logits, or as a folder of NumPy files. --names torchvision calls the tensors as
torchvision does, and makes a network that sees BGR one that sees RGB.`,
		Example: `  vkalexnet export --weights runs/imagenet --format onnx -o alexnet.onnx`,
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.weights == "" {
				return usagef("which weights? --weights takes a file or the folder of a run")
			}
			if output == "" {
				return usagef("where to? -o takes the name of the file or folder to write")
			}
			net, file, err := f.network()
			if err != nil {
				return err
			}
			params, err := net.MatchTensors(file.Tensors)
			if err != nil {
				return fmt.Errorf("%s: %w", f.weights, err)
			}
			if names == "torchvision" {
				if net, params, err = net.TorchNames(params); err != nil {
					return fmt.Errorf("export to %s: %w", output, err)
				}
			}
			if err := export(net, params, file.Metadata, output, format, names == "torchvision"); err != nil {
				return fmt.Errorf("export to %s: %w", output, err)
			}
			in := net.Input.WithDefaults()
			mean := fmt.Sprint(in.Mean)
			if in.MeanPicture != nil {
				mean = "the mean picture"
				if format != "safetensors" || names == "torchvision" {
					mean += ", which the file does not hold,"
				}
			}
			warn(cmd, "input: [N, 3, %d, %d], %s, (value of 0..255 - %s) / %v", in.Size, in.Size, in.Order, mean, in.Std)
			fmt.Fprintf(cmd.OutOrStdout(), "%s: network %s, %d tensors, %s\n", output, net.Name, len(params), format)
			return nil
		},
	}
	cmd.Flags().StringVar(&f.weights, "weights", "", weightsUsage)
	cmd.Flags().StringVar(&f.model, "model", "", "preset or network's TOML file (default: the one that the weights name)")
	cmd.Flags().StringVarP(&output, "output", "o", "", "file to write, for npy a folder (required)")
	addFormat(cmd, &format, "safetensors", "onnx", "npy")
	addOneOf(cmd, &names, "names", "what tensors are called", "vkalexnet", "torchvision")
	_ = cmd.RegisterFlagCompletionFunc("model", completeModel)
	return cmd
}

func export(net *alexnet.Network, params []weights.Tensor, metadata map[string]string, output, format string, torch bool) error {
	switch format {
	case "onnx":
		return weights.Replace(output, func(w io.Writer) error { return net.WriteONNX(w, params) })
	case "npy":
		if err := os.MkdirAll(output, 0o755); err != nil {
			return err
		}
		for _, t := range params {
			if err := weights.Replace(filepath.Join(output, t.Name+".npy"), func(w io.Writer) error { return weights.WriteNPY(w, t) }); err != nil {
				return err
			}
		}
		return nil
	}
	kept := maps.Clone(metadata)
	if kept == nil {
		kept = map[string]string{}
	}
	kept["network"] = string(net.TOML())
	if torch { // whose readers match by name alone
		kept = map[string]string{"format": "pt"}
	}
	if !torch {
		params = net.WithMean(params)
	}
	return weights.WriteSafetensors(output, &weights.File{Tensors: params, Metadata: kept})
}
