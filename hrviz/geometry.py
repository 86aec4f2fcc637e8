"""Coordinates, fixed once: level-0 pixels, (y, x) order, half-open boxes, pixel centres at +0.5.

The left upper corner of the image is (0, 0), its right lower corner (height, width). Level-0 pixel
(i, j) covers [i, i+1) x [j, j+1) and has its centre at (i + 0.5, j + 0.5). A pixel (i, j) of a
level with downsample d covers [i d, (i+1) d) x [j d, (j+1) d) of level 0, so a point p of level 0
lies at p / d in the level: no half-pixel shifts anywhere.
"""

from __future__ import annotations

from typing import NamedTuple

from hrviz.errors import HrvizError


class Box(NamedTuple):
    """Half-open box [y0, y1) x [x0, x1) in level-0 pixels; edges may be fractional."""

    y0: float
    x0: float
    y1: float
    x1: float

    @property
    def height(self) -> float:
        return self.y1 - self.y0

    @property
    def width(self) -> float:
        return self.x1 - self.x0

    @property
    def area(self) -> float:
        return max(0.0, self.height) * max(0.0, self.width)

    @property
    def centre(self) -> tuple[float, float]:
        return (self.y0 + self.y1) / 2, (self.x0 + self.x1) / 2

    def intersect(self, other: Box) -> Box:
        """The common part; of zero height or width (never negative) when there is none."""
        y0, x0 = max(self.y0, other.y0), max(self.x0, other.x0)
        return Box(y0, x0, max(y0, min(self.y1, other.y1)), max(x0, min(self.x1, other.x1)))

    def grown(self, margin: float) -> Box:
        return Box(self.y0 - margin, self.x0 - margin, self.y1 + margin, self.x1 + margin)

    def scaled(self, factor: float) -> Box:
        """All edges times `factor`: from level 0 to a level with downsample d, factor 1/d."""
        return Box(self.y0 * factor, self.x0 * factor, self.y1 * factor, self.x1 * factor)

    @classmethod
    def parse(cls, text: str) -> Box:
        """`x,y,w,h` as people write regions (command line, permalinks) to a Box.

        Raises
        ------
        HrvizError
            When the text is not four numbers, or width or height is not positive.
        """
        try:
            x, y, w, h = (float(part) for part in text.split(","))
        except ValueError:
            raise HrvizError(
                f"region {text!r} is not four numbers: write x,y,width,height in level-0 pixels, "
                "e.g. 4096,2048,1024,1024"
            ) from None
        if not (w > 0 and h > 0 and abs(x) < 1e9 and abs(y) < 1e9 and w < 1e9 and h < 1e9):
            raise HrvizError(
                f"region {text!r} has no area: width and height must be positive numbers of pixels"
            )
        return cls(y, x, y + h, x + w)

    def format(self) -> str:
        """The inverse of `parse`: x,y,w,h."""
        return ",".join(f"{v:.12g}" for v in (self.x0, self.y0, self.width, self.height))
