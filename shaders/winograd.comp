// y[n][a][b][c] = (Bᵀ d B)[a][b] of the pixels d of tile n; (G g Gᵀ)[a][b] of the taps g of input channel n; (A e Aᵀ)[a][b] of the TILE × TILE gradients e of tile n
// variant winograd23_picture: -DFROM=PICTURE -DTILE=2 -DTAPS=3
// variant winograd23_weight: -DFROM=WEIGHT -DTILE=2 -DTAPS=3
// variant winograd23_gradient: -DFROM=GRADIENT -DTILE=2 -DTAPS=3
// variant winograd23_pairs_picture: -DFROM=PICTURE -DTILE=2 -DTAPS=3 -DPAIRS
// variant winograd23_pairs_weight: -DFROM=WEIGHT -DTILE=2 -DTAPS=3 -DPAIRS
// variant winograd23_pairs_gradient: -DFROM=GRADIENT -DTILE=2 -DTAPS=3 -DPAIRS
// variant winograd25_picture: -DFROM=PICTURE -DTILE=2 -DTAPS=5
// variant winograd25_weight: -DFROM=WEIGHT -DTILE=2 -DTAPS=5
// variant winograd25_gradient: -DFROM=GRADIENT -DTILE=2 -DTAPS=5
// variant winograd25_pairs_picture: -DFROM=PICTURE -DTILE=2 -DTAPS=5 -DPAIRS
// variant winograd25_pairs_weight: -DFROM=WEIGHT -DTILE=2 -DTAPS=5 -DPAIRS
// variant winograd25_pairs_gradient: -DFROM=GRADIENT -DTILE=2 -DTAPS=5 -DPAIRS
// F(TILE×TILE, TAPS×TAPS) of Lavin and Gray, Fast Algorithms for Convolutional Neural Networks
// (2016), section 4.1. layers/winograd.go says what is done with it.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#ifdef PAIRS
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#endif
#define PICTURE 0
#define WEIGHT 1
#define GRADIENT 2
#if FROM == WEIGHT
#define TERMS TAPS
#else
#define TERMS TILE
#endif

layout(local_size_x_id = 0) in;
#include "include/index.glsl"
#include "include/winograd.glsl"
#include "include/pairs.glsl"
layout(binding = 0) readonly buffer X { PACKED x[]; };
layout(binding = 1) writeonly buffer Y { PACKED y[]; };
// An invocation has a quad of channels; quads is how many there are, x_pitch counts quads too.
layout(push_constant) uniform Args { uint count, quads, x_pitch, height, width, tiles_h, tiles_w; int pad_h, pad_w; uint rotated; };

#if FROM == WEIGHT
const uint EXTENT = TAPS;
#elif FROM == PICTURE
const uint EXTENT = POINTS;
#else
const uint EXTENT = TILE;
#endif

#if FROM != WEIGHT
// pixel is a quad of the picture, 0 outside of it.
vec4 pixel(uint n, int row, int column, uint quad) {
  const bool inside = uint(row) < height && uint(column) < width;
  const uint at = inside ? uint(row) * width + uint(column) : 0;
  return mix(vec4(0), floats(x[n * x_pitch + at * quads + quad]), bvec4(inside));
}
#endif

void transform(inout vec4 v[POINTS]) {
#if FROM == PICTURE
  divide(v);
#else
  evaluate(v);
#if FROM == WEIGHT
  scale(v);
#endif
#endif
}

void main() {
  const uint i = thread_index();
  if (i >= count) return;
  const uint n = i / quads, quad = i % quads;
#if FROM != WEIGHT
  const uint place = n % (tiles_h * tiles_w), picture = n / (tiles_h * tiles_w);
  const int row = int(TILE * (place / tiles_w)) - pad_h, column = int(TILE * (place % tiles_w)) - pad_w;
#endif
  vec4 rows[EXTENT][POINTS];
  [[unroll]] for (uint r = 0; r < EXTENT; r++) {
    [[unroll]] for (uint s = 0; s < EXTENT; s++) {
#if FROM == WEIGHT
      const uint tap = TAPS * r + s;
      rows[r][s] = floats(x[(rotated != 0 ? TAPS * TAPS - 1 - tap : tap) * count + i]);
#else
      rows[r][s] = pixel(picture, row + int(r), column + int(s), quad);
#endif
    }
    transform(rows[r]);
  }
  [[unroll]] for (uint s = 0; s < POINTS; s++) {
    vec4 v[POINTS];
    [[unroll]] for (uint r = 0; r < EXTENT; r++) v[r] = rows[r][s];
    transform(v);
    [[unroll]] for (uint r = 0; r < POINTS; r++) y[(PLACES * n + POINTS * r + s) * quads + quad] = packed(v[r]);
  }
}
