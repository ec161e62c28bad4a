// y = x·factor where the element's random number is at least p, else 0;  dx likewise from dy
#version 450
#extension GL_GOOGLE_include_directive : require
#include "include/philox.glsl"
#include "include/step.glsl"

layout(local_size_x_id = 0) in;
#include "include/index.glsl"
layout(constant_id = 3) const uint FORMAT = 0;
#include "include/storage.glsl"
READS(0, X, x, FORMAT)
WRITES(1, Y, y, FORMAT)
STEP_BUFFER(2);
layout(push_constant) uniform Args { uint batch, first, pixels, channels, pitch, stream; float p, factor; uint masked; };

uvec4 words(uint n, uint quad) { return philox(uvec4(quad, stream, step_count, first + n), uvec2(seed_low, seed_high)); }

void main() {
  const uint elements = pixels * channels, quads = (elements + 3) / 4;
  uint i = thread_index();
  if (i >= batch * quads) return;
  uint n = i / quads, place = i % quads * 4, at = n * pitch + place;
  vec4 keep = vec4(factor);
  if (masked != 0) {
    uvec4 w = words(n, place >> 2);
    if (pixels != 1) {
      for (uint j = 0; j < 4; j++) {
        uint e = (place + j) % channels * pixels + (place + j) / channels; // the element's place in [channel][row][column]
        w[j] = words(n, e >> 2)[e & 3];
      }
    }
    keep = mix(keep, vec4(0), lessThan(vec4(w >> 8) * (1.0 / 16777216.0), vec4(p)));
  }
  vec4 v = load_x4(at);
  for (uint j = 0; j < 4; j++) v[j] = keep[j] == 0.0 || place + j >= elements ? 0.0 : v[j] * keep[j];
  store_y4(at, v);
}
