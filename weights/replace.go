//go:build !windows

package weights

import (
	"bufio"
	"io"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// Replace makes the file at path hold what write writes, whole or not at all:
// a temporary file beside it is written, forced to the disk and renamed over
// it. When write fails, or the process dies, the old file stays as it was.
func Replace(path string, write func(io.Writer) error) error {
	folder := filepath.Dir(path)
	// Beside path, because a rename works only within one file system.
	file, err := renameio.NewPendingFile(path, renameio.WithTempDir(folder), renameio.WithPermissions(0o644))
	if err != nil {
		return err
	}
	defer file.Cleanup()
	pending.Store(file.Name(), nil)
	defer pending.Delete(file.Name())
	buffered := bufio.NewWriterSize(file, 1<<20)
	if err := write(buffered); err != nil {
		return err
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	if err := file.CloseAtomicallyReplace(); err != nil {
		return err
	}
	// The rename itself is on the disk only when the folder is.
	d, err := os.Open(folder)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
