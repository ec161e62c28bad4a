//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package weights

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAFolderIsLockedOnce(t *testing.T) {
	folder := t.TempDir()
	unlock, err := Lock(folder)
	require.NoError(t, err)
	_, err = Lock(folder)
	require.ErrorIs(t, err, ErrLocked)
	unlock()
	unlock, err = Lock(folder)
	require.NoError(t, err)
	unlock()
	_, err = Lock(folder + "/nowhere")
	require.Error(t, err)
}
