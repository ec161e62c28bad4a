// c[m][n] (+)= Σ_k a[m][k] · b[k][n] (+ bias[n]), each four lanes ROWS rows × 16 or 32 columns in registers; see include/gemm.glsl.
// variant gemm_quads_forward: -DOP=FORWARD
// variant gemm_quads_backward_input: -DOP=BACKWARD_INPUT
// variant gemm_quads_backward_weight: -DOP=BACKWARD_WEIGHT
// For drivers that run on CPUs with vectors of four lanes and a simple compiler:
// a load costs as much as twenty multiply-adds, a broadcast as ten, an exchange
// within a quad as one. So the four lanes load different rows of a and pass them
// on: after exchange X a lane has the rows of lane ^ X. Each sum is a chain of its
// own, whose links stay in a register. Addresses are computed without branches, with
// whose square SwiftShader's time and memory to compile grow here (gigabytes). docs/kernels.md has the measurements.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_quad : require
#include "include/gemm.glsl"

layout(local_size_x = 4) in;
layout(constant_id = 4) const uint ROWS = 16;       // 1, 2, 4, 8, 12 or 16; 16 for the weights' gradient
layout(constant_id = 5) const bool WIDE = false;    // 8 columns a lane, not 4
layout(constant_id = 6) const bool QUADS_A = true;  // four consecutive elements of a are one aligned load
layout(constant_id = 7) const bool QUADS_B = true;  // likewise b
layout(constant_id = 8) const bool QUADS_C = true;  // likewise c
layout(constant_id = 9) const bool UNIT_STRIDE = true;
layout(constant_id = 10) const bool PADDED = true;  // some rows of a lie partly outside of the picture

layout(push_constant) uniform Args {
  uint batch, height, width, channels, out_height, out_width, out_channels;
  uint kernel_h, kernel_w, stride;
  int pad_h, pad_w;
  uint groups, x_pitch, y_pitch;
  uint accumulate, with_bias, relu;
  float mask_factor, momentum, decay, rate_factor;
};
#include "include/epilogue.glsl"

// Words are counted in quads where loads are quads: a shift costs as much as a load.
const uint UNIT_A = QUADS_A ? 4 : 1, UNIT_B = QUADS_B ? 4 : 1;
const uint COLUMNS = WIDE ? 8 : 4;
const uint SLOTS = (ROWS + 3) / 4;              // vectors of a that a lane keeps
const uint EXCHANGES = ROWS < 4 ? ROWS : 4;     // rows of a slot: lanes beyond them repeat others

vec4 keep(vec4 v, uint mask) { return uintBitsToFloat(floatBitsToUint(v) & mask); }
float keep(float v, uint mask) { return uintBitsToFloat(floatBitsToUint(v) & mask); }
vec4 exchange(vec4 v, const uint x) {
  if (x == 1) return subgroupQuadSwapHorizontal(v);
  if (x == 2) return subgroupQuadSwapVertical(v);
  if (x == 3) return subgroupQuadSwapDiagonal(v);
  return v;
}

#define EACH(F) F(0) F(1) F(2) F(3)

void main() {
  const uint lane = gl_LocalInvocationID.x;
  const uint group = gl_WorkGroupID.z;
  const uint in_g = channels / groups, out_g = out_channels / groups;
  const uint pixels = out_height * out_width, in_pixels = height * width;
#if OP == FORWARD
  const uint M = batch * pixels, N = out_g, K = kernel_h * kernel_w * in_g;
#elif OP == BACKWARD_INPUT
  const uint M = batch * in_pixels, N = in_g, K = kernel_h * kernel_w * out_g;
#else
  const uint M = kernel_h * kernel_w * in_g, N = out_g, K = batch * pixels;
#endif
  const uint m0 = gl_WorkGroupID.y * ROWS;
  // A lane's columns are n0 … n0 + 3, and n1 … n1 + 3. Columns and rows that are
  // not there repeat others and are not stored.
  const uint n0 = gl_WorkGroupID.x * (4 * COLUMNS) + lane * 4, n1 = n0 + 16;
  float s0[32], s1[32], s2[32], s3[32]; // of slot (or exchange) 0 … 3, by [row][column]
  vec4 av[4];        // the slots' elements of a
  vec4 b0[4], b1[4]; // what the columns from n0 and from n1 are multiplied by

#define CLEAR_4(C, I) C[I] = 0; C[I + 1] = 0; C[I + 2] = 0; C[I + 3] = 0;
#define CLEAR(S) if (S < SLOTS) { CLEAR_4(s##S, 0) CLEAR_4(s##S, 8) CLEAR_4(s##S, 16) CLEAR_4(s##S, 24) if (WIDE) { CLEAR_4(s##S, 4) CLEAR_4(s##S, 12) CLEAR_4(s##S, 20) CLEAR_4(s##S, 28) } }
  EACH(CLEAR)

#if OP != BACKWARD_WEIGHT
  // The row of slot S is m0 + 4S + lane: where its picture begins, and the place in it.
  int row_y[4], row_x[4];
  uint row_at[4];
#if OP == FORWARD
  const uint depth = in_g / UNIT_A; // of a tap
#define ROW(S) if (S < SLOTS) { \
    uint m = min(m0 + S * 4 + lane % EXCHANGES, M - 1), n = m / pixels, p = m - n * pixels, y = p / out_width; \
    row_y[S] = int(y * stride) - pad_h; \
    row_x[S] = int((p - y * out_width) * stride) - pad_w; \
    row_at[S] = (n * x_pitch + group * in_g) / UNIT_A + uint(row_y[S] * int(width) + row_x[S]) * (channels / UNIT_A); \
  }
#else
  const uint depth = out_g / UNIT_A;
#define ROW(S) if (S < SLOTS) { \
    uint m = min(m0 + S * 4 + lane % EXCHANGES, M - 1), n = m / in_pixels, p = m - n * in_pixels, y = p / width; \
    row_y[S] = int(y) + pad_h; \
    row_x[S] = int(p - y * width) + pad_w; \
    row_at[S] = (n * y_pitch + group * out_g) / UNIT_A; \
    if (UNIT_STRIDE) row_at[S] += uint(row_y[S] * int(out_width) + row_x[S]) * (out_channels / UNIT_A); \
  }
#endif
  EACH(ROW)
#if OP == FORWARD
  const uint b_step = out_channels / UNIT_B, b_group = group * out_g / UNIT_B;
#else
  const uint b_step = out_channels / UNIT_A, b_group = group * out_g / UNIT_A;
#endif
  // Where a lane's columns are in b.
#define COLUMN(J) at0[J] = min(n0 + J, N - 1); at1[J] = min(n1 + J, N - 1);
  uint at0[4], at1[4];
  EACH(COLUMN)
#if OP == FORWARD
#define COLUMN_AT(J) at0[J] = at0[J] / UNIT_B + b_group; at1[J] = at1[J] / UNIT_B + b_group;
#else
#define COLUMN_AT(J) at0[J] = at0[J] * b_step + b_group; at1[J] = at1[J] * b_step + b_group;
#endif
  EACH(COLUMN_AT)

  uint r = 0, s = 0, i = 0; // k = (r, s, i), i in units of a
  uint tap = 0;             // where tap (r, s) of w begins, in units of a, for the backward pass
  for (uint k = 0; k < K; k += 4) {
    // Where the current k of a row is, and all ones if it is.
#if OP == FORWARD
#define PLACE(S, at, mask) \
    uint at = row_at[S] + (r * width + s) * (channels / UNIT_A) + i, mask = 0xffffffffu; \
    if (PADDED) { \
      bool ok = all(lessThan(uvec2(row_y[S] + int(r), row_x[S] + int(s)), uvec2(height, width))); \
      mask = ok ? 0xffffffffu : 0u; at &= mask; \
    }
#else
#define PLACE(S, at, mask) \
    uint at, mask; \
    if (UNIT_STRIDE) { \
      at = row_at[S] - (r * out_width + s) * (out_channels / UNIT_A) + i; mask = 0xffffffffu; \
      if (PADDED) { \
        bool ok = all(lessThan(uvec2(row_y[S] - int(r), row_x[S] - int(s)), uvec2(out_height, out_width))); \
        mask = ok ? 0xffffffffu : 0u; at &= mask; \
      } \
    } else { \
      int y = row_y[S] - int(r), x = row_x[S] - int(s), qy = y / int(stride), qx = x / int(stride); \
      bool ok = all(bvec3(all(equal(ivec2(qy, qx) * int(stride), ivec2(y, x))), all(greaterThanEqual(ivec2(y, x), ivec2(0))), all(lessThan(uvec2(qy, qx), uvec2(out_height, out_width))))); \
      mask = ok ? 0xffffffffu : 0u; \
      at = row_at[S] + (uint(qy) * out_width + uint(qx)) * (out_channels / UNIT_A) + i & mask; \
    }
#endif
#define NEXT { \
      i++; \
      uint round = uint(i == depth); \
      i -= round * depth; tap += round * in_g * b_step; s += round; \
      round = uint(s == kernel_w); \
      s -= round * kernel_w; r += round; \
    }
#if OP == FORWARD
    // Row k + J of b; beyond the last one a is zero.
#define B_ROW(J) { \
      uint row = (QUADS_A ? k + J : min(k + J, K - 1)) * b_step; \
      if (QUADS_B) { \
        b0[J] = load_quad_b(row + at0[0]); if (WIDE) b1[J] = load_quad_b(row + at1[0]); \
      } else { \
        b0[J] = vec4(load_b(row + at0[0]), load_b(row + at0[1]), load_b(row + at0[2]), load_b(row + at0[3])); \
        if (WIDE) b1[J] = vec4(load_b(row + at1[0]), load_b(row + at1[1]), load_b(row + at1[2]), load_b(row + at1[3])); \
      } \
    }
    EACH(B_ROW)
#define B_SCALAR(J)
#else
    // Column J of b along k.
#define B_COLUMN(J) b0[J] = load_quad_b(tap + at0[J] + i); if (WIDE) b1[J] = load_quad_b(tap + at1[J] + i);
#define B_SCALAR_COLUMN(C, J) b0[C][J] = load_b(tap + at0[C] + i & in_k); if (WIDE) b1[C][J] = load_b(tap + at1[C] + i & in_k);
#define B_SCALAR(J) { uint in_k = k + J < K ? 0xffffffffu : 0u; B_SCALAR_COLUMN(0, J) B_SCALAR_COLUMN(1, J) B_SCALAR_COLUMN(2, J) B_SCALAR_COLUMN(3, J) }
    if (QUADS_A) { EACH(B_COLUMN) }
#endif
    if (QUADS_A) {
#define A_QUAD(S) if (S < SLOTS) { PLACE(S, at, mask) av[S] = load_quad_a(at); if (PADDED || !UNIT_STRIDE) av[S] = keep(av[S], mask); }
      EACH(A_QUAD)
      NEXT
    } else {
#define A_SCALAR(S, J) if (S < SLOTS) { PLACE(S, at, mask) mask &= k + J < K ? 0xffffffffu : 0u; av[S][J] = keep(load_a(at & mask), mask); }
#define A_SCALARS(J) A_SCALAR(0, J) A_SCALAR(1, J) A_SCALAR(2, J) A_SCALAR(3, J) B_SCALAR(J) NEXT
      EACH(A_SCALARS)
    }
#if OP == FORWARD
#define SUM(C, I, B, Q, T) C[I] = C[I] + B[0][Q] * T.x + B[1][Q] * T.y + B[2][Q] * T.z + B[3][Q] * T.w;
#else
#define SUM(C, I, B, Q, T) C[I] = C[I] + B[Q].x * T.x + B[Q].y * T.y + B[Q].z * T.z + B[Q].w * T.w;
#endif
#define SUMS(C, X, S) { \
      vec4 t = exchange(av[S], X); \
      SUM(C, X * 8, b0, 0, t) SUM(C, X * 8 + 1, b0, 1, t) SUM(C, X * 8 + 2, b0, 2, t) SUM(C, X * 8 + 3, b0, 3, t) \
      if (WIDE) { SUM(C, X * 8 + 4, b1, 0, t) SUM(C, X * 8 + 5, b1, 1, t) SUM(C, X * 8 + 6, b1, 2, t) SUM(C, X * 8 + 7, b1, 3, t) } \
    }
#define MULTIPLY(S) if (S < SLOTS) { SUMS(s##S, 0, S) if (EXCHANGES > 1) SUMS(s##S, 1, S) if (EXCHANGES > 2) { SUMS(s##S, 2, S) SUMS(s##S, 3, S) } }
    EACH(MULTIPLY)
  }
#else
  // A lane has rows quad … quad + 3, each of which is a tap (r, s, i); after exchange
  // X those of lane ^ X. Slot J is pixel k + J, the same for all lanes.
  const uint quad = m0 + lane * 4;
  int row_y[4], row_x[4];
  uint row_at[4], row_one[4], row_mask[4]; // row M sums the gradient of the bias: a is one
#define ROW(J) { \
    uint m = quad + J, rs = min(m, M - 1) / in_g, r = rs / kernel_w; \
    row_mask[J] = m < M ? 0xffffffffu : 0u; \
    row_one[J] = m == M && with_bias != 0 ? 0x3f800000u : 0u; \
    row_y[J] = int(r) - pad_h; row_x[J] = int(rs - r * kernel_w) - pad_w; \
    row_at[J] = (min(m, M - 1) - rs * in_g + group * in_g) / UNIT_A + uint(row_y[J] * int(width) + row_x[J]) * (channels / UNIT_A); \
  }
  EACH(ROW)
  uint py = 0, px = 0, pn = 0, example = 0; // pixel k of the pictures, in a
  uint b_at = group * out_g / UNIT_B;       // and in b
  const uint b_step = out_channels / UNIT_B, b_skip = (y_pitch - pixels * out_channels) / UNIT_B;
#define COLUMN(J) at0[J] = min(n0 + J, N - 1) / UNIT_B; at1[J] = min(n1 + J, N - 1) / UNIT_B;
  uint at0[4], at1[4];
  EACH(COLUMN)
  for (uint k = 0; k < K; k += 4) {
#define A_MASK(J, ROW) \
      uint mask = row_mask[ROW] & live; \
      if (PADDED) mask &= all(lessThan(uvec2(int(py) + row_y[ROW], int(px) + row_x[ROW]), uvec2(height, width))) ? 0xffffffffu : 0u;
#define A_ONE(J, ROW) { A_MASK(J, ROW) av[J][ROW] = uintBitsToFloat(floatBitsToUint(load_a(place + row_at[ROW] & mask)) & mask | row_one[ROW] & live); }
#define PIXEL(J) { \
      uint live = k + J < K ? 0xffffffffu : 0u; \
      uint row = b_at & live; \
      if (QUADS_B) { \
        b0[J] = load_quad_b(row + at0[0]); if (WIDE) b1[J] = load_quad_b(row + at1[0]); \
      } else { \
        b0[J] = vec4(load_b(row + at0[0]), load_b(row + at0[1]), load_b(row + at0[2]), load_b(row + at0[3])); \
        if (WIDE) b1[J] = vec4(load_b(row + at1[0]), load_b(row + at1[1]), load_b(row + at1[2]), load_b(row + at1[3])); \
      } \
      uint place = example + (py * width + px) * (channels / UNIT_A); \
      if (QUADS_A) { \
        A_MASK(J, 0) \
        av[J] = keep(load_quad_a(place + row_at[0] & mask), mask); \
        av[J].x = uintBitsToFloat(floatBitsToUint(av[J].x) | row_one[0] & live); \
      } else { A_ONE(J, 0) A_ONE(J, 1) A_ONE(J, 2) A_ONE(J, 3) } \
      b_at += b_step; px += stride; \
      if (px == out_width * stride) { \
        px = 0; py += stride; \
        if (py == out_height * stride) { py = 0; example += x_pitch / UNIT_A; b_at += b_skip; } \
      } \
    }
    EACH(PIXEL)
#define SUM(C, I, B, Q, J) C[I] = C[I] + B[0][Q] * t0[J] + B[1][Q] * t1[J] + B[2][Q] * t2[J] + B[3][Q] * t3[J];
#define SUMS(C, J) \
      SUM(C, J * 8, b0, 0, J) SUM(C, J * 8 + 1, b0, 1, J) SUM(C, J * 8 + 2, b0, 2, J) SUM(C, J * 8 + 3, b0, 3, J) \
      if (WIDE) { SUM(C, J * 8 + 4, b1, 0, J) SUM(C, J * 8 + 5, b1, 1, J) SUM(C, J * 8 + 6, b1, 2, J) SUM(C, J * 8 + 7, b1, 3, J) }
#define MULTIPLY(X) { \
      vec4 t0 = exchange(av[0], X), t1 = exchange(av[1], X), t2 = exchange(av[2], X), t3 = exchange(av[3], X); \
      SUMS(s##X, 0) SUMS(s##X, 1) SUMS(s##X, 2) SUMS(s##X, 3) \
    }
    EACH(MULTIPLY)
  }
#endif

  // Sums go to memory, for a loop of little code: [4·slot + exchange] is row ^ lane.
  float sums[16 * 8];
#define SPILL_4(S, I) sums[S * 32 + I] = s##S[I]; sums[S * 32 + I + 1] = s##S[I + 1]; sums[S * 32 + I + 2] = s##S[I + 2]; sums[S * 32 + I + 3] = s##S[I + 3];
#define SPILL(S) if (S < SLOTS) { SPILL_4(S, 0) SPILL_4(S, 8) SPILL_4(S, 16) SPILL_4(S, 24) if (WIDE) { SPILL_4(S, 4) SPILL_4(S, 12) SPILL_4(S, 20) SPILL_4(S, 28) } }
  EACH(SPILL)
  for (uint row = 0; row < ROWS; row++) {
#if OP == BACKWARD_WEIGHT
    const uint m = m0 + (row ^ lane * 4);
    uint at = m * out_channels + group * out_g;
#elif OP == FORWARD
    const uint m = m0 + (row ^ lane % EXCHANGES);
    uint at = m / pixels * y_pitch + m % pixels * out_channels + group * out_g;
#else
    const uint m = m0 + (row ^ lane % EXCHANGES);
    uint at = m / in_pixels * x_pitch + m % in_pixels * channels + group * in_g;
#endif
    for (uint j = 0; j < COLUMNS; j += 4) {
      const uint n = n0 + j * 4;
      vec4 v = vec4(sums[row * 8 + j], sums[row * 8 + j + 1], sums[row * 8 + j + 2], sums[row * 8 + j + 3]);
      if (n < N && m < M) {
#if OP == FORWARD
        if (with_bias != 0) for (uint l = 0; l < 4; l++) v[l] += bias[group * out_g + min(n + l, N - 1)];
#endif
        if (QUADS_C) put4(at + n, v);
        else for (uint l = 0; l < 4; l++) if (n + l < N) put(at + n + l, v[l]);
      } else if (OP == BACKWARD_WEIGHT && m == M && with_bias != 0) {
        for (uint l = 0; l < 4; l++) if (n + l < N) {
          const uint to = group * out_g + n + l;
          bias[to] = v[l] + (accumulate != 0 ? bias[to] : 0.0);
        }
      }
    }
  }
}
