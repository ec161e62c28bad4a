// The inner loops of resizing, in C for vector instructions, which Go's
// compiler does not make. Pixels are R, G, B and a byte that does not count.
#ifndef VKALEXNET_RESIZE_H
#define VKALEXNET_RESIZE_H

#include <stdint.h>

// Weights are whole numbers that add up to about 1 << RESIZE_BITS, as PIL's do;
// those of resize_four to 1 << RESIZE_FOUR_BITS.
enum { RESIZE_BITS = 22, RESIZE_FOUR_BITS = 11, RESIZE_LANES = 8, RESIZE_COLUMNS = 512 };

// One axis: output i is the sum over k < taps of weights[i*taps + k] times input
// first[i]+k; inputs lo..hi-1 are read. clip says that sums may exceed 255.
typedef struct {
	const int32_t *first, *weights;
	int32_t n, taps, lo, hi, clip;
} resize_axis;

// resize_vectors is the best kind of vectors that this processor has: 0, 1, 2,
// of which resize and ycc_to_rgb take any. The bytes are the same.
int resize_vectors(void);

// resize_pitch is how far scaled rows of n pixels are apart: a vector may begin
// within a row and end behind it.
static inline long resize_pitch(long n) { return (3 * n + 63) / 32 * 32; }

// resize writes y.n rows of x.n pixels of 3 bytes, stride bytes apart, from rows of
// src, src_stride bytes apart, the first of which is input y.lo: along the rows first,
// then down the columns, rounded to bytes after each. scratch holds 32 bytes for each
// of RESIZE_COLUMNS columns, or x.taps where these are more, and resize_pitch(x.n) for
// each row from y.lo to y.hi, their number rounded up to a multiple of RESIZE_LANES,
// the most words that a vector has.
void resize(int vectors, uint8_t *dst, long stride, const uint8_t *src, long src_stride, const resize_axis *x, const resize_axis *y, uint8_t *scratch);

// resize_four makes every pixel of the two by two around its place, with the
// arithmetic of OpenCV's cv::resize for bytes (INTER_LINEAR): both axes have two
// weights an output, x one tap or two; the first row of two may be -1 and the second
// y.hi, which repeat the edge.
void resize_four(uint8_t *dst, long stride, const uint8_t *src, long src_stride, const resize_axis *x, const resize_axis *y);

// ycc_to_rgb converts a row of full-range (JFIF) YCbCr with libjpeg's rounding. A
// sample of cb and cr spans 1, 2 or 4 pixels. Where smooth, it is mixed with what lies
// far bytes further, the same place of a neighbouring row (0: none), three to one, and
// where it spans 2 pixels, with the nearer neighbour of the row as well; left and
// right round the sums, for the left and right ones of two pixels: of sixteenths,
// or of quarters where it spans 1.
void ycc_to_rgb(int vectors, uint8_t *dst, const uint8_t *luma, int width, const uint8_t *cb, const uint8_t *cr, long far, int span, int smooth, int left, int right);

#endif
