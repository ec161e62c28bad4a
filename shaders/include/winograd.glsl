// The one-dimensional steps of Winograd's form F(TILE, TAPS): polynomials are multiplied
// by way of their values at as many points as the product has coefficients (Toom and
// Cook), which are
//   0, ±1, ∞        for F(2, 3)
//   0, ±√½, ±√2, ∞  for F(2, 5)
// with the last coefficient as the value at ∞. With ±1 and ±2 instead of the roots
// results are twice as far off (docs/kernels.md). TERMS is how many coefficients a module's
// polynomials have: TAPS those of the weight, TILE the others.
#define POINTS (TILE + TAPS - 1)
#define PLACES (POINTS * POINTS)
#if POINTS == 4
const float SCALES[POINTS] = { 1.0, 0.5, 0.5, 1.0 }; // of the weight's values
#else
const float NEAR = 0.70710678118654752, FAR = 1.4142135623730951;
const float SCALES[POINTS] = { 1.0, -2.0 / 3.0, -2.0 / 3.0, 1.0 / 6.0, 1.0 / 6.0, 1.0 };
#endif

// scale multiplies the values by SCALES.
void scale(inout vec4 v[POINTS]) {
  [[unroll]] for (uint p = 1; p < POINTS - 1; p++) v[p] *= SCALES[p];
}

// evaluate turns TERMS coefficients into the values at the points.
void evaluate(inout vec4 v[POINTS]) {
  const vec4 last = v[TERMS - 1];
#if TERMS == 2
  const vec4 even = v[0], odd = v[1];
#elif TERMS == 3
  const vec4 even = v[0] + v[2], odd = v[1];
#else
  const vec4 even = v[0] + 0.5 * v[2] + 0.25 * v[4], odd = v[1] + 0.5 * v[3];
#endif
#if POINTS == 4
  v[1] = even + odd;
  v[2] = even - odd;
#else
#if TERMS == 2
  const vec4 far_even = even, far_odd = odd;
#else
  const vec4 far_even = v[0] + 2.0 * v[2] + 4.0 * v[4], far_odd = v[1] + 2.0 * v[3];
#endif
  v[1] = even + NEAR * odd;
  v[2] = even - NEAR * odd;
  v[3] = far_even + FAR * far_odd;
  v[4] = far_even - FAR * far_odd;
#endif
  v[POINTS - 1] = last;
}

// collect is the transpose of evaluate: TERMS sums of the values, each multiplied by a power of its point.
void collect(inout vec4 v[POINTS]) {
  const vec4 last = v[POINTS - 1], even = v[1] + v[2], odd = v[1] - v[2];
#if POINTS == 4
  v[0] += even;
  v[1] = odd;
  v[2] = even;
#else
  const vec4 far_even = v[3] + v[4], far_odd = v[3] - v[4];
  v[0] += even + far_even;
  v[1] = NEAR * odd + FAR * far_odd;
  v[2] = 0.5 * even + 2.0 * far_even;
  v[3] = 0.5 * NEAR * odd + 2.0 * FAR * far_odd;
  v[4] = 0.25 * even + 4.0 * far_even;
#endif
  v[TERMS - 1] += last;
}

// divide is what the picture's pixels go through: the transpose of the division that
// leads from a product's values back to its coefficients.
void divide(inout vec4 v[POINTS]) {
#if POINTS == 4
  v = vec4[](v[0] - v[2], v[1] + v[2], v[2] - v[1], v[3] - v[1]);
#else
  const vec4 even = v[4] - 2.0 * v[2], odd = NEAR * (v[3] - 2.0 * v[1]);
  const vec4 far_even = v[4] - 0.5 * v[2], far_odd = FAR * (v[3] - 0.5 * v[1]);
  v = vec4[](v[0] - 2.5 * v[2] + v[4], even + odd, even - odd, far_even + far_odd, far_even - far_odd, v[1] - 2.5 * v[3] + v[5]);
#endif
}
