//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// lockFolder keeps a second process from training into the same folder. The
// lock leaves no file behind and ends with the process, however that ends.
func lockFolder(path string) (unlock func(), err error) {
	folder, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the run's folder: %w", err)
	}
	// Some network file systems have no locks: then there is none.
	if err := syscall.Flock(int(folder.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
		folder.Close()
		return nil, fmt.Errorf("another process is training into folder %s: stop it, or choose another --output-dir", path)
	}
	return func() { folder.Close() }, nil
}
