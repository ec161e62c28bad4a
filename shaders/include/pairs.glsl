// With PAIRS four floats lie in memory as two words of 64 bits: drivers that run on
// CPUs load and store each element of a vector by itself, whatever its size.
#ifdef PAIRS
#define PACKED u64vec2
vec4 floats(u64vec2 v) { return vec4(uintBitsToFloat(unpack32(v.x)), uintBitsToFloat(unpack32(v.y))); }
u64vec2 packed(vec4 v) { return u64vec2(pack64(floatBitsToUint(v.xy)), pack64(floatBitsToUint(v.zw))); }
#else
#define PACKED vec4
#define floats(v) (v)
#define packed(v) (v)
#endif
