"""Brute-force evaluations, written from the survey's equations without the package's code."""

from __future__ import annotations

import math

import numpy as np


def brute_nodes(
    saliency: np.ndarray, fwhm: float, padding: str, cells: int
) -> tuple[np.ndarray, np.ndarray]:
    """Equations 2 and 3 as four nested loops over output nodes and padded nodes, float64.

    Padded nodes carry the saliency of the node they copy and a coordinate that continues outside
    0..1; padded operators see a square window of `cells` nodes, the unpadded one the whole image.
    """
    ny, nx = saliency.shape
    p = 0 if padding == "none" else cells

    def source(k: int, n: int) -> int:
        if padding == "replicate":
            return min(max(k, 0), n - 1)
        k = abs(k)
        return 2 * (n - 1) - k if k > n - 1 else k

    v, u = np.zeros((ny, nx)), np.zeros((ny, nx))
    for j in range(ny):
        for i in range(nx):
            mass = x_sum = y_sum = 0.0
            rows = range(ny) if p == 0 else range(j - p, j + p + 1)
            columns = range(nx) if p == 0 else range(i - p, i + p + 1)
            for y in rows:
                for x in columns:
                    distance = (y - j) ** 2 + (x - i) ** 2
                    weight = saliency[source(y, ny), source(x, nx)]
                    weight *= math.exp(-4 * math.log(2) * distance / fwhm**2)
                    mass += weight
                    y_sum += weight * y / (ny - 1)
                    x_sum += weight * x / (nx - 1)
            v[j, i], u[j, i] = y_sum / mass, x_sum / mass
    return np.clip(v, 0, 1), np.clip(u, 0, 1)


def brute_line(saliency: np.ndarray, fwhm: float, cells: int, padding: str) -> np.ndarray:
    """The same in one dimension."""
    n = len(saliency)
    padded = np.pad(saliency, cells, mode="edge" if padding == "replicate" else "reflect")
    at = np.arange(-cells, n + cells)
    kernel = np.exp(-4 * math.log(2) * (at[None] - np.arange(n)[:, None]) ** 2 / fwhm**2)
    kernel[np.abs(at[None] - np.arange(n)[:, None]) > cells] = 0
    weights = kernel * padded
    return np.clip((weights * at / (n - 1)).sum(1) / weights.sum(1), 0, 1)


def small_saliency() -> np.ndarray:
    """The fact sheet's 5 x 7 saliency: 1 + 20 / (1 + (i - 1)^2 + (j - 4)^2)."""
    i, j = np.mgrid[:5, :7]
    return 1 + 20 / (1 + (i - 1.0) ** 2 + (j - 4.0) ** 2)


def numbers(text: str) -> np.ndarray:
    """Rows separated by '|' as the fact sheet prints them."""
    return np.array([[float(v) for v in row.split()] for row in text.split("|")])
