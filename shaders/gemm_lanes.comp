// c[m][n] (+)= Σ_k a[m][k] · b[k][n] (+ bias[n]), each subgroup ROWS rows × LANES·(4 or 8) columns in registers; see include/gemm.glsl.
// For drivers that run on CPUs, where loads are dear and barriers ruinous: each
// element of a is loaded by one lane and broadcast to the others.
// variant gemm_lanes8_forward: -DLANES=8 -DOP=FORWARD
// variant gemm_lanes8_backward_input: -DLANES=8 -DOP=BACKWARD_INPUT
// variant gemm_lanes8_backward_weight: -DLANES=8 -DOP=BACKWARD_WEIGHT
// variant gemm_lanes8_pairs_forward: -DLANES=8 -DPAIRS -DOP=FORWARD
// variant gemm_lanes8_pairs_backward_input: -DLANES=8 -DPAIRS -DOP=BACKWARD_INPUT
// variant gemm_lanes8_pairs_backward_weight: -DLANES=8 -DPAIRS -DOP=BACKWARD_WEIGHT
#version 450
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_ballot : require
#ifdef PAIRS
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#endif
#include "include/pairs.glsl"
#include "include/gemm.glsl"

layout(local_size_x = LANES) in;
layout(constant_id = 4) const bool WIDE = true;     // 8 columns a lane, not 4
layout(constant_id = 5) const bool QUADS_A = true;  // four consecutive elements of a are one aligned load
layout(constant_id = 6) const bool QUADS_B = true;  // likewise b and c
layout(constant_id = 7) const bool UNIT_STRIDE = true;
layout(constant_id = 8) const uint ROWS = 16;       // 1, 2, 4, 8 or 16; 16 for the weights' gradient

layout(push_constant) uniform Args {
  uint batch, height, width, channels, out_height, out_width, out_channels;
  uint kernel_h, kernel_w, stride;
  int pad_h, pad_w;
  uint groups, x_pitch, y_pitch;
  uint accumulate, with_bias, relu;
  float mask_factor, momentum, decay, rate_factor;
};

#define MOST_ROWS 16
#define MOST_SLOTS (MOST_ROWS / LANES)
#define QUADS (MOST_ROWS / 4)
const uint SLOTS = (ROWS + LANES - 1) / LANES; // vectors of a that a lane keeps

#ifdef PAIRS
layout(binding = 0) readonly buffer A_Pairs { PACKED a_pairs[]; };
layout(binding = 1) readonly buffer B_Pairs { PACKED b_pairs[]; };
layout(binding = 2) buffer C_Pairs { PACKED c_pairs[]; };
vec4 quad_a(uint at) { return floats(a_pairs[at >> 2]); }
vec4 quad_b(uint at) { return floats(b_pairs[at >> 2]); }
vec4 quad_c(uint at) { return floats(c_pairs[at >> 2]); }
void store_quad(uint at, vec4 v) { c_pairs[at >> 2] = packed(v); }
#define LOAD_C4 quad_c
#define STORE_C4 store_quad
#else
vec4 quad_a(uint at) { return load_a4(at); }
vec4 quad_b(uint at) { return load_b4(at); }
#endif
#include "include/epilogue.glsl"

vec4 load_a4(bool ok, uint at) {
  vec4 v = quad_a(ok ? at : 0u);
  return ok ? v : vec4(0);
}
float load_a(bool ok, uint at) {
  float v = load_a(ok ? at : 0u);
  return ok ? v : 0.0;
}
vec4 load_b4(bool ok, uint at, uint left) {
  if (QUADS_B) return quad_b(ok ? at : 0u);
  vec4 v;
  v.x = load_b(ok ? at : 0u);
  v.y = load_b(ok && left > 1 ? at + 1 : 0u);
  v.z = load_b(ok && left > 2 ? at + 2 : 0u);
  v.w = load_b(ok && left > 3 ? at + 3 : 0u);
  return v;
}

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
  const uint n0 = gl_WorkGroupID.x * (LANES * (WIDE ? 8 : 4)) + lane * 4;
  const uint n1 = n0 + LANES * 4;
  const bool in0 = n0 < N, in1 = WIDE && n1 < N;
  const uint left0 = in0 ? N - n0 : 0, left1 = in1 ? N - n1 : 0;

#define EACH_ROW(F) F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9) F(10) F(11) F(12) F(13) F(14) F(15)
#define EACH_QUAD(F) F(0) F(1) F(2) F(3)
#define EACH_SLOT(F) F(0) F(1)
  vec4 c0[MOST_ROWS], c1[MOST_ROWS];
#define ZERO(I) if (I < ROWS) { c0[I] = vec4(0); c1[I] = vec4(0); }
  EACH_ROW(ZERO)

#if OP != BACKWARD_WEIGHT
  {
    // This lane loads rows m0 + lane, + LANES, …: where each begins.
    int row_y[MOST_SLOTS], row_x[MOST_SLOTS];
    uint row_at[MOST_SLOTS];
    bool row_ok[MOST_SLOTS];
#if OP == FORWARD
#define ROW(S) if (S < SLOTS) { \
      uint m = m0 + S * LANES + lane, n = m / pixels, p = m - n * pixels, y = p / out_width; \
      row_ok[S] = m < M && S * LANES + lane < ROWS; \
      row_y[S] = int(y * stride) - pad_h; \
      row_x[S] = int((p - y * out_width) * stride) - pad_w; \
      row_at[S] = n * x_pitch + group * in_g; \
    }
    const uint depth = in_g; // channels summed over
#else
#define ROW(S) if (S < SLOTS) { \
      uint m = m0 + S * LANES + lane, n = m / in_pixels, p = m - n * in_pixels, y = p / width; \
      row_ok[S] = m < M && S * LANES + lane < ROWS; \
      row_y[S] = int(y) + pad_h; \
      row_x[S] = int(p - y * width) + pad_w; \
      row_at[S] = n * y_pitch + group * out_g; \
    }
    const uint depth = out_g;
#endif
    EACH_SLOT(ROW)
    uint r = 0, s = 0, i = 0;                        // k = (r, s, i)
    for (uint k = 0; k < K; k += 4) {
      vec4 av[MOST_SLOTS];
      vec4 b0[4], b1[4];
      // Where element k of a row is, if it is.
#if OP == FORWARD
#define PLACE(S, ok, at) \
      int y = row_y[S] + int(r), x = row_x[S] + int(s); \
      bool ok = row_ok[S] && uint(y) < height && uint(x) < width; \
      uint at = row_at[S] + (uint(y) * width + uint(x)) * channels + i;
#else
#define PLACE(S, ok, at) \
      bool ok = row_ok[S]; \
      int y = row_y[S] - int(r), x = row_x[S] - int(s); \
      if (!UNIT_STRIDE) { \
        int qy = y / int(stride), qx = x / int(stride); \
        ok = ok && y >= 0 && x >= 0 && qy * int(stride) == y && qx * int(stride) == x; \
        y = qy; x = qx; \
      } \
      ok = ok && uint(y) < out_height && uint(x) < out_width; \
      uint at = row_at[S] + (uint(y) * out_width + uint(x)) * out_channels + i;
#endif
      // Row k of b for the forward pass; column k of w for the backward pass.
#define B_ROW(J) { \
        uint row = min(k + J, K - 1) * out_channels + group * out_g; \
        b0[J] = load_b4(in0, row + n0, left0); \
        if (WIDE) b1[J] = load_b4(in1, row + n1, left1); \
      }
#define B_COLUMN(J) { \
        uint at = ((r * kernel_w + s) * in_g) * out_channels + group * out_g + i; \
        vec4 v = quad_b(at + min(n0 + J, N - 1) * out_channels); \
        b0[0][J] = v.x; b0[1][J] = v.y; b0[2][J] = v.z; b0[3][J] = v.w; \
        if (WIDE) { \
          v = quad_b(at + min(n1 + J, N - 1) * out_channels); \
          b1[0][J] = v.x; b1[1][J] = v.y; b1[2][J] = v.z; b1[3][J] = v.w; \
        } \
      }
#define NEXT { \
        i++; \
        if (i == depth) { i = 0; s++; if (s == kernel_w) { s = 0; r++; } } \
      }
#define A_SCALAR(S, J) if (S < SLOTS) { PLACE(S, ok, at) av[S][J] = load_a(ok && k + J < K, at); }
#define B_SCALAR(J) { \
        uint at = ((r * kernel_w + s) * in_g) * out_channels + group * out_g + i; \
        bool ok = k + J < K; \
        b0[J].x = load_b(ok && left0 > 0 ? at + n0 * out_channels : 0u); \
        b0[J].y = load_b(ok && left0 > 1 ? at + (n0 + 1) * out_channels : 0u); \
        b0[J].z = load_b(ok && left0 > 2 ? at + (n0 + 2) * out_channels : 0u); \
        b0[J].w = load_b(ok && left0 > 3 ? at + (n0 + 3) * out_channels : 0u); \
        if (WIDE) { \
          b1[J].x = load_b(ok && left1 > 0 ? at + n1 * out_channels : 0u); \
          b1[J].y = load_b(ok && left1 > 1 ? at + (n1 + 1) * out_channels : 0u); \
          b1[J].z = load_b(ok && left1 > 2 ? at + (n1 + 2) * out_channels : 0u); \
          b1[J].w = load_b(ok && left1 > 3 ? at + (n1 + 3) * out_channels : 0u); \
        } \
      }
#if OP == FORWARD
      B_ROW(0) B_ROW(1) B_ROW(2) B_ROW(3)
#define B_LATE(J)
#else
      if (QUADS_A) { B_COLUMN(0) B_COLUMN(1) B_COLUMN(2) B_COLUMN(3) }
#define B_LATE(J) B_SCALAR(J)
#endif
      if (QUADS_A) {
#define A_QUAD(S) if (S < SLOTS) { PLACE(S, ok, at) av[S] = load_a4(ok, at); }
        EACH_SLOT(A_QUAD)
        i += 4;
        if (i == depth) { i = 0; s++; if (s == kernel_w) { s = 0; r++; } }
      } else {
#define A_SCALAR_0(S) A_SCALAR(S, 0)
#define A_SCALAR_1(S) A_SCALAR(S, 1)
#define A_SCALAR_2(S) A_SCALAR(S, 2)
#define A_SCALAR_3(S) A_SCALAR(S, 3)
#define A_SCALARS(J) EACH_SLOT(A_SCALAR_##J) B_LATE(J) NEXT
        A_SCALARS(0) A_SCALARS(1) A_SCALARS(2) A_SCALARS(3)
      }
#define MULTIPLY(I) if (I < ROWS) { \
        vec4 t = subgroupBroadcast(av[I / LANES], I % LANES); \
        c0[I] += t.x * b0[0]; c0[I] += t.y * b0[1]; c0[I] += t.z * b0[2]; c0[I] += t.w * b0[3]; \
        if (WIDE) { c1[I] += t.x * b1[0]; c1[I] += t.y * b1[1]; c1[I] += t.z * b1[2]; c1[I] += t.w * b1[3]; } \
      }
      EACH_ROW(MULTIPLY)
    }
  }
#else
  {
    // A block is ROWS rows × 4 pixels in quads of rows: unit u = pixel·QUADS + quad.
    // This lane loads units lane, lane + LANES, …, which all have the same rows.
    const uint quad = m0 + (lane % QUADS) * 4;
    int quad_y[4], quad_x[4];
    uint quad_at[4];
    bool quad_ok[4], quad_one[4];
#define QUAD(J) { \
      uint m = quad + J, rs = m / in_g, r = rs / kernel_w; \
      quad_ok[J] = m < M; quad_one[J] = m == M && with_bias != 0; \
      quad_y[J] = int(r) - pad_h; quad_x[J] = int(rs - r * kernel_w) - pad_w; \
      quad_at[J] = m - rs * in_g + group * in_g; \
    }
    QUAD(0) QUAD(1) QUAD(2) QUAD(3)
    // Each slot's pixel, stepped by 4 in the mixed radix (n, oh, ow).
    uint pn[MOST_SLOTS], py[MOST_SLOTS], px[MOST_SLOTS];
#define PIXEL(S) { \
      uint k = (S * LANES + lane) / QUADS; \
      pn[S] = k / pixels; uint p = k - pn[S] * pixels; \
      py[S] = p / out_width; px[S] = p - py[S] * out_width; \
    }
    EACH_SLOT(PIXEL)
    const uint dn = 4 / pixels, dp = 4 - dn * pixels, dy = dp / out_width, dx = dp - dy * out_width;
    // Rows k + 1, 2, 3 of b in the mixed radix (n, pixel).
    const uint e1n = 1 / pixels, e1p = 1 - e1n * pixels, e2n = 2 / pixels, e2p = 2 - e2n * pixels, e3n = 3 / pixels, e3p = 3 - e3n * pixels;
    uint bn = 0, bp = 0;
    for (uint k = 0; k < K; k += 4) {
      vec4 av[MOST_SLOTS];
      vec4 b0[4], b1[4];
#define B_PIXEL(J, EN, EP) { \
        uint n = bn + EN, p = bp + EP; \
        if (p >= pixels) { p -= pixels; n++; } \
        uint at = k + J < K ? n * y_pitch + p * out_channels + group * out_g : group * out_g; \
        b0[J] = load_b4(in0, at + n0, left0); \
        if (WIDE) b1[J] = load_b4(in1, at + n1, left1); \
      }
      B_PIXEL(0, 0, 0) B_PIXEL(1, e1n, e1p) B_PIXEL(2, e2n, e2p) B_PIXEL(3, e3n, e3p)
      bn += dn; bp += dp;
      if (bp >= pixels) { bp -= pixels; bn++; }
#define A_PLACE(S, J, ok, at) \
        int y = int(py[S] * stride) + quad_y[J], x = int(px[S] * stride) + quad_x[J]; \
        bool ok = quad_ok[J] && live && uint(y) < height && uint(x) < width; \
        uint at = pn[S] * x_pitch + (uint(y) * width + uint(x)) * channels + quad_at[J];
#define A_ONE(S, J) { A_PLACE(S, J, ok, at) av[S][J] = quad_one[J] && live ? 1.0 : load_a(ok, at); }
#define A_UNITS(S) { \
        bool live = k + ((S * LANES + lane) / QUADS) < K; \
        if (QUADS_A) { \
          A_PLACE(S, 0, ok, at) \
          av[S] = load_a4(ok, at); \
          if (quad_one[0] && live) av[S].x = 1.0; \
        } else { A_ONE(S, 0) A_ONE(S, 1) A_ONE(S, 2) A_ONE(S, 3) } \
        px[S] += dx; py[S] += dy; pn[S] += dn; \
        if (px[S] >= out_width) { px[S] -= out_width; py[S]++; } \
        if (py[S] >= out_height) { py[S] -= out_height; pn[S]++; } \
      }
      EACH_SLOT(A_UNITS)
#define MULTIPLY_UNIT(J, Q) { \
        vec4 t = subgroupBroadcast(av[(J * QUADS + Q) / LANES], (J * QUADS + Q) % LANES); \
        c0[Q * 4] += t.x * b0[J]; c0[Q * 4 + 1] += t.y * b0[J]; c0[Q * 4 + 2] += t.z * b0[J]; c0[Q * 4 + 3] += t.w * b0[J]; \
        if (WIDE) { c1[Q * 4] += t.x * b1[J]; c1[Q * 4 + 1] += t.y * b1[J]; c1[Q * 4 + 2] += t.z * b1[J]; c1[Q * 4 + 3] += t.w * b1[J]; } \
      }
#define MULTIPLY_QUAD(Q) MULTIPLY_UNIT(0, Q) MULTIPLY_UNIT(1, Q) MULTIPLY_UNIT(2, Q) MULTIPLY_UNIT(3, Q)
      EACH_QUAD(MULTIPLY_QUAD)
    }
  }
#endif

  // Where row m of c begins.
#define STORE_QUAD(v, ok, at, left) if (ok) { \
    if (QUADS_B) put4(at, v); \
    else for (uint j = 0; j < 4; j++) if (j < left) put(at + j, v[j]); \
  }
  vec4 bias0 = vec4(0), bias1 = vec4(0);
#if OP == FORWARD
  if (with_bias != 0) {
    for (uint j = 0; j < 4; j++) {
      if (j < left0) bias0[j] = bias[group * out_g + n0 + j];
      if (j < left1) bias1[j] = bias[group * out_g + n1 + j];
    }
  }
#endif
#if OP == FORWARD
#define C_AT(m) m / pixels * y_pitch + m % pixels * out_channels + group * out_g
#elif OP == BACKWARD_INPUT
#define C_AT(m) m / in_pixels * x_pitch + m % in_pixels * channels + group * in_g
#else
#define C_AT(m) m * out_channels + group * out_g
#endif
#define STORE(I, M_AT) { \
    uint m = M_AT; \
    if (m < M) { \
      uint at = C_AT(m); \
      vec4 v0 = c0[I] + bias0, v1 = c1[I] + bias1; \
      STORE_QUAD(v0, in0, at + n0, left0) \
      if (WIDE) STORE_QUAD(v1, in1, at + n1, left1) \
    } else if (OP == BACKWARD_WEIGHT && m == M && with_bias != 0) { \
      for (uint j = 0; j < 4; j++) { \
        uint at = group * out_g + n0 + j; \
        if (j < left0) bias[at] = c0[I][j] + (accumulate != 0 ? bias[at] : 0.0); \
        at += LANES * 4; \
        if (j < left1) bias[at] = c1[I][j] + (accumulate != 0 ? bias[at] : 0.0); \
      } \
    } \
  }
#if LANES == 8
  // Rolled, the rows moving up: unrolled it is what takes lavapipe the longest to compile.
#define UP(I) if (I + 1 < ROWS) { c0[I] = c0[(I + 1) % MOST_ROWS]; if (WIDE) c1[I] = c1[(I + 1) % MOST_ROWS]; }
  [[dont_unroll]] for (uint row = 0; row < ROWS; row++) {
    STORE(0, m0 + row)
    EACH_ROW(UP)
  }
#else
#define STORE_ROW(I) STORE(I, m0 + I)
  EACH_ROW(STORE_ROW)
#endif
}
