// y = x·factor where the element's random number is at least p, else 0;  dx likewise from dy
#version 450
#extension GL_GOOGLE_include_directive : require
#include "include/philox.glsl"
#include "include/step.glsl"

layout(local_size_x_id = 0) in;
#include "include/index.glsl"
layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) writeonly buffer Y { float y[]; };
STEP_BUFFER(2);
layout(push_constant) uniform Args { uint batch, first, pixels, channels, pitch, stream; float p, factor; uint masked; };

void main() {
  uint i = thread_index();
  if (i >= batch * pixels * channels) return;
  uint c = i % channels, pixel = i / channels, n = pixel / pixels, at = n * pitch + pixel % pixels * channels + c;
  float keep = factor;
  if (masked != 0) {
    uint e = c * pixels + pixel % pixels; // the element's place in [channel][row][column]
    uvec4 words = philox(uvec4(e >> 2, stream, step_count, first + n), uvec2(seed_low, seed_high));
    uint word = (e & 3) == 0 ? words.x : (e & 3) == 1 ? words.y : (e & 3) == 2 ? words.z : words.w;
    if (float(word >> 8) * (1.0 / 16777216.0) < p) keep = 0.0;
  }
  y[at] = keep == 0.0 ? 0.0 : x[at] * keep;
}
