// sgd moves four weights one step, with momentum and weight decay:
//
//   paper:   v = momentum·v - decay·rate·w - rate·g, w += v
//   pytorch: v = momentum·v + g + decay·w,           w -= rate·v
//
// Every rounding is that of the definition (optim.SGD.UpdateCPU), so that the bits do
// not depend on the kernel that does it. To be included after step.glsl, storage.glsl
// and the push constants momentum, decay and rate_factor.
layout(constant_id = 50) const bool PYTORCH = false;
layout(constant_id = 51) const bool CHECKED = false; // gradients may have overflowed
layout(constant_id = 52) const uint FORMAT_COPY = 0; // of the copy that matrix products read; none where it is 0
STEP_BUFFER(5);
WRITES(6, Copy, copy, FORMAT_COPY)
layout(binding = 7) buffer Overflow { uint overflow; };

void sgd(inout vec4 weight, inout vec4 velocity, vec4 gradient) {
  float rate = learning_rate * rate_factor;
  bvec4 bad = bvec4(false);
  if (CHECKED) {
    gradient /= loss_scale;
    bad = greaterThanEqual(floatBitsToUint(gradient) & 0x7fffffffu, uvec4(0x7f800000u)); // infinity, or not a number
    if (any(bad)) atomicOr(overflow, 1u);
  }
  precise vec4 next, moved;
  if (PYTORCH) {
    next = momentum * velocity + (gradient + decay * weight);
    moved = weight - rate * next;
  } else {
    next = momentum * velocity - decay * rate * weight - rate * gradient;
    moved = weight + next;
  }
  velocity = mix(next, velocity, bad);
  weight = mix(moved, weight, bad);
}
