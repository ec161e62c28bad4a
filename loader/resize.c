#include "resize.h"
#include <string.h>

enum {
	HALF = 1u << (RESIZE_BITS - 1),
	LIMIT = 255u << RESIZE_BITS,
	LITTLE = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
	PIXEL = LITTLE ? 3 : 4, // bytes of a pixel's word, from its lowest, that are of use
};

// BYTE is where byte c of a word in memory is in its value.
#define BYTE(c) (LITTLE ? 8 * (c) : 24 - 8 * (c))

static inline uint32_t clamp(int32_t v) { return v < 0 ? 0 : v > 255 ? 255 : (uint32_t)v; }

#define ALWAYS __attribute__((always_inline))

#define TARGET
#define NAME(f) f##_plain
#define LANES 4
#include "passes.h"

#if defined(__x86_64__)
#define TARGET __attribute__((target("sse4.1")))
#define NAME(f) f##_sse4
#define LANES 4
#include "passes.h"

#ifndef _WIN32 // where compilers do not align the stack for vectors of 32 bytes
#define TARGET __attribute__((target("avx2")))
#define NAME(f) f##_avx2
#define LANES 8
#include "passes.h"
#endif
#endif

int resize_vectors(void) {
#if defined(__x86_64__)
#ifndef _WIN32
	if (__builtin_cpu_supports("avx2")) return 2;
#endif
	if (__builtin_cpu_supports("sse4.1")) return 1;
#endif
	return 0;
}

// BEST calls a function of passes.h for the given vectors.
#if defined(__x86_64__) && !defined(_WIN32)
#define BEST(f, vectors, ...) (vectors == 2 ? f##_avx2(__VA_ARGS__) : vectors == 1 ? f##_sse4(__VA_ARGS__) : f##_plain(__VA_ARGS__))
#elif defined(__x86_64__)
#define BEST(f, vectors, ...) (vectors == 1 ? f##_sse4(__VA_ARGS__) : f##_plain(__VA_ARGS__))
#else
#define BEST(f, vectors, ...) ((void)vectors, f##_plain(__VA_ARGS__))
#endif

void resize(int vectors, uint8_t *dst, long stride, const uint8_t *src, long src_stride, const resize_axis *x, const resize_axis *y, uint8_t *scratch) {
	BEST(resize, vectors, dst, stride, src, src_stride, x, y, scratch);
}

void ycc_to_rgb(int vectors, uint8_t *dst, const uint8_t *luma, int width, const uint8_t *cb, const uint8_t *cr, long far, int span, int smooth, int left, int right) {
	BEST(ycc_to_rgb, vectors, dst, luma, width, cb, cr, far, span, smooth, left, right);
}

void resize_four(uint8_t *dst, long stride, const uint8_t *src, long src_stride, const resize_axis *x, const resize_axis *y) {
	for (int j = 0; j < y->n; j++) {
		const int first = y->first[j];
		const uint8_t *above = src + (first < 0 ? 0 : first) * src_stride, *below = src + (first + 1 < y->hi ? first + 1 : y->hi - 1) * src_stride;
		const int32_t *v = y->weights + 2l * j;
		for (int i = 0; i < x->n; i++) {
			const int32_t *w = x->weights + 2l * i;
			const long left = 4l * x->first[i], right = left + 4 * (x->taps - 1);
			for (int c = 0; c < 3; c++) {
				int32_t a = above[left + c] * w[0] + above[right + c] * w[1], b = below[left + c] * w[0] + below[right + c] * w[1];
				dst[j * stride + 3l * i + c] = (uint8_t)(((v[0] * (a >> 4) >> 16) + (v[1] * (b >> 4) >> 16) + 2) >> 2);
			}
		}
	}
}
