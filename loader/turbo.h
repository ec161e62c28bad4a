// The few functions of libjpeg-turbo's TurboJPEG API that decoding needs, found
// in the library at run time: building needs neither its header nor the library.
#ifndef VKALEXNET_TURBO_H
#define VKALEXNET_TURBO_H

#include <stddef.h>

// turbo_open loads the library of that file name. It returns 0, or -1 with the reason.
int turbo_open(const char *name, char *error, size_t error_len);

// turbo_path is the file that turbo_open loaded, or "".
const char *turbo_path(void);

void *turbo_new(void);
void turbo_free(void *decoder);

// turbo_header reads a picture's size, its TJSAMP and its TJCS; 0 or -1.
int turbo_header(void *decoder, const unsigned char *data, unsigned long size, int *width, int *height, int *samp, int *space);

// turbo_pixels decodes to width × height pixels, a size that the picture has at
// one of the scales of the DCT: of one byte where grey says so, else red, green,
// blue and 255. The DCT is the accurate one and chroma is interpolated, as they
// are in libjpeg unless asked otherwise. 0 or -1.
int turbo_pixels(void *decoder, const unsigned char *data, unsigned long size, unsigned char *pixels, int width, int height, int grey);

// turbo_error is what the last call that returned -1 found.
void turbo_error(void *decoder, char *error, size_t error_len);

#endif
