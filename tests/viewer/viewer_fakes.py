"""A small image whose pixels say where they are: the viewer's test double."""

from __future__ import annotations

import threading

import numpy as np

from hrviz.geometry import Box
from hrviz.image.readers.base import Level


class FakeImage:
    """Red is x, green is y (0..255 over the image), blue a 64-px checker; counts its renderings."""

    def __init__(
        self,
        width: int = 3001,
        height: int = 2003,
        pixel_size: float | None = 0.25,
        stored: int | None = None,
        name: str = "fake",
    ) -> None:
        self.width, self.height, self.name, self.pixel_size = width, height, name, pixel_size
        self.identity = f"fake:{width}x{height}:{stored}:{name}:{id(self)}"
        self.stored = stored
        tile = (stored or 512, stored or 512)
        self.levels_info = tuple(
            Level(-(-height // d), -(-width // d), float(d), tile) for d in (1, 2, 4, 8)
        )
        self.calls: list[tuple[Box, tuple[int, int]]] = []
        self._lock = threading.Lock()

    def rgb(self, box: Box, size: tuple[int, int]) -> np.ndarray:
        with self._lock:
            self.calls.append((Box(*box), size))
        y = box.y0 + (np.arange(size[0]) + 0.5) * (box.height / size[0])
        x = box.x0 + (np.arange(size[1]) + 0.5) * (box.width / size[1])
        yy, xx = np.meshgrid(y, x, indexing="ij")
        checker = ((yy // 64 + xx // 64) % 2) * 255
        channels = [xx / self.width * 255, yy / self.height * 255, checker]
        return np.stack(channels, axis=-1).astype(np.uint8)

    def compressed_tile(self, level: int, row: int, column: int) -> tuple[bytes, str] | None:
        if self.stored is None:
            return None
        return f"stored {level} {row} {column}".encode(), "image/jpeg"

    def compressed_tile_now(self, level: int, row: int, column: int) -> tuple[bytes, str] | None:
        return self.compressed_tile(level, row, column)
