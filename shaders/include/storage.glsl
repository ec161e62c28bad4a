// Tensors kept as float32, or as 16-bit numbers of which a word holds two, the
// first one low. No capability is needed for that. A kernel has one module for
// all formats: which one a tensor has is a specialization constant, as in
// layers/precision.go.
//
//   READS(0, X, x, FORMAT)     x is read: load_x(at), load_x4(at), load_quad_x(at / 4)
//   WRITES(1, Y, y, FORMAT)    y is written: store_y4(at, v)
//   UPDATES(2, C, c, FORMAT)   both, and load_c, load_c4, store_c4
//
// `at` counts elements. The functions named 4 take four elements from a multiple
// of 4 on; as two invocations cannot write one word, nothing smaller is stored in
// 16 bits.
const uint FP32 = 0, FP16 = 1, BF16 = 2;

// Functions that kernels call many times return once: SwiftShader makes a loop of
// one that returns early, and its time and memory grow with the square of them.
vec2 unpack_half(uint format, uint word) {
  vec2 v;
  if (format == FP16) v = unpackHalf2x16(word);
  else v = vec2(uintBitsToFloat(word << 16), uintBitsToFloat(word & 0xffff0000u));
  return v;
}

// The nearest number that has fp16's 11 significant bits, infinity from 65520 on:
// devices differ in how packHalf2x16 rounds. It is left to them below 2^-14.
float round_fp16(float v) {
  uint bits = floatBitsToUint(v), size = bits & 0x7fffffffu;
  if (size > 0x7f800000u || size < 0x38800000u) return v;
  if (size >= 0x477ff000u) return uintBitsToFloat(bits & 0x80000000u | 0x7f800000u);
  return uintBitsToFloat(bits + 0xfffu + (bits >> 13 & 1u) & 0xffffe000u);
}

// The nearest bf16, the even one of two that are as near; NaN stays NaN.
uint round_bf16(float v) {
  uint bits = floatBitsToUint(v);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return bits >> 16 | 0x40u;
  return bits + 0x7fffu + (bits >> 16 & 1u) >> 16;
}

uint pack_half(uint format, vec2 v) {
  if (format == FP16) return packHalf2x16(vec2(round_fp16(v.x), round_fp16(v.y)));
  return round_bf16(v.x) | round_bf16(v.y) << 16;
}

#define TENSOR_VIEWS(N, ACCESS, BLOCK, NAME) \
  layout(binding = N) ACCESS buffer BLOCK { float NAME[]; }; \
  layout(binding = N) ACCESS buffer BLOCK##_4 { vec4 NAME##_4[]; }; \
  layout(binding = N) ACCESS buffer BLOCK##_H { uint NAME##_h[]; }; \
  layout(binding = N) ACCESS buffer BLOCK##_H4 { uvec2 NAME##_h4[]; };
#define TENSOR_LOADS(NAME, FORMAT) \
  float load_##NAME(uint at) { \
    float f; \
    if (FORMAT == FP32) f = NAME[at]; \
    else { \
      vec2 v = unpack_half(FORMAT, NAME##_h[at >> 1]); \
      f = mix(v.y, v.x, (at & 1u) == 0u); \
    } \
    return f; \
  } \
  vec4 load_quad_##NAME(uint quad) { \
    vec4 f; \
    if (FORMAT == FP32) f = NAME##_4[quad]; \
    else { \
      uvec2 v = NAME##_h4[quad]; \
      f = vec4(unpack_half(FORMAT, v.x), unpack_half(FORMAT, v.y)); \
    } \
    return f; \
  } \
  vec4 load_##NAME##4(uint at) { return load_quad_##NAME(at >> 2); }
#define TENSOR_STORES(NAME, FORMAT) \
  void store_##NAME##4(uint at, vec4 v) { \
    if (FORMAT == FP32) NAME##_4[at >> 2] = v; \
    else NAME##_h4[at >> 2] = uvec2(pack_half(FORMAT, v.xy), pack_half(FORMAT, v.zw)); \
  }
#define READS(N, BLOCK, NAME, FORMAT) TENSOR_VIEWS(N, readonly, BLOCK, NAME) TENSOR_LOADS(NAME, FORMAT)
#define WRITES(N, BLOCK, NAME, FORMAT) TENSOR_VIEWS(N, writeonly, BLOCK, NAME) TENSOR_STORES(NAME, FORMAT)
#define UPDATES(N, BLOCK, NAME, FORMAT) TENSOR_VIEWS(N, , BLOCK, NAME) TENSOR_LOADS(NAME, FORMAT) TENSOR_STORES(NAME, FORMAT)
