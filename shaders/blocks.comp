// y[n][Y][X][dy][dx][c] = x[n][Y·stride+dy-pad][X·stride+dx-pad][c], 0 outside the picture; or back, y and x exchanged
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require

layout(local_size_x_id = 0) in;
#include "include/index.glsl"
#include "include/storage.glsl"
layout(constant_id = 3) const uint FORMAT_X = 0;
layout(constant_id = 4) const uint FORMAT_Y = 0; // in 16 bits an invocation has a quad, else one element
layout(constant_id = 5) const bool BACK = false; // x are blocks, y is a picture
layout(constant_id = 6) const uint HEIGHT = 1; // of the picture
layout(constant_id = 7) const uint WIDTH = 1;
layout(constant_id = 8) const uint CHANNELS = 1;
layout(constant_id = 9) const uint STRIDE = 1;
layout(constant_id = 10) const uint BLOCKS_H = 1;
layout(constant_id = 11) const uint BLOCKS_W = 1;
READS(0, X, x, FORMAT_X)
WRITES(1, Y, y, FORMAT_Y)
layout(push_constant) uniform Args { uint count, x_pitch, y_pitch; int pad; };

const uint RUN = STRIDE * CHANNELS; // of a block, what is one piece of a row of the picture, too
const uint ROW = WIDTH * CHANNELS;

// from says whether x has element i of y, and where.
bool from(uint i, out uint at) {
  const uint n = i / y_pitch, e = i % y_pitch;
  if (BACK) {
    const uint row = e / ROW + uint(pad), column = e % ROW + uint(pad) * CHANNELS;
    at = n * x_pitch + ((row / STRIDE * BLOCKS_W + column / RUN) * STRIDE + row % STRIDE) * RUN + column % RUN;
    return e < HEIGHT * ROW;
  }
  const uint piece = e / RUN, block = piece / STRIDE;
  const int row = int(block / BLOCKS_W * STRIDE + piece % STRIDE) - pad, column = int(block % BLOCKS_W * RUN + e % RUN) - pad * int(CHANNELS);
  at = n * x_pitch + uint(row * int(ROW) + column);
  return block < BLOCKS_H * BLOCKS_W && uint(row) < HEIGHT && uint(column) < ROW;
}

void main() {
  uint i = thread_index(), at;
  if (FORMAT_Y == FP32) {
    if (i < count) y[i] = from(i, at) ? load_x(at) : 0.0;
    return;
  }
  i *= 4;
  if (i >= count) return;
  vec4 v = vec4(0);
  if (!BACK && RUN % 4 == 0) { // four of one piece: all of them are in the row, or one by one
    uint first;
    if (from(i, first) && from(i + 3, at)) {
      store_y4(i, vec4(load_x(first), load_x(first + 1), load_x(first + 2), load_x(first + 3)));
      return;
    }
  }
  [[dont_unroll]] for (uint l = 0; l < 4; l++) if (from(i + l, at)) v[l] = load_x(at);
  store_y4(i, v);
}
