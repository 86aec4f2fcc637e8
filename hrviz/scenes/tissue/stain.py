"""Colours of the slide: stains by Beer-Lambert, the fibre texture, and what a scanner makes of it.

Transmitted intensity is 10^-(h H + e E): H and E are the optical densities (red, green, blue) of
hematoxylin and eosin. The vectors lie between those of Ruifrok and Johnston (2001) and the redder
eosin of scanned slides. Everything is mixed in *intensity*, never in optical density: a pixel of a
coarse level sees the mean of the light, and so levels agree with each other.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

_HEMATOXYLIN = np.array([0.600, 0.705, 0.345])
_EOSIN = np.array([0.100, 0.770, 0.500])


def stain(h: float, e: float) -> np.ndarray:
    """Transmitted intensity (3,) of an amount `h` of hematoxylin and `e` of eosin, float32."""
    return np.asarray(10.0 ** -(h * _HEMATOXYLIN + e * _EOSIN), dtype=np.float32)


GLASS = np.array([243.5, 243.0, 242.5], np.float32)  # what the scanner shows where nothing absorbs
CLEAR = np.ones(3, np.float32)
FIBRE_PALE = stain(0.045, 0.17)
FIBRE_DARK = stain(0.055, 0.47)
EPITHELIUM = stain(0.15, 0.24)
LUMEN = stain(0.01, 0.035)
TUMOUR = stain(0.225, 0.225)
LYMPHOID = stain(0.15, 0.19)
FAT = stain(0.004, 0.006)
FAT_WALL = stain(0.05, 0.36)
BLOOD = stain(0.02, 0.46) * np.array([1.0, 0.90, 0.86], np.float32)
NUCLEUS_PALE = stain(0.30, 0.16)
NUCLEUS_DARK = stain(1.15, 0.32)

#: Texels of the fibre texture are 2 px across the fibres and 10 px along them.
ACROSS, ALONG = 2.0, 10.0
_NY, _NX = 2048, 512
PERIOD = (_NY * ACROSS, _NX * ALONG)


def _field(rng: np.random.Generator, across: float, along: float) -> np.ndarray:
    """Periodic Gaussian noise of standard deviation 1 with given correlation lengths in px."""
    fy = np.fft.fftfreq(_NY, ACROSS)[:, None]
    fx = np.fft.rfftfreq(_NX, ALONG)[None, :]
    spectrum = np.exp(-2.0 * ((fy * across) ** 2 + (fx * along) ** 2))
    noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((_NY, _NX))) * spectrum, s=(_NY, _NX))
    return np.asarray(noise / noise.std())


@lru_cache(maxsize=1)
def fibre_texture() -> tuple[np.ndarray, ...]:
    """Mip levels of the collagen texture, complex64: real = weight of dark fibre, imag = of cleft.

    Bundles (about 12 um) made of fibres (about 3 um), with the white clefts that fixation opens
    between bundles. The weights mix colours linearly, so averaged mip levels average the picture.
    """
    rng = np.random.default_rng(20)
    bundle, strand = _field(rng, 34, 240), _field(rng, 11, 170)
    fine, patch = _field(rng, 4.5, 90), _field(rng, 260, 500)
    gap = _field(rng, 13, 110)
    body = 0.46 + 0.20 * bundle + 0.15 * strand + 0.09 * fine
    dark = np.clip(body, 0.0, 1.15)
    cleft = np.clip((gap + 0.35 * fine - 1.72 - 0.35 * patch + 0.30 * bundle) * 3.0, 0.0, 0.85)
    level = ((1 - cleft) * dark + 1j * cleft).astype(np.complex64)
    levels = [level]
    while level.shape[0] > 8:
        level = (level[0::2] + level[1::2]) / 2
        if level.shape[1] > 8 and ACROSS * 2 ** len(levels) > ALONG:
            level = (level[:, 0::2] + level[:, 1::2]) / 2
        levels.append(level)
    return tuple(levels)


def fibres(across: np.ndarray, along: np.ndarray, pixel: float) -> np.ndarray:
    """Texture at the fibre coordinates (px, any values), averaged over `pixel`; complex64."""
    mips = fibre_texture()
    # Texels of half a pixel: with the blur of the bilinear look-up that is about one pixel's box.
    k = min(max(round(float(np.log2(max(pixel, ACROSS) / ACROSS))) - 1, 0), len(mips) - 1)
    mip = mips[k]
    ny, nx = mip.shape
    v = across * np.float32(ny / PERIOD[0]) - np.float32(0.5)
    u = along * np.float32(nx / PERIOD[1]) - np.float32(0.5)
    i, j = np.floor(v), np.floor(u)
    fv, fu = v - i, u - j
    i0, j0 = i.astype(np.int32), j.astype(np.int32)
    i1, j1 = (i0 + 1) & (ny - 1), (j0 + 1) & (nx - 1)
    i0 = (i0 & (ny - 1)) * nx
    i1 *= nx
    j0 &= nx - 1
    flat = mip.ravel()
    a, b = flat.take(i0 + j0), flat.take(i0 + j1)
    c, d = flat.take(i1 + j0), flat.take(i1 + j1)
    top = a + (b - a) * fu
    bottom = c + (d - c) * fu
    return np.asarray(top + (bottom - top) * fv)
