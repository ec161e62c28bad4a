package weights

import (
	"bufio"
	"errors"
	"io"
	"os"
	"path/filepath"
)

// Replace makes the file at path hold what write writes, whole or not at all:
// a temporary file beside it is written, forced to the disk and renamed over
// it. When write fails, or the process dies, the old file stays as it was.
func Replace(path string, write func(io.Writer) error) error {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"*")
	if err != nil {
		return err
	}
	pending.Store(file.Name(), nil)
	defer pending.Delete(file.Name())
	buffered := bufio.NewWriterSize(file, 1<<20)
	err = write(buffered)
	err = errors.Join(err, buffered.Flush(), file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}
