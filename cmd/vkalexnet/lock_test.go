//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFolderIsLockedOnce(t *testing.T) {
	folder := t.TempDir()
	unlock, err := lockFolder(folder)
	require.NoError(t, err)
	_, err = lockFolder(folder)
	require.ErrorContains(t, err, "another process is training into folder "+folder)
	unlock()
	unlock, err = lockFolder(folder)
	require.NoError(t, err)
	unlock()
	_, err = lockFolder(folder + "/nowhere")
	require.Error(t, err)
}
