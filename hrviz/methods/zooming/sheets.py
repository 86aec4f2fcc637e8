"""Contact sheets: small pictures side by side, with a bar for the weight of each and its label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hrviz.results import Picture

EDGE = 72  # px of a small picture's side
MOST = 24  # pictures that are shown
GAP, BAR, LINE = 4, 6, 14  # px between pictures, of a weight's bar, and of a label
PAPER, INK, RED, FAINT = 0.12, (0.35, 0.69, 1.0), (0.9, 0.35, 0.3), 0.24


def _fitted(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Enlarged or thinned to a size by nearest pixels: what is shown are the pixels that are there."""
    h, w = pixels.shape[:2]
    rows = np.minimum((np.arange(height) + 0.5) * h / height, h - 1).astype(int)
    columns = np.minimum((np.arange(width) + 0.5) * w / width, w - 1).astype(int)
    return np.asarray(pixels[rows][:, columns])


def _laid_out(cells: Sequence[np.ndarray], across: int) -> Picture:
    h, w = cells[0].shape[:2]
    down = -(-len(cells) // across)
    out = np.full((down * (h + GAP) - GAP, across * (w + GAP) - GAP, 3), PAPER, np.float32)
    for k, cell in enumerate(cells):
        row, column = divmod(k, across)
        out[row * (h + GAP) : row * (h + GAP) + h, column * (w + GAP) : column * (w + GAP) + w] = (
            cell
        )
    return Picture(out)


def sheet(
    pictures: Sequence[np.ndarray],
    weights: Sequence[float] | None = None,
    edge: int = EDGE,
    labels: Sequence[str] | None = None,
) -> Picture:
    """The first pictures in rows, each with a bar as long as its weight and a few words below.

    Parameters
    ----------
    pictures : sequence of ndarray (h, w, 3)
        float in 0..1, at least one; the first `MOST` are shown.
    weights : sequence of float, optional
        The largest shown fills its picture's width; negative ones are red.
    edge : int
        Width of each, px; heights keep the shape of the first.
    labels : sequence of str, optional
        Under each picture.
    """
    shown = min(len(pictures), MOST)
    h, w = pictures[0].shape[:2]
    height = int(np.clip(round(edge * h / w), edge // 4, 4 * edge))
    top = max((abs(v) for v in weights[:shown]), default=0.0) if weights is not None else 0.0
    cells = []
    for k in range(shown):
        cell = [_fitted(pictures[k], height, edge).astype(np.float32)]
        if weights is not None:
            bar = np.full((BAR, edge, 3), FAINT, np.float32)
            long = max(1, round(edge * abs(weights[k]) / (top or 1.0)))
            bar[1:, :long] = INK if weights[k] >= 0 else RED
            cell.append(bar)
        if labels is not None:
            cell.append(_words(labels[k], edge))
        cells.append(np.concatenate(cell))
    return _laid_out(cells, min(len(cells), int(np.ceil(np.sqrt(len(cells) * 1.5)))))


def _words(text: str, width: int) -> np.ndarray:
    from PIL import Image, ImageDraw, ImageFont

    line = Image.new("RGB", (width, LINE), (round(255 * PAPER),) * 3)
    ImageDraw.Draw(line).text((1, 0), text, (200, 203, 207), ImageFont.load_default(11))
    return np.asarray(line, np.float32) / 255


def pairs(pictures: Sequence[np.ndarray], maps: Sequence[np.ndarray]) -> Picture:
    """Each picture above its map (h, w), dark to bright from 0 to the map's largest value."""
    cells = []
    for pixels, values in zip(pictures, maps, strict=True):
        h, w = values.shape
        height = max(24, round(2 * EDGE * h / max(h, w)))
        width = max(24, round(2 * EDGE * w / max(h, w)))
        bright = values / max(float(values.max()), 1e-12)
        shade = np.array(PAPER) + bright[..., None] * (np.array([1.0, 0.85, 0.45]) - PAPER)
        line = np.full((2, width, 3), PAPER, np.float32)
        cells.append(np.concatenate([
            _fitted(pixels, height, width), line, _fitted(shade.astype(np.float32), height, width),
        ]))  # fmt: skip
    return _laid_out(cells, len(cells))
