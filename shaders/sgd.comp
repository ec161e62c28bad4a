// paper: v = momentum·v - decay·rate·w - rate·g, w += v;  pytorch: v = momentum·v + g + decay·w, w -= rate·v
#version 450
#extension GL_GOOGLE_include_directive : require
#include "include/step.glsl"

layout(local_size_x_id = 0) in;
#include "include/index.glsl"
layout(constant_id = 3) const bool PYTORCH = false;
layout(constant_id = 4) const uint FORMAT = 0;    // of the copy that matrix products read; none where it is 0
layout(constant_id = 5) const bool CHECKED = false; // gradients may have overflowed
#include "include/storage.glsl"
layout(binding = 0) buffer W { vec4 w[]; };
layout(binding = 1) buffer V { vec4 v[]; };
layout(binding = 2) readonly buffer G { vec4 g[]; };
STEP_BUFFER(3);
WRITES(4, Copy, copy, FORMAT)
layout(binding = 5) buffer Overflow { uint overflow; };
layout(push_constant) uniform Args { uint quads; float momentum, decay, rate_factor; };

void main() {
  uint i = thread_index();
  if (i >= quads) return;
  float rate = learning_rate * rate_factor;
  vec4 weight = w[i], old = v[i], gradient = g[i];
  bvec4 bad = bvec4(false);
  if (CHECKED) {
    gradient /= loss_scale;
    bad = greaterThanEqual(floatBitsToUint(gradient) & 0x7fffffffu, uvec4(0x7f800000u)); // infinity, or not a number
    if (any(bad)) atomicOr(overflow, 1u);
  }
  vec4 velocity, moved;
  if (PYTORCH) {
    velocity = momentum * old + (gradient + decay * weight);
    moved = weight - rate * velocity;
  } else {
    velocity = momentum * old - decay * rate * weight - rate * gradient;
    moved = weight + velocity;
  }
  if (CHECKED) {
    velocity = mix(velocity, old, bad);
    moved = mix(moved, weight, bad);
  }
  v[i] = velocity;
  w[i] = moved;
  if (FORMAT != FP32) store_copy4(4 * i, moved);
}
