package engine

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSelect(t *testing.T) {
	infos := []Info{
		{Index: 0, Name: "SwiftShader Device (Subzero)", Type: Software, UUID: "53776966000000000000000000000000"},
		{Index: 1, Name: "AMD Radeon RX 570", Type: Discrete, UUID: "00000000030000000000000000000000"},
		{Index: 2, Name: "AMD Radeon 780M", Type: Integrated, UUID: "00000000c50000000000000000000000"},
		{Index: 3, Name: "AMD RADV NAVI31 (null hardware)", Type: Discrete, UUID: "ff", Rejected: "null hardware"},
	}
	pick := func(query string) string {
		i, err := Select(infos, query)
		require.NoError(t, err, query)
		return i.Name
	}
	require.Equal(t, "AMD Radeon RX 570", pick("auto"))
	require.Equal(t, "AMD Radeon RX 570", pick(""))
	require.Equal(t, "SwiftShader Device (Subzero)", pick("0"))
	require.Equal(t, "AMD Radeon 780M", pick("780m"))
	require.Equal(t, "SwiftShader Device (Subzero)", pick("53776966"))
	require.Equal(t, "AMD Radeon RX 570", pick("00000000-03"))

	for query, want := range map[string]string{
		"radeon": "ambiguous", "0000": "ambiguous", "9": "none matches", "geforce": "none matches", "3": "null hardware",
	} {
		_, err := Select(infos, query)
		require.ErrorIs(t, err, ErrNoDevice, query)
		require.ErrorContains(t, err, want, query)
	}
	_, err := Select(nil, "auto")
	require.ErrorIs(t, err, ErrNoDevice)
	_, err = Select(infos[3:], "auto")
	require.ErrorIs(t, err, ErrNoDevice)
	small, large := Info{Index: 0, Name: "a", Type: Software, Memory: 2 << 30}, Info{Index: 1, Name: "b", Type: Software, Memory: 24 << 30}
	i, err := Select([]Info{small, large}, "auto")
	require.NoError(t, err)
	require.Equal(t, "b", i.Name, "the larger of two of a type")
	require.Equal(t, "SwiftShader Device (Subzero)", func() string { i, _ := Select(infos[:1], "auto"); return i.Name }())
}

func TestLimitsCanOnlyBeLowered(t *testing.T) {
	t.Setenv(LimitsVariable, "storage_range=1000,shared=99999,group_count=7,storage_buffers=4")
	l := Limits{StorageRange: 4096, Shared: 16384, GroupCount: 65535, StorageBuffers: 8}
	require.NoError(t, l.lower())
	require.Equal(t, uint64(1000), l.StorageRange)
	require.Equal(t, uint32(16384), l.Shared)
	require.Equal(t, uint32(7), l.GroupCount)
	require.Equal(t, uint32(4), l.StorageBuffers)
	for _, bad := range []string{"shared", "shared=x", "shared=0", "shade=1"} {
		t.Setenv(LimitsVariable, bad)
		require.Error(t, l.lower(), bad)
	}
}

func TestGroups(t *testing.T) {
	limits := Limits{GroupCount: 100}
	k := &kernel{name: "k"}
	g, err := groupsOf(&call{kernel: k, grid: Threads(64*100 + 1)}, [3]uint32{64, 1, 1}, limits)
	require.NoError(t, err)
	require.Equal(t, [3]uint32{51, 2, 1}, g)
	_, err = groupsOf(&call{kernel: k, grid: Threads(64*100*100 + 1)}, [3]uint32{64, 1, 1}, limits)
	require.ErrorContains(t, err, "allows 100 × 100")
	_, err = groupsOf(&call{kernel: k, grid: Groups(1, 101, 1)}, [3]uint32{64, 1, 1}, limits)
	require.Error(t, err)
}
