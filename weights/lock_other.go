//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package weights

import "errors"

// Lock is not there on this system.
func Lock(string) (unlock func(), err error) { return nil, errors.ErrUnsupported }
