// c[m][n] (+)= Σ_k a[m][k] · b[k][n] (+ bias[n]) for the few rows m of a linear layer's small batch, each weight loaded once for all of them; see include/gemm.glsl.
// variant gemm_vector_forward: -DOP=FORWARD
// variant gemm_vector_backward_input: -DOP=BACKWARD_INPUT
// For GPUs. Weights are all that such a product moves, so an invocation has four
// columns of all rows and a part of k, and neighbours read neighbouring weights. The
// workgroup's parts of a sum meet in shared memory, those of several workgroups in
// reduce.comp, in their order.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "include/gemm.glsl"

layout(local_size_x_id = 0) in; // ACROSS · DOWN
layout(constant_id = 4) const bool QUADS_A = false; // four consecutive elements of a are one aligned load
layout(constant_id = 5) const bool QUADS_B = false; // likewise b
layout(constant_id = 6) const bool QUADS_C = false; // likewise c
layout(constant_id = 7) const uint ROWS = 1;
layout(constant_id = 8) const uint ACROSS = 32; // invocations along n
layout(constant_id = 9) const uint DOWN = 4;    // along k: they share a sum

layout(push_constant) uniform Args {
  uint batch, height, width, channels, out_height, out_width, out_channels;
  uint kernel_h, kernel_w, stride;
  int pad_h, pad_w;
  uint groups, x_pitch, y_pitch;
  uint accumulate, with_bias, relu;
  uint split_k, split_pitch; // k of one split, a multiple of 4; words of c from split to split
  float mask_factor, momentum, decay, rate_factor;
};
#include "include/epilogue.glsl"

shared vec4 parts[ROWS * DOWN * ACROSS];

void main() {
  const uint self = gl_LocalInvocationID.x;
#if OP == FORWARD
  const uint N = out_channels, K = channels, pitch_a = x_pitch, pitch_c = y_pitch;
  const uint across = self % ACROSS, down = self / ACROSS;
#else
  const uint N = channels, K = out_channels, pitch_a = y_pitch, pitch_c = x_pitch;
  const uint across = self / DOWN, down = self % DOWN; // weights follow each other along k
#endif
  const uint n0 = gl_WorkGroupID.x * (ACROSS * 4), n = n0 + across * 4;
  const uint split = gl_WorkGroupID.z, begin = split * split_k;
  const uint end = n < N ? min(K, begin + split_k) : 0;

  vec4 sums[ROWS];
  [[unroll]] for (uint m = 0; m < ROWS; m++) sums[m] = vec4(0);
  [[dont_unroll]] for (uint k = begin + down * 4; k < end; k += DOWN * 4) {
    // Beyond the last k a is zero and b that of the last one; so is b beyond the last n.
    vec4 b[4]; // rows k + j for the forward pass, columns n + j for the backward pass
#if OP == FORWARD
    [[unroll]] for (uint j = 0; j < 4; j++) {
      const uint row = (QUADS_A ? k + j : min(k + j, K - 1)) * out_channels;
      if (QUADS_B) b[j] = load_b4(row + n);
      else [[unroll]] for (uint l = 0; l < 4; l++) b[j][l] = load_b(row + min(n + l, N - 1));
    }
#else
    [[unroll]] for (uint j = 0; j < 4; j++) {
      const uint row = min(n + j, N - 1) * out_channels;
      if (QUADS_B) b[j] = load_b4(row + k);
      else [[unroll]] for (uint l = 0; l < 4; l++) b[j][l] = load_b(row + min(k + l, K - 1));
    }
#endif
    [[unroll]] for (uint m = 0; m < ROWS; m++) {
      vec4 v;
      if (QUADS_A) v = load_a4(m * pitch_a + k);
      else [[unroll]] for (uint l = 0; l < 4; l++) v[l] = k + l < K ? load_a(m * pitch_a + k + l) : 0.0;
#if OP == FORWARD
      sums[m] += v.x * b[0]; sums[m] += v.y * b[1]; sums[m] += v.z * b[2]; sums[m] += v.w * b[3];
#else
      sums[m] += vec4(dot(v, b[0]), dot(v, b[1]), dot(v, b[2]), dot(v, b[3]));
#endif
    }
  }
  [[unroll]] for (uint m = 0; m < ROWS; m++) parts[(m * DOWN + down) * ACROSS + across] = sums[m];
  barrier();

  // The quads of the result are dealt out to all invocations.
  [[dont_unroll]] for (uint i = self; i < ROWS * ACROSS; i += ACROSS * DOWN) {
    const uint m = i / ACROSS, from = m * DOWN * ACROSS + i % ACROSS, n = n0 + i % ACROSS * 4;
    if (n >= N) continue;
    vec4 v = vec4(0);
#if OP == FORWARD
    if (with_bias != 0) {
      [[unroll]] for (uint l = 0; l < 4; l++) if (n + l < N) v[l] = bias[n + l];
    }
#endif
    [[dont_unroll]] for (uint d = 0; d < DOWN; d++) v += parts[from + d * ACROSS];
    const uint at = m * pitch_c + n + split * split_pitch;
    if (QUADS_C) put4(at, v);
    else [[unroll]] for (uint l = 0; l < 4; l++) if (n + l < N) put(at + l, v[l]);
  }
}
