// v and w after a step of SGD along the gradient g: include/sgd.glsl has the formula
#version 450
#extension GL_GOOGLE_include_directive : require
#include "include/step.glsl"

layout(local_size_x_id = 0) in;
#include "include/index.glsl"
#include "include/storage.glsl"
layout(binding = 0) buffer W { vec4 w[]; };
layout(binding = 1) buffer V { vec4 v[]; };
layout(binding = 2) readonly buffer G { vec4 g[]; };
layout(push_constant) uniform Args { uint count; float momentum, decay, rate_factor; };
#include "include/sgd.glsl"

void main() {
  uint i = thread_index();
  if (4 * i >= count) return;
  vec4 weight = w[i], velocity = v[i], gradient = g[i];
  for (uint j = 0; j < 4; j++) if (4 * i + j >= count) gradient[j] = 0.0;
  sgd(weight, velocity, gradient);
  v[i] = velocity;
  w[i] = weight;
  if (FORMAT_COPY != FP32) store_copy4(4 * i, weight);
}
