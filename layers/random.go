package layers

import "math"

// Philox is Philox4x32-10, the counter-based random number generator of Salmon,
// Moraes, Dror and Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3" (SC 2011):
// four random words as a pure function of counter and key, the same on any
// device and in any order.
func Philox(counter [4]uint32, key [2]uint32) [4]uint32 {
	for range 10 {
		p0 := 0xD2511F53 * uint64(counter[0])
		p1 := 0xCD9E8D57 * uint64(counter[2])
		counter = [4]uint32{
			uint32(p1>>32) ^ counter[1] ^ key[0], uint32(p1),
			uint32(p0>>32) ^ counter[3] ^ key[1], uint32(p0),
		}
		key[0] += 0x9E3779B9
		key[1] += 0xBB67AE85
	}
	return counter
}

// philoxKey is the key of a run's seed, low half first.
func philoxKey(seed uint64) [2]uint32 {
	return [2]uint32{uint32(seed), uint32(seed >> 32)}
}

// initWords are the four random words for the initial values of elements 4*i to
// 4*i+3. The last half of the counter is one that no training pass reaches.
func initWords(i int, seed uint64, stream uint32) [4]uint32 {
	return Philox([4]uint32{uint32(i), stream, math.MaxUint32, math.MaxUint32}, philoxKey(seed))
}

// fill sets dst, four elements at a time, from their random words.
func fill(dst []float32, seed uint64, stream uint32, values func(words [4]uint32) [4]float64) {
	parallel((len(dst)+3)/4, func(first, last int) {
		for i := first; i < last; i++ {
			four := values(initWords(i, seed, stream))
			store(dst[4*i:], four[:min(4, len(dst)-4*i)])
		}
	})
}

// InitGaussian fills dst with normally distributed values of mean 0 and the
// given standard deviation, as a function of seed, stream (which tells tensors
// apart) and index. It is the transform of Box and Muller (1958).
func InitGaussian(dst []float32, std float32, seed uint64, stream uint32) {
	pair := func(a, b uint32) (float64, float64) {
		radius := float64(std) * math.Sqrt(-2*math.Log((float64(a)+1)*0x1p-32))
		sin, cos := math.Sincos(2 * math.Pi * float64(b) * 0x1p-32)
		return radius * cos, radius * sin
	}
	fill(dst, seed, stream, func(w [4]uint32) (v [4]float64) {
		v[0], v[1] = pair(w[0], w[1])
		v[2], v[3] = pair(w[2], w[3])
		return v
	})
}

// InitUniform fills dst with values uniform between -bound and bound, as a
// function of seed, stream (which tells tensors apart) and index.
func InitUniform(dst []float32, bound float32, seed uint64, stream uint32) {
	fill(dst, seed, stream, func(words [4]uint32) (v [4]float64) {
		for i, w := range words {
			v[i] = float64(bound) * (2*(float64(w)+0.5)*0x1p-32 - 1)
		}
		return v
	})
}
