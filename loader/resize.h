// The inner loops of resizing, in C for vector instructions, which Go's
// compiler does not make.
#ifndef VKALEXNET_RESIZE_H
#define VKALEXNET_RESIZE_H

#include <stdint.h>

// Weights add up to 1 << RESIZE_WEIGHT_BITS; between the passes values keep
// RESIZE_ROW_BITS below the byte. RESIZE_GROUP weights of the horizontal pass
// are taken at once.
enum { RESIZE_WEIGHT_BITS = 14, RESIZE_ROW_BITS = 7, RESIZE_GROUP = 8 };

// One axis: output i is the sum over k < taps of weights[i*taps+k] times input
// first[i]+k; inputs lo..hi-1 are read.
typedef struct {
	const int32_t *first;
	const int16_t *weights;
	int32_t n, taps, lo, hi;
} resize_axis;

// resize_plane writes x.n × y.n bytes without gaps. x.taps is a multiple of
// RESIZE_GROUP, filled up with zeros. row holds x.hi - x.lo + RESIZE_GROUP values.
void resize_plane(uint8_t *dst, const uint8_t *src, int stride, const resize_axis *x, const resize_axis *y, int16_t *row);

// resize_ycbcr converts n pixels of full-range (JFIF) YCbCr to interleaved RGB,
// with the bits of Go's color.YCbCrToRGB.
void resize_ycbcr(uint8_t *dst, const uint8_t *y, const uint8_t *cb, const uint8_t *cr, int n);

#endif
