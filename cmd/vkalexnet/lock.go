package main

import (
	"errors"
	"fmt"

	"vkalexnet/weights"
)

// lockFolder keeps a second process from training into the same folder.
func lockFolder(path string) (unlock func(), err error) {
	unlock, err = weights.Lock(path)
	switch {
	case errors.Is(err, weights.ErrLocked):
		return nil, fmt.Errorf("another process is training into folder %s: stop it, or choose another --output-dir", path)
	case errors.Is(err, errors.ErrUnsupported): // some network file systems have no locks: then there is none
		return func() {}, nil
	case err != nil:
		return nil, fmt.Errorf("open the run's folder: %w", err)
	}
	return unlock, nil
}
