#include "resize.h"

enum { HALF = 1 << (RESIZE_BITS - 1) };

// weight is the k-th weight of an output whose groups begin at w.
static inline uint32_t weight(const int16_t *w, int k) {
	w += 4 * (k / 2) + k % 2;
	return (uint32_t)w[0] << RESIZE_PART | (uint32_t)w[2];
}

// along1 is the pass along one row, whose pixels have 4 bytes.
static void along1(uint8_t *dst, const uint8_t *src, const resize_axis *a) {
	for (int i = 0; i < a->n; i++) {
		const int16_t *w = a->weights + 4l * i * ((a->taps + 1) / 2);
		for (int c = 0; c < 4; c++) {
			uint32_t sum = HALF;
			for (int k = 0; k < a->taps; k++) sum += weight(w, k) * src[4l * (a->first[i] + k) + c];
			dst[4l * i + c] = (uint8_t)(sum >> RESIZE_BITS);
		}
	}
}

// down1 is the pass for one output row of n pixels, of which 3 bytes are stored.
static void down1(uint8_t *dst, const uint8_t *src, long stride, const int16_t *w, int taps, int n) {
	for (int x = 0; x < n; x++) {
		for (int c = 0; c < 3; c++) {
			uint32_t sum = HALF;
			for (int k = 0; k < taps; k++) sum += weight(w, k) * src[k * stride + 4l * x + c];
			dst[3l * x + c] = (uint8_t)(sum >> RESIZE_BITS);
		}
	}
}

// along and down are the same with vector instructions; the sums are whole
// numbers, so the bits are the same.
#ifdef __SSE2__
#include <emmintrin.h>

// two is a pair of weights for _mm_madd_epi16.
static inline __m128i two(const int16_t *weights) {
	int32_t pair;
	__builtin_memcpy(&pair, weights, 4);
	return _mm_set1_epi32(pair);
}

// total rounds the sums of high and low parts.
static inline __m128i total(__m128i high, __m128i low) {
	return _mm_srli_epi32(_mm_add_epi32(_mm_add_epi32(_mm_slli_epi32(high, RESIZE_PART), low), _mm_set1_epi32(HALF)), RESIZE_BITS);
}

// along2 is along for taps in pairs; where the compiler knows how many, it unrolls.
static inline void along2(uint8_t *dst, const uint8_t *src, const int32_t *first, const int16_t *w, int pairs, int n) {
	const __m128i zero = _mm_setzero_si128();
	for (int i = 0; i < n; i++) {
		const uint8_t *p = src + 4l * first[i];
		__m128i high = zero, low = zero;
		for (int k = 0; k < pairs; k++, w += 4) {
			__m128i v = _mm_loadl_epi64((const __m128i *)(p + 8 * k)), weights = _mm_loadl_epi64((const __m128i *)w);
			v = _mm_unpacklo_epi8(_mm_unpacklo_epi8(v, _mm_srli_si128(v, 4)), zero);
			high = _mm_add_epi32(high, _mm_madd_epi16(v, _mm_shuffle_epi32(weights, 0x00)));
			low = _mm_add_epi32(low, _mm_madd_epi16(v, _mm_shuffle_epi32(weights, 0x55)));
		}
		__m128i sum = total(high, low);
		sum = _mm_packs_epi32(sum, sum);
		int32_t pixel = _mm_cvtsi128_si32(_mm_packus_epi16(sum, sum));
		__builtin_memcpy(dst + 4l * i, &pixel, 4);
	}
}

static void along(uint8_t *dst, const uint8_t *src, const resize_axis *a) {
	switch (a->taps) {
	case 2: along2(dst, src, a->first, a->weights, 1, a->n); return;
	case 4: along2(dst, src, a->first, a->weights, 2, a->n); return;
	case 6: along2(dst, src, a->first, a->weights, 3, a->n); return;
	}
	if (a->taps % 2 == 0) {
		along2(dst, src, a->first, a->weights, a->taps / 2, a->n);
		return;
	}
	along1(dst, src, a); // as many taps as the source has pixels
}

static void down(uint8_t *dst, const uint8_t *src, long stride, const int16_t *weights, int taps, int n) {
	const __m128i zero = _mm_setzero_si128();
	int x = 0;
	for (; x + 4 < n; x += 4) { // a pixel is left, because stores of 4 bytes reach beyond theirs
		__m128i h0 = zero, h1 = zero, h2 = zero, h3 = zero, l0 = zero, l1 = zero, l2 = zero, l3 = zero;
		const int16_t *w = weights;
		for (int k = 0; k < taps; k += 2, w += 4) {
			const uint8_t *p = src + k * stride + 4l * x;
			__m128i a = _mm_loadu_si128((const __m128i *)p);
			__m128i b = k + 1 < taps ? _mm_loadu_si128((const __m128i *)(p + stride)) : zero;
			__m128i left = _mm_unpacklo_epi8(a, b), right = _mm_unpackhi_epi8(a, b), high = two(w), low = two(w + 2);
			__m128i v0 = _mm_unpacklo_epi8(left, zero), v1 = _mm_unpackhi_epi8(left, zero);
			__m128i v2 = _mm_unpacklo_epi8(right, zero), v3 = _mm_unpackhi_epi8(right, zero);
			h0 = _mm_add_epi32(h0, _mm_madd_epi16(v0, high)), l0 = _mm_add_epi32(l0, _mm_madd_epi16(v0, low));
			h1 = _mm_add_epi32(h1, _mm_madd_epi16(v1, high)), l1 = _mm_add_epi32(l1, _mm_madd_epi16(v1, low));
			h2 = _mm_add_epi32(h2, _mm_madd_epi16(v2, high)), l2 = _mm_add_epi32(l2, _mm_madd_epi16(v2, low));
			h3 = _mm_add_epi32(h3, _mm_madd_epi16(v3, high)), l3 = _mm_add_epi32(l3, _mm_madd_epi16(v3, low));
		}
		uint8_t pixels[16];
		_mm_storeu_si128((__m128i *)pixels, _mm_packus_epi16(_mm_packs_epi32(total(h0, l0), total(h1, l1)), _mm_packs_epi32(total(h2, l2), total(h3, l3))));
		for (int k = 0; k < 4; k++) __builtin_memcpy(dst + 3l * (x + k), pixels + 4 * k, 4);
	}
	down1(dst + 3l * x, src + 4l * x, stride, weights, taps, n - x);
}
#else
static void along(uint8_t *dst, const uint8_t *src, const resize_axis *a) { along1(dst, src, a); }
static void down(uint8_t *dst, const uint8_t *src, long stride, const int16_t *w, int taps, int n) { down1(dst, src, stride, w, taps, n); }
#endif

void resize(uint8_t *dst, long stride, const uint8_t *src, long src_stride, const resize_axis *x, const resize_axis *y, uint8_t *rows) {
	const long row = 4l * x->n;
	int done = y->lo; // rows before it are scaled along
	for (int j = 0; j < y->n; j++) {
		for (; done < y->first[j] + y->taps; done++) along(rows + (done - y->lo) * row, src + (done - y->lo) * src_stride, x);
		down(dst + j * stride, rows + (y->first[j] - y->lo) * row, row, y->weights + 4l * j * ((y->taps + 1) / 2), y->taps, x->n);
	}
}

static inline uint8_t clamp(int32_t v) { return v < 0 ? 0 : v > 255 ? 255 : (uint8_t)v; }

void ycc_to_rgb(uint8_t *dst, const uint8_t *y, const uint8_t *cb, const uint8_t *cr, int n) {
	for (int i = 0; i < n; i++) {
		int32_t luma = y[i], b = cb[i] - 128, r = cr[i] - 128;
		dst[4 * i] = clamp(luma + ((91881 * r + 32768) >> 16));
		dst[4 * i + 1] = clamp(luma + ((-22554 * b - 46802 * r + 32768) >> 16));
		dst[4 * i + 2] = clamp(luma + ((116130 * b + 32768) >> 16));
		dst[4 * i + 3] = 255;
	}
}
