// c = Aᵀ m A, 2 × 2 pixels of the 4 × 4 sums m of a tile and output channel (+ bias), for y and dx; Gᵀ m G, the 3 × 3 taps of dw
// variant winograd_forward: -DOP=FORWARD
// variant winograd_backward_input: -DOP=BACKWARD_INPUT
// variant winograd_backward_weight: -DOP=BACKWARD_WEIGHT
// The way back from winograd.comp: a is m, as [tile, or input channel][4·a + b][channel].
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require

layout(local_size_x_id = 0) in;
#include "include/index.glsl"
#define FORWARD 0
#define BACKWARD_INPUT 1
#define BACKWARD_WEIGHT 2
#include "include/storage.glsl"
const uint FORMAT_C = FP32;
layout(binding = 0) readonly buffer A { vec4 a[]; };
layout(binding = 1) buffer C { float c[]; };
layout(binding = 1) buffer C_4 { vec4 c_4[]; };
layout(binding = 2) readonly buffer Bias { vec4 bias[]; };
// An invocation has a quad of channels; quads is how many there are, pitch the elements of an example of c.
layout(push_constant) uniform Args {
  uint count, quads, pitch, height, width, tiles_h, tiles_w;
  uint accumulate, with_bias, relu;
  float mask_factor, momentum, decay, rate_factor;
};
#define LOAD_C4(at) c_4[(at) >> 2]
#define STORE_C4(at, v) c_4[(at) >> 2] = v
#include "include/epilogue.glsl"

void main() {
  const uint i = thread_index();
  if (i >= count) return;
  const uint n = i / quads, quad = i % quads;
  vec4 m[16];
  [[unroll]] for (uint j = 0; j < 16; j++) m[j] = a[(16 * n + j) * quads + quad];
#if OP == BACKWARD_WEIGHT
  vec4 w[9];
  [[unroll]] for (uint s = 0; s < 4; s++) {
    const vec4 even = 0.5 * (m[4 + s] + m[8 + s]), odd = 0.5 * (m[4 + s] - m[8 + s]);
    m[s] += even;
    m[4 + s] = odd;
    m[8 + s] = even + m[12 + s];
  }
  [[unroll]] for (uint r = 0; r < 3; r++) {
    const vec4 even = 0.5 * (m[4 * r + 1] + m[4 * r + 2]);
    w[3 * r] = m[4 * r] + even;
    w[3 * r + 1] = 0.5 * (m[4 * r + 1] - m[4 * r + 2]);
    w[3 * r + 2] = even + m[4 * r + 3];
  }
  [[unroll]] for (uint tap = 0; tap < 9; tap++) put4(4 * (tap * count + i), w[tap]);
#else
  const uint place = n % (tiles_h * tiles_w), row = 2 * (place / tiles_w), column = 2 * (place % tiles_w);
  const uint at = n / (tiles_h * tiles_w) * pitch + 4 * ((row * width + column) * quads + quad);
  vec4 before = vec4(0);
#if OP == FORWARD
  if (with_bias != 0) before = bias[quad];
#endif
  [[unroll]] for (uint s = 0; s < 4; s++) {
    const vec4 both = m[4 + s] + m[8 + s], apart = m[4 + s] - m[8 + s];
    m[s] += both;
    m[4 + s] = apart - m[12 + s];
  }
  [[unroll]] for (uint r = 0; r < 2; r++) {
    if (row + r < height) {
      const uint to = at + 4 * r * width * quads;
      put4(to, before + m[4 * r] + m[4 * r + 1] + m[4 * r + 2]);
      if (column + 1 < width) put4(to + 4 * quads, before + m[4 * r + 1] - m[4 * r + 2] - m[4 * r + 3]);
    }
  }
#endif
}
