package loader

import "math/rand/v2"

// Purposes keep the random numbers of different uses apart.
const (
	purposeShuffle uint64 = iota + 1
	purposeGeometry
	purposeColour
	purposeSplit
	purposeSynthetic
)

// random returns a generator that depends on the seed and the words alone.
func random(seed uint64, words ...uint64) *rand.Rand {
	h := mix(seed)
	for _, w := range words {
		h = mix(h ^ w)
	}
	return rand.New(rand.NewPCG(h, mix(h)))
}

// mix is one step of SplitMix64 (Steele, Lea, Flood 2014), so that
// neighbouring seeds and indices give unrelated streams.
func mix(h uint64) uint64 {
	h += 0x9e3779b97f4a7c15
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}
