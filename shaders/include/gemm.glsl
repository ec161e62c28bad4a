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

#include "storage.glsl"
layout(constant_id = 40) const uint FORMAT_A = 0;
layout(constant_id = 41) const uint FORMAT_B = 0;
layout(constant_id = 42) const uint FORMAT_C = 0;
READS(0, A, a, FORMAT_A)   // x; dy; x
READS(1, B, b, FORMAT_B)   // w; w; dy
UPDATES(2, C, c, FORMAT_C) // y; dx; dw
layout(binding = 3) buffer Bias { float bias[]; }; // bias; -; gradient of the bias
