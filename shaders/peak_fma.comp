// Multiply-adds in registers only: the rate is the device's float32 peak. 16 a
// round and sum; independent sums hide an operation's latency.
#version 450
#extension GL_GOOGLE_include_directive : require

layout(local_size_x_id = 0) in;
#include "include/index.glsl"
layout(constant_id = 3) const bool SIXTEEN_SUMS = false;
layout(constant_id = 4) const bool FUSED = false;
layout(binding = 0) writeonly buffer Y { float y[]; };
layout(push_constant) uniform Args { uint threads, rounds; float factor, term; };

vec4 next(vec4 s, vec4 f, vec4 t) { return FUSED ? fma(s, f, t) : s * f + t; }

void main() {
  uint i = thread_index();
  if (i >= threads) return;
  vec4 f = vec4(factor), t = vec4(term);
  vec4 a = vec4(float(i) * 1e-6) + vec4(0, 1, 2, 3), b = a + 4.0, c = a + 8.0, d = a + 12.0;
  if (SIXTEEN_SUMS) {
    for (uint round = 0; round < rounds; round++) {
      for (int k = 0; k < 16; k++) {
        a = next(a, f, t);
        b = next(b, f, t);
        c = next(c, f, t);
        d = next(d, f, t);
      }
    }
  } else {
    for (uint round = 0; round < rounds; round++) {
      for (int k = 0; k < 16; k++) {
        a = next(a, f, t);
        b = next(b, f, t);
      }
    }
  }
  y[i] = dot(a, b) + dot(c, d);
}
