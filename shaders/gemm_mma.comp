// c[m][n] (+)= Σ_k a[m][k] · b[k][n] (+ bias[n]) on matrix units, each workgroup a TILE_M × TILE_N tile; see include/gemm.glsl.
// variant gemm_mma_fp16_forward: -DOP=FORWARD
// variant gemm_mma_fp16_backward_input: -DOP=BACKWARD_INPUT
// variant gemm_mma_fp16_backward_weight: -DOP=BACKWARD_WEIGHT
// variant gemm_mma_bf16_forward: -DOP=FORWARD -DBFLOAT16
// variant gemm_mma_bf16_backward_input: -DOP=BACKWARD_INPUT -DBFLOAT16
// variant gemm_mma_bf16_backward_weight: -DOP=BACKWARD_WEIGHT -DBFLOAT16
// variant gemm_flexible_fp16_forward: -DOP=FORWARD -DFLEXIBLE
// variant gemm_flexible_fp16_backward_input: -DOP=BACKWARD_INPUT -DFLEXIBLE
// variant gemm_flexible_fp16_backward_weight: -DOP=BACKWARD_WEIGHT -DFLEXIBLE
// variant gemm_flexible_bf16_forward: -DOP=FORWARD -DBFLOAT16 -DFLEXIBLE
// variant gemm_flexible_bf16_backward_input: -DOP=BACKWARD_INPUT -DBFLOAT16 -DFLEXIBLE
// variant gemm_flexible_bf16_backward_weight: -DOP=BACKWARD_WEIGHT -DBFLOAT16 -DFLEXIBLE
// requires newer glslc
// For fp16 on devices with VK_KHR_cooperative_matrix, and for bf16 on those with
// VK_KHR_shader_bfloat16; sums are float32. Operands travel eight at a time, 16
// bytes that nothing looks into: from the buffers to registers while the tile
// before is multiplied, and on to shared memory. FLEXIBLE is for devices with
// VK_NV_cooperative_matrix2: matrices of many sizes, which a subgroup holds or the whole
// workgroup; the sums are too many for memory of their own and leave through a tile's.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#ifdef BFLOAT16
#extension GL_EXT_bfloat16 : require
#define HALF bfloat16_t
#define FORMAT BF16
#else
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#define HALF float16_t
#define FORMAT FP16
#endif
#ifdef FLEXIBLE
layout(constant_id = 28) const uint SCOPE = 3; // gl_ScopeSubgroup or gl_ScopeWorkgroup: who holds a matrix
#define UNIT (SCOPE == gl_ScopeWorkgroup ? 0 : gl_SubgroupID)
#define INVOCATION (SCOPE == gl_ScopeWorkgroup ? gl_LocalInvocationID.x : gl_SubgroupInvocationID)
#define UNIT_BARRIER() if (SCOPE == gl_ScopeWorkgroup) barrier(); else subgroupBarrier()
#define RESULT tile_a
#define RESULT_QUAD(at) uintBitsToFloat(tile_a[at])
#else
#define SCOPE gl_ScopeSubgroup
#define UNIT gl_SubgroupID
#define INVOCATION gl_SubgroupInvocationID
#define UNIT_BARRIER() subgroupBarrier()
#define RESULT result
#define RESULT_QUAD(at) result[at]
#endif
#include "include/gemm.glsl"
layout(binding = 0) readonly buffer A_H8 { uvec4 a_h8[]; };
layout(binding = 1) readonly buffer B_H8 { uvec4 b_h8[]; };

layout(local_size_x_id = 0) in; // (TILE_M / EACH_M) · (TILE_N / EACH_N) units: subgroups, or one that is all of it
layout(constant_id = 4) const bool QUADS_A = false; // four consecutive elements of a are one aligned load
layout(constant_id = 5) const bool QUADS_B = false; // likewise b
layout(constant_id = 6) const bool QUADS_C = false; // likewise c
layout(constant_id = 7) const uint TILE_M = 64;
layout(constant_id = 8) const uint TILE_N = 32;
layout(constant_id = 9) const uint TILE_K = 16;
layout(constant_id = 10) const uint EACH_M = 32; // rows and columns of one unit, whole matrices
layout(constant_id = 11) const uint EACH_N = 32;
layout(constant_id = 12) const uint HEIGHT = 1;
layout(constant_id = 13) const uint WIDTH = 1;
layout(constant_id = 14) const uint CHANNELS = 1;
layout(constant_id = 15) const uint OUT_HEIGHT = 1;
layout(constant_id = 16) const uint OUT_WIDTH = 1;
layout(constant_id = 17) const uint OUT_CHANNELS = 1;
layout(constant_id = 18) const uint KERNEL_H = 1;
layout(constant_id = 19) const uint KERNEL_W = 1;
layout(constant_id = 20) const uint STRIDE = 1;
layout(constant_id = 21) const uint GROUPS = 1;
layout(constant_id = 22) const uint MATRIX_M = 16; // of the device's matrices
layout(constant_id = 23) const uint MATRIX_N = 16;
layout(constant_id = 24) const uint MATRIX_K = 16;
layout(constant_id = 25) const uint SUBGROUP = 32; // invocations of a unit
layout(constant_id = 26) const bool EIGHTS_A = false; // eight consecutive elements of a are one aligned load, of the matrices' format
layout(constant_id = 27) const bool EIGHTS_B = false; // likewise b

layout(push_constant) uniform Args {
  uint batch;
  int pad_h, pad_w;
  uint x_pitch, y_pitch;
  uint accumulate, with_bias, relu;
  uint split_k, split_pitch; // k of one split, a multiple of TILE_K; words of c from split to split
  float mask_factor, momentum, decay, rate_factor;
};
#include "include/epilogue.glsl"

const uint IN_G = CHANNELS / GROUPS, OUT_G = OUT_CHANNELS / GROUPS;
const uint PIXELS = OUT_HEIGHT * OUT_WIDTH, IN_PIXELS = HEIGHT * WIDTH;
const uint ACROSS = TILE_N / EACH_N, DOWN = TILE_M / EACH_M; // units of a tile
const uint LOCAL = ACROSS * DOWN * SUBGROUP;
const uint MATRICES_M = EACH_M / MATRIX_M, MATRICES_N = EACH_N / MATRIX_N;
const uint DEPTH = OP == FORWARD ? IN_G : OUT_G; // of a tap, where k is (tap, channel)
const int NOWHERE = -0x1000000;

// What an invocation loads of a tile: vectors self, self + LOCAL, … of eight. They
// lie along k, but in a along m for the weights' gradient, and in b along n but for
// the input's gradient, and so do the tiles' rows. TILE_K / 8 divides LOCAL, so that
// an invocation's vectors along k have one k. A row is followed by one vector of
// nothing, so that the rows of a matrix lie in different banks of the memory.
const uint ALONG_A = (OP == BACKWARD_WEIGHT ? TILE_M : TILE_K) / 8, ALONG_B = (OP == BACKWARD_INPUT ? TILE_K : TILE_N) / 8;
const uint ROWS_A = OP == BACKWARD_WEIGHT ? TILE_K : TILE_M, ROWS_B = OP == BACKWARD_INPUT ? TILE_N : TILE_K;
const uint STEP_A = ALONG_A + 1, STEP_B = ALONG_B + 1;
const uint COUNT_A = ALONG_A * ROWS_A, COUNT_B = ALONG_B * ROWS_B;
const uint LOADS_A = (COUNT_A + LOCAL - 1) / LOCAL, LOADS_B = (COUNT_B + LOCAL - 1) / LOCAL;

shared uvec4 tile_a[2 * ROWS_A * STEP_A];
shared uvec4 tile_b[2 * ROWS_B * STEP_B];
#ifndef FLEXIBLE
shared vec4 result[ACROSS * DOWN * MATRIX_M * MATRIX_N / 4];
#endif

uint group, M, N, end, self;
uvec4 next_a[LOADS_A], next_b[LOADS_B]; // on their way to the tiles
// Of each vector of a: where in the picture its row (or, for the weights'
// gradient, its tap) is, and the element that this is counted from.
int a_y[LOADS_A], a_x[LOADS_A];
uint a_at[LOADS_A], b_at[LOADS_B];
#if OP == BACKWARD_WEIGHT
uint pixel_at[LOADS_A], pixel_y[LOADS_A], pixel_x[LOADS_A]; // the example's elements, and the place in it, of the vector's k
uint b_pixel[LOADS_B];
#else
uint tap_r, tap_s, tap_i, tap_k; // the k of all of this invocation's vectors
#endif

uint along_a(uint j) { return (self + j * LOCAL) % ALONG_A * 8; }
uint across_a(uint j) { return (self + j * LOCAL) / ALONG_A; }
uint along_b(uint j) { return (self + j * LOCAL) % ALONG_B * 8; }
uint across_b(uint j) { return (self + j * LOCAL) / ALONG_B; }
bool in_a(uint j) { return COUNT_A % LOCAL == 0 || self + j * LOCAL < COUNT_A; }
bool in_b(uint j) { return COUNT_B % LOCAL == 0 || self + j * LOCAL < COUNT_B; }

// place finds where the vectors of the first tile are.
void place(uint m0, uint n0, uint begin) {
#if OP == BACKWARD_WEIGHT
  [[unroll]] for (uint j = 0; j < LOADS_A; j++) {
    uint m = m0 + along_a(j), rs = m / IN_G, k = begin + across_a(j), p = k % PIXELS;
    a_y[j] = m < M ? int(rs / KERNEL_W) - pad_h : NOWHERE;
    a_x[j] = int(rs % KERNEL_W) - pad_w;
    a_at[j] = group * IN_G + m % IN_G;
    pixel_at[j] = k / PIXELS * x_pitch;
    pixel_y[j] = p / OUT_WIDTH;
    pixel_x[j] = p % OUT_WIDTH;
  }
  [[unroll]] for (uint j = 0; j < LOADS_B; j++) {
    uint k = begin + across_b(j);
    b_pixel[j] = k % PIXELS;
    b_at[j] = k / PIXELS * y_pitch + b_pixel[j] * OUT_CHANNELS + group * OUT_G + n0 + along_b(j);
  }
#else
  tap_k = self % ALONG_A * 8;
  uint k = begin + tap_k;
  tap_i = k % DEPTH;
  tap_s = k / DEPTH % KERNEL_W;
  tap_r = k / DEPTH / KERNEL_W;
  [[unroll]] for (uint j = 0; j < LOADS_A; j++) {
    uint m = m0 + across_a(j);
#if OP == FORWARD
    uint p = m % PIXELS;
    a_at[j] = m / PIXELS * x_pitch + group * IN_G;
    a_y[j] = m < M && in_a(j) ? int(p / OUT_WIDTH * STRIDE) - pad_h : NOWHERE;
    a_x[j] = int(p % OUT_WIDTH * STRIDE) - pad_w;
#else
    uint p = m % IN_PIXELS;
    a_at[j] = m / IN_PIXELS * y_pitch + group * OUT_G;
    a_y[j] = m < M && in_a(j) ? int(p / WIDTH) + pad_h : NOWHERE;
    a_x[j] = int(p % WIDTH) + pad_w;
#endif
  }
  [[unroll]] for (uint j = 0; j < LOADS_B; j++) {
#if OP == FORWARD
    b_at[j] = (begin + across_b(j)) * OUT_CHANNELS + group * OUT_G + n0 + along_b(j);
#else
    b_at[j] = (n0 + across_b(j)) * OUT_CHANNELS + group * OUT_G;
#endif
  }
#endif
}

// in_x says whether a place of the left side's picture exists, and puts the
// element that it begins at into `at`.
bool in_x(int y, int x, inout uint at) {
#if OP == BACKWARD_INPUT
  bool ok = true;
  if (STRIDE > 1) {
    int qy = y / int(STRIDE), qx = x / int(STRIDE);
    ok = y >= 0 && x >= 0 && qy * int(STRIDE) == y && qx * int(STRIDE) == x;
    y = qy; x = qx;
  }
  at += (uint(y) * OUT_WIDTH + uint(x)) * OUT_CHANNELS;
  return ok && uint(y) < OUT_HEIGHT && uint(x) < OUT_WIDTH;
#else
  at += (uint(y) * WIDTH + uint(x)) * CHANNELS;
  return uint(y) < HEIGHT && uint(x) < WIDTH;
#endif
}

// find_a and find_b are where element l of vector j is, if anywhere; four_a and
// four_b are four elements from there on, of operands that have no aligned eights
// of the matrices' format: found by division, slowly.
bool find_a(uint j, uint l, uint m0, uint k0, out uint at) {
#if OP == BACKWARD_WEIGHT
  const uint m = m0 + along_a(j) + l, rs = m / IN_G;
  at = pixel_at[j] + group * IN_G + m % IN_G;
  return in_x(int(pixel_y[j] * STRIDE + rs / KERNEL_W) - pad_h, int(pixel_x[j] * STRIDE + rs % KERNEL_W) - pad_w, at) && m < M && k0 + across_a(j) < end;
#else
  const uint k = k0 + tap_k + l;
  int r = int(k / DEPTH / KERNEL_W), s = int(k / DEPTH % KERNEL_W);
#if OP == BACKWARD_INPUT
  r = -r; s = -s;
#endif
  at = a_at[j] + k % DEPTH;
  return in_x(a_y[j] + r, a_x[j] + s, at) && k < end;
#endif
}

bool find_b(uint j, uint l, uint n0, uint k0, out uint at) {
#if OP == BACKWARD_INPUT
  const uint k = k0 + tap_k + l;
  at = b_at[j] + k / DEPTH * (IN_G * OUT_CHANNELS) + k % DEPTH;
  return k < end && n0 + across_b(j) < N;
#else
  at = b_at[j] + l;
  return k0 + across_b(j) < end && n0 + along_b(j) + l < N;
#endif
}

// The gradient of the bias is one more row of a, all ones, and of c.
bool one(uint m, uint k) { return OP == BACKWARD_WEIGHT && m == M && with_bias != 0 && k < end; }

uvec2 four_a(uint j, uint first, uint m0, uint k0) {
  vec4 v = vec4(0);
  uint at;
  if (QUADS_A) {
    if (find_a(j, first, m0, k0, at)) v = load_a4(at);
  } else {
    [[unroll]] for (uint l = 0; l < 4; l++) if (find_a(j, first + l, m0, k0, at)) v[l] = load_a(at);
  }
  [[unroll]] for (uint l = 0; l < 4; l++) if (one(m0 + along_a(j) + first + l, k0 + across_a(j))) v[l] = 1;
  return uvec2(pack_half(FORMAT, v.xy), pack_half(FORMAT, v.zw));
}

uvec2 four_b(uint j, uint first, uint n0, uint k0) {
  vec4 v = vec4(0);
  uint at;
  if (QUADS_B) {
    if (find_b(j, first, n0, k0, at)) v = load_b4(at);
  } else {
    [[unroll]] for (uint l = 0; l < 4; l++) if (find_b(j, first + l, n0, k0, at)) v[l] = load_b(at);
  }
  return uvec2(pack_half(FORMAT, v.xy), pack_half(FORMAT, v.zw));
}

// load fetches the vectors of the tile at k0 and moves on to the next tile's.
void load(uint m0, uint n0, uint k0) {
  [[unroll]] for (uint j = 0; j < LOADS_A; j++) {
    next_a[j] = uvec4(0);
    if (EIGHTS_A) {
#if OP == BACKWARD_WEIGHT
      uint at = pixel_at[j] + a_at[j];
      bool ok = in_x(int(pixel_y[j] * STRIDE) + a_y[j], int(pixel_x[j] * STRIDE) + a_x[j], at) && k0 + across_a(j) < end;
#else
      uint at = a_at[j] + tap_i;
#if OP == FORWARD
      bool ok = in_x(a_y[j] + int(tap_r), a_x[j] + int(tap_s), at) && k0 + tap_k < end;
#else
      bool ok = in_x(a_y[j] - int(tap_r), a_x[j] - int(tap_s), at) && k0 + tap_k < end;
#endif
#endif
      if (ok) next_a[j] = a_h8[at >> 3];
      if (one(m0 + along_a(j), k0 + across_a(j))) next_a[j].x = pack_half(FORMAT, vec2(1, 0));
    } else if (in_a(j)) {
      next_a[j] = uvec4(four_a(j, 0, m0, k0), four_a(j, 4, m0, k0));
    }
#if OP == BACKWARD_WEIGHT
    pixel_at[j] += TILE_K / PIXELS * x_pitch;
    pixel_y[j] += TILE_K % PIXELS / OUT_WIDTH;
    pixel_x[j] += TILE_K % PIXELS % OUT_WIDTH;
    if (pixel_x[j] >= OUT_WIDTH) { pixel_x[j] -= OUT_WIDTH; pixel_y[j]++; }
    if (pixel_y[j] >= OUT_HEIGHT) { pixel_y[j] -= OUT_HEIGHT; pixel_at[j] += x_pitch; }
#endif
  }
  [[unroll]] for (uint j = 0; j < LOADS_B; j++) {
    next_b[j] = uvec4(0);
    if (EIGHTS_B) {
#if OP == BACKWARD_INPUT
      bool ok = k0 + tap_k < end && n0 + across_b(j) < N;
      uint at = b_at[j] + (tap_r * KERNEL_W + tap_s) * (IN_G * OUT_CHANNELS) + tap_i;
#else
      bool ok = k0 + across_b(j) < end && n0 + along_b(j) < N;
      uint at = b_at[j];
#endif
      if (ok) next_b[j] = b_h8[at >> 3];
    } else if (in_b(j)) {
      next_b[j] = uvec4(four_b(j, 0, n0, k0), four_b(j, 4, n0, k0));
    }
#if OP == FORWARD
    b_at[j] += TILE_K * OUT_CHANNELS;
#elif OP == BACKWARD_WEIGHT
    b_at[j] += TILE_K / PIXELS * y_pitch + TILE_K % PIXELS * OUT_CHANNELS;
    b_pixel[j] += TILE_K % PIXELS;
    if (b_pixel[j] >= PIXELS) { b_pixel[j] -= PIXELS; b_at[j] += y_pitch - PIXELS * OUT_CHANNELS; }
#endif
  }
#if OP != BACKWARD_WEIGHT
  tap_i += TILE_K % DEPTH;
  tap_s += TILE_K / DEPTH % KERNEL_W;
  tap_r += TILE_K / DEPTH / KERNEL_W;
  if (tap_i >= DEPTH) { tap_i -= DEPTH; tap_s++; }
  if (tap_s >= KERNEL_W) { tap_s -= KERNEL_W; tap_r++; }
#endif
}

// store puts what load fetched into one of the two tiles of each operand.
void store(uint tile) {
  [[unroll]] for (uint j = 0; j < LOADS_A; j++) {
    if (in_a(j)) tile_a[(tile * ROWS_A + across_a(j)) * STEP_A + along_a(j) / 8] = next_a[j];
  }
  [[unroll]] for (uint j = 0; j < LOADS_B; j++) {
    if (in_b(j)) tile_b[(tile * ROWS_B + across_b(j)) * STEP_B + along_b(j) / 8] = next_b[j];
  }
}

void main() {
  self = gl_LocalInvocationID.x;
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
  const uint my_m = UNIT / ACROSS * EACH_M, my_n = UNIT % ACROSS * EACH_N;

  coopmat<float, SCOPE, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator> sums[MATRICES_M * MATRICES_N];
  [[unroll]] for (uint i = 0; i < MATRICES_M * MATRICES_N; i++) sums[i] = coopmat<float, SCOPE, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator>(0.0);
  place(m0, n0, begin);
  load(m0, n0, begin);
  store(0);
  barrier();
  uint tile = 0;
  [[dont_unroll]] for (uint k0 = begin; k0 < end; k0 += TILE_K) {
    const bool more = k0 + TILE_K < end;
    if (more) load(m0, n0, k0 + TILE_K);
    [[unroll]] for (uint k = 0; k < TILE_K; k += MATRIX_K) {
      coopmat<HALF, SCOPE, MATRIX_M, MATRIX_K, gl_MatrixUseA> ma[MATRICES_M];
      [[unroll]] for (uint i = 0; i < MATRICES_M; i++) {
        const uint m = my_m + i * MATRIX_M;
#if OP == BACKWARD_WEIGHT
        coopMatLoad(ma[i], tile_a, (tile * ROWS_A + k) * STEP_A + m / 8, STEP_A, gl_CooperativeMatrixLayoutColumnMajor);
#else
        coopMatLoad(ma[i], tile_a, (tile * ROWS_A + m) * STEP_A + k / 8, STEP_A, gl_CooperativeMatrixLayoutRowMajor);
#endif
      }
      [[unroll]] for (uint j = 0; j < MATRICES_N; j++) {
        const uint n = my_n + j * MATRIX_N;
        coopmat<HALF, SCOPE, MATRIX_K, MATRIX_N, gl_MatrixUseB> mb;
#if OP == BACKWARD_INPUT
        coopMatLoad(mb, tile_b, (tile * ROWS_B + n) * STEP_B + k / 8, STEP_B, gl_CooperativeMatrixLayoutColumnMajor);
#else
        coopMatLoad(mb, tile_b, (tile * ROWS_B + k) * STEP_B + n / 8, STEP_B, gl_CooperativeMatrixLayoutRowMajor);
#endif
        [[unroll]] for (uint i = 0; i < MATRICES_M; i++) sums[i * MATRICES_N + j] = coopMatMulAdd(ma[i], mb, sums[i * MATRICES_N + j]);
      }
    }
    tile = 1 - tile;
    if (more) store(tile);
    barrier();
  }

  const uint rows = OP == BACKWARD_WEIGHT && with_bias != 0 ? M + 1 : M;
#if OP == BACKWARD_WEIGHT
  // Whole tiles of a float32 c go there as they are. (Not whole parts of them: for
  // some drivers a subgroup's barrier is one of all, which none may miss.) Rows of a
  // matrix have to be aligned in memory.
  if (QUADS_C && !UPDATE && accumulate == 0 && m0 + TILE_M <= rows && n0 + TILE_N <= N) {
    const uint corner = (m0 + my_m) * OUT_CHANNELS + group * OUT_G + n0 + my_n + split * split_pitch;
    [[unroll]] for (uint l = 0; l < MATRICES_M * MATRICES_N; l++) {
      coopMatStore(sums[l], c, corner + l / MATRICES_N * MATRIX_M * OUT_CHANNELS + l % MATRICES_N * MATRIX_N, OUT_CHANNELS, gl_CooperativeMatrixLayoutRowMajor);
    }
    return;
  }
#endif
  // Matrix by matrix through shared memory, where a unit's invocations take
  // quads of a row. Only the choice of the matrix is unrolled: with more in it,
  // compilers give up and put the sums into memory.
  const uint mine = UNIT * (MATRIX_M * MATRIX_N / 4);
  [[dont_unroll]] for (uint i = 0; i < MATRICES_M; i++) {
    [[dont_unroll]] for (uint j = 0; j < MATRICES_N; j++) {
      [[unroll]] for (uint l = 0; l < MATRICES_M * MATRICES_N; l++) {
        if (l == i * MATRICES_N + j) coopMatStore(sums[l], RESULT, mine, MATRIX_N / 4, gl_CooperativeMatrixLayoutRowMajor);
      }
      UNIT_BARRIER();
      for (uint q = INVOCATION; q < MATRIX_M * MATRIX_N / 4; q += SUBGROUP) {
        const uint m = m0 + my_m + i * MATRIX_M + q / (MATRIX_N / 4), n = n0 + my_n + j * MATRIX_N + q % (MATRIX_N / 4) * 4;
        if (m < rows && n < N) {
          vec4 v = RESULT_QUAD(mine + q);
#if OP == FORWARD
          const uint row = m / PIXELS * y_pitch + m % PIXELS * OUT_CHANNELS + group * OUT_G + split * split_pitch;
          if (with_bias != 0) {
            [[unroll]] for (uint l = 0; l < 4; l++) if (n + l < N) v[l] += bias[group * OUT_G + n + l];
          }
#elif OP == BACKWARD_INPUT
          const uint row = m / IN_PIXELS * x_pitch + m % IN_PIXELS * CHANNELS + group * IN_G + split * split_pitch;
#else
          const uint row = m * OUT_CHANNELS + group * OUT_G + split * split_pitch;
#endif
          if (QUADS_C) put4(row + n, v);
          else [[unroll]] for (uint l = 0; l < 4; l++) if (n + l < N) put(row + n + l, v[l]);
        }
      }
      UNIT_BARRIER();
    }
  }
}
