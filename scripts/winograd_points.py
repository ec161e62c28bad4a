#!/usr/bin/env python3
"""Rounding errors of Winograd's form F(m, r) in two dimensions with different points.

Prints, for sums over 48 channels of normally distributed numbers in float32, the errors'
root mean square and largest, relative to the results' standard deviation, of the form and
of the direct convolution. Needs numpy: scripts/winograd_points.py
"""
import numpy as np

CHANNELS, TILES = 48, 200


def form(points, m, r):
    """Aᵀ, G and Bᵀ with y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A; the last point is infinity."""
    n, p = m + r - 1, np.array(points, dtype=float)
    assert len(p) == n - 1

    def values(terms):
        v = np.zeros((n, terms))
        v[:-1] = p[:, None] ** np.arange(terms)
        v[-1, -1] = 1
        return v

    divide, scales = np.zeros((n, n)), np.ones(n)
    for i in range(n - 1):
        others = np.delete(p, i)
        divide[i, : n - 1] = np.poly(others)[::-1]
        scales[i] = np.prod(p[i] - others)
    divide[-1] = np.poly(p)[::-1]
    return values(m).T, values(r) / scales[:, None], divide


def both(matrix, x):
    """matrix · x · matrixᵀ of the last two axes, summed in float32 term by term."""
    matrix = matrix.astype(np.float32)
    for axis in (-2, -1):
        x = np.moveaxis(x, axis, 0)
        y = np.zeros((len(matrix),) + x.shape[1:], np.float32)
        for j, plane in enumerate(x):
            y += matrix[:, j].reshape((-1,) + (1,) * plane.ndim) * plane
        x = np.moveaxis(y, 0, axis)
    return x


def errors(points, m, r):
    rng = np.random.default_rng(1)
    collect, weigh, divide = form(points, m, r)
    d = rng.standard_normal((CHANNELS, TILES, m + r - 1, m + r - 1)).astype(np.float32)
    g = rng.standard_normal((CHANNELS, r, r)).astype(np.float32)
    sums = np.zeros(d.shape[1:], np.float32)
    for picture, weight in zip(both(divide, d), both(weigh, g)):
        sums += picture * weight
    y = both(collect, sums)
    exact, direct = np.zeros_like(y, np.float64), np.zeros_like(y)
    for c in range(CHANNELS):
        for a in range(r):
            for b in range(r):
                pixels = d[c, :, a : a + m, b : b + m]
                exact += pixels.astype(np.float64) * float(g[c, a, b])
                direct += pixels * g[c, a, b]
    return [f(v - exact) / exact.std() for v in (y, direct) for f in (np.std, lambda e: abs(e).max())]


half, two = 0.5**0.5, 2**0.5
print("form      points              rms       largest   direct: rms  largest")
for m, r, name, points in [
    (2, 3, "0 ±1 ∞", [0, 1, -1]),
    (2, 5, "0 ±1 ±2 ∞", [0, 1, -1, 2, -2]),
    (2, 5, "0 ±√½ ±√2 ∞", [0, half, -half, two, -two]),
    (4, 3, "0 ±1 ±2 ∞", [0, 1, -1, 2, -2]),
    (4, 3, "0 ±√½ ±√2 ∞", [0, half, -half, two, -two]),
    (4, 5, "0 ±½ ±1 ±2 ∞", [0, 0.5, -0.5, 1, -1, 2, -2]),
    (3, 5, "0 ±1 ±2 -½ ∞", [0, 1, -1, 2, -2, -0.5]),
]:
    print(f"F({m}, {r})   {name:<16}  " + "  ".join(f"{e:.2e}" for e in errors(points, m, r)))
