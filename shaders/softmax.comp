// loss = -w[label]·log softmax(x)[label], rank = classes that beat the label's, dx = w[label]·(softmax(x) - onehot(label))·scale
#version 450
#extension GL_GOOGLE_include_directive : require
#include "include/step.glsl"

const uint LOCAL = 64;
layout(local_size_x = 64) in; // one workgroup an example
layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) readonly buffer Labels { int labels[]; };
layout(binding = 2) writeonly buffer Loss { float loss[]; };
layout(binding = 3) writeonly buffer Rank { uint rank[]; };
layout(constant_id = 3) const uint FORMAT = 0; // of dx; logits are float32
#include "include/storage.glsl"
WRITES(4, DX, dx, FORMAT)
STEP_BUFFER(5);
layout(binding = 6) readonly buffer W { float w[]; }; // per class; 1 where they are not weighted
layout(push_constant) uniform Args { uint classes, pitch, dx_pitch, with_gradient, weighted; };

shared float largest[LOCAL], sums[LOCAL];
shared uint above[LOCAL];

void main() {
  const uint n = gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x, self = gl_LocalInvocationID.x, base = n * pitch;
  const int label = labels[n];
  const bool known = label >= 0 && label < int(classes);
  const float weight = known && weighted != 0 ? w[label] : 1.0;
  const float own = known ? x[base + uint(label)] : 0.0;
  float top = uintBitsToFloat(0xff800000u); // -infinity
  uint beats = 0, bad = 0;
  for (uint j = self; j < classes; j += LOCAL) {
    float v = x[base + j];
    top = max(top, v);
    if (v > own || (v == own && int(j) < label)) beats++;
    if (!(v == v)) bad++;
  }
  largest[self] = top;
  above[self] = beats + (bad > 0 ? 0x10000000u : 0u);
  barrier();
  for (uint half_ = LOCAL / 2; half_ > 0; half_ /= 2) {
    if (self < half_) {
      largest[self] = max(largest[self], largest[self + half_]);
      above[self] = min(above[self] + above[self + half_], 0x40000000u);
    }
    barrier();
  }
  top = largest[0];
  float sum = 0.0;
  for (uint j = self; j < classes; j += LOCAL) sum += exp(x[base + j] - top);
  sums[self] = sum;
  barrier();
  for (uint half_ = LOCAL / 2; half_ > 0; half_ /= 2) {
    if (self < half_) sums[self] += sums[self + half_];
    barrier();
  }
  sum = sums[0];
  bool nan = above[0] >= 0x10000000u;
  if (self == 0) {
    loss[n] = !known ? 0.0 : nan ? uintBitsToFloat(0x7fc00000u) : weight * (log(sum) + top - own);
    rank[n] = !known || nan ? classes : above[0];
  }
  if (with_gradient != 0) {
    float scale = known ? weight * gradient_scale : 0.0;
    for (uint j = self * 4; j < classes; j += LOCAL * 4) {
      vec4 v = vec4(0);
      for (uint l = 0; l < 4 && j + l < classes; l++) {
        float p = exp(x[base + j + l] - top) / sum;
        v[l] = known ? (p - (int(j + l) == label ? 1.0 : 0.0)) * scale : 0.0;
      }
      store_dx4(n * dx_pitch + j, v);
    }
  }
}
