// y[i] (+)= Σ_split x[split·pitch + first + i] (+ bias[i mod row mod columns]), in the order of the splits; then ReLU, or a ReLU's mask, or SGD
#version 450
#extension GL_GOOGLE_include_directive : require
#include "include/step.glsl"

layout(local_size_x_id = 0) in;
#include "include/index.glsl"
#include "include/storage.glsl"
layout(constant_id = 3) const uint FORMAT_X = 0;
layout(constant_id = 4) const uint FORMAT_Y = 0; // in 16 bits an invocation has a quad, else one element
layout(constant_id = 5) const bool MASKED = false; // y = mask > 0 ? sum·mask_factor : 0
layout(constant_id = 6) const bool UPDATE = false; // y is a weight and v its momentum, which move by the sum, quad by quad
layout(constant_id = 7) const uint FORMAT_MASK = 0;
READS(0, X, x, FORMAT_X)
UPDATES(1, Y, y, FORMAT_Y)
layout(binding = 2) readonly buffer Bias { float bias[]; };
READS(3, Mask, mask, FORMAT_MASK)
layout(binding = 4) buffer V { vec4 v[]; };
layout(push_constant) uniform Args {
  uint count, splits, pitch, first, row, used, columns;
  uint accumulate, with_bias, relu;
  float mask_factor, momentum, decay, rate_factor;
};
#include "include/sgd.glsl"

float sum(uint i) {
  if (i >= count || i % row >= used) return 0.0; // of a row of y's pitch, only so much is used
  float v = 0.0;
  for (uint s = 0; s < splits; s++) v += load_x(s * pitch + first + i);
  return with_bias != 0 ? v + bias[i % row % columns] : v;
}

void main() {
  uint i = thread_index();
  if (FORMAT_Y == FP32 && !UPDATE) {
    if (i >= count || i % row >= used) return;
    float v = sum(i) + (accumulate != 0 ? y[i] : 0.0);
    if (MASKED) v = load_mask(i) > 0.0 ? v * mask_factor : 0.0;
    y[i] = relu != 0 ? max(v, 0.0) : v;
    return;
  }
  i *= 4;
  if (i >= count) return;
  vec4 s = vec4(sum(i), sum(i + 1), sum(i + 2), sum(i + 3));
  if (UPDATE) {
    vec4 weight = y_4[i >> 2], velocity = v[i >> 2];
    sgd(weight, velocity, s);
    v[i >> 2] = velocity;
    y_4[i >> 2] = weight;
    if (FORMAT_COPY != FP32) store_copy4(i, weight);
    return;
  }
  if (accumulate != 0) s += load_y4(i);
  if (MASKED) s = mix(vec4(0), s * mask_factor, greaterThan(load_mask4(i), vec4(0)));
  store_y4(i, relu != 0 ? max(s, vec4(0)) : s);
}
