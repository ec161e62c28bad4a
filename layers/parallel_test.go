package layers

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// withProcessors sets the number of processors that Go uses until the test ends.
func withProcessors(t *testing.T, n int) {
	old := runtime.GOMAXPROCS(n)
	t.Cleanup(func() { runtime.GOMAXPROCS(old) })
}

func TestParallelCoversEveryIndexOnce(t *testing.T) {
	withProcessors(t, 3)
	for _, n := range []int{0, 1, 2, 3, 4, 100} {
		visits := make([]int, n)
		parallel(n, func(first, last int) {
			for i := first; i < last; i++ {
				visits[i]++
			}
		})
		for i, v := range visits {
			require.Equal(t, 1, v, "index %d of %d", i, n)
		}
	}
}
