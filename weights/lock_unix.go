//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package weights

import (
	"errors"
	"os"
	"syscall"
)

// Lock keeps other processes from locking the file or folder at path: ErrLocked where
// one has, errors.ErrUnsupported where the file system has no locks. The lock leaves
// nothing behind and ends with the process, however that ends.
func Lock(path string) (unlock func(), err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		file.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, ErrLocked
		}
		return nil, errors.ErrUnsupported
	}
	return func() { file.Close() }, nil
}
