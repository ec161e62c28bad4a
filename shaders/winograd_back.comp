// c = Aᵀ m A, TILE × TILE pixels of the sums m of a tile and output channel (+ bias), for y and dx; Gᵀ m G, the TAPS × TAPS taps of dw
// variant winograd23_forward: -DOP=FORWARD -DTILE=2 -DTAPS=3
// variant winograd23_backward_input: -DOP=BACKWARD_INPUT -DTILE=2 -DTAPS=3
// variant winograd23_backward_weight: -DOP=BACKWARD_WEIGHT -DTILE=2 -DTAPS=3
// variant winograd23_pairs_forward: -DOP=FORWARD -DTILE=2 -DTAPS=3 -DPAIRS
// variant winograd23_pairs_backward_input: -DOP=BACKWARD_INPUT -DTILE=2 -DTAPS=3 -DPAIRS
// variant winograd23_pairs_backward_weight: -DOP=BACKWARD_WEIGHT -DTILE=2 -DTAPS=3 -DPAIRS
// variant winograd25_forward: -DOP=FORWARD -DTILE=2 -DTAPS=5
// variant winograd25_backward_input: -DOP=BACKWARD_INPUT -DTILE=2 -DTAPS=5
// variant winograd25_backward_weight: -DOP=BACKWARD_WEIGHT -DTILE=2 -DTAPS=5
// variant winograd25_pairs_forward: -DOP=FORWARD -DTILE=2 -DTAPS=5 -DPAIRS
// variant winograd25_pairs_backward_input: -DOP=BACKWARD_INPUT -DTILE=2 -DTAPS=5 -DPAIRS
// variant winograd25_pairs_backward_weight: -DOP=BACKWARD_WEIGHT -DTILE=2 -DTAPS=5 -DPAIRS
// The way back from winograd.comp: a is m, as [tile, or input channel][a][b][channel].
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#ifdef PAIRS
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#endif

layout(local_size_x_id = 0) in;
#include "include/index.glsl"
#define FORWARD 0
#define BACKWARD_INPUT 1
#define BACKWARD_WEIGHT 2
#if OP == BACKWARD_WEIGHT
#define TERMS TAPS
#else
#define TERMS TILE
#endif
#include "include/winograd.glsl"
#include "include/pairs.glsl"
#include "include/storage.glsl"
const uint FORMAT_C = FP32;
layout(binding = 0) readonly buffer A { PACKED a[]; };
layout(binding = 1) buffer C { float c[]; };
layout(binding = 1) buffer C_4 { PACKED c_4[]; };
layout(binding = 2) readonly buffer Bias { PACKED bias[]; };
// An invocation has a quad of channels; quads is how many there are, pitch the elements of an example of c.
layout(push_constant) uniform Args {
  uint count, quads, pitch, height, width, tiles_h, tiles_w;
  uint accumulate, with_bias, relu;
  float mask_factor, momentum, decay, rate_factor;
};
#define LOAD_C4(at) floats(c_4[(at) >> 2])
#define STORE_C4(at, v) c_4[(at) >> 2] = packed(v)
#include "include/epilogue.glsl"

void transform(inout vec4 v[POINTS]) {
#if OP == BACKWARD_WEIGHT
  scale(v);
#endif
  collect(v);
}

void main() {
  const uint i = thread_index();
  if (i >= count) return;
  const uint n = i / quads, quad = i % quads;
  vec4 rows[TERMS][POINTS];
  [[unroll]] for (uint s = 0; s < POINTS; s++) {
    vec4 v[POINTS];
    [[unroll]] for (uint r = 0; r < POINTS; r++) v[r] = floats(a[(PLACES * n + POINTS * r + s) * quads + quad]);
    transform(v);
    [[unroll]] for (uint r = 0; r < TERMS; r++) rows[r][s] = v[r];
  }
#if OP == BACKWARD_WEIGHT
  [[unroll]] for (uint r = 0; r < TAPS; r++) {
    transform(rows[r]);
    [[unroll]] for (uint s = 0; s < TAPS; s++) put4(4 * ((TAPS * r + s) * count + i), rows[r][s]);
  }
#else
  const uint place = n % (tiles_h * tiles_w), row = TILE * (place / tiles_w), column = TILE * (place % tiles_w);
  const uint at = n / (tiles_h * tiles_w) * pitch + 4 * ((row * width + column) * quads + quad);
  vec4 before = vec4(0);
#if OP == FORWARD
  if (with_bias != 0) before = floats(bias[quad]);
#endif
  [[unroll]] for (uint r = 0; r < TILE; r++) {
    transform(rows[r]);
    [[unroll]] for (uint s = 0; s < TILE; s++) {
      if (row + r < height && column + s < width) put4(at + 4 * (r * width + s) * quads, before + rows[r][s]);
    }
  }
#endif
}
