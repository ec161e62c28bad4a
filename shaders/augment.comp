// y[row][column] = colour·(bilinear sample of the stored picture at geometry·(column, row, 1), 1), or 0 outside it
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require

layout(local_size_x_id = 0) in;
#include "include/index.glsl"
layout(binding = 0) readonly buffer Pixels { uint pixels[]; };         // RGB bytes, each picture at a whole word
layout(binding = 1) readonly buffer Transforms { float transforms[]; }; // per picture: 3 × 3 and 4 × 4, by columns
layout(constant_id = 3) const uint FORMAT = 0;
#include "include/storage.glsl"
WRITES(2, Y, y, FORMAT)
layout(push_constant) uniform Args { uint batch, first, size, stored, pixels_pitch, y_pitch; };

const uint TRANSFORM = 25;

vec3 texel(uint base, int row, int column) {
  row = clamp(row, 0, int(stored) - 1);
  column = clamp(column, 0, int(stored) - 1);
  uint at = uint(row * int(stored) + column) * 3;
  uint word = base + (at >> 2), shift = (at & 3) * 8;
  uint low = pixels[word];
  uint three = low >> shift;
  if (shift > 8) three |= pixels[word + 1] << (32 - shift);
  return vec3(three & 255, three >> 8 & 255, three >> 16 & 255);
}

// Rolled: drivers that run on CPUs compile when the first picture waits for it, and what is unrolled takes them long.
void main() { // four pixels, which are three quads of elements
  const uint count = size * size, each = (count + 3) / 4;
  uint i = thread_index();
  if (i >= batch * each) return;
  const uint n = i / each, p = i % each * 4, base = n * pixels_pitch;
  uint t = (first + n) * TRANSFORM;
  vec3 g[3], m[4];
  for (uint k = 0; k < 3; k++, t += 3) g[k] = vec3(transforms[t], transforms[t + 1], transforms[t + 2]);
  for (uint k = 0; k < 4; k++, t += 4) m[k] = vec3(transforms[t], transforms[t + 1], transforms[t + 2]);
  vec3 c[4];
  c[0] = c[1] = c[2] = c[3] = vec3(0);
  [[dont_unroll]] for (uint j = 0; j < 4; j++) {
    vec3 at = g[0] * float((p + j) % size) + g[1] * float((p + j) / size) + g[2];
    if (at.z != 1.0) at.xy /= at.z; // keeps whole-pixel crops exact where division is not
    float edge = float(stored) - 0.5;
    if (p + j >= count || !(at.x >= -0.5 && at.x < edge && at.y >= -0.5 && at.y < edge)) continue;
    const ivec2 corner = ivec2(floor(at.xy));
    const vec2 f = at.xy - floor(at.xy);
    vec3 top = vec3(0), rgb = vec3(0);
    [[dont_unroll]] for (int row = 0; row < 2; row++) {
      top = rgb;
      rgb = mix(texel(base, corner.y + row, corner.x), texel(base, corner.y + row, corner.x + 1), f.x);
    }
    rgb = mix(top, rgb, f.y);
    const vec3 v = m[0] * rgb.r + m[1] * rgb.g + m[2] * rgb.b + m[3];
    for (uint k = 0; k < 4; k++) if (k == j) c[k] = v;
  }
  uint at = n * y_pitch + p * 3, left = (count - p) * 3;
  store_y4(at, vec4(c[0], c[1].r));
  if (left > 4) store_y4(at + 4, vec4(c[1].gb, c[2].rg));
  if (left > 8) store_y4(at + 8, vec4(c[2].b, c[3]));
}
