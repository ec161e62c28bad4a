// s(p) = k + alpha·Σ_{q in the SIZE × SIZE window around p} x(q)², y = x·s^-beta;  dx(p) = dy(p)·s(p)^-beta - 2·alpha·beta·x(p)·Σ_{q} dy(q)·x(q)·s(q)^(-beta-1)
#version 450
#extension GL_GOOGLE_include_directive : require

layout(local_size_x_id = 0) in;
#include "include/index.glsl"
layout(constant_id = 3) const bool BACKWARD = false;
layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) readonly buffer DY { float dy[]; };
layout(binding = 2) buffer Y { float y[]; };  // y; dx
layout(binding = 3) buffer S { float s[]; };  // written forward, read backward
layout(push_constant) uniform Args { uint batch, height, width, channels, pitch; int radius; float k, alpha, beta; };

void main() {
  uint i = thread_index();
  if (i >= batch * height * width * channels) return;
  uint c = i % channels, pixel = i / channels;
  uint n = pixel / (height * width), p = pixel % (height * width);
  int row = int(p / width), column = int(p % width);
  uint base = n * pitch + c;
  float sum = 0.0;
  for (int v = max(0, row - radius); v <= min(int(height) - 1, row + radius); v++) {
    for (int u = max(0, column - radius); u <= min(int(width) - 1, column + radius); u++) {
      uint at = base + uint(v * int(width) + u) * channels;
      sum += BACKWARD ? dy[at] * x[at] * pow(s[at], -beta - 1.0) : x[at] * x[at];
    }
  }
  uint at = base + p * channels;
  if (BACKWARD) {
    y[at] = dy[at] * pow(s[at], -beta) - 2.0 * alpha * beta * x[at] * sum;
  } else {
    float scale = k + alpha * sum;
    s[at] = scale;
    y[at] = x[at] * pow(scale, -beta);
  }
}
