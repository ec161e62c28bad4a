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
layout(constant_id = 12) const uint FORMAT = 0;
layout(constant_id = 13) const bool MASKED = false; // dx is 0 where x is not positive: such windows have no winner
#include "include/storage.glsl"
READS(0, X, x, FORMAT)  // x; dy
WRITES(1, Y, y, FORMAT) // y; dx
layout(binding = 2) buffer Winner { uint winner[]; }; // one byte an element of the output: the winner's place in its window, or 255 without one
layout(constant_id = 14) const bool ROLLED = false; // for drivers that run on CPUs: less code, which takes less time to compile
layout(push_constant) uniform Args { uint batch, x_pitch, y_pitch, keep_pitch; int pad; uint window; }; // window is SIZE

vec4 load(uint at) { return QUADS ? load_x4(at) : vec4(load_x(at), 0, 0, 0); }

// best is the largest of the window of pixel p from channel c on, of four
// channels with QUADS, otherwise of one.
vec4 best(uint base, uint p, uint c, out uvec4 place) {
  int top = int(p / OUT_WIDTH * STRIDE) - pad, begin = int(p % OUT_WIDTH * STRIDE) - pad;
  vec4 most = vec4(0);
  place = uvec4(0);
  bool first = true;
  for (uint v = 0; v < (ROLLED ? window : SIZE); v++) {
    for (uint u = 0; u < (ROLLED ? window : SIZE); u++) {
      int row = top + int(v), column = begin + int(u);
      if (uint(row) >= HEIGHT || uint(column) >= WIDTH) continue;
      vec4 value = load(base + (uint(row) * WIDTH + uint(column)) * CHANNELS + c);
      // A NaN wins over numbers, and nothing over a NaN.
      bvec4 better = bvec4(
        first || (!(value.x <= most.x) && most.x == most.x), first || (!(value.y <= most.y) && most.y == most.y),
        first || (!(value.z <= most.z) && most.z == most.z), first || (!(value.w <= most.w) && most.w == most.w));
      most = mix(most, value, better);
      uint here = v * SIZE + u;
      place = uvec4(better.x ? here : place.x, better.y ? here : place.y, better.z ? here : place.z, better.w ? here : place.w);
      first = false;
    }
  }
  if (MASKED) place = uvec4(most.x > 0.0 ? place.x : 255, most.y > 0.0 ? place.y : 255, most.z > 0.0 ? place.z : 255, most.w > 0.0 ? place.w : 255);
  return most;
}

// gathered is the gradient of pixel p from channel c on, likewise.
vec4 gathered(uint base, uint keep, uint p, uint c) {
  int row = int(p / WIDTH) + pad, column = int(p % WIDTH) + pad;
  vec4 sum = vec4(0);
  uint low_v = row < int(SIZE) ? 0 : (uint(row) - SIZE) / STRIDE + 1, high_v = min(uint(row) / STRIDE, OUT_HEIGHT - 1);
  uint low_u = column < int(SIZE) ? 0 : (uint(column) - SIZE) / STRIDE + 1, high_u = min(uint(column) / STRIDE, OUT_WIDTH - 1);
  for (uint v = low_v; v <= high_v; v++) {
    for (uint u = low_u; u <= high_u; u++) {
      uint e = (v * OUT_WIDTH + u) * CHANNELS + c;
      uint here = (uint(row) - v * STRIDE) * SIZE + uint(column) - u * STRIDE;
      uint won = winner[keep + (e >> 2)] >> (QUADS ? 0 : 8 * (e & 3));
      bvec4 mine = equal(uvec4(won & 255, won >> 8 & 255, won >> 16 & 255, won >> 24), uvec4(here));
      sum += mix(vec4(0), load(base + e), mine);
    }
  }
  return sum;
}

void main() {
  const uint elements = (BACKWARD ? HEIGHT * WIDTH : OUT_HEIGHT * OUT_WIDTH) * CHANNELS, quads = (elements + 3) / 4;
  uint i = thread_index();
  if (i >= batch * quads) return;
  uint n = i / quads, e = i % quads * 4;
  vec4 result = vec4(0);
  uvec4 place = uvec4(0);
  if (QUADS) {
    if (BACKWARD) result = gathered(n * x_pitch, n * keep_pitch, e / CHANNELS, e % CHANNELS);
    else result = best(n * x_pitch, e / CHANNELS, e % CHANNELS, place);
  } else {
    for (uint j = 0; j < 4 && e + j < elements; j++) {
      uvec4 own;
      if (BACKWARD) result[j] = gathered(n * x_pitch, n * keep_pitch, (e + j) / CHANNELS, (e + j) % CHANNELS).x;
      else result[j] = best(n * x_pitch, (e + j) / CHANNELS, (e + j) % CHANNELS, own).x;
      place[j] = own.x;
    }
  }
  store_y4(n * y_pitch + e, result);
  if (!BACKWARD) winner[n * keep_pitch + (e >> 2)] = place.x | place.y << 8 | place.z << 16 | place.w << 24;
}
