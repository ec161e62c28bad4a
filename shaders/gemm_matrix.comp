// c[m][n] (+)= Σ_k a[m][k] · b[k][n] (+ bias[n]) on matrix units, each workgroup a TILE_M × TILE_N tile; see include/gemm.glsl.
// variant gemm_matrix_forward: -DOP=FORWARD
// variant gemm_matrix_backward_input: -DOP=BACKWARD_INPUT
// variant gemm_matrix_backward_weight: -DOP=BACKWARD_WEIGHT
// variant gemm_matrix_bf16_forward: -DOP=FORWARD -DBFLOAT16
// variant gemm_matrix_bf16_backward_input: -DOP=BACKWARD_INPUT -DBFLOAT16
// variant gemm_matrix_bf16_backward_weight: -DOP=BACKWARD_WEIGHT -DBFLOAT16
// requires newer glslc
// For operands in fp16 on devices with VK_KHR_cooperative_matrix, and in bf16 on
// those with VK_KHR_shader_bfloat16; sums are float32. Loading is that of gemm_tiles.comp.
//
// With SPLIT, for operands in float32: a ≈ a0 + a1 with a0 = HALF(a), a1 = HALF(a - a0), likewise b, and
//   a · b ≈ a0 · b0 + a1 · b0 + a0 · b1
// In fp16, whose range is too small for gradients, no network runs so: it lets drivers
// without matrices of bf16 check the arithmetic.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#ifdef BFLOAT16
#extension GL_EXT_bfloat16 : require
#define HALF bfloat16_t
#define HALF4 bf16vec4
#define LAST 0x10000u // of float32's bits, the last that HALF has
#else
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#define HALF float16_t
#define HALF4 f16vec4
#define LAST 0x2000u
#endif
#include "include/gemm.glsl"

layout(local_size_x_id = 0) in; // (TILE_M / EACH_M) · (TILE_N / EACH_N) subgroups
layout(constant_id = 4) const bool QUADS_A = false; // four consecutive elements of a are one aligned load
layout(constant_id = 5) const bool QUADS_B = false; // likewise b
layout(constant_id = 6) const bool QUADS_C = false; // likewise c
layout(constant_id = 7) const uint TILE_M = 64;
layout(constant_id = 8) const uint TILE_N = 32;
layout(constant_id = 9) const uint TILE_K = 16;
layout(constant_id = 10) const uint EACH_M = 32; // rows and columns of one subgroup, whole matrices
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
layout(constant_id = 25) const uint SUBGROUP = 32;
layout(constant_id = 26) const bool SPLIT = false;

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
const uint ACROSS = TILE_N / EACH_N, DOWN = TILE_M / EACH_M; // subgroups of a tile
const uint LOCAL = ACROSS * DOWN * SUBGROUP;
const uint MATRICES_M = EACH_M / MATRIX_M, MATRICES_N = EACH_N / MATRIX_N;

// What an invocation loads of a tile: vectors self, self + LOCAL, … They lie
// along k, but in a along m for the weights' gradient, and in b along n but for
// the input's gradient. TILE_K divides LOCAL, so that vectors along k have one k.
const uint VECTOR_A = QUADS_A ? 4 : 1, VECTOR_B = QUADS_B ? 4 : 1;
const uint COUNT_A = TILE_M * TILE_K / VECTOR_A, COUNT_B = TILE_N * TILE_K / VECTOR_B;
const uint LOADS_A = (COUNT_A + LOCAL - 1) / LOCAL, LOADS_B = (COUNT_B + LOCAL - 1) / LOCAL;
const uint ALONG_A = (OP == BACKWARD_WEIGHT ? TILE_M : TILE_K) / VECTOR_A;
const uint ALONG_B = (OP == BACKWARD_INPUT ? TILE_K : TILE_N) / VECTOR_B;
const bool SAME_A = LOCAL % ALONG_A == 0, SAME_B = LOCAL % ALONG_B == 0; // the place along is that of the first vector
const uint DEPTH = OP == FORWARD ? IN_G : OUT_G; // of a tap, where k is (tap, channel)
const int NOWHERE = -0x1000000;

// Tiles lie as they are loaded: a's rows along k, but along m for the weights'
// gradient; b's along n, but along k for the input's. STEP quads from row to row.
const uint STEP_A = (OP == BACKWARD_WEIGHT ? TILE_M : TILE_K) / 4 + 2, STEP_B = (OP == BACKWARD_INPUT ? TILE_K : TILE_N) / 4 + 2;
const uint ROWS_A = OP == BACKWARD_WEIGHT ? TILE_K : TILE_M, ROWS_B = OP == BACKWARD_INPUT ? TILE_N : TILE_K;

const uint PIECES = SPLIT ? 2 : 1; // of an element, each in a tile of its own

shared HALF4 tile_a[2 * PIECES * ROWS_A * STEP_A];
shared HALF4 tile_b[2 * PIECES * ROWS_B * STEP_B];
shared vec4 result[ACROSS * DOWN * MATRIX_M * MATRIX_N / 4];

uint group, M, N, end, self;
vec4 next_a[LOADS_A], next_b[LOADS_B]; // on their way to the tiles
// Of each vector of a: where in the picture its row (or, for the weights'
// gradient, its tap) is, and the word that this is counted from.
int a_y[LOADS_A], a_x[LOADS_A];
uint a_at[LOADS_A], b_at[LOADS_B];
#if OP == BACKWARD_WEIGHT
uint pixel_at[LOADS_A], pixel_y[LOADS_A], pixel_x[LOADS_A]; // the example's words, and the place in it, of the vector's k
uint b_pixel[LOADS_B];
#else
uint tap_r, tap_s, tap_i, tap_k; // the k of all of this invocation's vectors
#endif

uint vector_a(uint j) { return self + j * LOCAL; }
uint along_a(uint j) { return (SAME_A ? self : vector_a(j)) % ALONG_A * VECTOR_A; }
uint across_a(uint j) { return SAME_A ? self / ALONG_A + j * (LOCAL / ALONG_A) : vector_a(j) / ALONG_A; }
uint along_b(uint j) { return (SAME_B ? self : self + j * LOCAL) % ALONG_B * VECTOR_B; }
uint across_b(uint j) { return SAME_B ? self / ALONG_B + j * (LOCAL / ALONG_B) : (self + j * LOCAL) / ALONG_B; }
bool in_a(uint j) { return COUNT_A % LOCAL == 0 || vector_a(j) < COUNT_A; }
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
  tap_k = self % ALONG_A * VECTOR_A;
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

// load fetches the vectors of the tile at k0 and moves on to the next tile's.
void load(uint n0, uint k0) {
  [[unroll]] for (uint j = 0; j < LOADS_A; j++) {
#if OP == FORWARD
    int y = a_y[j] + int(tap_r), x = a_x[j] + int(tap_s);
    bool ok = k0 + tap_k < end && uint(y) < HEIGHT && uint(x) < WIDTH;
    uint at = a_at[j] + (uint(y) * WIDTH + uint(x)) * CHANNELS + tap_i;
#elif OP == BACKWARD_INPUT
    int y = a_y[j] - int(tap_r), x = a_x[j] - int(tap_s);
    bool ok = k0 + tap_k < end;
    if (STRIDE > 1) {
      int qy = y / int(STRIDE), qx = x / int(STRIDE);
      ok = ok && y >= 0 && x >= 0 && qy * int(STRIDE) == y && qx * int(STRIDE) == x;
      y = qy; x = qx;
    }
    ok = ok && uint(y) < OUT_HEIGHT && uint(x) < OUT_WIDTH;
    uint at = a_at[j] + (uint(y) * OUT_WIDTH + uint(x)) * OUT_CHANNELS + tap_i;
#else
    int y = int(pixel_y[j] * STRIDE) + a_y[j], x = int(pixel_x[j] * STRIDE) + a_x[j];
    bool live = k0 + across_a(j) < end;
    bool ok = live && uint(y) < HEIGHT && uint(x) < WIDTH;
    uint at = pixel_at[j] + (uint(y) * WIDTH + uint(x)) * CHANNELS + a_at[j];
#endif
    next_a[j] = vec4(0);
    if (ok) {
      if (QUADS_A) next_a[j] = load_a4(at); else next_a[j].x = load_a(at);
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
#if OP == BACKWARD_INPUT
    bool ok = k0 + tap_k < end && n0 + across_b(j) < N;
    uint at = b_at[j] + (tap_r * KERNEL_W + tap_s) * (IN_G * OUT_CHANNELS) + tap_i;
#else
    bool ok = k0 + across_b(j) < end && n0 + along_b(j) < N;
    uint at = b_at[j];
#endif
    next_b[j] = vec4(0);
    if (ok) {
      if (QUADS_B) next_b[j] = load_b4(at); else next_b[j].x = load_b(at);
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

// The gradient of the bias is one more row of a, all ones, and of c.
bool ones(uint m) { return OP == BACKWARD_WEIGHT && m == M && with_bias != 0; }

// nearest rounds to what HALF has, by integers: a compiler may take a conversion there
// and back for nothing, and Mesa's does.
vec4 nearest(vec4 v) { return uintBitsToFloat(floatBitsToUint(v) + LAST / 2 & ~(LAST - 1)); }

// store puts what load fetched into one of the two tiles of each operand, piece by
// piece: what rounding leaves is exact in float32.
void store(uint tile, uint m0, uint k0) {
  [[unroll]] for (uint j = 0; j < LOADS_A; j++) {
    if (in_a(j)) {
#if OP == BACKWARD_WEIGHT
      const bool one = ones(m0 + along_a(j));
      if (one) next_a[j].x = k0 + across_a(j) < end ? 1.0 : 0.0;
#endif
      vec4 rest = next_a[j];
      [[unroll]] for (uint piece = 0; piece < PIECES; piece++) {
        const uint at = ((tile * PIECES + piece) * ROWS_A + across_a(j)) * STEP_A + along_a(j) / 4;
        const vec4 v = SPLIT && piece == 0 ? nearest(rest) : rest;
        if (QUADS_A) tile_a[at] = HALF4(v); else tile_a[at][along_a(j) % 4] = HALF(v.x);
        rest -= v;
      }
    }
  }
  [[unroll]] for (uint j = 0; j < LOADS_B; j++) {
    if (in_b(j)) {
      vec4 rest = next_b[j];
      [[unroll]] for (uint piece = 0; piece < PIECES; piece++) {
        const uint at = ((tile * PIECES + piece) * ROWS_B + across_b(j)) * STEP_B + along_b(j) / 4;
        const vec4 v = SPLIT && piece == 0 ? nearest(rest) : rest;
        if (QUADS_B) tile_b[at] = HALF4(v); else tile_b[at][along_b(j) % 4] = HALF(v.x);
        rest -= v;
      }
    }
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
  const uint my_m = gl_SubgroupID / ACROSS * EACH_M, my_n = gl_SubgroupID % ACROSS * EACH_N;

  coopmat<float, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator> sums[MATRICES_M * MATRICES_N];
  [[unroll]] for (uint i = 0; i < MATRICES_M * MATRICES_N; i++) sums[i] = coopmat<float, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator>(0.0);
  place(m0, n0, begin);
  load(n0, begin);
  store(0, m0, begin);
  barrier();
  uint tile = 0;
  [[dont_unroll]] for (uint k0 = begin; k0 < end; k0 += TILE_K) {
    const bool more = k0 + TILE_K < end;
    if (more) load(n0, k0 + TILE_K);
    [[unroll]] for (uint k = 0; k < TILE_K; k += MATRIX_K) {
      coopmat<HALF, gl_ScopeSubgroup, MATRIX_M, MATRIX_K, gl_MatrixUseA> ma[PIECES * MATRICES_M];
      [[unroll]] for (uint i = 0; i < PIECES * MATRICES_M; i++) {
        const uint m = my_m + i % MATRICES_M * MATRIX_M, first = (tile * PIECES + i / MATRICES_M) * ROWS_A;
#if OP == BACKWARD_WEIGHT
        coopMatLoad(ma[i], tile_a, (first + k) * STEP_A + m / 4, STEP_A, gl_CooperativeMatrixLayoutColumnMajor);
#else
        coopMatLoad(ma[i], tile_a, (first + m) * STEP_A + k / 4, STEP_A, gl_CooperativeMatrixLayoutRowMajor);
#endif
      }
      [[unroll]] for (uint j = 0; j < PIECES * MATRICES_N; j++) {
        const uint n = my_n + j % MATRICES_N * MATRIX_N, piece = j / MATRICES_N, first = (tile * PIECES + piece) * ROWS_B;
        coopmat<HALF, gl_ScopeSubgroup, MATRIX_K, MATRIX_N, gl_MatrixUseB> mb;
#if OP == BACKWARD_INPUT
        coopMatLoad(mb, tile_b, (first + n) * STEP_B + k / 4, STEP_B, gl_CooperativeMatrixLayoutColumnMajor);
#else
        coopMatLoad(mb, tile_b, (first + k) * STEP_B + n / 4, STEP_B, gl_CooperativeMatrixLayoutRowMajor);
#endif
        [[unroll]] for (uint i = 0; i < PIECES * MATRICES_M; i++) {
          const uint sum = i % MATRICES_M * MATRICES_N + j % MATRICES_N;
          if (piece + i / MATRICES_M < 2) sums[sum] = coopMatMulAdd(ma[i], mb, sums[sum]); // a1 · b1 is left out
        }
      }
    }
    tile = 1 - tile;
    if (more) store(tile, m0, k0 + TILE_K);
    barrier();
  }

  // Matrix by matrix through shared memory, where a subgroup's invocations take
  // quads of a row. Only the choice of the matrix is unrolled: with more in it,
  // compilers give up and put the sums into memory.
  const uint rows = OP == BACKWARD_WEIGHT && with_bias != 0 ? M + 1 : M;
  const uint mine = gl_SubgroupID * (MATRIX_M * MATRIX_N / 4);
  [[dont_unroll]] for (uint i = 0; i < MATRICES_M; i++) {
    [[dont_unroll]] for (uint j = 0; j < MATRICES_N; j++) {
      [[unroll]] for (uint l = 0; l < MATRICES_M * MATRICES_N; l++) {
        if (l == i * MATRICES_N + j) coopMatStore(sums[l], result, mine, MATRIX_N / 4, gl_CooperativeMatrixLayoutRowMajor);
      }
      barrier();
      for (uint q = gl_SubgroupInvocationID; q < MATRIX_M * MATRIX_N / 4; q += SUBGROUP) {
        const uint m = m0 + my_m + i * MATRIX_M + q / (MATRIX_N / 4), n = n0 + my_n + j * MATRIX_N + q % (MATRIX_N / 4) * 4;
        if (m < rows && n < N) {
          vec4 v = result[mine + q];
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
      barrier();
    }
  }
}
