// y = max of the window, the first of equals;  dx(p) = Σ dy(q) over the windows q that p won
#version 450
#extension GL_GOOGLE_include_directive : require

layout(local_size_x_id = 0) in;
#include "include/index.glsl"
layout(constant_id = 3) const bool BACKWARD = false;
layout(constant_id = 4) const bool QUADS = false; // channels are whole quads
layout(constant_id = 5) const uint SIZE = 3;
layout(constant_id = 6) const uint STRIDE = 2;
layout(constant_id = 7) const uint CHANNELS = 1;
layout(constant_id = 8) const uint HEIGHT = 1;
layout(constant_id = 9) const uint WIDTH = 1;
layout(constant_id = 10) const uint OUT_HEIGHT = 1;
layout(constant_id = 11) const uint OUT_WIDTH = 1;
layout(binding = 0) readonly buffer X { float x[]; };  // x; dy
layout(binding = 0) readonly buffer X_4 { vec4 x_4[]; };
layout(binding = 1) writeonly buffer Y { float y[]; }; // y; dx
layout(binding = 1) writeonly buffer Y_4 { vec4 y_4[]; };
layout(binding = 2) buffer Winner { uint winner[]; };  // [batch][pixel][quad of channels]: the winner's place in its window, one byte a channel
layout(push_constant) uniform Args { uint batch, x_pitch, y_pitch, keep_pitch; int pad; };

const uint WORDS = (CHANNELS + 3) / 4;

vec4 load(uint at, uint left) {
  if (QUADS) return x_4[at >> 2];
  vec4 v = vec4(0);
  for (uint j = 0; j < min(left, 4u); j++) v[j] = x[at + j];
  return v;
}

void store(uint at, uint left, vec4 v) {
  if (QUADS) { y_4[at >> 2] = v; return; }
  for (uint j = 0; j < min(left, 4u); j++) y[at + j] = v[j];
}

void main() {
  const uint pixels = BACKWARD ? HEIGHT * WIDTH : OUT_HEIGHT * OUT_WIDTH;
  uint i = thread_index();
  if (i >= batch * pixels * WORDS) return;
  uint word = i % WORDS, pixel = i / WORDS, n = pixel / pixels, p = pixel % pixels;
  uint c = word * 4, left = CHANNELS - c;
  if (!BACKWARD) {
    int top = int(p / OUT_WIDTH * STRIDE) - pad, begin = int(p % OUT_WIDTH * STRIDE) - pad;
    vec4 best = vec4(0);
    uvec4 place = uvec4(0);
    bool first = true;
    for (uint v = 0; v < SIZE; v++) {
      for (uint u = 0; u < SIZE; u++) {
        int row = top + int(v), column = begin + int(u);
        if (uint(row) >= HEIGHT || uint(column) >= WIDTH) continue;
        vec4 value = load(n * x_pitch + (uint(row) * WIDTH + uint(column)) * CHANNELS + c, left);
        // A NaN wins over numbers, and nothing over a NaN.
        bvec4 better = bvec4(
          first || (!(value.x <= best.x) && best.x == best.x), first || (!(value.y <= best.y) && best.y == best.y),
          first || (!(value.z <= best.z) && best.z == best.z), first || (!(value.w <= best.w) && best.w == best.w));
        best = mix(best, value, better);
        uint here = v * SIZE + u;
        place = uvec4(better.x ? here : place.x, better.y ? here : place.y, better.z ? here : place.z, better.w ? here : place.w);
        first = false;
      }
    }
    store(n * y_pitch + p * CHANNELS + c, left, best);
    winner[n * keep_pitch + p * WORDS + word] = place.x | place.y << 8 | place.z << 16 | place.w << 24;
    return;
  }
  int row = int(p / WIDTH) + pad, column = int(p % WIDTH) + pad;
  vec4 sum = vec4(0);
  uint low_v = row < int(SIZE) ? 0 : (uint(row) - SIZE) / STRIDE + 1, high_v = min(uint(row) / STRIDE, OUT_HEIGHT - 1);
  uint low_u = column < int(SIZE) ? 0 : (uint(column) - SIZE) / STRIDE + 1, high_u = min(uint(column) / STRIDE, OUT_WIDTH - 1);
  for (uint v = low_v; v <= high_v; v++) {
    for (uint u = low_u; u <= high_u; u++) {
      uint q = v * OUT_WIDTH + u;
      uint here = (uint(row) - v * STRIDE) * SIZE + uint(column) - u * STRIDE;
      uint won = winner[n * keep_pitch + q * WORDS + word];
      bvec4 mine = equal(uvec4(won & 255, won >> 8 & 255, won >> 16 & 255, won >> 24), uvec4(here));
      sum += mix(vec4(0), load(n * x_pitch + q * CHANNELS + c, left), mine);
    }
  }
  store(n * y_pitch + p * CHANNELS + c, left, sum);
}
