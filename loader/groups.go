package loader

import (
	"cmp"
	"math"
	"slices"
)

// grouped is a source that knows which pictures belong together: those of one
// patient, field or camera.
type grouped interface {
	Source
	Group(i int) string
	grouped() bool
}

// Grouped says whether the pictures of src have groups.
func Grouped(src Source) bool {
	g, ok := src.(grouped)
	return ok && g.grouped()
}

// splitGroups holds out whole groups, so that none is on both sides. Taken in
// an order that seed chooses, each group is held out when that brings the held
// out share of its classes nearer to fraction, and one group always stays.
func splitGroups(src Source, fraction float64, seed uint64) (train, val Source) {
	g := src.(grouped)
	members := map[string][]int{}
	var names []string
	total := map[int]float64{}
	for i := range src.Len() {
		name := g.Group(i)
		if members[name] == nil {
			names = append(names, name)
		}
		members[name] = append(members[name], i)
		total[src.Label(i)]++
	}
	slices.SortFunc(names, cmp.Compare[string])
	random(seed, purposeSplit).Shuffle(len(names), func(a, b int) { names[a], names[b] = names[b], names[a] })
	var kept, held []int
	have := map[int]float64{}
	for k, name := range names {
		counts := map[int]float64{}
		for _, i := range members[name] {
			counts[src.Label(i)]++
		}
		without, with := 0.0, 0.0
		for label, n := range counts {
			want := fraction * total[label]
			without += math.Abs(want-have[label]) / total[label]
			with += math.Abs(want-have[label]-n) / total[label]
		}
		if with < without && !(k == len(names)-1 && len(kept) == 0) {
			held = append(held, members[name]...)
			for label, n := range counts {
				have[label] += n
			}
		} else {
			kept = append(kept, members[name]...)
		}
	}
	slices.Sort(kept)
	slices.Sort(held)
	return Subset(src, kept), Subset(src, held)
}
