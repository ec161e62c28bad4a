package layers

import (
	"runtime"
	"sync"
)

// parallel splits [0, n) into one range per processor and calls f on all of
// them at once. Callers let f write only what belongs to its own indices and
// compute each index the same way whatever the range, so that results do not
// depend on the number of processors.
func parallel(n int, f func(first, last int)) {
	workers := min(runtime.GOMAXPROCS(0), n)
	var wait sync.WaitGroup
	for i := range workers {
		wait.Go(func() { f(i*n/workers, (i+1)*n/workers) })
	}
	wait.Wait()
}
