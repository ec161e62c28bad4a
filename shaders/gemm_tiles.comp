// c[m][n] (+)= Σ_k a[m][k] · b[k][n] (+ bias[n]), each workgroup a TILE_M × TILE_N tile through shared memory; see include/gemm.glsl.
// variant gemm_tiles_forward: -DOP=FORWARD
// variant gemm_tiles_backward_input: -DOP=BACKWARD_INPUT
// variant gemm_tiles_backward_weight: -DOP=BACKWARD_WEIGHT
// For GPUs, and with its smallest tile for every Vulkan 1.1 device. While a
// tile is multiplied the next one is on its way to registers. Where the tiles
// are too few to fill a GPU, k is split among workgroups, whose parts of the sum
// reduce.comp adds up.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "include/gemm.glsl"

layout(local_size_x_id = 0) in; // (TILE_M / EACH_M) · (TILE_N / EACH_N)
layout(constant_id = 4) const bool QUADS_A = false; // four consecutive elements of a are one aligned load
layout(constant_id = 5) const bool QUADS_B = false; // likewise b
layout(constant_id = 6) const bool QUADS_C = false; // likewise c
layout(constant_id = 7) const uint TILE_M = 64;
layout(constant_id = 8) const uint TILE_N = 32;
layout(constant_id = 9) const uint TILE_K = 16;
layout(constant_id = 10) const uint EACH_M = 4; // rows and columns of one invocation, whole quads
layout(constant_id = 11) const uint EACH_N = 4;
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
layout(constant_id = 22) const bool ROLLED = false; // keep the loop over a tile's k: unrolled, software drivers compile it for seconds

layout(push_constant) uniform Args {
  uint batch;
  int pad_h, pad_w;
  uint x_pitch, y_pitch;
  uint accumulate, with_bias, relu;
  uint split_k, split_pitch; // k of one split, a multiple of TILE_K; words of c from split to split
};

const uint IN_G = CHANNELS / GROUPS, OUT_G = OUT_CHANNELS / GROUPS;
const uint PIXELS = OUT_HEIGHT * OUT_WIDTH, IN_PIXELS = HEIGHT * WIDTH;
const uint ACROSS = TILE_N / EACH_N, DOWN = TILE_M / EACH_M; // invocations of a tile
const uint LOCAL = ACROSS * DOWN;
const uint STEP_A = TILE_M / 4 + 1, STEP_B = TILE_N / 4 + 1; // quads from k to k: one more against bank conflicts

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
const uint DOWN_K = TILE_K % PIXELS / OUT_WIDTH, ALONG_K = TILE_K % PIXELS % OUT_WIDTH; // a tile's k in rows and columns of pixels
const int NOWHERE = -0x1000000;

shared vec4 tile_a[2 * TILE_K * STEP_A];
shared vec4 tile_b[2 * TILE_K * STEP_B];

uint group, M, N, end, self;
vec4 sums[EACH_M * EACH_N / 4];
vec4 next_a[LOADS_A], next_b[LOADS_B]; // on their way to the tiles
// Of each vector of a: where in the picture its row is, and the word that this is
// counted from. For the weights' gradient: where its pixel under its tap is, where
// that comes to after the last pixel, and its word.
int a_y[LOADS_A], a_x[LOADS_A];
uint a_at[LOADS_A], b_at[LOADS_B];
#if OP == BACKWARD_WEIGHT
int end_y[LOADS_A], end_x[LOADS_A];
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
    int y = m < M ? int(rs / KERNEL_W) - pad_h : NOWHERE, x = int(rs % KERNEL_W) - pad_w;
    a_y[j] = y + int(p / OUT_WIDTH * STRIDE);
    a_x[j] = x + int(p % OUT_WIDTH * STRIDE);
    a_at[j] = k / PIXELS * x_pitch + uint(a_y[j] * int(WIDTH) + a_x[j]) * CHANNELS + group * IN_G + m % IN_G;
    end_y[j] = y + int(OUT_HEIGHT * STRIDE);
    end_x[j] = x + int(OUT_WIDTH * STRIDE);
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
    bool ok = k0 + across_a(j) < end && uint(a_y[j]) < HEIGHT && uint(a_x[j]) < WIDTH;
    uint at = a_at[j];
#endif
    next_a[j] = vec4(0);
    if (ok) {
      if (QUADS_A) next_a[j] = load_a4(at); else next_a[j].x = load_a(at);
    }
#if OP == BACKWARD_WEIGHT
    a_y[j] += int(DOWN_K * STRIDE);
    a_x[j] += int(ALONG_K * STRIDE);
    a_at[j] += TILE_K / PIXELS * x_pitch + (DOWN_K * WIDTH + ALONG_K) * STRIDE * CHANNELS;
    if (a_x[j] >= end_x[j]) {
      a_x[j] -= int(OUT_WIDTH * STRIDE); a_y[j] += int(STRIDE);
      a_at[j] += (WIDTH - OUT_WIDTH) * STRIDE * CHANNELS; // 2^32 too much where WIDTH is less
    }
    if (a_y[j] >= end_y[j]) { a_y[j] -= int(OUT_HEIGHT * STRIDE); a_at[j] += x_pitch - OUT_HEIGHT * STRIDE * WIDTH * CHANNELS; }
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

// store puts what load fetched into one of the two tiles of each operand.
void store(uint tile, uint m0, uint k0) {
  [[unroll]] for (uint j = 0; j < LOADS_A; j++) {
    if (!in_a(j)) continue;
#if OP == BACKWARD_WEIGHT
    uint m = along_a(j), k = across_a(j);
    if (ones(m0 + m)) next_a[j].x = k0 + k < end ? 1.0 : 0.0;
    if (QUADS_A) tile_a[(tile + k) * STEP_A + m / 4] = next_a[j]; else tile_a[(tile + k) * STEP_A + m / 4][m % 4] = next_a[j].x;
#else
    uint m = across_a(j);
    [[unroll]] for (uint i = 0; i < VECTOR_A; i++) tile_a[(tile + tap_k + i) * STEP_A + m / 4][m % 4] = next_a[j][i];
#endif
  }
  [[unroll]] for (uint j = 0; j < LOADS_B; j++) {
    if (!in_b(j)) continue;
#if OP == BACKWARD_INPUT
    uint n = across_b(j);
    [[unroll]] for (uint i = 0; i < VECTOR_B; i++) tile_b[(tile + tap_k + i) * STEP_B + n / 4][n % 4] = next_b[j][i];
#else
    uint n = along_b(j), k = across_b(j);
    if (QUADS_B) tile_b[(tile + k) * STEP_B + n / 4] = next_b[j]; else tile_b[(tile + k) * STEP_B + n / 4][n % 4] = next_b[j].x;
#endif
  }
}

void multiply(uint at_a, uint at_b) {
  vec4 ra[EACH_M / 4], rb[EACH_N / 4];
  [[unroll]] for (uint i = 0; i < EACH_M / 4; i++) ra[i] = tile_a[at_a + i * DOWN];
  [[unroll]] for (uint j = 0; j < EACH_N / 4; j++) rb[j] = tile_b[at_b + j * ACROSS];
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
  // In quads; the next one of an invocation is DOWN (or ACROSS) quads on. Runs of
  // 32 invocations work on compact blocks, so that they read few different quads, and
  // neighbours on one column, so that halves of a run read each quad of b once.
  uint wide = ACROSS, high = 1, pair = 1;
  if (ACROSS % 8 == 0 && DOWN % 4 == 0) { wide = 8; high = 4; pair = 2; }
  else if (ACROSS % 4 == 0 && DOWN % 8 == 0) { wide = 4; high = 8; pair = 2; }
  const uint run = self / (wide * high), within = self % (wide * high);
  const uint my_m = run / (ACROSS / wide) * high + within / (pair * wide) * pair + within % pair;
  const uint my_n = run % (ACROSS / wide) * wide + within / pair % wide;

  [[unroll]] for (uint j = 0; j < EACH_N / 4; j++) {
    vec4 first = vec4(0);
#if OP == FORWARD
    if (with_bias != 0) {
      const uint n = n0 + (my_n + j * ACROSS) * 4;
      [[unroll]] for (uint l = 0; l < 4; l++) if (n + l < N) first[l] = bias[group * OUT_G + n + l];
    }
#endif
    [[unroll]] for (uint i = 0; i < EACH_M; i++) sums[i * (EACH_N / 4) + j] = first;
  }
  place(m0, n0, begin);
  load(n0, begin);
  store(0, m0, begin);
  barrier();
  uint tile = 0;
  [[dont_unroll]] for (uint k0 = begin; k0 < end; k0 += TILE_K) {
    const bool more = k0 + TILE_K < end;
    if (more) load(n0, k0 + TILE_K);
    if (ROLLED) {
      [[dont_unroll]] for (uint k = 0; k < TILE_K; k++) multiply((tile + k) * STEP_A + my_m, (tile + k) * STEP_B + my_n);
    } else {
      [[unroll]] for (uint k = 0; k < TILE_K; k++) multiply((tile + k) * STEP_A + my_m, (tile + k) * STEP_B + my_n);
    }
    tile = TILE_K - tile;
    if (more) store(tile, m0, k0 + TILE_K);
    barrier();
  }

  // Short, so that compilers unroll it all and the sums stay in registers.
  const uint rows = OP == BACKWARD_WEIGHT && with_bias != 0 ? M + 1 : M;
  [[unroll]] for (uint i = 0; i < EACH_M; i++) {
    const uint m = m0 + (my_m + i / 4 * DOWN) * 4 + i % 4;
#if OP == FORWARD
    const uint row = m / PIXELS * y_pitch + m % PIXELS * OUT_CHANNELS + group * OUT_G + split * split_pitch;
#elif OP == BACKWARD_INPUT
    const uint row = m / IN_PIXELS * x_pitch + m % IN_PIXELS * CHANNELS + group * IN_G + split * split_pitch;
#else
    const uint row = m * OUT_CHANNELS + group * OUT_G + split * split_pitch;
#endif
    [[unroll]] for (uint j = 0; j < EACH_N / 4; j++) {
      const uint n = n0 + (my_n + j * ACROSS) * 4;
      vec4 v = sums[i * (EACH_N / 4) + j];
      if (m < rows && n < N) {
        if (QUADS_C) {
          if (accumulate != 0) v += load_c4(row + n);
          store_c4(row + n, relu != 0 ? max(v, vec4(0)) : v);
        } else {
          [[unroll]] for (uint l = 0; l < 4; l++) {
            if (n + l < N) {
              if (accumulate != 0) v[l] += load_c(row + n + l);
              store_c(row + n + l, relu != 0 ? max(v[l], 0.0) : v[l]);
            }
          }
        }
      }
    }
  }
}
