// y = max of the window of lrn(x);  dx = the gradient of lrn along what maxpool gathers: lrn.comp and maxpool.comp at once, so that what lies between them is never stored
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require

layout(local_size_x_id = 0) in;
#include "include/index.glsl"
layout(constant_id = 3) const bool BACKWARD = false;
layout(constant_id = 7) const uint CHANNELS = 1;
layout(constant_id = 8) const uint HEIGHT = 1;
layout(constant_id = 9) const uint WIDTH = 1;
layout(constant_id = 12) const uint FORMAT = 0;
#include "include/storage.glsl"
READS(0, X, x, FORMAT)
WRITES(1, Y, y, FORMAT) // y; dx
READS(3, DY, dy, FORMAT)
layout(push_constant) uniform Args { uint batch, x_pitch, y_pitch, keep_pitch; int pad; float k, alpha, beta; };
#include "include/maxpool.glsl"
#include "include/lrn.glsl"

const uint GROUP = CHANNELS / GROUPS;
bool before, after; // the group goes on there

float[12] around(uint at) {
  return twelve(before ? load_x4(at - 4) : vec4(0), load_x4(at), after ? load_x4(at + 4) : vec4(0));
}

vec4 load(uint at) { return BACKWARD ? load_dy4(at) : normalised(around(at)); }

void main() {
  const uint elements = (BACKWARD ? HEIGHT * WIDTH : OUT_HEIGHT * OUT_WIDTH) * CHANNELS;
  uint i = thread_index();
  if (i >= batch * (elements / 4)) return;
  const uint n = i / (elements / 4), e = i % (elements / 4) * 4, p = e / CHANNELS, c = e % CHANNELS;
  before = c % GROUP > 0;
  after = c % GROUP + 4 < GROUP;
  if (!BACKWARD) {
    uvec4 place;
    store_y4(n * y_pitch + e, best(n * x_pitch, p, c, place));
    winner[n * keep_pitch + (e >> 2)] = place.x | place.y << 8 | place.z << 16 | place.w << 24;
    return;
  }
  const uint from = n * y_pitch, keep = n * keep_pitch;
  store_y4(n * x_pitch + e, normalised_gradient(around(n * x_pitch + e), twelve(
    before ? gathered(from, keep, p, c - 4) : vec4(0), gathered(from, keep, p, c), after ? gathered(from, keep, p, c + 4) : vec4(0))));
}
