// y = x < 0 ? 0 : x;  dx = y > 0 ? dy : 0
#version 450
#extension GL_GOOGLE_include_directive : require

layout(local_size_x_id = 0) in;
#include "include/index.glsl"
layout(constant_id = 3) const bool BACKWARD = false;
layout(binding = 0) readonly buffer X { vec4 x[]; };   // x; y
layout(binding = 1) readonly buffer DY { vec4 dy[]; };
layout(binding = 2) writeonly buffer Y { vec4 y[]; };  // y; dx
layout(push_constant) uniform Args { uint quads; };

void main() {
  uint i = thread_index();
  if (i >= quads) return;
  vec4 v = x[i];
  y[i] = BACKWARD ? mix(vec4(0), dy[i], greaterThan(v, vec4(0))) : mix(v, vec4(0), lessThan(v, vec4(0)));
}
