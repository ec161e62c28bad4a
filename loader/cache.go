package loader

import "sync/atomic"

// cache keeps the stored pictures of a small set.
type cache struct {
	size  int
	data  []byte
	state []atomic.Uint32 // 0 empty, 1 being written, 2 there
}

func newCache(n, size int, limit int64) *cache {
	if limit < 0 || int64(n) > limit/int64(size) {
		return &cache{}
	}
	return &cache{size: size, data: make([]byte, n*size), state: make([]atomic.Uint32, n)}
}

func (c *cache) get(i int, dst []byte) bool {
	if c.state == nil || c.state[i].Load() != 2 {
		return false
	}
	copy(dst, c.data[i*c.size:][:c.size])
	return true
}

func (c *cache) put(i int, src []byte) {
	if c.state == nil || !c.state[i].CompareAndSwap(0, 1) {
		return
	}
	copy(c.data[i*c.size:][:c.size], src)
	c.state[i].Store(2)
}
