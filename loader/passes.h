// The loops over pixels, compiled once for each kind of vectors: resize.c includes
// this with TARGET, what the functions are compiled for, NAME, their names, and
// LANES, how many words of 4 bytes a vector has. They are plain arithmetic of whole
// numbers on GNU C's vectors, which gcc and clang have on every processor, so all
// give the same bytes.

typedef uint32_t NAME(words) __attribute__((vector_size(4 * LANES)));

// NAME(sums) is what both passes compute, for a vector of words at once: byte c of a
// word at dst is the sum over k < taps of weight w[k] times byte c of the word at
// src + k*step, rounded. Of a word's bytes, `bytes` count, from its lowest.
TARGET static inline ALWAYS void NAME(sums)(uint8_t *dst, const uint8_t *src, long step, const int32_t *w, int taps, int bytes, int clip) {
	NAME(words) a = (NAME(words)){0} + HALF, b = a, c = a, d = a;
	for (int k = 0; k < taps; k++, src += step) {
		NAME(words) v;
		memcpy(&v, src, sizeof v);
		const uint32_t weight = (uint32_t)w[k];
		a += (v & 255) * weight;
		b += (v >> 8 & 255) * weight;
		c += (v >> 16 & 255) * weight;
		if (bytes == 4) d += (v >> 24) * weight;
	}
	if (clip) {
		for (int i = 0; i < LANES; i++) {
			a[i] = a[i] < LIMIT ? a[i] : LIMIT, b[i] = b[i] < LIMIT ? b[i] : LIMIT;
			c[i] = c[i] < LIMIT ? c[i] : LIMIT, d[i] = d[i] < LIMIT ? d[i] : LIMIT;
		}
	}
	a = a >> RESIZE_BITS | b >> RESIZE_BITS << 8 | c >> RESIZE_BITS << 16 | d >> RESIZE_BITS << 24;
	memcpy(dst, &a, sizeof a);
}

// NAME(along) scales LANES rows along, to 3 bytes a pixel, pitch bytes apart. In
// columns the rows' pixels lie above each other, so that a vector holds one of
// every row: as many columns at a time as are in the nearest cache.
TARGET static void NAME(along)(uint8_t *dst, long pitch, const uint8_t *const *rows, const resize_axis *a, uint8_t *columns) {
	for (int i = 0, end = 0; end < a->n;) {
		const long from = a->first[end];
		long to = from;
		for (; end < a->n && (to == from || a->first[end] + a->taps - from <= RESIZE_COLUMNS); end++) to = a->first[end] + a->taps;
		for (long x = from; x < to; x++)
			for (int r = 0; r < LANES; r++) memcpy(columns + ((x - from) * LANES + r) * 4, rows[r] + 4 * x, 4);
		for (; i < end; i++) {
			uint8_t pixels[4 * LANES];
			NAME(sums)(pixels, columns + 4 * LANES * (a->first[i] - from), 4 * LANES, a->weights + (long)i * a->taps, a->taps, PIXEL, a->clip);
			for (int r = 0; r < LANES; r++) memcpy(dst + r * pitch + 3l * i, pixels + 4 * r, 4);
		}
	}
}

TARGET static void NAME(resize)(uint8_t *dst, long stride, const uint8_t *src, long src_stride, const resize_axis *x, const resize_axis *y, uint8_t *scratch) {
	const long pitch = resize_pitch(x->n), length = 3l * x->n;
	uint8_t *const columns = scratch, *const scaled = scratch + 4l * LANES * (x->taps > RESIZE_COLUMNS ? x->taps : RESIZE_COLUMNS);
	int done = y->lo; // rows before it are scaled along
	for (int j = 0; j < y->n; j++) {
		for (; done < y->first[j] + y->taps; done += LANES) {
			const uint8_t *rows[LANES];
			for (int r = 0; r < LANES; r++) rows[r] = src + (done + r < y->hi ? done + r - y->lo : y->hi - 1 - y->lo) * src_stride;
			NAME(along)(scaled + (done - y->lo) * pitch, pitch, rows, x, columns);
		}
		const uint8_t *from = scaled + (y->first[j] - y->lo) * pitch;
		const int32_t *w = y->weights + (long)j * y->taps;
		uint8_t *to = dst + j * stride;
		long at = 0;
		for (; at + 4 * LANES <= length; at += 4 * LANES) NAME(sums)(to + at, from + at, pitch, w, y->taps, 4, y->clip);
		if (at < length) {
			uint8_t rest[4 * LANES];
			NAME(sums)(rest, from + at, pitch, w, y->taps, 4, y->clip);
			memcpy(to + at, rest, (size_t)(length - at));
		}
	}
}

TARGET static void NAME(ycc_to_rgb)(uint8_t *dst, const uint8_t *luma, int width, const uint8_t *cb, const uint8_t *cr, long far, int span, int smooth, int left, int right) {
	enum { CHUNK = 256 };
	const int samples = (width + span - 1) / span;
	for (int at = 0; at < samples; at += CHUNK) {
		const int n = samples - at < CHUNK ? samples - at : CHUNK;
		uint8_t chroma[2][4 * CHUNK];
		for (int p = 0; p < 2; p++) {
			const uint8_t *near = (p ? cr : cb) + at, *other = near + far;
			uint8_t *up = chroma[p];
			if (!smooth) {
				for (int i = 0; i < n * span; i++) up[i] = near[i / span];
				continue;
			}
			uint16_t s[CHUNK + 2];
			for (int i = 0; i < n; i++) s[i + 1] = (uint16_t)(3 * near[i] + other[i]);
			if (span == 1) {
				for (int i = 0; i < n; i++) up[i] = (uint8_t)((s[i + 1] + left) >> 2);
				continue;
			}
			s[0] = at ? (uint16_t)(3 * near[-1] + other[-1]) : s[1];
			s[n + 1] = at + n < samples ? (uint16_t)(3 * near[n] + other[n]) : s[n];
			for (int i = 0; i < n; i++) {
				up[2 * i] = (uint8_t)((3 * s[i + 1] + s[i] + left) >> 4);
				up[2 * i + 1] = (uint8_t)((3 * s[i + 1] + s[i + 2] + right) >> 4);
			}
		}
		const int begin = at * span, count = width - begin < n * span ? width - begin : n * span;
		for (int i = 0; i < count; i++) {
			const int32_t y = luma[begin + i], b = chroma[0][i] - 128, r = chroma[1][i] - 128;
			const uint32_t pixel = clamp(y + ((91881 * r + 32768) >> 16)) << BYTE(0) | clamp(y + ((-22554 * b - 46802 * r + 32768) >> 16)) << BYTE(1) |
				clamp(y + ((116130 * b + 32768) >> 16)) << BYTE(2) | 255u << BYTE(3);
			memcpy(dst + 4l * (begin + i), &pixel, 4);
		}
	}
}

#undef TARGET
#undef NAME
#undef LANES
