package weights

import "errors"

// ErrLocked says that another process has the lock of [Lock].
var ErrLocked = errors.New("locked by another process")
