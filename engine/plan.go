package engine

import "sort"

// lifetime is a temporary's need: words of memory from call first to call last.
type lifetime struct {
	words       int
	first, last int
}

// place is where the planner puts a temporary.
type place struct{ block, offset int }

// plan packs lifetimes into blocks of at most blockWords words, so that no two
// whose lives overlap share memory. It returns each one's place and the words
// needed of each block. A lifetime larger than a block gets a block of its own.
// It is greedy: large ones first, each at the lowest offset that is free.
func plan(lives []lifetime, blockWords int) ([]place, []int) {
	order := make([]int, len(lives))
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(a, b int) bool { return lives[order[a]].words > lives[order[b]].words })
	places := make([]place, len(lives))
	var sizes []int
	var members [][]int // per block: placed lifetimes by offset
	for _, i := range order {
		words := alignWords(lives[i].words)
		found := false
		for b := range sizes {
			at := 0
			for _, j := range members[b] {
				if lives[j].last < lives[i].first || lives[j].first > lives[i].last {
					continue
				}
				if places[j].offset-at >= words {
					break
				}
				at = max(at, places[j].offset+alignWords(lives[j].words))
			}
			if at+words <= max(blockWords, sizes[b]) {
				places[i] = place{b, at}
				found = true
				break
			}
		}
		if !found {
			places[i] = place{len(sizes), 0}
			sizes = append(sizes, 0)
			members = append(members, nil)
		}
		b := places[i].block
		sizes[b] = max(sizes[b], places[i].offset+words)
		at := sort.Search(len(members[b]), func(k int) bool { return places[members[b][k]].offset > places[i].offset })
		members[b] = append(members[b], 0)
		copy(members[b][at+1:], members[b][at:])
		members[b][at] = i
	}
	return places, sizes
}

// span is a range of words in one block that a call reads or writes.
type span struct {
	block      *block
	first, end int
	write      bool
}

func (a span) conflicts(b span) bool {
	return a.block == b.block && (a.write || b.write) && a.first < b.end && b.first < a.end
}

// barriersBefore says for each call whether it must wait for those before it:
// whether it touches memory that a call since the last barrier wrote, or writes
// what one read.
func barriersBefore(calls [][]span) []bool {
	wait := make([]bool, len(calls))
	var pending []span
	for i, spans := range calls {
	search:
		for _, s := range spans {
			for _, p := range pending {
				if s.conflicts(p) {
					wait[i] = true
					break search
				}
			}
		}
		if wait[i] {
			pending = pending[:0]
		}
		pending = append(pending, spans...)
	}
	return wait
}
