package weights

import (
	"os"
	"sync"
)

// pending are the names of the temporary files of Replace.
var pending sync.Map

// Abandon removes the temporary files of all Replace that are under way, in a
// process that is about to end; their files stay as they were.
func Abandon() {
	pending.Range(func(name, _ any) bool {
		_ = os.Remove(name.(string))
		return true
	})
}
