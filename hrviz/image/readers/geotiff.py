"""GeoTIFF and cloud-optimised GeoTIFF through rasterio: windows, overviews, and where it lies.

What is masked (an internal mask, an alpha band, or the file's nodata value) is shown as nothing:
8-bit grey and RGB become RGBA with alpha 0 there, everything else becomes floating point with NaN,
so that nodata neither darkens the contrast nor is mistaken for a measurement.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hrviz.errors import HrvizError
from hrviz.image.readers.base import Channel, Extent, Level, Reader, nominal_downsample
from hrviz.image.readers.raster import max_pixels
from hrviz.image.readers.sniff import first_line, short
from hrviz.image.readers.tiff import TiffReader
from hrviz.image.readers.tiff_layout import BIG_SEGMENT

# Failures become our sentences; with no handler GDAL's own lines would print beside them.
logging.getLogger("rasterio").addHandler(logging.NullHandler())

_GEO_TAGS = (33550, 34264, 34735)  # ModelPixelScale, ModelTransformation, GeoKeyDirectory
_HANDLES = 4  # threads that decode one file at once; each has its own GDAL datasets
# Decoded blocks stay within GDAL_CACHEMAX, by default a twentieth of the memory; to set it here
# would empty that cache at every read (measured: 7 ms a window instead of 0.07).
_OPTIONS = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # nothing but the file itself is looked at
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_GEOREF_SOURCES": "INTERNAL",
}
_RGB = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
_OTHERS = ((255, 255, 0), (0, 255, 255), (255, 0, 255), (255, 128, 0), (128, 0, 255), (0, 255, 128))


def is_georeferenced(path: Path) -> bool:
    """Whether the first directory of a TIFF carries GeoTIFF tags."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            return any(tag in file.pages.first.tags for tag in _GEO_TAGS)
    except Exception:
        return False


def open_geotiff(path: Path, uri: str, at: Mapping[str, int]) -> Reader:
    """A georeferenced TIFF; without rasterio, or where GDAL refuses it, its pixels alone.

    Raises
    ------
    HrvizError
        When neither GDAL nor tifffile can open it.
    """
    try:
        import rasterio  # noqa: F401 - asked for before anything is opened

        return GeoTiffReader(path, uri)
    except ImportError:
        note = "in the file, not read: pip install 'hrviz[formats]'"
    except HrvizError as error:
        note = f"not read: {error}"
    reader = TiffReader(path, uri, at)
    reader.metadata["georeference"] = note
    return reader


class GeoTiffReader(Reader):
    """A georeferenced TIFF: its overviews are the levels, its place on the Earth is `extent`.

    Grey, RGB, palettes and their masks are shown as colours; images with more bands are
    multi-channel, with the bands called red, green and blue (else the first three) shown first.

    Parameters
    ----------
    path : Path
        An existing local TIFF.
    uri : str
        As the user wrote it.

    Raises
    ------
    HrvizError
        When GDAL cannot open it, bytes are missing, or a stored piece is too large to decode.
    ImportError
        Without rasterio.

    Notes
    -----
    `pixel_size` is that of the map: Web Mercator stretches it, and `metadata` gives the true one.
    """

    def __init__(self, path: Path, uri: str) -> None:
        self.uri, self.name, self._path = uri, path.name, path
        status = path.stat()
        self.identity = f"{path}:{status.st_size}:{status.st_mtime_ns}"
        self._lock, self._slots = threading.Lock(), threading.BoundedSemaphore(_HANDLES)
        self._free: list[dict[int, Any]] = []
        self._closed = False
        self._tiles = self._as_tiff()
        try:
            with self._handle() as datasets:
                self._setup(datasets)
        except Exception as error:
            self.close()
            if isinstance(error, HrvizError):
                raise
            raise HrvizError(
                f"{short(path)}: GDAL cannot open this GeoTIFF ({first_line(error)}); re-save it: "
                "gdal_translate -of COG FILE image.tif"
            ) from error

    def _as_tiff(self) -> TiffReader | None:
        """The file's plain side, for stored JPEG tiles; a truncated file is refused here."""
        try:
            return TiffReader(self._path, self.uri)
        except HrvizError as error:
            if "truncated" in str(error):
                raise
            return None

    # -- datasets -------------------------------------------------------------------------------
    @contextmanager
    def _handle(self) -> Iterator[dict[int, Any]]:
        """Datasets by level that nobody else uses meanwhile: GDAL's are not thread-safe."""
        import rasterio

        with self._slots, rasterio.Env(**_OPTIONS):
            with self._lock:
                if self._closed:
                    raise HrvizError(f"{self.name} is closed; open it again")
                datasets = self._free.pop() if self._free else {}
            try:
                yield datasets
            finally:
                with self._lock:
                    keep = not self._closed
                    if keep:
                        self._free.append(datasets)
                if not keep:
                    _close(datasets)

    def _dataset(self, datasets: dict[int, Any], level: int) -> Any:
        """Level `level` alone: GDAL would otherwise pick, and resample from, another one."""
        import rasterio

        if level not in datasets:
            options = {} if level == 0 else {"overview_level": level - 1}
            datasets[level] = rasterio.open(self._path, driver="GTiff", **options)
        return datasets[level]

    def _setup(self, datasets: dict[int, Any]) -> None:
        full = self._dataset(datasets, 0)
        levels: list[Level] = []
        for number in range(1 + len(full.overviews(1))):
            data = self._dataset(datasets, number)
            h, w = data.shape
            last = (levels[-1].height, levels[-1].width) if levels else (h + 1, w + 1)
            if h > last[0] or w > last[1] or (h, w) == last:
                break
            scale = nominal_downsample(full.shape, (h, w))
            levels.append(Level(h, w, scale, self._fetch(data)))
        self.levels = tuple(levels)
        self._colours(full)
        self._place(full)
        same = self._tiles is not None and [
            (a.height, a.width, a.tile) for a in self._tiles.levels
        ] == [(b.height, b.width, b.tile) for b in levels]
        if self._tiles is not None and not (same and self.dtype == np.uint8):
            self._tiles.close()
            self._tiles = None

    def _fetch(self, data: Any) -> tuple[int, int]:
        """What one fetch costs: the stored tile, or a block of thin strips."""
        (th, tw), (height, width) = data.block_shapes[0], data.shape
        limit = max_pixels()
        if th * tw > limit and data.compression is not None:
            raise HrvizError(
                f"{short(self._path)} is stored in compressed pieces of {th * tw / 1e6:.0f} "
                f"megapixels, each decoded whole: at most {limit / 1e6:.0f} are allowed; re-save "
                "it in tiles (gdal_translate -of COG FILE image.tif) or raise HRVIZ_MAX_PIXELS"
            )
        strips = tw == width
        if th * tw > BIG_SEGMENT or (data.compression is None and strips):
            return min(1024, height), min(1024, width)
        return (min(height, th * max(1, 64 // th)), width) if strips else (th, tw)

    # -- colours --------------------------------------------------------------------------------
    def _colours(self, data: Any) -> None:
        from rasterio.enums import ColorInterp, MaskFlags

        meaning = data.colorinterp
        bands = [i + 1 for i, m in enumerate(meaning) if m is not ColorInterp.alpha]
        bands = bands or [1]
        kinds = {np.dtype(data.dtypes[b - 1]) for b in bands}
        dtype = np.result_type(*kinds)
        if dtype.kind not in "uif":
            raise HrvizError(
                f"{short(self._path)} has pixels of type {dtype}; save its real part or its "
                "magnitude as float32"
            )
        masked = any(MaskFlags.all_valid not in data.mask_flag_enums[b - 1] for b in bands)
        self._table = self._palette(data, bands)
        wanted = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
        if len(bands) == 3 and set(meaning) >= set(wanted):
            bands = [meaning.index(m) + 1 for m in wanted]
        self._bands, self._scale = bands, self._stretch(data, bands[0], dtype)
        self._fill = "none"  # or "alpha", "nan": how what is masked is told
        coloured = len(bands) in (1, 3)
        if self._table is not None:
            if masked and self._table.shape[1] == 3:
                self._table = np.pad(self._table, ((0, 0), (0, 1)), constant_values=255)
            self._fill = "alpha" if masked else "none"
            self.channels, self.dtype = self._table.shape[1], np.dtype(np.uint8)
        elif masked and coloured and dtype == np.uint8:
            self._fill, self.channels, self.dtype = "alpha", 4, dtype
        else:
            self._fill = "nan" if masked else "none"
            if masked:  # the float that holds every stored number exactly
                dtype = np.result_type(dtype, np.float32)
            self.channels, self.dtype = len(bands), dtype
        if not coloured:
            self.channel_info = _channels(data, bands)

    def _palette(self, data: Any, bands: list[int]) -> np.ndarray | None:
        """RGB or RGBA of every stored value."""
        from rasterio.enums import ColorInterp

        if len(bands) > 1 or data.colorinterp[bands[0] - 1] is not ColorInterp.palette:
            return None
        colours = data.colormap(bands[0])
        table = np.zeros((1 << 8 * np.dtype(data.dtypes[bands[0] - 1]).itemsize, 4), np.uint8)
        table[:, 3] = 255
        for value, colour in colours.items():
            table[value] = colour
        return table if (table[:, 3] < 255).any() else table[:, :3]

    def _stretch(self, data: Any, band: int, dtype: np.dtype[Any]) -> tuple[int, int] | None:
        """(top, factor) of grey with fewer than 8 bits or with white as zero."""
        facts = data.tags(band, ns="IMAGE_STRUCTURE")
        bits = int(facts.get("NBITS", 8 * dtype.itemsize))
        white = data.tags(ns="IMAGE_STRUCTURE").get("MINISWHITE") == "YES"
        if dtype.kind != "u" or self._table is not None or not (bits < 8 or white):
            return None
        top = 2**bits - 1
        return (top if white else 0), max(1, 255 // top)

    # -- place ----------------------------------------------------------------------------------
    def _place(self, data: Any) -> None:
        th, tw = data.block_shapes[0]
        facts = {
            "format": f"GeoTIFF, {'strips' if tw == data.width else 'tiles'} of {tw} x {th}, "
            f"compression {data.compression.name if data.compression else 'none'}"
        }
        if self._table is not None:
            facts["colour"] = "palette, shown as RGB"
        if self._fill != "none":
            shown = "transparent" if self._fill == "alpha" else "not a number (floats)"
            source = "mask" if data.nodata is None else f"nodata value {data.nodata:g}"
            facts["no data"] = f"{source}, shown as {shown}"
        scales = set(zip(data.scales, data.offsets, strict=True)) - {(1.0, 0.0)}
        if scales:
            scale, offset = min(scales)
            facts["values"] = f"stored; multiply by {scale:g} and add {offset:g}"
        if data.subdatasets:
            facts["images"] = f"{len(data.subdatasets)}: the first one is shown"
        crs, transform = data.crs, data.transform
        if not transform.is_identity:
            a, b, c, d, e, f = (float(v) for v in transform[:6])
            corners = [(0, 0), (data.width, 0), (0, data.height), (data.width, data.height)]
            east = [a * x + b * y + c for x, y in corners]
            north = [d * x + e * y + f for x, y in corners]
            bounds = (min(east), min(north), max(east), max(north))
            self.extent = Extent(_name(crs), (a, b, c, d, e, f), bounds, _geographic(crs, bounds))
            facts |= self._ground(crs, transform, data.shape)
        elif data.gcps[0]:
            facts["georeference"] = f"{len(data.gcps[0])} ground control points, not applied"
        if crs:
            facts["projection"] = _title(crs)
        self.metadata = facts

    def _ground(self, crs: Any, transform: Any, shape: tuple[int, int]) -> dict[str, str]:
        """Sets `pixel_size`; the distance between pixel centres on the ground, for people."""
        width, height = math.hypot(transform.a, transform.d), math.hypot(transform.b, transform.e)
        middle = self.extent.geographic if self.extent else None
        latitude = (middle[1] + middle[3]) / 2 if middle else 0.0
        facts = {}
        if crs and crs.is_projected:
            unit = crs.linear_units_factor[1]
            self.pixel_size = (width + height) / 2 * unit * 1e6
            sides = width * unit, height * unit
            facts["ground sampling distance"] = _sides(*sides)
            if crs.to_epsg() == 3857:
                true = _sides(*(s * math.cos(math.radians(latitude)) for s in sides))
                facts["ground sampling distance"] = f"{true} (Web Mercator: {_sides(*sides)})"
            span = f"{_length(sides[0] * shape[1])} x {_length(sides[1] * shape[0])}"
            facts["pixel size"] = f"{_sides(*sides)} (image {span})"
        elif crs and crs.is_geographic:
            metres = 111_320 * width * math.cos(math.radians(latitude)), 110_570 * height
            facts["ground sampling distance"] = (
                f"{width:.6g} x {height:.6g} degrees, about {_sides(*metres)} at the middle"
            )
        return facts

    # -- reading --------------------------------------------------------------------------------
    def read(self, level: int, y: int, x: int, height: int, width: int) -> np.ndarray:
        """A window of a level, or of the overview that is stored for it.

        Raises
        ------
        HrvizError
            When a stored piece cannot be decoded; names level and window.
        """
        from rasterio.windows import Window

        window = Window(x, y, width, height)
        try:
            with self._handle() as datasets:
                data = self._dataset(datasets, level)
                pixels = data.read(self._bands, window=window, masked=self._fill == "nan")
                mask = data.dataset_mask(window=window) if self._fill == "alpha" else None
        except HrvizError:
            raise
        except Exception as error:
            raise HrvizError(
                f"{short(self._path)}: level {level}, window of {width} x {height} at row {y}, "
                f"column {x} cannot be decoded ({first_line(error)}); the file is damaged: copy "
                "it again or re-save it"
            ) from error
        if self._fill == "nan":
            pixels = pixels.astype(self.dtype).filled(np.nan)
        pixels = np.moveaxis(pixels, 0, -1)
        if self._scale is not None:
            top, factor = self._scale
            pixels = (top - pixels if top else pixels) * pixels.dtype.type(factor)
        if self._table is not None:
            pixels = self._table[pixels[..., 0]]
        if mask is not None:
            pixels = _with_alpha(pixels, mask)
        return np.ascontiguousarray(pixels, dtype=self.dtype)

    def compressed_tile(self, level: int, row: int, column: int) -> tuple[bytes, str] | None:
        """The stored JPEG tile where nothing of it is masked, see `TiffReader.compressed_tile`."""
        tiles = self._tiles
        found = None if tiles is None else tiles.compressed_tile(level, row, column)
        if found is not None and self._fill == "alpha":
            from rasterio.windows import Window

            height, width = self.levels[level].tile
            with self._handle() as datasets:
                mask = self._dataset(datasets, level).dataset_mask(
                    window=Window(column * width, row * height, width, height)
                )
            return found if mask.min() == 255 else None
        return found

    def compressed_tile_now(self, level: int, row: int, column: int) -> tuple[bytes, str] | None:
        """`compressed_tile` where neither a disk nor a mask has to be waited for."""
        tiles = self._tiles
        if tiles is None:
            return None
        if self._fill == "alpha":
            raise BlockingIOError
        return tiles.compressed_tile_now(level, row, column)

    def close(self) -> None:
        """Release the datasets; those in use go when their read ends."""
        with self._lock:
            self._closed, free = True, self._free
            self._free = []
        for datasets in free:
            _close(datasets)
        tiles, self._tiles = getattr(self, "_tiles", None), None
        if tiles is not None:
            tiles.close()


def _close(datasets: dict[int, Any]) -> None:
    for data in datasets.values():
        data.close()


def _with_alpha(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    colour = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels[..., :3]
    alpha = np.minimum(mask, pixels[..., 3]) if pixels.shape[2] == 4 else mask
    return np.concatenate([colour, alpha[..., None]], axis=2)


def _channels(data: Any, bands: list[int]) -> tuple[Channel, ...]:
    """Bands called (or marked) red, green and blue in those colours, else the first three."""
    names = [data.descriptions[b - 1] or f"band {b}" for b in bands]
    meaning = [data.colorinterp[b - 1].name for b in bands]
    found = []
    for colour in ("red", "green", "blue"):
        named = [i for i, n in enumerate(names) if n.strip().lower() == colour]
        named += [i for i, m in enumerate(meaning) if m == colour]
        found.append(named[0] if named else -1)
    shown = found if min(found) >= 0 and len(set(found)) == 3 else [0, 1, 2]
    spare = iter(range(len(bands)))
    return tuple(
        Channel(name, _RGB[shown.index(i)])
        if i in shown
        else Channel(name, _OTHERS[next(spare) % len(_OTHERS)], active=False)
        for i, name in enumerate(names)
    )


def _geographic(crs: Any, bounds: tuple[float, ...]) -> tuple[float, float, float, float] | None:
    """The bounds in degrees (WGS 84); None where the projection does not reach."""
    if not crs:
        return None
    from rasterio.warp import transform_bounds

    try:
        found = transform_bounds(crs, "EPSG:4326", *bounds)
    except Exception:
        return None
    west, south, east, north = (float(v) for v in found)
    return (west, south, east, north) if np.isfinite(found).all() else None


def _name(crs: Any) -> str:
    """'EPSG:32618' where the system has a number, else its PROJ string."""
    if not crs:
        return "unknown system"
    authority = crs.to_authority()
    return ":".join(authority) if authority else crs.to_proj4() or crs.to_wkt()


def _title(crs: Any) -> str:
    """What the projection calls itself: the first quoted text of its WKT."""
    parts = crs.to_wkt().split('"')
    return parts[1] if len(parts) > 1 else _name(crs)


def _length(metres: float) -> str:
    for unit, size in (("km", 1000.0), ("m", 1.0), ("cm", 0.01)):
        if metres >= size * (1 if unit != "m" else 0.1):
            return f"{metres / size:.3g} {unit}"
    return f"{metres * 1000:.3g} mm"


def _sides(width: float, height: float) -> str:
    """One length where both sides are the same within a per cent."""
    if abs(width - height) <= 0.01 * max(width, height):
        return _length((width + height) / 2)
    return f"{_length(width)} x {_length(height)}"
