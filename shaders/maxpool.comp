// y = max of the window, the first of equals;  dx(p) = Σ dy(q) over the windows q that p won
#version 450
#extension GL_GOOGLE_include_directive : require

layout(local_size_x_id = 0) in;
#include "include/index.glsl"
layout(constant_id = 3) const bool BACKWARD = false;
layout(constant_id = 7) const uint CHANNELS = 1;
layout(constant_id = 8) const uint HEIGHT = 1;
layout(constant_id = 9) const uint WIDTH = 1;
layout(constant_id = 12) const uint FORMAT = 0;
#include "include/storage.glsl"
READS(0, X, x, FORMAT)  // x; dy
WRITES(1, Y, y, FORMAT) // y; dx
layout(constant_id = 14) const bool ROLLED = false; // for drivers that run on CPUs: less code, which takes less time to compile
layout(push_constant) uniform Args { uint batch, x_pitch, y_pitch, keep_pitch; int pad; uint window; }; // window is SIZE

#define WINDOW (ROLLED ? window : SIZE)
#include "include/maxpool.glsl"

vec4 load(uint at) { return QUADS ? load_x4(at) : vec4(load_x(at), 0, 0, 0); }

void main() {
  const uint elements = (BACKWARD ? HEIGHT * WIDTH : OUT_HEIGHT * OUT_WIDTH) * CHANNELS, quads = (elements + 3) / 4;
  uint i = thread_index();
  if (i >= batch * quads) return;
  uint n = i / quads, e = i % quads * 4;
  vec4 result = vec4(0);
  uvec4 place = uvec4(0);
  if (QUADS) {
    if (BACKWARD) result = gathered(n * x_pitch, n * keep_pitch, e / CHANNELS, e % CHANNELS);
    else result = best(n * x_pitch, e / CHANNELS, e % CHANNELS, place);
  } else {
    for (uint j = 0; j < 4 && e + j < elements; j++) {
      uvec4 own;
      if (BACKWARD) result[j] = gathered(n * x_pitch, n * keep_pitch, (e + j) / CHANNELS, (e + j) % CHANNELS).x;
      else result[j] = best(n * x_pitch, (e + j) / CHANNELS, (e + j) % CHANNELS, own).x;
      place[j] = own.x;
    }
  }
  store_y4(n * y_pitch + e, result);
  if (!BACKWARD) winner[n * keep_pitch + (e >> 2)] = place.x | place.y << 8 | place.z << 16 | place.w << 24;
}
