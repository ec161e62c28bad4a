// c[m][n] (+)= Σ_k a[m][k] · b[k][n] (+ bias[n]), each workgroup a TILE_M × TILE_N tile through shared memory; see include/gemm.glsl.
// variant gemm_tiles_forward: -DOP=FORWARD
// variant gemm_tiles_backward_input: -DOP=BACKWARD_INPUT
// variant gemm_tiles_backward_weight: -DOP=BACKWARD_WEIGHT
// For GPUs, and with its smallest tile for every Vulkan 1.1 device. Where the
// tiles are too few to fill a GPU, k is split among workgroups, whose parts of
// the sum reduce.comp adds up.
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
layout(constant_id = 9) const uint EACH_M = 4; // rows and columns of one invocation, whole quads
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
layout(constant_id = 21) const bool ROLLED = false; // keep the loop over a tile's k: unrolled, software drivers compile it for seconds

layout(push_constant) uniform Args {
  uint batch;
  int pad_h, pad_w;
  uint x_pitch, y_pitch;
  uint accumulate, with_bias, relu;
  uint split_k, split_pitch; // k of one split, a multiple of TILE_K; words of c from split to split
};

const uint IN_G = CHANNELS / GROUPS, OUT_G = OUT_CHANNELS / GROUPS;
const uint PIXELS = OUT_HEIGHT * OUT_WIDTH, IN_PIXELS = HEIGHT * WIDTH;
const uint ACROSS = TILE_N / EACH_N; // invocations across a tile
const uint LOCAL = ACROSS * (TILE_M / EACH_M);
const uint STEP_A = TILE_M / 4 + 1, STEP_B = TILE_N / 4 + 1; // quads from k to k: one more against bank conflicts

shared vec4 tile_a[TILE_K * STEP_A];
shared vec4 tile_b[TILE_K * STEP_B];

uint group, M, N, end;

// Where a[m][k] is in memory; false where it is padding or outside.
bool a_place(uint m, uint k, out uint at) {
  at = 0;
  if (m >= M || k >= end) return false;
#if OP == BACKWARD_INPUT
  uint n = m / IN_PIXELS, p = m % IN_PIXELS;
  uint o = k % OUT_G, rs = k / OUT_G;
  int y = int(p / WIDTH) + pad_h - int(rs / KERNEL_W), x = int(p % WIDTH) + pad_w - int(rs % KERNEL_W);
  if (y < 0 || x < 0 || (STRIDE > 1 && (uint(y) % STRIDE != 0 || uint(x) % STRIDE != 0))) return false;
  uint oy = uint(y) / STRIDE, ox = uint(x) / STRIDE;
  at = n * y_pitch + (oy * OUT_WIDTH + ox) * OUT_CHANNELS + group * OUT_G + o;
  return oy < OUT_HEIGHT && ox < OUT_WIDTH;
#else
#if OP == FORWARD
  uint tap = k, pixel = m;
#else
  uint tap = m, pixel = k;
#endif
  uint n = pixel / PIXELS, p = pixel % PIXELS;
  uint i = tap % IN_G, rs = tap / IN_G;
  int y = int(p / OUT_WIDTH * STRIDE + rs / KERNEL_W) - pad_h, x = int(p % OUT_WIDTH * STRIDE + rs % KERNEL_W) - pad_w;
  at = n * x_pitch + (uint(y) * WIDTH + uint(x)) * CHANNELS + group * IN_G + i;
  return uint(y) < HEIGHT && uint(x) < WIDTH;
#endif
}

// Where b[k][n] is in memory.
bool b_place(uint k, uint n, out uint at) {
  at = 0;
  if (k >= end || n >= N) return false;
#if OP == FORWARD
  at = k * OUT_CHANNELS + group * OUT_G + n;
#elif OP == BACKWARD_INPUT
  at = ((k / OUT_G) * IN_G + n) * OUT_CHANNELS + group * OUT_G + k % OUT_G;
#else
  at = (k / PIXELS) * y_pitch + (k % PIXELS) * OUT_CHANNELS + group * OUT_G + n;
#endif
  return true;
}

// The gradient of the bias is one more row of a: all ones.
bool ones(uint m, uint k) { return OP == BACKWARD_WEIGHT && m == M && with_bias != 0 && k < end; }

vec4 sums[EACH_M * EACH_N / 4];

void multiply(uint k, uint my_m, uint my_n) {
  vec4 ra[EACH_M / 4], rb[EACH_N / 4];
  [[unroll]] for (uint i = 0; i < EACH_M / 4; i++) ra[i] = tile_a[k * STEP_A + my_m + i];
  [[unroll]] for (uint j = 0; j < EACH_N / 4; j++) rb[j] = tile_b[k * STEP_B + my_n + j];
  [[unroll]] for (uint i = 0; i < EACH_M / 4; i++) {
    [[unroll]] for (uint j = 0; j < EACH_N / 4; j++) {
      sums[(i * 4) * (EACH_N / 4) + j] += ra[i].x * rb[j];
      sums[(i * 4 + 1) * (EACH_N / 4) + j] += ra[i].y * rb[j];
      sums[(i * 4 + 2) * (EACH_N / 4) + j] += ra[i].z * rb[j];
      sums[(i * 4 + 3) * (EACH_N / 4) + j] += ra[i].w * rb[j];
    }
  }
}

void main() {
  group = gl_WorkGroupID.z % GROUPS;
  const uint split = gl_WorkGroupID.z / GROUPS;
#if OP == FORWARD
  M = batch * PIXELS; N = OUT_G; const uint K = KERNEL_H * KERNEL_W * IN_G;
#elif OP == BACKWARD_INPUT
  M = batch * IN_PIXELS; N = IN_G; const uint K = KERNEL_H * KERNEL_W * OUT_G;
#else
  M = KERNEL_H * KERNEL_W * IN_G; N = OUT_G; const uint K = batch * PIXELS;
#endif
  const uint begin = split * split_k;
  end = min(K, begin + split_k);
  const uint m0 = gl_WorkGroupID.y * TILE_M, n0 = gl_WorkGroupID.x * TILE_N;
  const uint self = gl_LocalInvocationID.x;
  const uint my_m = self / ACROSS * (EACH_M / 4), my_n = self % ACROSS * (EACH_N / 4); // in quads

  [[unroll]] for (uint i = 0; i < EACH_M * EACH_N / 4; i++) sums[i] = vec4(0);

  for (uint k0 = begin; k0 < end; k0 += TILE_K) {
    // a is contiguous along k, but along m for the weights' gradient.
    if (QUADS_A) {
      [[dont_unroll]] for (uint e = self; e < TILE_M * TILE_K / 4; e += LOCAL) {
        uint at;
#if OP == BACKWARD_WEIGHT
        uint m = e % (TILE_M / 4) * 4, k = e / (TILE_M / 4);
        vec4 v = a_place(m0 + m, k0 + k, at) ? a_4[at >> 2] : vec4(0);
        if (ones(m0 + m, k0 + k)) v.x = 1.0;
        tile_a[k * STEP_A + m / 4] = v;
#else
        uint k = e % (TILE_K / 4) * 4, m = e / (TILE_K / 4);
        vec4 v = a_place(m0 + m, k0 + k, at) ? a_4[at >> 2] : vec4(0);
        [[unroll]] for (uint j = 0; j < 4; j++) tile_a[(k + j) * STEP_A + m / 4][m % 4] = v[j];
#endif
      }
    } else {
      [[dont_unroll]] for (uint e = self; e < TILE_M * TILE_K; e += LOCAL) {
        uint at;
#if OP == BACKWARD_WEIGHT
        uint m = e % TILE_M, k = e / TILE_M;
#else
        uint m = e / TILE_K, k = e % TILE_K;
#endif
        float v = a_place(m0 + m, k0 + k, at) ? a[at] : 0.0;
        tile_a[k * STEP_A + m / 4][m % 4] = ones(m0 + m, k0 + k) ? 1.0 : v;
      }
    }
    // b is contiguous along n, but along k for the input's gradient.
    if (QUADS_B) {
      [[dont_unroll]] for (uint e = self; e < TILE_N * TILE_K / 4; e += LOCAL) {
        uint at;
#if OP == BACKWARD_INPUT
        uint k = e % (TILE_K / 4) * 4, n = e / (TILE_K / 4);
        vec4 v = b_place(k0 + k, n0 + n, at) ? b_4[at >> 2] : vec4(0);
        [[unroll]] for (uint j = 0; j < 4; j++) tile_b[(k + j) * STEP_B + n / 4][n % 4] = v[j];
#else
        uint n = e % (TILE_N / 4) * 4, k = e / (TILE_N / 4);
        tile_b[k * STEP_B + n / 4] = b_place(k0 + k, n0 + n, at) ? b_4[at >> 2] : vec4(0);
#endif
      }
    } else {
      [[dont_unroll]] for (uint e = self; e < TILE_N * TILE_K; e += LOCAL) {
        uint at;
#if OP == BACKWARD_INPUT
        uint n = e / TILE_K, k = e % TILE_K;
#else
        uint n = e % TILE_N, k = e / TILE_N;
#endif
        tile_b[k * STEP_B + n / 4][n % 4] = b_place(k0 + k, n0 + n, at) ? b[at] : 0.0;
      }
    }
    barrier();
    if (ROLLED) {
      [[dont_unroll]] for (uint k = 0; k < TILE_K; k++) multiply(k, my_m, my_n);
    } else {
      [[unroll]] for (uint k = 0; k < TILE_K; k++) multiply(k, my_m, my_n);
    }
    barrier();
  }

  [[unroll]] for (uint i = 0; i < EACH_M; i++) {
    uint m = m0 + my_m * 4 + i;
#if OP == FORWARD
    uint row = m / PIXELS * y_pitch + m % PIXELS * OUT_CHANNELS + group * OUT_G;
#elif OP == BACKWARD_INPUT
    uint row = m / IN_PIXELS * x_pitch + m % IN_PIXELS * CHANNELS + group * IN_G;
#else
    uint row = m * OUT_CHANNELS + group * OUT_G; // the bias's after the weights' where k is split
#endif
    row += split * split_pitch;
    [[unroll]] for (uint j = 0; j < EACH_N; j++) {
      uint n = n0 + my_n * 4 + j;
      float v = sums[i * (EACH_N / 4) + j / 4][j % 4];
      if (n < N && (m < M || (ones(m, begin) && split_pitch > 0))) {
        if (OP == FORWARD && with_bias != 0) v += bias[group * OUT_G + n];
        if (accumulate != 0) v += c[row + n];
        c[row + n] = relu != 0 ? max(v, 0.0) : v;
      } else if (n < N && ones(m, begin)) {
        bias[group * OUT_G + n] = v + (accumulate != 0 ? bias[group * OUT_G + n] : 0.0);
      }
    }
  }
}
