// y[row][column] = colour·(bilinear sample of the stored picture at geometry·(column, row, 1), 1) − the mean picture there, or 0 outside it
#version 450
#extension GL_GOOGLE_include_directive : require

layout(local_size_x_id = 0) in;
#include "include/index.glsl"
layout(binding = 0) readonly buffer Pixels { uint pixels[]; };         // RGB bytes, each picture at a whole word
layout(binding = 1) readonly buffer Transforms { float transforms[]; }; // per picture: 3 × 3 and 4 × 4, by columns
layout(constant_id = 3) const uint FORMAT = 0;
layout(constant_id = 4) const bool WITH_MEAN = false;
#include "include/storage.glsl"
WRITES(2, Y, y, FORMAT)
layout(binding = 3) readonly buffer Mean { float mean[]; };             // stored × stored pixels of three channels of y; nothing without WITH_MEAN
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

vec3 mean_texel(int row, int column) {
  row = clamp(row, 0, int(stored) - 1);
  column = clamp(column, 0, int(stored) - 1);
  int at = (row * int(stored) + column) * 3;
  return vec3(mean[at], mean[at + 1], mean[at + 2]);
}

// colour is pixel p of picture n.
vec3 colour(uint n, uint p) {
  float column = float(p % size), row = float(p / size);
  uint t = (first + n) * TRANSFORM;
  float u = transforms[t] * column + transforms[t + 3] * row + transforms[t + 6];
  float v = transforms[t + 1] * column + transforms[t + 4] * row + transforms[t + 7];
  float w = transforms[t + 2] * column + transforms[t + 5] * row + transforms[t + 8];
  if (w != 1.0) { u /= w; v /= w; } // keeps whole-pixel crops exact where division is not
  float edge = float(stored) - 0.5;
  if (!(u >= -0.5 && u < edge && v >= -0.5 && v < edge)) return vec3(0);
  int x0 = int(floor(u)), y0 = int(floor(v));
  float fx = u - floor(u), fy = v - floor(v);
  uint base = n * pixels_pitch;
  vec3 top = mix(texel(base, y0, x0), texel(base, y0, x0 + 1), fx);
  vec3 bottom = mix(texel(base, y0 + 1, x0), texel(base, y0 + 1, x0 + 1), fx);
  vec3 rgb = mix(top, bottom, fy);
  t += 9;
  vec3 result;
  for (uint c = 0; c < 3; c++)
    result[c] = transforms[t + c] * rgb.r + transforms[t + 4 + c] * rgb.g + transforms[t + 8 + c] * rgb.b + transforms[t + 12 + c];
  if (WITH_MEAN) {
    vec3 above = mix(mean_texel(y0, x0), mean_texel(y0, x0 + 1), fx);
    vec3 below = mix(mean_texel(y0 + 1, x0), mean_texel(y0 + 1, x0 + 1), fx);
    result -= mix(above, below, fy);
  }
  return result;
}

void main() { // four pixels, which are three quads of elements
  const uint count = size * size, each = (count + 3) / 4;
  uint i = thread_index();
  if (i >= batch * each) return;
  uint n = i / each, p = i % each * 4;
  vec3 c[4];
  for (uint j = 0; j < 4; j++) c[j] = p + j < count ? colour(n, p + j) : vec3(0);
  uint at = n * y_pitch + p * 3, left = (count - p) * 3;
  store_y4(at, vec4(c[0], c[1].r));
  if (left > 4) store_y4(at + 4, vec4(c[1].gb, c[2].rg));
  if (left > 8) store_y4(at + 8, vec4(c[2].b, c[3]));
}
