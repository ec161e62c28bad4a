// s(p) = k + alpha·Σ_{q in the SIZE × SIZE window around p} x(q)², y = x·s^-beta;  dx(p) = dy(p)·s(p)^-beta - 2·alpha·beta·x(p)·Σ_{q} dy(q)·x(q)·s(q)^(-beta-1)
#version 450
#extension GL_GOOGLE_include_directive : require

layout(local_size_x_id = 0) in;
#include "include/index.glsl"
layout(constant_id = 3) const bool BACKWARD = false;
layout(constant_id = 4) const uint FORMAT = 0;
#include "include/storage.glsl"
READS(0, X, x, FORMAT)
READS(1, DY, dy, FORMAT)
WRITES(2, Y, y, FORMAT) // y; dx
layout(binding = 3) buffer S { float s[]; }; // written forward, read backward
layout(push_constant) uniform Args { uint batch, height, width, channels, pitch, keep_pitch; int radius; float k, alpha, beta; };

float one(uint base, uint keep, uint e) {
  uint c = e % channels, p = e / channels;
  int row = int(p / width), column = int(p % width);
  float sum = 0.0;
  for (int v = max(0, row - radius); v <= min(int(height) - 1, row + radius); v++) {
    for (int u = max(0, column - radius); u <= min(int(width) - 1, column + radius); u++) {
      uint at = uint(v * int(width) + u) * channels + c;
      float value = load_x(base + at);
      sum += BACKWARD ? load_dy(base + at) * value * pow(s[keep + at], -beta - 1.0) : value * value;
    }
  }
  float value = load_x(base + e);
  if (BACKWARD) return load_dy(base + e) * pow(s[keep + e], -beta) - 2.0 * alpha * beta * value * sum;
  float scale = k + alpha * sum;
  s[keep + e] = scale;
  return value * pow(scale, -beta);
}

void main() {
  const uint elements = height * width * channels, quads = (elements + 3) / 4;
  uint i = thread_index();
  if (i >= batch * quads) return;
  uint n = i / quads, place = i % quads * 4;
  vec4 v = vec4(0);
  for (uint j = 0; j < 4; j++) {
    if (place + j < elements) v[j] = one(n * pitch, n * keep_pitch, place + j);
  }
  store_y4(n * pitch + place, v);
}
