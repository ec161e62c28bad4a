package loader

import "math/rand/v2"

// balancedOrder is an epoch of src.Len() pictures with as many of each class:
// each class's pictures are shuffled, and again when all have been drawn.
// Pictures without a label are left out where others have one.
func balancedOrder(src Source, r *rand.Rand) []int {
	var members [][]int
	at := map[int]int{}
	for i := range src.Len() {
		label := src.Label(i)
		if label < 0 {
			continue
		}
		k, known := at[label]
		if !known {
			k = len(members)
			at[label], members = k, append(members, nil)
		}
		members[k] = append(members[k], i)
	}
	if len(members) == 0 {
		return r.Perm(src.Len())
	}
	order := make([]int, src.Len())
	drawn := make([]int, len(members))
	first := r.IntN(len(members)) // which classes get the rest
	for i := range order {
		k := (first + i) % len(members)
		class := members[k]
		if drawn[k]%len(class) == 0 {
			r.Shuffle(len(class), func(a, b int) { class[a], class[b] = class[b], class[a] })
		}
		order[i] = class[drawn[k]%len(class)]
		drawn[k]++
	}
	r.Shuffle(len(order), func(a, b int) { order[a], order[b] = order[b], order[a] })
	return order
}

// BalancedWeights are weights for the loss with which every class counts alike,
// however many pictures of src it has: pictures / (classes · pictures of the
// class), counting labelled pictures and classes that have some. They are for
// labels below classes; a class without pictures has weight 1.
func BalancedWeights(src Source, classes int) []float32 {
	counts := make([]int, classes)
	pictures, present := 0, 0
	for i := range src.Len() {
		label := src.Label(i)
		if label < 0 {
			continue
		}
		if counts[label] == 0 {
			present++
		}
		counts[label]++
		pictures++
	}
	weights := make([]float32, classes)
	for c, n := range counts {
		weights[c] = 1
		if n > 0 {
			weights[c] = float32(float64(pictures) / (float64(present) * float64(n)))
		}
	}
	return weights
}
