// y[i] (+)= Σ_split x[split·pitch + first + i] (+ bias[i mod row mod columns]), in the order of the splits; then ReLU, dropout, or a ReLU's mask, or SGD
#version 450
#extension GL_GOOGLE_include_directive : require
#include "include/step.glsl"
#include "include/philox.glsl"

layout(local_size_x_id = 0) in;
#include "include/index.glsl"
#include "include/storage.glsl"
layout(constant_id = 3) const uint FORMAT_X = 0;
layout(constant_id = 4) const uint FORMAT_Y = 0; // in 16 bits an invocation has a quad, else one element
layout(constant_id = 5) const bool MASKED = false; // y = mask > 0 ? sum·mask_factor : 0
layout(constant_id = 6) const bool UPDATE = false; // y is a weight and v its momentum, which move by the sum, quad by quad
layout(constant_id = 7) const uint FORMAT_MASK = 0;
layout(constant_id = 8) const bool DROPS = false; // a row of y is an example's, to which dropout is applied
READS(0, X, x, FORMAT_X)
UPDATES(1, Y, y, FORMAT_Y)
layout(binding = 2) readonly buffer Bias { float bias[]; };
READS(3, Mask, mask, FORMAT_MASK)
layout(binding = 4) buffer V { vec4 v[]; };
layout(push_constant) uniform Args {
  uint count, splits, pitch, first, row, used, columns;
  uint accumulate, with_bias, relu;
  float mask_factor, momentum, decay, rate_factor;
  uint stream, first_example;
  float p, keep_factor;
};
#include "include/sgd.glsl"

float sum(uint i) {
  if (i >= count || i % row >= used) return 0.0; // of a row of y's pitch, only so much is used
  float v = 0.0;
  for (uint s = 0; s < splits; s++) v += load_x(s * pitch + first + i);
  return with_bias != 0 ? v + bias[i % row % columns] : v;
}

// As in dropout.comp: what elements i - i mod 4 … + 3 are multiplied by.
vec4 keep(uint i) {
  uvec4 words = philox(uvec4(i % row >> 2, stream, step_count, first_example + i / row), uvec2(seed_low, seed_high));
  return mix(vec4(keep_factor), vec4(0), lessThan(vec4(words >> 8) * (1.0 / 16777216.0), vec4(p)));
}
vec4 drop(vec4 v, vec4 keep) { return mix(v * keep, vec4(0), equal(keep, vec4(0))); }

void main() {
  uint i = thread_index();
  if (FORMAT_Y == FP32 && !UPDATE) {
    if (i >= count || i % row >= used) return;
    float v = sum(i) + (accumulate != 0 ? y[i] : 0.0);
    if (MASKED) v = load_mask(i) > 0.0 ? v * mask_factor : 0.0;
    if (relu != 0) v = max(v, 0.0);
    if (DROPS) v = drop(vec4(v), keep(i))[i & 3];
    y[i] = v;
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
  if (relu != 0) s = max(s, vec4(0));
  if (DROPS) s = drop(s, keep(i));
  store_y4(i, s);
}
