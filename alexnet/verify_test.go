package alexnet

import (
	"context"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vkalexnet/engine"
	"vkalexnet/layers"
	"vkalexnet/shaders"
)

// without are the shaders but for some.
type without string

func (prefix without) Open(name string) (fs.File, error) {
	if strings.HasPrefix(name, string(prefix)) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return shaders.FS.Open(name)
}

// TestVerifyLeavesOutWhatIsNotBuilt: a kernel that only tuning would choose, and that the
// driver does not build, is named, and everything else is compared.
func TestVerifyLeavesOutWhatIsNotBuilt(t *testing.T) {
	info := usableDevices(t)[0]
	info.Features.SubgroupSize = 1 // so that its own row is not in Winograd's form
	dev, err := engine.Open(info, without("winograd"))
	require.NoError(t, err)
	defer dev.Close()
	net := parse(t, `name = "one product in Winograd's form"
[input]
size = 9
[[layers]]
name = "conv1"
kind = "conv"
out = 32
kernel = 1
[[layers]]
name = "conv2"
kind = "conv"
out = 32
kernel = 3
pad = 1
[[layers]]
name = "fc3"
kind = "linear"
out = 5
`)
	rows, err := Verify(context.Background(), dev, net, 3, layers.FP32, nil)
	require.NoError(t, err)
	i := slices.IndexFunc(rows, func(r VerifyRow) bool { return r.NotBuilt != "" })
	require.GreaterOrEqual(t, i, 0, "%v", rows)
	require.Equal(t, VerifyRow{Layer: "conv2", Kind: "conv", Kernel: "winograd", NotBuilt: rows[i].NotBuilt, Pass: true}, rows[i])
	require.Contains(t, rows[i].NotBuilt, "kernel winograd")
	require.True(t, slices.ContainsFunc(rows[i:], func(r VerifyRow) bool { return r.Layer == "fc3" && r.NotBuilt == "" && r.Pass }))
}
