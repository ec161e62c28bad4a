// difference = max |x[i] - y[i]|, size = max |y[i]|, over the i where either is not `unset`; what is no number counts as infinite
#version 450
#extension GL_GOOGLE_include_directive : require

layout(local_size_x_id = 0) in;
#include "include/index.glsl"
layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) readonly buffer Y { float y[]; };
layout(binding = 2) buffer Found { uint difference, size; }; // the bits of floats, which for positive ones are ordered like them
layout(push_constant) uniform Args { uint count, each; float unset; };

const uint INFINITE = 0x7f800000;

void main() {
  uint first = thread_index() * each;
  uint d = 0, s = 0;
  for (uint i = first; i < min(first + each, count); i++) {
    if (x[i] == unset && y[i] == unset) continue;
    uint apart = floatBitsToUint(abs(x[i] - y[i]));
    d = max(d, apart > INFINITE ? INFINITE : apart);
    s = max(s, floatBitsToUint(abs(y[i])));
  }
  if (first >= count) return;
  atomicMax(difference, d);
  atomicMax(size, s);
}
