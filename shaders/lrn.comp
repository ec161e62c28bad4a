// s_i = k + alpha·Σ_{|j-i|≤RADIUS} x_j², y_i = x_i·s_i^-beta;  dx_i = dy_i·s_i^-beta - 2·alpha·beta·x_i·Σ_{|j-i|≤RADIUS} dy_j·x_j·s_j^(-beta-1), j within the group
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require

layout(local_size_x_id = 0) in;
#include "include/index.glsl"
layout(constant_id = 3) const bool BACKWARD = false;
layout(constant_id = 5) const uint CHANNELS = 1;
layout(constant_id = 7) const bool QUADS = false; // a group is whole quads of channels, and RADIUS ≤ 2
layout(constant_id = 9) const uint FORMAT = 0;
#include "include/storage.glsl"
READS(0, X, x, FORMAT)
READS(1, DY, dy, FORMAT)
WRITES(2, Y, y, FORMAT) // y; dx
layout(push_constant) uniform Args { uint batch, pixels, pitch; float k, alpha, beta; };

#include "include/lrn.glsl"

const uint GROUP = CHANNELS / GROUPS;

// Four neighbouring channels from three aligned loads on either side.
void quad(uint pixel, uint c) {
  const uint at = pixel + c, in_group = c % GROUP;
  const bool before = in_group > 0, after = in_group + 4 < GROUP;
  const float v[12] = twelve(before ? load_x4(at - 4) : vec4(0), load_x4(at), after ? load_x4(at + 4) : vec4(0));
  if (!BACKWARD) {
    store_y4(at, normalised(v));
    return;
  }
  store_y4(at, normalised_gradient(v, twelve(before ? load_dy4(at - 4) : vec4(0), load_dy4(at), after ? load_dy4(at + 4) : vec4(0))));
}

// s of channel c of the group that lies in [low, high).
float scale(uint pixel, int c, int low, int high) {
  float sum = 0.0;
  for (int j = max(low, c - int(RADIUS)); j <= min(high - 1, c + int(RADIUS)); j++) {
    float v = load_x(pixel + uint(j));
    sum += v * v;
  }
  return k + alpha * sum;
}

float one(uint pixel, uint c) {
  const int low = int(c / GROUP * GROUP), high = low + int(GROUP), i = int(c);
  float s = scale(pixel, i, low, high), v = load_x(pixel + c);
  if (!BACKWARD) return v * power(s);
  if (MASKED_X && !(v > 0.0)) return 0.0;
  float sum = 0.0;
  for (int j = max(low, i - int(RADIUS)); j <= min(high - 1, i + int(RADIUS)); j++) {
    float sj = scale(pixel, j, low, high);
    sum += load_dy(pixel + uint(j)) * load_x(pixel + uint(j)) * power(sj) / sj;
  }
  return load_dy(pixel + c) * power(s) - 2.0 * alpha * beta * v * sum;
}

void main() {
  const uint elements = pixels * CHANNELS, quads = (elements + 3) / 4;
  uint i = thread_index();
  if (i >= batch * quads) return;
  uint place = i % quads * 4, base = i / quads * pitch;
  if (QUADS) {
    quad(base + place / CHANNELS * CHANNELS, place % CHANNELS);
    return;
  }
  vec4 v = vec4(0);
  for (uint j = 0; j < 4; j++) {
    uint e = place + j;
    if (e < elements) v[j] = one(base + e / CHANNELS * CHANNELS, e % CHANNELS);
  }
  store_y4(base + place, v);
}
