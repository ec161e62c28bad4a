// c[m][n] (+)= Σ_k a[m][k] · b[k][n] (+ bias[n]), each workgroup a TILE_M × TILE_N tile through shared memory; see include/gemm.glsl.
// variant gemm_tiles_forward: -DOP=FORWARD
// variant gemm_tiles_backward_input: -DOP=BACKWARD_INPUT
// variant gemm_tiles_backward_weight: -DOP=BACKWARD_WEIGHT
// For GPUs, and with its smallest tile for every Vulkan 1.1 device.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "include/gemm.glsl"

layout(local_size_x_id = 0) in; // (TILE_M / EACH_M) · (TILE_N / EACH_N)
layout(constant_id = 4) const bool QUADS_A = false; // four consecutive elements of a are one aligned load
layout(constant_id = 5) const bool QUADS_B = false; // likewise b
layout(constant_id = 6) const uint TILE_M = 64;
layout(constant_id = 7) const uint TILE_N = 32;
layout(constant_id = 8) const uint TILE_K = 16;
layout(constant_id = 9) const uint EACH_M = 4; // rows and columns of one invocation
layout(constant_id = 10) const uint EACH_N = 4;
layout(constant_id = 11) const uint HEIGHT = 1;
layout(constant_id = 12) const uint WIDTH = 1;
layout(constant_id = 13) const uint CHANNELS = 1;
layout(constant_id = 14) const uint OUT_HEIGHT = 1;
layout(constant_id = 15) const uint OUT_WIDTH = 1;
layout(constant_id = 16) const uint OUT_CHANNELS = 1;
layout(constant_id = 17) const uint KERNEL_H = 1;
layout(constant_id = 18) const uint KERNEL_W = 1;
layout(constant_id = 19) const uint STRIDE = 1;
layout(constant_id = 20) const uint GROUPS = 1;

layout(push_constant) uniform Args {
  uint batch;
  int pad_h, pad_w;
  uint x_pitch, y_pitch;
  uint accumulate, with_bias, relu;
};

const uint IN_G = CHANNELS / GROUPS, OUT_G = OUT_CHANNELS / GROUPS;
const uint PIXELS = OUT_HEIGHT * OUT_WIDTH, IN_PIXELS = HEIGHT * WIDTH;
const uint ACROSS = TILE_N / EACH_N;               // invocations across a tile
const uint LOCAL = ACROSS * (TILE_M / EACH_M);

shared float tile_a[TILE_K * (TILE_M + 1)];
shared float tile_b[TILE_K * (TILE_N + 1)];

uint group, M, N, K;

// Where a[m][k] is in memory; false where it is padding or outside.
bool a_place(uint m, uint k, out uint at) {
  at = 0;
  if (m >= M || k >= K) return false;
  if (OP == BACKWARD_INPUT) {
    uint n = m / IN_PIXELS, p = m % IN_PIXELS;
    uint o = k % OUT_G, rs = k / OUT_G;
    int y = int(p / WIDTH) + pad_h - int(rs / KERNEL_W), x = int(p % WIDTH) + pad_w - int(rs % KERNEL_W);
    if (y < 0 || x < 0 || (STRIDE > 1 && (uint(y) % STRIDE != 0 || uint(x) % STRIDE != 0))) return false;
    uint oy = uint(y) / STRIDE, ox = uint(x) / STRIDE;
    at = n * y_pitch + (oy * OUT_WIDTH + ox) * OUT_CHANNELS + group * OUT_G + o;
    return oy < OUT_HEIGHT && ox < OUT_WIDTH;
  }
  uint tap = OP == FORWARD ? k : m, pixel = OP == FORWARD ? m : k;
  uint n = pixel / PIXELS, p = pixel % PIXELS;
  uint i = tap % IN_G, rs = tap / IN_G;
  int y = int(p / OUT_WIDTH * STRIDE + rs / KERNEL_W) - pad_h, x = int(p % OUT_WIDTH * STRIDE + rs % KERNEL_W) - pad_w;
  at = n * x_pitch + (uint(y) * WIDTH + uint(x)) * CHANNELS + group * IN_G + i;
  return uint(y) < HEIGHT && uint(x) < WIDTH;
}

// Where b[k][n] is in memory.
bool b_place(uint k, uint n, out uint at) {
  at = 0;
  if (k >= K || n >= N) return false;
  if (OP == FORWARD) at = k * OUT_CHANNELS + group * OUT_G + n;
  else if (OP == BACKWARD_INPUT) at = ((k / OUT_G) * IN_G + n) * OUT_CHANNELS + group * OUT_G + k % OUT_G;
  else at = (k / PIXELS) * y_pitch + (k % PIXELS) * OUT_CHANNELS + group * OUT_G + n;
  return true;
}

void main() {
  group = gl_WorkGroupID.z;
  if (OP == FORWARD) { M = batch * PIXELS; N = OUT_G; K = KERNEL_H * KERNEL_W * IN_G; }
  else if (OP == BACKWARD_INPUT) { M = batch * IN_PIXELS; N = IN_G; K = KERNEL_H * KERNEL_W * OUT_G; }
  else { M = KERNEL_H * KERNEL_W * IN_G; N = OUT_G; K = batch * PIXELS; }
  const uint m0 = gl_WorkGroupID.y * TILE_M, n0 = gl_WorkGroupID.x * TILE_N;
  const uint self = gl_LocalInvocationID.x;
  const uint my_m = self / ACROSS, my_n = self % ACROSS; // rows my_m + i·(TILE_M/EACH_M), columns likewise

  float sums[EACH_M * EACH_N];
  [[unroll]] for (uint i = 0; i < EACH_M * EACH_N; i++) sums[i] = 0.0;

  for (uint k0 = 0; k0 < K; k0 += TILE_K) {
    // a is contiguous along k, but along m for the weights' gradient.
    if (QUADS_A) {
      [[dont_unroll]] for (uint e = self; e < TILE_M * TILE_K / 4; e += LOCAL) {
        uint at;
        if (OP == BACKWARD_WEIGHT) {
          uint m = e % (TILE_M / 4) * 4, k = e / (TILE_M / 4);
          vec4 v = a_place(m0 + m, k0 + k, at) ? a_4[at >> 2] : vec4(0);
          if (m0 + m == M && with_bias != 0 && k0 + k < K) v.x = 1.0;
          for (uint j = 0; j < 4; j++) tile_a[k * (TILE_M + 1) + m + j] = v[j];
        } else {
          uint k = e % (TILE_K / 4) * 4, m = e / (TILE_K / 4);
          vec4 v = a_place(m0 + m, k0 + k, at) ? a_4[at >> 2] : vec4(0);
          for (uint j = 0; j < 4; j++) tile_a[(k + j) * (TILE_M + 1) + m] = v[j];
        }
      }
    } else {
      [[dont_unroll]] for (uint e = self; e < TILE_M * TILE_K; e += LOCAL) {
        uint m = OP == BACKWARD_WEIGHT ? e % TILE_M : e / TILE_K, k = OP == BACKWARD_WEIGHT ? e / TILE_M : e % TILE_K;
        uint at;
        float v = a_place(m0 + m, k0 + k, at) ? a[at] : 0.0;
        if (OP == BACKWARD_WEIGHT && m0 + m == M && with_bias != 0 && k0 + k < K) v = 1.0;
        tile_a[k * (TILE_M + 1) + m] = v;
      }
    }
    // b is contiguous along n, but along k for the input's gradient.
    if (QUADS_B) {
      [[dont_unroll]] for (uint e = self; e < TILE_N * TILE_K / 4; e += LOCAL) {
        uint at;
        if (OP == BACKWARD_INPUT) {
          uint k = e % (TILE_K / 4) * 4, n = e / (TILE_K / 4);
          vec4 v = b_place(k0 + k, n0 + n, at) ? b_4[at >> 2] : vec4(0);
          for (uint j = 0; j < 4; j++) tile_b[(k + j) * (TILE_N + 1) + n] = v[j];
        } else {
          uint n = e % (TILE_N / 4) * 4, k = e / (TILE_N / 4);
          vec4 v = b_place(k0 + k, n0 + n, at) ? b_4[at >> 2] : vec4(0);
          for (uint j = 0; j < 4; j++) tile_b[k * (TILE_N + 1) + n + j] = v[j];
        }
      }
    } else {
      [[dont_unroll]] for (uint e = self; e < TILE_N * TILE_K; e += LOCAL) {
        uint n = OP == BACKWARD_INPUT ? e / TILE_K : e % TILE_N, k = OP == BACKWARD_INPUT ? e % TILE_K : e / TILE_N;
        uint at;
        tile_b[k * (TILE_N + 1) + n] = b_place(k0 + k, n0 + n, at) ? b[at] : 0.0;
      }
    }
    barrier();
    [[dont_unroll]] for (uint k = 0; k < TILE_K; k++) { // unrolled, it takes software drivers seconds to compile
      float ra[EACH_M], rb[EACH_N];
      [[unroll]] for (uint i = 0; i < EACH_M; i++) ra[i] = tile_a[k * (TILE_M + 1) + my_m + i * (TILE_M / EACH_M)];
      [[unroll]] for (uint j = 0; j < EACH_N; j++) rb[j] = tile_b[k * (TILE_N + 1) + my_n + j * ACROSS];
      [[unroll]] for (uint i = 0; i < EACH_M; i++)
        [[unroll]] for (uint j = 0; j < EACH_N; j++) sums[i * EACH_N + j] += ra[i] * rb[j];
    }
    barrier();
  }

  [[unroll]] for (uint i = 0; i < EACH_M; i++) {
    uint m = m0 + my_m + i * (TILE_M / EACH_M), row = 0;
    if (OP == FORWARD) row = m / PIXELS * y_pitch + m % PIXELS * OUT_CHANNELS + group * OUT_G;
    else if (OP == BACKWARD_INPUT) row = m / IN_PIXELS * x_pitch + m % IN_PIXELS * CHANNELS + group * IN_G;
    else row = m * OUT_CHANNELS + group * OUT_G;
    [[unroll]] for (uint j = 0; j < EACH_N; j++) {
      uint n = n0 + my_n + j * ACROSS;
      float v = sums[i * EACH_N + j];
      if (n < N && m < M) {
        if (OP == FORWARD && with_bias != 0) v += bias[group * OUT_G + n];
        if (accumulate != 0) v += c[row + n];
        c[row + n] = relu != 0 ? max(v, 0.0) : v;
      } else if (n < N && m == M && OP == BACKWARD_WEIGHT && with_bias != 0) {
        bias[group * OUT_G + n] = v + (accumulate != 0 ? bias[group * OUT_G + n] : 0.0);
      }
    }
  }
}
