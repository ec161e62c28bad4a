package weights

import (
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// A process that ends in the middle of a write leaves the old file and no other.
func TestAbandonRemovesWhatIsHalfWritten(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows removes no open file")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "w.safetensors")
	require.NoError(t, os.WriteFile(path, []byte("old"), 0o600))
	names := func() (all []string) {
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		for _, e := range entries {
			all = append(all, e.Name())
		}
		return all
	}
	err := Replace(path, func(w io.Writer) error {
		_, err := w.Write(make([]byte, 3<<20))
		require.NoError(t, err)
		require.Len(t, names(), 2)
		Abandon()
		return err
	})
	require.Error(t, err)
	require.Equal(t, []string{"w.safetensors"}, names())
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "old", string(got))
	require.NoError(t, Replace(path, func(w io.Writer) error { _, err := io.WriteString(w, "new"); return err }))
}
