// y = x < 0 ? 0 : x;  dx = y > 0 ? dy : 0
#version 450
#extension GL_GOOGLE_include_directive : require

layout(local_size_x_id = 0) in;
#include "include/index.glsl"
layout(constant_id = 3) const bool BACKWARD = false;
layout(constant_id = 4) const uint FORMAT = 0;
#include "include/storage.glsl"
READS(0, X, x, FORMAT) // x; y
READS(1, DY, dy, FORMAT)
WRITES(2, Y, y, FORMAT) // y; dx
layout(push_constant) uniform Args { uint quads; };

void main() {
  uint i = thread_index();
  if (i >= quads) return;
  vec4 v = load_x4(4 * i);
  store_y4(4 * i, BACKWARD ? mix(vec4(0), load_dy4(4 * i), greaterThan(v, vec4(0))) : mix(v, vec4(0), lessThan(v, vec4(0))));
}
