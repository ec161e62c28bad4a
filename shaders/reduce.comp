// y[i] (+)= Σ_split x[split·pitch + first + i] (+ bias[i mod row mod columns]), in the order of the splits; then ReLU
#version 450
#extension GL_GOOGLE_include_directive : require

layout(local_size_x_id = 0) in;
#include "include/index.glsl"
layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) buffer Y { float y[]; };
layout(binding = 2) readonly buffer Bias { float bias[]; };
layout(push_constant) uniform Args { uint count, splits, pitch, first, row, used, columns; uint accumulate, with_bias, relu; };

void main() {
  uint i = thread_index();
  if (i >= count || i % row >= used) return; // of a row of y's pitch, only so much is used
  float sum = 0.0;
  for (uint s = 0; s < splits; s++) sum += x[s * pitch + first + i];
  if (with_bias != 0) sum += bias[i % row % columns];
  if (accumulate != 0) sum += y[i];
  y[i] = relu != 0 ? max(sum, 0.0) : sum;
}
