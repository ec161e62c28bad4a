// What the matrix products of convolution and fully connected layers share:
// their operands as implicit matrices. A fully connected layer is a
// convolution of a 1 × 1 picture by a 1 × 1 kernel.
//
//   forward          y[m=(n,oh,ow)][o]    = Σ_k=(r,s,i)   x[n][oh·stride-pad+r][ow·stride-pad+s][i] · w[k][o]  + bias[o]
//   backward input  dx[m=(n,ih,iw)][i]    = Σ_k=(r,s,o)  dy[n][(ih+pad-r)/stride][(iw+pad-s)/stride][o] · w[(r,s,i)][o]
//   backward weight dw[m=(r,s,i)][o]      = Σ_k=(n,oh,ow) x[n][oh·stride-pad+r][ow·stride-pad+s][i] · dy[n][oh][ow][o]
//
// x and dy are [n][row][column][channel], w is [r][s][i][o]. The third dimension
// of the grid is the group.

#define FORWARD 0
#define BACKWARD_INPUT 1
#define BACKWARD_WEIGHT 2

layout(binding = 0) readonly buffer A { float a[]; };    // x; dy; x
layout(binding = 0) readonly buffer A_4 { vec4 a_4[]; };
layout(binding = 1) readonly buffer B { float b[]; };    // w; w; dy
layout(binding = 1) readonly buffer B_4 { vec4 b_4[]; };
layout(binding = 2) buffer C { float c[]; };             // y; dx; dw
layout(binding = 3) buffer Bias { float bias[]; };       // bias; -; gradient of the bias
layout(binding = 2) buffer C_4 { vec4 c_4[]; };

float load_a(uint at) { return a[at]; }
vec4 load_a4(uint at) { return a_4[at >> 2]; }
float load_b(uint at) { return b[at]; }
vec4 load_b4(uint at) { return b_4[at >> 2]; }
float load_c(uint at) { return c[at]; }
vec4 load_c4(uint at) { return c_4[at >> 2]; }
void store_c(uint at, float v) { c[at] = v; }
void store_c4(uint at, vec4 v) { c_4[at >> 2] = v; }
