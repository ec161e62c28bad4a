package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"vkalexnet/loader"
	"vkalexnet/weights"
)

func newPack() *cobra.Command {
	var out, model, format string
	opt := loader.PackOptions{Replace: weights.Replace}
	cmd := &cobra.Command{
		Use:   "pack DATA -o DIR",
		Short: "Decode and scale pictures once, into shards that load fast",
		Long: `Writes the pictures of a data set, decoded and scaled, into shards with checksums in a
folder that --data of train and eval takes: size × size × 3 bytes a picture (192 KiB at
256), so ImageNet takes 252 GB. Pictures that cannot be read are named, counted and left
out.

After an interruption the same command goes on where it stopped. The bytes do not depend
on the number of workers, but on the JPEG decoder, which pack.json names.`,
		Example: `  vkalexnet pack imagenet -o imagenet-256
  vkalexnet train --model alexnet --data imagenet-256`,
		Args: needArguments(1, "which pictures? give a folder, an archive or a list"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if out == "" {
				return usagef("where to? -o takes the folder for the shards")
			}
			switch {
			case opt.Workers < 0:
				return usagef("--workers %d: it must not be negative", opt.Workers)
			case opt.Size < 1:
				return usagef("--size %d: it must be at least 1", opt.Size)
			case opt.PerShard < 1 || opt.PerShard%64 != 0:
				return usagef("--per-shard %d: it must be a multiple of 64", opt.PerShard)
			}
			if model != "" {
				net, err := loadModel(model)
				if err != nil {
					return err
				}
				in := net.Input.WithDefaults()
				if !cmd.Flags().Changed("size") {
					opt.Size = in.Stored
				}
				if !cmd.Flags().Changed("resize") {
					opt.Resize = in.Resize
				}
			}
			return runPack(cmd, args[0], out, format, opt)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&out, "output-dir", "o", "", "folder for the shards (required)")
	flags.IntVar(&opt.Size, "size", 256, "side of the stored pictures in pixels")
	opt.Resize = "short"
	addOneOf(cmd, &opt.Resize, "resize", "how a picture becomes a square", "short", "warp", "letterbox", "opencv")
	flags.StringVar(&model, "model", "", "network whose stored size and way of resizing are taken")
	flags.IntVar(&opt.PerShard, "per-shard", 1024, "pictures of the source in a shard, a multiple of 64")
	flags.IntVarP(&opt.Workers, "workers", "j", 0, "goroutines that decode, 0: one per processor")
	addOneOf(cmd, &opt.OnBadImage, "on-bad-image", "what to do with a picture that cannot be read", "skip", "fail")
	addFormat(cmd, &format, "text", "json")
	_ = cmd.RegisterFlagCompletionFunc("model", completeModel)
	return cmd
}

// openSplits opens the training pictures and, where there are some, the
// validation pictures of a data set.
func openSplits(data string) (map[string]loader.Source, func(), error) {
	splits := map[string]loader.Source{}
	closeAll := func() {
		for _, src := range splits {
			if c, ok := src.(io.Closer); ok {
				_ = c.Close()
			}
		}
	}
	for _, split := range []string{"train", "val"} {
		src, err := loader.OpenSource(data, split)
		if errors.Is(err, loader.ErrNoSplit) {
			continue
		}
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		splits[split] = src
	}
	return splits, closeAll, nil
}

func runPack(cmd *cobra.Command, data, out, format string, opt loader.PackOptions) error {
	splits, closeAll, err := openSplits(data)
	if err != nil {
		return err
	}
	defer closeAll()
	sayDecoder(cmd, splits["train"])
	ctx, stop := interruptible(cmd, "stopping; the same command goes on from the last whole shard (again: stop at once)")
	defer stop()
	bars := map[string]*progress{}
	opt.Progress = func(split string, done, total int, bad error) {
		if bars[split] == nil {
			bars[split] = newProgress(cmd.ErrOrStderr(), "image", 0, total)
		}
		if bad != nil {
			warn(cmd, "left out: %s", visible(bad.Error()))
			return
		}
		bars[split].update(done, "packing "+split)
	}
	results, err := loader.WritePack(ctx, out, splits, opt)
	for _, bar := range bars {
		bar.stop()
	}
	if err != nil {
		return err
	}
	if format == "json" {
		return writeJSON(cmd.OutOrStdout(), results)
	}
	for _, r := range results {
		fmt.Fprintf(cmd.OutOrStdout(), "%s: %d pictures in %s (%d were there already), %d could not be read\n", r.Split, r.Pictures, plural(r.Shards, "shard"), r.Kept, r.Unreadable)
	}
	return nil
}

// sayDecoder names what decodes the pictures of src.
func sayDecoder(cmd *cobra.Command, src loader.Source) {
	if name := loader.DecoderOf(src); name != "" {
		warn(cmd, "decoder: %s", name)
	}
}

// jpegVariable chooses the decoder of JPEG files, for every command, and is therefore no flag.
const jpegVariable = "VKALEXNET_JPEG"

// chooseJPEG heeds jpegVariable.
func chooseJPEG() error {
	which := os.Getenv(jpegVariable)
	if which == "" {
		return nil
	}
	if err := loader.SetJPEG(which); err != nil {
		return fmt.Errorf("environment: %s: %w", jpegVariable, err)
	}
	return nil
}
