// y[n][4·a + b][c] = (Bᵀ d B)[a][b] of the 4 × 4 pixels d of tile n; (G g Gᵀ)[a][b] of the 3 × 3 taps g of input channel n; (A e Aᵀ)[a][b] of the 2 × 2 gradients e of tile n
// variant winograd_picture: -DFROM=PICTURE
// variant winograd_weight: -DFROM=WEIGHT
// variant winograd_gradient: -DFROM=GRADIENT
// F(2×2, 3×3) of Lavin and Gray, Fast Algorithms for Convolutional Neural Networks
// (2016), section 4.1. layers/winograd.go says what is done with it.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#define PICTURE 0
#define WEIGHT 1
#define GRADIENT 2

layout(local_size_x_id = 0) in;
#include "include/index.glsl"
layout(binding = 0) readonly buffer X { vec4 x[]; };
layout(binding = 1) writeonly buffer Y { vec4 y[]; };
// An invocation has a quad of channels; quads is how many there are, x_pitch counts quads too.
layout(push_constant) uniform Args { uint count, quads, x_pitch, height, width, tiles_h, tiles_w; int pad_h, pad_w; uint rotated; };

#if FROM != WEIGHT
// pixel is a quad of the picture, 0 outside of it.
vec4 pixel(uint n, int row, int column, uint quad) {
  const bool inside = uint(row) < height && uint(column) < width;
  const uint at = inside ? uint(row) * width + uint(column) : 0;
  return mix(vec4(0), x[n * x_pitch + at * quads + quad], bvec4(inside));
}
#endif

void main() {
  const uint i = thread_index();
  if (i >= count) return;
  const uint n = i / quads, quad = i % quads;
  vec4 v[16];
#if FROM == WEIGHT
  const uint each = count; // quads from tap to tap
  [[unroll]] for (uint r = 0; r < 3; r++) {
    vec4 g[3];
    [[unroll]] for (uint s = 0; s < 3; s++) g[s] = x[(rotated != 0 ? 8 - 3 * r - s : 3 * r + s) * each + i];
    v[4 * r] = g[0];
    v[4 * r + 1] = 0.5 * (g[0] + g[1] + g[2]);
    v[4 * r + 2] = 0.5 * (g[0] - g[1] + g[2]);
    v[4 * r + 3] = g[2];
  }
  [[unroll]] for (uint s = 0; s < 4; s++) {
    const vec4 even = 0.5 * (v[s] + v[8 + s]), odd = 0.5 * v[4 + s];
    v[12 + s] = v[8 + s];
    v[4 + s] = even + odd;
    v[8 + s] = even - odd;
  }
#else
  const uint place = n % (tiles_h * tiles_w), picture = n / (tiles_h * tiles_w);
  const int row = int(2 * (place / tiles_w)) - pad_h, column = int(2 * (place % tiles_w)) - pad_w;
#if FROM == PICTURE
  [[unroll]] for (int r = 0; r < 4; r++) {
    vec4 d[4];
    [[unroll]] for (int s = 0; s < 4; s++) d[s] = pixel(picture, row + r, column + s, quad);
    v[4 * r] = d[0] - d[2];
    v[4 * r + 1] = d[1] + d[2];
    v[4 * r + 2] = d[2] - d[1];
    v[4 * r + 3] = d[1] - d[3];
  }
  [[unroll]] for (uint s = 0; s < 4; s++) {
    const vec4 second = v[4 + s], third = v[8 + s];
    v[s] -= third;
    v[4 + s] = second + third;
    v[8 + s] = third - second;
    v[12 + s] = second - v[12 + s];
  }
#else
  [[unroll]] for (int r = 0; r < 2; r++) {
    const vec4 left = pixel(picture, row + r, column, quad), right = pixel(picture, row + r, column + 1, quad);
    v[12 * r] = left;
    v[12 * r + 1] = left + right;
    v[12 * r + 2] = left - right;
    v[12 * r + 3] = -right;
  }
  [[unroll]] for (uint s = 0; s < 4; s++) {
    const vec4 above = v[s], below = v[12 + s];
    v[4 + s] = above + below;
    v[8 + s] = above - below;
    v[12 + s] = -below;
  }
#endif
#endif
  [[unroll]] for (uint j = 0; j < 16; j++) y[(16 * n + j) * quads + quad] = v[j];
}
