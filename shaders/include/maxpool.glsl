// Windows of a max pooling and their winners. To be included after the constants
// BACKWARD, CHANNELS, HEIGHT and WIDTH, the push constant pad, and a function
// `vec4 load(uint at)`, which gives what is pooled (or its gradient) at an element.
layout(constant_id = 4) const bool QUADS = false; // channels are whole quads
layout(constant_id = 5) const uint SIZE = 3;
layout(constant_id = 6) const uint STRIDE = 2;
layout(constant_id = 10) const uint OUT_HEIGHT = 1;
layout(constant_id = 11) const uint OUT_WIDTH = 1;
layout(constant_id = 13) const bool MASKED = false; // dx is 0 where x is not positive: such windows have no winner
layout(binding = 2) buffer Winner { uint winner[]; }; // one byte an element of the output: the winner's place in its window, or 255 without one
#ifndef WINDOW // a kernel may know a better way to count to SIZE
#define WINDOW SIZE
#endif

vec4 load(uint at);

// best is the largest of the window of pixel p from channel c on, of four
// channels with QUADS, otherwise of one.
vec4 best(uint base, uint p, uint c, out uvec4 place) {
  int top = int(p / OUT_WIDTH * STRIDE) - pad, begin = int(p % OUT_WIDTH * STRIDE) - pad;
  vec4 most = vec4(0);
  place = uvec4(0);
  bool first = true;
  for (uint v = 0; v < WINDOW; v++) {
    for (uint u = 0; u < WINDOW; u++) {
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
