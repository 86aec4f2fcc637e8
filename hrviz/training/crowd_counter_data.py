"""Frames with a head count: what counting networks are trained on, and judged.

Two kinds, both of 192 x 256 px. `square` is the lower part of a picture of `scene:crowd` of 320 Mpx at
one pixel in 64, so that people are about 3 to 12 px tall: head, dress, shadow, a few px each. `rings` is
the control: a dark disc within a bright ring counts, a bright disc within a dark ring does not, and
both have mean zero, so that blur leaves nothing of either. What a network still counts in downsampled
frames of people, and cannot in those of rings, is their low-frequency evidence.

Frames are rendered once and kept in a cache folder; splits share no seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.image import Image
from hrviz.scenes import dataset
from hrviz.scenes.dataset import FIRST_SEED, Split

SIZE = 192, 256  # (height, width) of a frame
STRIDE = 64  # level-0 px a pixel of the frame
SQUARE = {"height": 19_712, "width": SIZE[1] * STRIDE}
#: Of the square, from the near third of its depth to the lower edge: farther people are below 3 px.
WINDOW = Box(
    float(SQUARE["height"] - SIZE[0] * STRIDE), 0.0,
    float(SQUARE["height"]), float(SQUARE["width"]),
)  # fmt: skip
PEOPLE = tuple(range(100, 1300, 100))  # on the square, frame by frame in turn; a third is seen
KINDS = ("square", "rings")
COUNTS: dict[Split, int] = {"train": 160, "held-out": 40, "unseen": 80}

RINGS = 10, 110  # targets in a frame, and distractors independent of them: fewest, most
RADIUS = 1.2, 2.8  # px, of the outer edge, growing downwards as perspective has it
SUPERSAMPLED = 3


@dataclass(frozen=True)
class Frames:
    """Frames and the heads in them.

    Attributes
    ----------
    pixels : numpy.ndarray
        uint8 (n, h, w, 3).
    heads : tuple of numpy.ndarray
        Of each frame float64 (m, 2): (y, x) in its pixels.
    """

    pixels: np.ndarray
    heads: tuple[np.ndarray, ...]

    @property
    def counts(self) -> np.ndarray:
        """Heads in each frame, float64 (n,)."""
        return np.array([len(h) for h in self.heads], float)


def square(split: Split, place: int) -> Image:
    """The picture whose `WINDOW` is a frame: picture `place` of a split."""
    people = PEOPLE[place % len(PEOPLE)]
    image: Image = dataset("crowd", split, place + 1, **SQUARE, people=people)[place]
    return image


def _people(split: Split, place: int) -> tuple[np.ndarray, np.ndarray]:
    image = square(split, place)
    heads, _ = image.truth.points(WINDOW)
    return image.rgb(WINDOW, SIZE), (heads - [WINDOW.y0, WINDOW.x0]) / STRIDE


def _rings(split: Split, place: int) -> tuple[np.ndarray, np.ndarray]:
    """A frame of discs with rings on soft ground: dark discs count, bright ones do not."""
    rng = np.random.default_rng([FIRST_SEED[split] + place, 17])
    h, w = SIZE
    fine = SUPERSAMPLED
    tone = np.zeros((h * fine, w * fine))
    counts = rng.integers(*RINGS, 2, endpoint=True)
    sign = np.repeat([1.0, -1.0], counts)
    at = rng.random((len(sign), 2)) * [h, w]
    for (y, x), s in zip(at, sign, strict=True):
        r = (RADIUS[0] + (RADIUS[1] - RADIUS[0]) * y / h) * fine
        n = int(np.ceil(r)) + 1
        top, left = int(y * fine) - n, int(x * fine) - n
        rows = np.arange(max(top, 0), min(top + 2 * n + 1, h * fine))
        columns = np.arange(max(left, 0), min(left + 2 * n + 1, w * fine))
        far = np.hypot((rows + 0.5 - y * fine)[:, None], (columns + 0.5 - x * fine)[None, :])
        disc, ring = far < 0.62 * r, (far >= 0.62 * r) & (far < r)
        bright = disc.sum() / max(ring.sum(), 1)  # so that the whole has mean zero
        tone[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] += s * (bright * ring - disc)
    tone = tone.reshape(h, fine, w, fine).mean((1, 3))
    ground = np.kron(rng.normal(0, 1, (6, 8)), np.ones((32, 32)))
    f = np.hypot(np.fft.fftfreq(h)[:, None], np.fft.rfftfreq(w)[None, :])
    ground = np.fft.irfft2(np.fft.rfft2(ground) * np.exp(-((f / 0.02) ** 2)), s=(h, w))
    grey = 128 + 10 * ground + 80 * tone + rng.normal(0, 3, (h, w))
    pixels = np.rint(grey.clip(0, 255)).astype(np.uint8)
    return np.repeat(pixels[..., None], 3, 2), at[sign > 0]


def frame(kind: str, split: Split, place: int) -> tuple[np.ndarray, np.ndarray]:
    """One frame, uint8 (h, w, 3), and its heads, float64 (m, 2)."""
    if kind not in KINDS:
        raise HrvizError(f"frames of kind {kind!r} are not known: choose {' or '.join(KINDS)}")
    return (_people if kind == "square" else _rings)(split, place)


def frames(
    kind: str,
    split: Split,
    count: int | None = None,
    report: Callable[[str], None] = print,
) -> Frames:
    """The first frames of a split, rendered once, then read from the cache folder.

    A cached set that is shorter than asked for is rendered further, not anew.
    """
    import platformdirs

    from hrviz.results import write_whole

    count = COUNTS[split] if count is None else count
    folder = platformdirs.user_cache_path("hrviz") / "crowd-counter"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{kind}-{split}-{key(kind, split)}.npz"
    kept: list[tuple[np.ndarray, np.ndarray]] = []
    if file.exists():
        with np.load(file) as stored:
            split_at = np.cumsum(stored["counts"])[:-1]
            kept = list(zip(stored["pixels"], np.split(stored["heads"], split_at), strict=True))
    if len(kept) < count:
        for place in range(len(kept), count):
            kept.append(frame(kind, split, place))
            if (place + 1) % 40 == 0:
                report(f"{kind}, {split}: {place + 1} of {count} frames")
        pixels, heads = np.stack([p for p, _ in kept]), [h for _, h in kept]
        counts = np.array([len(h) for h in heads])
        write_whole(
            file,
            lambda handle: np.savez_compressed(
                handle, pixels=pixels, heads=np.concatenate(heads), counts=counts
            ),
        )
    return Frames(np.stack([p for p, _ in kept[:count]]), tuple(h for _, h in kept[:count]))


def key(kind: str, split: Split) -> str:
    """Changes with the scene's version and parameters, or with the rings' constants."""
    facts = (
        f"{square(split, 0).identity} {PEOPLE} {WINDOW} {SIZE}"
        if kind == "square"
        else f"2 {split} {SIZE} {RINGS} {RADIUS} {SUPERSAMPLED}"
    )
    return hashlib.sha256(facts.encode()).hexdigest()[:10]
