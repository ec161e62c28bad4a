// The inner loops of resizing, in C for vector instructions, which Go's
// compiler does not make. Pixels are R, G, B and a byte that does not count.
#ifndef VKALEXNET_RESIZE_H
#define VKALEXNET_RESIZE_H

#include <stdint.h>

// Weights are whole numbers that add up to about 1 << RESIZE_BITS, as PIL's do.
// Each is stored in two parts of 16 bits: high << RESIZE_PART | low.
enum { RESIZE_BITS = 22, RESIZE_PART = 11 };

// One axis: output i is the sum over k < taps of weight k times input
// first[i]+k; inputs lo..hi-1 are read. The weights of output i are the
// (taps+1)/2 groups from weights + 4*i*((taps+1)/2): for two neighbouring
// inputs their high parts, then their low parts; 0 for one that is not there.
typedef struct {
	const int32_t *first;
	const int16_t *weights;
	int32_t n, taps, lo, hi;
} resize_axis;

// resize writes y.n rows of x.n pixels of 3 bytes, stride bytes apart, from rows of
// src, src_stride bytes apart, the first of which is input y.lo: along the rows first, then down the
// columns, rounded to bytes after each. rows holds 4 * x.n * (y.hi - y.lo) bytes.
void resize(uint8_t *dst, long stride, const uint8_t *src, long src_stride, const resize_axis *x, const resize_axis *y, uint8_t *rows);

// ycc_to_rgb converts n pixels of full-range (JFIF) YCbCr with libjpeg's rounding.
void ycc_to_rgb(uint8_t *dst, const uint8_t *y, const uint8_t *cb, const uint8_t *cr, int n);

#endif
