package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"vkalexnet/engine"
)

func newDevices() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "devices",
		Short: "List the Vulkan devices of this machine",
		Long: `Lists the Vulkan devices of this machine. --device of the other commands takes an
index, the beginning of a UUID or a part of a name; "auto" is the first discrete,
then integrated, then virtual, then software device, marked with * here.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			infos, err := engine.Devices()
			if err != nil {
				return err
			}
			auto, autoErr := engine.Select(infos, "auto")
			switch format {
			case "json":
				if infos == nil {
					infos = []engine.Info{}
				}
				err = writeJSON(cmd.OutOrStdout(), infos)
			default:
				chosen := -1
				if autoErr == nil {
					chosen = auto.Index
				}
				err = listDevices(cmd.OutOrStdout(), infos, chosen)
			}
			if err != nil {
				return err
			}
			return autoErr
		},
	}
	addFormat(cmd, &format, "text", "json")
	return cmd
}

func listDevices(w io.Writer, infos []engine.Info, chosen int) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\tINDEX\tNAME\tTYPE\tDRIVER\tVULKAN\tMEMORY\tUUID")
	for _, i := range infos {
		mark := ""
		if i.Index == chosen {
			mark = "*"
		}
		fmt.Fprintf(table, "%s\t%d\t%s\t%s\t%s %s\t%s\t%s\t%s\n", mark, i.Index, i.Name, i.Type, i.Driver, i.DriverVersion, i.API, bytesText(i.Memory), i.UUID)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, i := range infos {
		if i.Rejected != "" {
			fmt.Fprintf(w, "%d cannot be used: %s\n", i.Index, i.Rejected)
			continue
		}
		fmt.Fprintf(w, "%d: storage buffer %s, allocation %s, shared memory %s, %d invocations, subgroup %d, half arithmetic %s, half storage %s, timestamps %s, fp16 matrices %s, bf16 matrices %s%s\n",
			i.Index, bytesText(i.Limits.StorageRange), bytesText(i.Limits.Allocation), bytesText(uint64(i.Limits.Shared)), i.Limits.Invocations,
			i.Features.SubgroupSize, yesNo(i.Features.Float16), yesNo(i.Features.Storage16), yesNo(i.Features.Timestamps), matricesText(i.Features.Matrices), matricesText(i.Features.MatricesBF16),
			flexibleText("fp16", i.Features.Flexible)+flexibleText("bf16", i.Features.FlexibleBF16))
	}
	return nil
}

func matricesText(sizes []engine.MatrixSize) string {
	var texts []string
	for _, s := range sizes {
		texts = append(texts, fmt.Sprintf("%d×%d×%d", s.M, s.N, s.K))
	}
	if len(texts) == 0 {
		return "no"
	}
	return strings.Join(texts, " ")
}

// flexibleText names what the sizes of matrices are multiples of, and who holds them, where
// there are some.
func flexibleText(format string, sizes []engine.FlexibleSize) (text string) {
	for _, s := range sizes {
		holder := "a subgroup"
		if s.Invocations > 0 {
			holder = fmt.Sprintf("%d invocations", s.Invocations)
		}
		text += fmt.Sprintf(", %s matrices of multiples of %s held by %s", format, matricesText([]engine.MatrixSize{s.MatrixSize}), holder)
	}
	return text
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// bytesText is a size as people read it.
func bytesText(n uint64) string {
	for _, unit := range []struct {
		name string
		size float64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if v := float64(n) / unit.size; v >= 1 {
			if v >= 100 || v == float64(int(v)) {
				return fmt.Sprintf("%.0f %s", v, unit.name)
			}
			return fmt.Sprintf("%.1f %s", v, unit.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}

func writeJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}
