package engine

import (
	"math/rand/v2"
	"os"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// Drivers that run on CPUs let the host see all memory. So that the way of discrete
// cards is taken, in several pieces, buffers are hidden here; and the staging buffer
// counts as memory that the host and the device see differently until told.
func TestCopiesThroughTheStagingBuffer(t *testing.T) {
	infos, err := Devices()
	var info Info
	if err == nil {
		info, err = Select(infos, "auto")
	}
	if os.Getenv("CI") != "" {
		require.NoError(t, err, "CI needs Vulkan devices")
	}
	if err != nil {
		t.Skipf("needs a Vulkan device: %v", err)
	}
	d, err := Open(info, fstest.MapFS{})
	require.NoError(t, err)
	defer d.Close()
	const before = 64 // words, so that the buffer begins within its block
	data := make([]uint32, stagingBytes/WordBytes*2+100)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range data {
		data[i] = rng.Uint32()
	}
	whole, err := d.NewBuffer("hidden", before+len(data), OnDevice)
	require.NoError(t, err)
	whole.block.mapped = nil
	require.NoError(t, Upload(d, whole.Slice(0, 1), []uint32{1})) // makes the staging buffer
	d.staging.coherent = false
	b := whole.Slice(before, len(data))
	require.NoError(t, Upload(d, b, data))
	got := make([]uint32, len(data))
	require.NoError(t, Download(d, b, got))
	require.Equal(t, data, got)
	require.NoError(t, Upload(d, b, []byte("five!"))) // no whole number of words
	require.NoError(t, Download(d, b, got[:3]))
	require.Equal(t, data[2], got[2], "what lies behind")
	require.Equal(t, uint32('f')|uint32('i')<<8|uint32('v')<<16|uint32('e')<<24, got[0])
}
