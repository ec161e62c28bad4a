// y[i] (+)= Σ_split x[split·pitch + first + i] (+ bias[i mod row mod columns]), in the order of the splits; then ReLU
#version 450
#extension GL_GOOGLE_include_directive : require

layout(local_size_x_id = 0) in;
#include "include/index.glsl"
#include "include/storage.glsl"
layout(constant_id = 3) const uint FORMAT_X = 0;
layout(constant_id = 4) const uint FORMAT_Y = 0; // in 16 bits an invocation has a quad, else one element
READS(0, X, x, FORMAT_X)
UPDATES(1, Y, y, FORMAT_Y)
layout(binding = 2) readonly buffer Bias { float bias[]; };
layout(push_constant) uniform Args { uint count, splits, pitch, first, row, used, columns; uint accumulate, with_bias, relu; };

float sum(uint i) {
  if (i >= count || i % row >= used) return 0.0; // of a row of y's pitch, only so much is used
  float v = 0.0;
  for (uint s = 0; s < splits; s++) v += load_x(s * pitch + first + i);
  return with_bias != 0 ? v + bias[i % row % columns] : v;
}

void main() {
  uint i = thread_index();
  if (FORMAT_Y == FP32) {
    if (i >= count || i % row >= used) return;
    float v = sum(i) + (accumulate != 0 ? y[i] : 0.0);
    y[i] = relu != 0 ? max(v, 0.0) : v;
    return;
  }
  i *= 4;
  if (i >= count) return;
  vec4 v = vec4(sum(i), sum(i + 1), sum(i + 2), sum(i + 3));
  if (accumulate != 0) v += load_y4(i);
  store_y4(i, relu != 0 ? max(v, vec4(0)) : v);
}
