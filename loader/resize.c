#include "resize.h"

enum {
	ROW_SHIFT = RESIZE_WEIGHT_BITS - RESIZE_ROW_BITS,
	ROW_HALF = 1 << (ROW_SHIFT - 1),
	OUT_SHIFT = RESIZE_WEIGHT_BITS + RESIZE_ROW_BITS,
	OUT_HALF = 1 << (OUT_SHIFT - 1),
};

// down is the vertical pass for one output row: n columns of taps rows.
// along is the horizontal pass for it. The sums are whole numbers, so that the
// two versions of each give the same bits.
#ifdef __SSE2__
#include <emmintrin.h>

static void down(int16_t *out, const uint8_t *src, long stride, const int16_t *weights, int taps, int n) {
	const __m128i zero = _mm_setzero_si128(), half = _mm_set1_epi32(ROW_HALF);
	int x = 0;
	for (; x + 8 <= n; x += 8) {
		__m128i low = half, high = half;
		for (int k = 0; k < taps; k += 2) { // two rows at once
			const uint8_t *p = src + k * stride + x;
			int two = k + 1 < taps;
			__m128i a = _mm_unpacklo_epi8(_mm_loadl_epi64((const __m128i *)p), zero);
			__m128i b = _mm_unpacklo_epi8(_mm_loadl_epi64((const __m128i *)(two ? p + stride : p)), zero);
			__m128i w = _mm_set1_epi32((uint16_t)weights[k] | (two ? (uint32_t)(uint16_t)weights[k + 1] << 16 : 0));
			low = _mm_add_epi32(low, _mm_madd_epi16(_mm_unpacklo_epi16(a, b), w));
			high = _mm_add_epi32(high, _mm_madd_epi16(_mm_unpackhi_epi16(a, b), w));
		}
		_mm_storeu_si128((__m128i *)(out + x), _mm_packs_epi32(_mm_srai_epi32(low, ROW_SHIFT), _mm_srai_epi32(high, ROW_SHIFT)));
	}
	for (; x < n; x++) {
		int32_t sum = ROW_HALF;
		for (int k = 0; k < taps; k++) sum += weights[k] * src[x + k * stride];
		out[x] = (int16_t)(sum >> ROW_SHIFT);
	}
}

static inline __m128i group(const int16_t *in, const int16_t *weights, int taps) {
	__m128i sum = _mm_setzero_si128();
	for (int k = 0; k < taps; k += RESIZE_GROUP)
		sum = _mm_add_epi32(sum, _mm_madd_epi16(_mm_loadu_si128((const __m128i *)(in + k)), _mm_loadu_si128((const __m128i *)(weights + k))));
	return sum;
}

// four adds up the four numbers in each of a, b, c and d.
static inline __m128i four(__m128i a, __m128i b, __m128i c, __m128i d) {
	__m128i ab = _mm_add_epi32(_mm_unpacklo_epi32(a, b), _mm_unpackhi_epi32(a, b));
	__m128i cd = _mm_add_epi32(_mm_unpacklo_epi32(c, d), _mm_unpackhi_epi32(c, d));
	return _mm_add_epi32(_mm_unpacklo_epi64(ab, cd), _mm_unpackhi_epi64(ab, cd));
}

static void along(uint8_t *dst, const int16_t *row, const int32_t *first, const int16_t *weights, int taps, int n) {
	const __m128i half = _mm_set1_epi32(OUT_HALF);
	int i = 0;
	for (; i + 4 <= n; i += 4) {
		const int16_t *w = weights + i * taps;
		__m128i sum = four(group(row + first[i], w, taps), group(row + first[i + 1], w + taps, taps),
		                   group(row + first[i + 2], w + 2 * taps, taps), group(row + first[i + 3], w + 3 * taps, taps));
		sum = _mm_srai_epi32(_mm_add_epi32(sum, half), OUT_SHIFT);
		sum = _mm_packs_epi32(sum, sum);
		int32_t out = _mm_cvtsi128_si32(_mm_packus_epi16(sum, sum));
		__builtin_memcpy(dst + i, &out, 4);
	}
	for (; i < n; i++) {
		__m128i zero = _mm_setzero_si128();
		dst[i] = (uint8_t)((_mm_cvtsi128_si32(four(group(row + first[i], weights + i * taps, taps), zero, zero, zero)) + OUT_HALF) >> OUT_SHIFT);
	}
}
#else
static void down(int16_t *out, const uint8_t *src, long stride, const int16_t *weights, int taps, int n) {
	for (int x = 0; x < n; x++) {
		int32_t sum = ROW_HALF;
		for (int k = 0; k < taps; k++) sum += weights[k] * src[x + k * stride];
		out[x] = (int16_t)(sum >> ROW_SHIFT);
	}
}

static void along(uint8_t *dst, const int16_t *row, const int32_t *first, const int16_t *weights, int taps, int n) {
	for (int i = 0; i < n; i++) {
		int32_t sum = OUT_HALF;
		for (int k = 0; k < taps; k++) sum += weights[i * taps + k] * row[first[i] + k];
		dst[i] = (uint8_t)(sum >> OUT_SHIFT);
	}
}
#endif

void resize_plane(uint8_t *dst, const uint8_t *src, int stride, const resize_axis *x, const resize_axis *y, int16_t *row) {
	for (int j = 0; j < y->n; j++) {
		down(row, src + y->first[j] * (long)stride + x->lo, stride, y->weights + j * y->taps, y->taps, x->hi - x->lo);
		along(dst + j * (long)x->n, row - x->lo, x->first, x->weights, x->taps, x->n);
	}
}

static inline uint8_t clamp(int32_t v) { return v < 0 ? 0 : v > 0xffffff ? 255 : (uint8_t)(v >> 16); }

void resize_ycbcr(uint8_t *dst, const uint8_t *y, const uint8_t *cb, const uint8_t *cr, int n) {
	int i = 0;
#ifdef __SSE2__
	// The factors below do not fit 16 bits: 91881 is 65536 + 26345, 116130 is
	// 131072 - 14942, 46802 is 65536 - 18734, and 0x10101 is 65536 + 257.
	const __m128i zero = _mm_setzero_si128(), middle = _mm_set1_epi16(128);
	for (; i + 8 < n; i += 8) { // a pixel is left, because stores of 4 bytes reach beyond theirs
		__m128i l = _mm_unpacklo_epi8(_mm_loadl_epi64((const __m128i *)(y + i)), zero);
		__m128i b = _mm_sub_epi16(_mm_unpacklo_epi8(_mm_loadl_epi64((const __m128i *)(cb + i)), zero), middle);
		__m128i r = _mm_sub_epi16(_mm_unpacklo_epi8(_mm_loadl_epi64((const __m128i *)(cr + i)), zero), middle);
#define PAIR(p, q) ((uint16_t)(p) | (int32_t)((uint32_t)(uint16_t)(q) << 16))
#define SUM(whole, u, v, p, q) \
	_mm_packs_epi32(_mm_srai_epi32(_mm_add_epi32(_mm_unpacklo_epi16(zero, whole), _mm_madd_epi16(_mm_unpacklo_epi16(u, v), _mm_set1_epi32(PAIR(p, q)))), 16), \
	                _mm_srai_epi32(_mm_add_epi32(_mm_unpackhi_epi16(zero, whole), _mm_madd_epi16(_mm_unpackhi_epi16(u, v), _mm_set1_epi32(PAIR(p, q)))), 16))
		__m128i red = SUM(_mm_add_epi16(l, r), r, l, 26345, 257);
		__m128i blue = SUM(_mm_add_epi16(l, _mm_add_epi16(b, b)), b, l, -14942, 257);
		__m128i w = _mm_sub_epi16(l, r), f = _mm_set1_epi32(PAIR(-22554, 18734)), g = _mm_set1_epi32(PAIR(257, 0));
		__m128i low = _mm_add_epi32(_mm_add_epi32(_mm_unpacklo_epi16(zero, w), _mm_madd_epi16(_mm_unpacklo_epi16(b, r), f)), _mm_madd_epi16(_mm_unpacklo_epi16(l, zero), g));
		__m128i high = _mm_add_epi32(_mm_add_epi32(_mm_unpackhi_epi16(zero, w), _mm_madd_epi16(_mm_unpackhi_epi16(b, r), f)), _mm_madd_epi16(_mm_unpackhi_epi16(l, zero), g));
		__m128i green = _mm_packs_epi32(_mm_srai_epi32(low, 16), _mm_srai_epi32(high, 16));
		__m128i rg = _mm_unpacklo_epi8(_mm_packus_epi16(red, red), _mm_packus_epi16(green, green));
		__m128i b0 = _mm_unpacklo_epi8(_mm_packus_epi16(blue, blue), zero);
		int32_t pixels[8];
		_mm_storeu_si128((__m128i *)pixels, _mm_unpacklo_epi16(rg, b0));
		_mm_storeu_si128((__m128i *)(pixels + 4), _mm_unpackhi_epi16(rg, b0));
		for (int k = 0; k < 8; k++) __builtin_memcpy(dst + 3 * (i + k), &pixels[k], 4);
	}
#endif
	for (; i < n; i++) {
		int32_t luma = y[i] * 0x10101, b = cb[i] - 128, r = cr[i] - 128;
		dst[3 * i] = clamp(luma + 91881 * r);
		dst[3 * i + 1] = clamp(luma - 22554 * b - 46802 * r);
		dst[3 * i + 2] = clamp(luma + 116130 * b);
	}
}
