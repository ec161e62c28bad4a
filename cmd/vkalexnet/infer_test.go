package main

import (
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"
)

// A folder below that cannot be read does not keep the others from being done.
func TestUnreadableFolderBelow(t *testing.T) {
	var p pictures
	visit := p.addBelow("photos")
	require.ErrorIs(t, visit("photos", nil, fs.ErrPermission), fs.ErrPermission)
	require.Equal(t, fs.SkipDir, visit("photos/locked", nil, fs.ErrPermission))
	require.Equal(t, []string{"photos/locked"}, p.names)
	_, err := p.Open(0)
	require.ErrorIs(t, err, fs.ErrPermission)
}
