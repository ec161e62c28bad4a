// difference = max |x[i] - y[i]|, size = max |y[i]|, over the i where either is not `unset`; what is no number counts as infinite
#version 450
#extension GL_GOOGLE_include_directive : require

layout(local_size_x_id = 0) in;
#include "include/index.glsl"
layout(constant_id = 3) const uint FORMAT = 0;
#include "include/storage.glsl"
READS(0, X, x, FORMAT)
READS(1, Y, y, FORMAT)
layout(binding = 2) buffer Found { uint difference, size; }; // the bits of floats, which for positive ones are ordered like them
layout(push_constant) uniform Args { uint count, each; float unset; };

const uint INFINITE = 0x7f800000;

void main() {
  uint first = thread_index() * each;
  uint d = 0, s = 0;
  for (uint i = first; i < min(first + each, count); i++) {
    float a = load_x(i), b = load_y(i);
    if (a == unset && b == unset) continue;
    uint apart = floatBitsToUint(abs(a - b));
    d = max(d, apart > INFINITE ? INFINITE : apart);
    s = max(s, floatBitsToUint(abs(b)));
  }
  if (first >= count) return;
  atomicMax(difference, d);
  atomicMax(size, s);
}
