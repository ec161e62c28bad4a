// What becomes of the sums of a matrix product, the same in all of its kernels. To be
// included after the push constants.
//
//   forward          y  = sum (+ y so far), then ReLU
//   backward input   dx = sum (+ dx so far); with MASKED, d > 0 ? dx·mask_factor : 0: the gradient of the ReLU (and the dropout) whose result d was the layer's input
//   backward weight  dw = sum (+ dw so far); with UPDATE, c is the weight and d its momentum, which move by the sum
//
// Four of them are put down at a multiple of four elements, or one by one.
layout(constant_id = 43) const uint FORMAT_D = 0;
layout(constant_id = 44) const bool MASKED = false;
layout(constant_id = 45) const bool UPDATE = false;
#if OP == BACKWARD_WEIGHT
UPDATES(4, D, d, FORMAT_D)
#else
READS(4, D, d, FORMAT_D)
#endif
#include "step.glsl"
#include "sgd.glsl"
#ifndef LOAD_C4 // a kernel may know a better way
#define LOAD_C4 load_c4
#define STORE_C4 store_c4
#endif

void put4(uint at, vec4 v) {
#if OP == BACKWARD_WEIGHT
  if (UPDATE) {
    vec4 w = LOAD_C4(at), velocity = load_d4(at);
    sgd(w, velocity, v);
    store_d4(at, velocity);
    STORE_C4(at, w);
    if (FORMAT_COPY != FP32) store_copy4(at, w);
    return;
  }
#endif
  if (accumulate != 0) v += LOAD_C4(at);
  if (relu != 0) v = max(v, vec4(0));
  if (MASKED) v = mix(vec4(0), v * mask_factor, greaterThan(load_d4(at), vec4(0)));
  STORE_C4(at, v);
}

void put(uint at, float v) { // float32 alone: layers/gemm.go sees to it
  if (accumulate != 0) v += c[at];
  if (relu != 0) v = max(v, 0.0);
  if (MASKED) v = load_d(at) > 0.0 ? v * mask_factor : 0.0;
  c[at] = v;
}
