"""GeoTIFF and cloud-optimised GeoTIFF through rasterio: windows, overviews, and where it lies."""

from __future__ import annotations

from pathlib import Path

_GEO_TAGS = (33550, 34264, 34735)  # ModelPixelScale, ModelTransformation, GeoKeyDirectory


def is_georeferenced(path: Path) -> bool:
    """Whether the first directory of a TIFF carries GeoTIFF tags."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            return any(tag in file.pages.first.tags for tag in _GEO_TAGS)
    except Exception:
        return False
