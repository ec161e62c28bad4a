// Local response normalisation of four neighbouring channels, 4 to 7 of the twelve in v
// (and of their gradients in g), where what lies beyond the group is 0. To be included
// after the push constants k, alpha and beta.
layout(constant_id = 20) const uint RADIUS = 2; // at most 2 here
layout(constant_id = 21) const uint GROUPS = 1;
layout(constant_id = 22) const bool BETA_075 = true;
layout(constant_id = 23) const bool MASKED_X = false; // dx is 0 where x is not positive: x is the result of a ReLU

float power(float s) { // s^-beta
  if (BETA_075) { float r = inversesqrt(s); return r * sqrt(r); }
  return pow(s, -beta);
}

vec4 normalised(float v[12]) {
  float r[4];
  [[unroll]] for (uint i = 0; i < 4; i++) {
    float sum = 0.0;
    [[unroll]] for (uint j = 4 + i - RADIUS; j <= 4 + i + RADIUS; j++) sum += v[j] * v[j];
    r[i] = v[4 + i] * power(k + alpha * sum);
  }
  return vec4(r[0], r[1], r[2], r[3]);
}

vec4 normalised_gradient(float v[12], float g[12]) {
  float p[12], t[12], r[4];
  [[unroll]] for (uint j = 4 - RADIUS; j < 8 + RADIUS; j++) {
    float sum = 0.0;
    [[unroll]] for (uint l = j - RADIUS; l <= j + RADIUS; l++) sum += v[l] * v[l];
    float s = k + alpha * sum;
    p[j] = power(s);
    t[j] = g[j] * v[j] * p[j] / s;
  }
  [[unroll]] for (uint i = 0; i < 4; i++) {
    float sum = 0.0;
    [[unroll]] for (uint j = 4 + i - RADIUS; j <= 4 + i + RADIUS; j++) sum += t[j];
    r[i] = g[4 + i] * p[4 + i] - 2.0 * alpha * beta * v[4 + i] * sum;
    if (MASKED_X && !(v[4 + i] > 0.0)) r[i] = 0.0;
  }
  return vec4(r[0], r[1], r[2], r[3]);
}

// twelve are three quads in a row.
float[12] twelve(vec4 a, vec4 b, vec4 c) {
  return float[12](a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w, c.x, c.y, c.z, c.w);
}
