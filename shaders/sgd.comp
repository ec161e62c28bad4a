// paper: v = momentum·v - decay·rate·w - rate·g, w += v;  pytorch: v = momentum·v + g + decay·w, w -= rate·v
#version 450
#extension GL_GOOGLE_include_directive : require
#include "include/step.glsl"

layout(local_size_x_id = 0) in;
#include "include/index.glsl"
layout(constant_id = 3) const bool PYTORCH = false;
layout(binding = 0) buffer W { vec4 w[]; };
layout(binding = 1) buffer V { vec4 v[]; };
layout(binding = 2) readonly buffer G { vec4 g[]; };
STEP_BUFFER(3);
layout(push_constant) uniform Args { uint quads; float momentum, decay, rate_factor; };

void main() {
  uint i = thread_index();
  if (i >= quads) return;
  float rate = learning_rate * rate_factor;
  vec4 weight = w[i];
  if (PYTORCH) {
    vec4 velocity = momentum * v[i] + (g[i] + decay * weight);
    v[i] = velocity;
    w[i] = weight - rate * velocity;
  } else {
    vec4 velocity = momentum * v[i] - decay * rate * weight - rate * g[i];
    v[i] = velocity;
    w[i] = weight + velocity;
  }
}
