// y = x, for the bandwidth of memory.
#version 450
#extension GL_GOOGLE_include_directive : require

layout(local_size_x_id = 0) in;
#include "include/index.glsl"
layout(binding = 0) readonly buffer X { vec4 x[]; };
layout(binding = 1) writeonly buffer Y { vec4 y[]; };
layout(push_constant) uniform Args { uint quads; };

void main() {
  uint i = thread_index();
  if (i < quads) y[i] = x[i];
}
