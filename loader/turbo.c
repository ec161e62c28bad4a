#ifdef __linux__
#define _GNU_SOURCE // dladdr
#endif
#include "turbo.h"
#include <stdio.h>

#ifdef _WIN32
#include <windows.h>
#define TJAPI __cdecl
static void *open_library(const char *name, char *error, size_t error_len) {
	// Not from the working folder: anyone may have put a file there.
	HMODULE h = LoadLibraryExA(name, NULL, LOAD_LIBRARY_SEARCH_DEFAULT_DIRS);
	if (!h) snprintf(error, error_len, "LoadLibrary error %lu", (unsigned long)GetLastError());
	return (void *)h;
}
static void *symbol(void *library, const char *name) { return (void *)GetProcAddress((HMODULE)library, name); }
static void close_library(void *library) { FreeLibrary((HMODULE)library); }
static const char *path_of(void *function) { (void)function; return ""; }
#else
#include <dlfcn.h>
#define TJAPI
static void *open_library(const char *name, char *error, size_t error_len) {
	void *h = dlopen(name, RTLD_NOW | RTLD_LOCAL);
	if (!h) {
		const char *e = dlerror();
		snprintf(error, error_len, "%s", e ? e : "unknown error");
	}
	return h;
}
static void *symbol(void *library, const char *name) { return dlsym(library, name); }
static void close_library(void *library) { dlclose(library); }
static const char *path_of(void *function) {
	Dl_info info;
	return dladdr(function, &info) && info.dli_fname ? info.dli_fname : "";
}
#endif

// Signatures of turbojpeg.h, the same since version 1.4 and in 3.x.
static void *(TJAPI *tj_init)(void);
static int(TJAPI *tj_destroy)(void *);
static int(TJAPI *tj_header)(void *, const unsigned char *, unsigned long, int *, int *, int *, int *);
static int(TJAPI *tj_decompress)(void *, const unsigned char *, unsigned long, unsigned char *, int, int, int, int, int);
static char *(TJAPI *tj_error)(void *);

enum { LIMIT_SCANS = 32768 }; // TJFLAG_LIMITSCANS: no picture that takes minutes

int turbo_open(const char *name, char *error, size_t error_len) {
	void *h = open_library(name, error, error_len);
	if (!h) return -1;
	tj_init = (void *(TJAPI *)(void))symbol(h, "tjInitDecompress");
	tj_destroy = (int(TJAPI *)(void *))symbol(h, "tjDestroy");
	tj_header = (int(TJAPI *)(void *, const unsigned char *, unsigned long, int *, int *, int *, int *))symbol(h, "tjDecompressHeader3");
	tj_decompress = (int(TJAPI *)(void *, const unsigned char *, unsigned long, unsigned char *, int, int, int, int, int))symbol(h, "tjDecompress2");
	tj_error = (char *(TJAPI *)(void *))symbol(h, "tjGetErrorStr2");
	if (!tj_init || !tj_destroy || !tj_header || !tj_decompress || !tj_error) {
		snprintf(error, error_len, "%s lacks functions: it needs version 2.0 or newer", name);
		close_library(h);
		return -1;
	}
	return 0;
}

const char *turbo_path(void) { return tj_init ? path_of((void *)tj_init) : ""; }

void *turbo_new(void) { return tj_init(); }
void turbo_free(void *decoder) { tj_destroy(decoder); }

int turbo_header(void *decoder, const unsigned char *data, unsigned long size, int *width, int *height, int *samp, int *space) {
	return tj_header(decoder, data, size, width, height, samp, space);
}

int turbo_pixels(void *decoder, const unsigned char *data, unsigned long size, unsigned char *pixels, int width, int height, int grey) {
	enum { GRAY = 6, RGBA = 7 }; // TJPF
	return tj_decompress(decoder, data, size, pixels, width, grey ? width : 4 * width, height, grey ? GRAY : RGBA, LIMIT_SCANS);
}

void turbo_error(void *decoder, char *error, size_t error_len) {
	const char *e = tj_error(decoder);
	snprintf(error, error_len, "%s", e ? e : "unknown error");
}
