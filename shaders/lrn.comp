// s_i = k + alpha·Σ_{|j-i|≤RADIUS} x_j², y_i = x_i·s_i^-beta;  dx_i = dy_i·s_i^-beta - 2·alpha·beta·x_i·Σ_{|j-i|≤RADIUS} dy_j·x_j·s_j^(-beta-1), j within the group
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require

layout(local_size_x_id = 0) in;
#include "include/index.glsl"
layout(constant_id = 3) const bool BACKWARD = false;
layout(constant_id = 4) const uint RADIUS = 2;
layout(constant_id = 5) const uint CHANNELS = 1;
layout(constant_id = 6) const uint GROUPS = 1;
layout(constant_id = 7) const bool QUADS = false; // a group is whole quads of channels, and RADIUS ≤ 2
layout(constant_id = 8) const bool BETA_075 = true;
layout(constant_id = 9) const uint FORMAT = 0;
layout(constant_id = 10) const bool MASKED = false; // dx is 0 where x is not positive: x is the result of a ReLU
#include "include/storage.glsl"
READS(0, X, x, FORMAT)
READS(1, DY, dy, FORMAT)
WRITES(2, Y, y, FORMAT) // y; dx
layout(push_constant) uniform Args { uint batch, pixels, pitch; float k, alpha, beta; };

float power(float s) { // s^-beta
  if (BETA_075) { float r = inversesqrt(s); return r * sqrt(r); }
  return pow(s, -beta);
}

const uint GROUP = CHANNELS / GROUPS;

// Four neighbouring channels from three aligned loads on either side.
void quad(uint pixel, uint c) {
  const uint at = pixel + c, in_group = c % GROUP;
  const bool before = in_group > 0, after = in_group + 4 < GROUP;
  float v[12], g[12];
  vec4 q = before ? load_x4(at - 4) : vec4(0);
  v[0] = q.x; v[1] = q.y; v[2] = q.z; v[3] = q.w;
  q = load_x4(at);
  v[4] = q.x; v[5] = q.y; v[6] = q.z; v[7] = q.w;
  q = after ? load_x4(at + 4) : vec4(0);
  v[8] = q.x; v[9] = q.y; v[10] = q.z; v[11] = q.w;
  if (!BACKWARD) {
    float r[4];
    [[unroll]] for (uint i = 0; i < 4; i++) {
      float sum = 0.0;
      [[unroll]] for (uint j = 4 + i - RADIUS; j <= 4 + i + RADIUS; j++) sum += v[j] * v[j];
      r[i] = v[4 + i] * power(k + alpha * sum);
    }
    store_y4(at, vec4(r[0], r[1], r[2], r[3]));
    return;
  }
  q = before ? load_dy4(at - 4) : vec4(0);
  g[0] = q.x; g[1] = q.y; g[2] = q.z; g[3] = q.w;
  q = load_dy4(at);
  g[4] = q.x; g[5] = q.y; g[6] = q.z; g[7] = q.w;
  q = after ? load_dy4(at + 4) : vec4(0);
  g[8] = q.x; g[9] = q.y; g[10] = q.z; g[11] = q.w;
  float p[12], t[12];
  [[unroll]] for (uint j = 4 - RADIUS; j < 8 + RADIUS; j++) {
    float sum = 0.0;
    [[unroll]] for (uint l = j - RADIUS; l <= j + RADIUS; l++) sum += v[l] * v[l];
    float s = k + alpha * sum;
    p[j] = power(s);
    t[j] = g[j] * v[j] * p[j] / s;
  }
  float r[4];
  [[unroll]] for (uint i = 0; i < 4; i++) {
    float sum = 0.0;
    [[unroll]] for (uint j = 4 + i - RADIUS; j <= 4 + i + RADIUS; j++) sum += t[j];
    r[i] = g[4 + i] * p[4 + i] - 2.0 * alpha * beta * v[4 + i] * sum;
    if (MASKED && !(v[4 + i] > 0.0)) r[i] = 0.0;
  }
  store_y4(at, vec4(r[0], r[1], r[2], r[3]));
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
  if (MASKED && !(v > 0.0)) return 0.0;
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
