package engine

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func checkPlan(t *testing.T, lives []lifetime, blockWords int) {
	places, sizes := plan(lives, blockWords)
	require.Len(t, places, len(lives))
	for i, a := range lives {
		require.Zero(t, places[i].offset%pageWords, "temporary %d is not aligned", i)
		require.LessOrEqual(t, places[i].offset+a.words, sizes[places[i].block], "temporary %d leaves its block", i)
		for j, b := range lives[:i] {
			if a.first > b.last || b.first > a.last || places[i].block != places[j].block {
				continue
			}
			apart := places[i].offset+a.words <= places[j].offset || places[j].offset+b.words <= places[i].offset
			require.True(t, apart, "temporaries %d and %d live at once and overlap: %+v at %+v, %+v at %+v", i, j, a, places[i], b, places[j])
		}
	}
	for b, s := range sizes {
		if s <= blockWords {
			continue
		}
		alone := 0
		for i := range lives {
			if places[i].block == b && alignWords(lives[i].words) > blockWords {
				alone++
			}
		}
		require.Positive(t, alone, "block %d of %d words is too large for no reason", b, s)
	}
}

func TestPlanKeepsTheLivingApart(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		lives := make([]lifetime, rng.IntN(40))
		for i := range lives {
			first := rng.IntN(30)
			lives[i] = lifetime{1 + rng.IntN(3000), first, first + rng.IntN(8)}
		}
		checkPlan(t, lives, 4096)
	}
}

func TestPlanReusesMemory(t *testing.T) {
	// A chain in which each lives beside the next only: two places are enough.
	var lives []lifetime
	for i := range 10 {
		lives = append(lives, lifetime{1000, i, i + 1})
	}
	_, sizes := plan(lives, 1<<20)
	require.Equal(t, []int{2 * 1024}, sizes)
}

func FuzzPlan(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6})
	f.Fuzz(func(t *testing.T, data []byte) {
		var lives []lifetime
		for len(data) >= 3 && len(lives) < 64 {
			first := int(data[1])
			lives = append(lives, lifetime{1 + int(data[0])*7, first, first + int(data[2]%16)})
			data = data[3:]
		}
		checkPlan(t, lives, 512)
	})
}

func TestBarriers(t *testing.T) {
	a, b := &block{}, &block{}
	read := func(blk *block, first, end int) span { return span{blk, first, end, false} }
	write := func(blk *block, first, end int) span { return span{blk, first, end, true} }
	require.Equal(t, []bool{false, false, true, false, true, true, false}, barriersBefore([][]span{
		{write(a, 0, 10)},
		{write(a, 10, 20)},                  // beside it
		{read(a, 5, 15), write(b, 0, 1)},    // reads both
		{read(a, 0, 20)},                    // two may read
		{write(a, 19, 30), read(b, 50, 60)}, // writes what was read
		{write(a, 29, 31)},                  // writes what was written
		{read(b, 0, 1)},                     // written before the last barrier
	}))
}
