"""DICOM: whole slides through wsidicom, other images frame by frame through pydicom.

A slide is a series of files, one or more a level: opening any of them, or their folder, opens all.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hrviz.errors import HrvizError
from hrviz.image.readers.base import Level, Reader, check_index, nominal_downsample
from hrviz.image.readers.jpeg_tiles import shows, standalone_jpeg
from hrviz.image.readers.sniff import first_line, short

# Their warnings about values that break the standard would print beside our one-line errors.
for _name in ("pydicom", "wsidicom"):
    logging.getLogger(_name).addHandler(logging.NullHandler())

_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"  # VL Whole Slide Microscopy Image Storage
_JPEG = "1.2.840.10008.1.2.4.50"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_MOST_FILES = 1000  # looked at in a folder
_CACHE_BYTES = 16 << 20  # tiles are cached by `Image`; this one serves windows across tiles


class DicomReader(Reader):
    """A DICOM slide (file or folder of a series) or image.

    Parameters
    ----------
    path : Path
        An existing file, or the folder of one series.
    uri : str
        As the user wrote it.
    at : mapping of str to int
        Focal plane 'z' of a slide, frame 't' of a multi-frame image.

    Raises
    ------
    HrvizError
        When nothing installed reads it, pixels are missing or cannot be decoded, or a folder holds
        more than one image.
    """

    def __init__(self, path: Path, uri: str, at: Mapping[str, int]) -> None:
        self.uri, self.name, self._path = uri, path.name, path
        self._source: Reader
        try:
            import pydicom  # noqa: F401 - asked for before anything is opened
        except ImportError:
            self._source = _through_openslide(path, uri)
        else:
            self._source = self._open(path, uri, at)
        for name in (
            *("levels", "channels", "dtype", "pixel_size", "metadata", "identity"),
            *("channel_info", "axes", "at", "frame_rate"),
        ):
            setattr(self, name, getattr(self._source, name))

    def _open(self, path: Path, uri: str, at: Mapping[str, int]) -> Reader:
        try:
            with quiet():
                files = series(path)
                _refuse_deflated(files[0])
                if _kind(files[0])[0] == _SLIDE:
                    try:
                        import wsidicom  # noqa: F401 - as above
                    except ImportError:
                        return _through_openslide(files[0], uri)
                    return _Slide(path, files, uri, at)
                from hrviz.image.readers.dicom_frames import FramesReader

                return FramesReader(files[0], uri, at)
        except HrvizError:
            raise
        except Exception as error:
            raise HrvizError(
                f"{short(path)}: this DICOM cannot be opened ({first_line(error)}); it is damaged, "
                "truncated or of a kind hrviz does not know: copy or export it again"
            ) from error

    def read(self, level: int, y: int, x: int, height: int, width: int) -> np.ndarray:
        """A window of a level, decoding the frames it touches.

        Raises
        ------
        HrvizError
            When a frame is missing or cannot be decoded.
        """
        return self._source.read(level, y, x, height, width)

    def compressed_tile(self, level: int, row: int, column: int) -> tuple[bytes, str] | None:
        """The stored frame of a JPEG slide where a browser shows it as `read` does."""
        return self._source.compressed_tile(level, row, column)

    def compressed_tile_now(self, level: int, row: int, column: int) -> tuple[bytes, str] | None:
        """`compressed_tile` if it need not wait, else BlockingIOError."""
        return self._source.compressed_tile_now(level, row, column)

    def notes(self) -> list[str]:
        return self._source.notes()

    def close(self) -> None:
        self._source.close()


def _through_openslide(path: Path, uri: str) -> Reader:
    """A slide without wsidicom."""
    file = path if path.is_file() else next(p for p in sorted(path.iterdir()) if p.is_file())
    try:
        from hrviz.image.readers.slide import SlideReader, detect
    except ImportError:
        detect = None  # type: ignore[assignment]
    if detect is None or detect(file) != "dicom":
        raise HrvizError(
            f"{short(path)}: DICOM is read with wsidicom and pydicom, which are not installed; "
            "pip install 'hrviz[slides]'"
        )
    return SlideReader(file, uri, "dicom")


@contextmanager
def quiet() -> Iterator[None]:
    """Without pydicom's warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _refuse_deflated(path: Path) -> None:
    """Raise for files packed as a whole: pydicom unpacks them at once, to whatever size."""
    from pydicom.filereader import read_file_meta_info

    if str(read_file_meta_info(path).get("TransferSyntaxUID", "")) == _DEFLATED:
        raise HrvizError(
            f"{short(path)} is DICOM in the deflated coding, which hrviz does not unpack; export it "
            "uncompressed: dcmconv +te FILE image.dcm"
        )


def _kind(path: Path) -> tuple[str, str]:
    """(SOP class, series) of a DICOM file, reading its first elements only; empty where unknown."""
    from pydicom.filereader import read_partial

    try:
        _refuse_deflated(path)
        with path.open("rb") as file:
            header = read_partial(
                file,
                stop_when=lambda tag, _vr, _length: tag > 0x0020000E,
                specific_tags=[0x00080016, 0x0020000E],
            )
    except Exception:
        return "", ""
    sop = header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID", "")
    return str(sop), str(header.get("SeriesInstanceUID", ""))


def series(path: Path) -> list[Path]:
    """The files to open for a file or a folder: a slide with all files of its series beside it.

    Raises
    ------
    HrvizError
        For a folder with several series or several images.
    """
    if path.is_file():
        kind, uid = _kind(path)
        if kind != _SLIDE or not uid:
            return [path]
        others = [p for p in _dicom_files(path.parent) if p != path]
        return [path, *(p for p in others if _kind(p) == (kind, uid))]
    files = {p: _kind(p) for p in _dicom_files(path)}
    slides = {uid: p for p, (kind, uid) in reversed(files.items()) if kind == _SLIDE}
    if len(slides) == 1:
        uid = next(iter(slides))
        return [p for p, found in files.items() if found == (_SLIDE, uid)]
    if len(slides) > 1 or len(files) > 1:
        what = f"{len(slides)} slides" if slides else f"{len(files)} DICOM images"
        names = [p.name for p in (slides.values() if slides else files)][:3]
        raise HrvizError(
            f"{short(path)} holds {what}; open one of them by a file of it: {', '.join(names)}"
        )
    return list(files) or [path]


def _dicom_files(folder: Path) -> list[Path]:
    found = []
    for path in sorted(p for p in folder.iterdir() if p.is_file())[:_MOST_FILES]:
        try:
            with path.open("rb") as file:
                if file.read(132)[128:] == b"DICM":
                    found.append(path)
        except OSError:
            continue
    return found


class _Slide(Reader):
    """A VL Whole Slide Microscopy Image. wsidicom's handles may be read by several threads."""

    def __init__(self, path: Path, files: list[Path], uri: str, at: Mapping[str, int]) -> None:
        from wsidicom import WsiDicom
        from wsidicom.config import Settings

        self.uri, self.name, self._path = uri, path.name, path
        states = [p.stat() for p in files]
        size, changed = sum(s.st_size for s in states), max(s.st_mtime_ns for s in states)
        self._jpeg_ok: dict[int, bool] = {}
        self._lock, self._closed = threading.Lock(), False
        settings = Settings(
            strict_tile_size_check=False,
            decoded_frame_cache_size=_CACHE_BYTES,
            encoded_frame_cache_size=_CACHE_BYTES,
        )
        self._slide = WsiDicom.open(sorted(files), settings=settings)
        try:
            self._setup(files, at)
        except BaseException:
            self._slide.close()
            raise
        place = "".join(f"&{axis}={n}" for axis, n in self.at.items() if n)
        self.identity = f"{path}:{len(files)}:{size}:{changed}{place}"

    def _setup(self, files: list[Path], at: Mapping[str, int]) -> None:
        stored = sorted(self._slide.pyramid, key=lambda level: level.level)
        full = stored[0].size.height, stored[0].size.width
        self._stored: list[Any] = []
        levels: list[Level] = []
        for level in stored:
            h, w, tile = level.size.height, level.size.width, level.tile_size
            if levels and (h >= levels[-1].height or w >= levels[-1].width):
                continue
            self._stored.append(level)
            scale = nominal_downsample(full, (h, w))
            levels.append(Level(h, w, scale, (tile.height, tile.width)))
        self.levels = tuple(levels)
        image = self._stored[0].default_instance.image_data
        self.channels = image.samples_per_pixel
        self.dtype = np.dtype(image.dtype)
        spacing = self._stored[0].pixel_spacing
        microns = (spacing.width + spacing.height) / 2 * 1000 if spacing else 0.0
        self.pixel_size = microns if microns > 0 else None
        planes = sorted(self._stored[0].focal_planes)
        if len(planes) > 1:
            self.axes = {"z": len(planes)}
        self.at = check_index(self.name, self.axes, at)
        self._plane = planes[self.at["z"]] if "z" in self.at else None
        self.metadata = self._facts(image, len(files), planes)

    def _facts(self, image: Any, given: int, planes: list[float]) -> dict[str, str]:
        dataset = self._stored[0].default_instance.dataset.as_dataset()
        paths = sorted(self._stored[0].optical_paths)
        named = {
            str(p.get("OpticalPathIdentifier", "")): p
            for p in dataset.get("OpticalPathSequence", ())
        }
        shown = named.get(self._stored[0].default_instance.default_path)
        lens = shown.get("ObjectiveLensPower") if shown else None
        profile = bool(shown and shown.get("ICCProfile"))
        maker = " ".join(
            str(dataset.get(k)) for k in ("Manufacturer", "ManufacturerModelName") if k in dataset
        )
        names = {"labels": self._slide.labels, "overview": self._slide.overviews}
        facts = {
            "format": f"DICOM slide ({image.transfer_syntax.name})",
            "vendor": maker or "unknown",
            "objective": f"{float(lens):g} x" if lens else "unknown x",
            "colour profile": "ICC, not applied" if profile else "none",
            "associated images": ", ".join(k for k, v in names.items() if v) or "none",
            "optical path": ", ".join(paths)
            + (": the first one is shown" if len(paths) > 1 else ""),
        }
        if len(planes) > 1:
            facts["focal planes"] = f"{planes[0]:g} to {planes[-1]:g} um"
        used = {str(p) for p in self._slide.files or ()}
        if used and len(used) < given:
            facts["files"] = f"{len(used)} of {given} files of the series could be used"
        return facts

    def read(self, level: int, y: int, x: int, height: int, width: int) -> np.ndarray:
        if self._closed:
            raise HrvizError(f"{self.name} is closed; open it again")
        number = self._stored[level].level
        try:
            with quiet():
                pixels = self._slide.read_region(
                    (x, y), number, (width, height), self._plane, threads=1, as_array=True
                )
        except Exception as error:
            raise HrvizError(
                f"{short(self._path)}: level {level}, window of {width} x {height} at row {y}, "
                f"column {x} cannot be decoded ({first_line(error)}); the slide is truncated or "
                "damaged: copy it again with all its files"
            ) from error
        pixels = pixels if pixels.ndim == 3 else pixels[..., None]
        return np.ascontiguousarray(pixels, dtype=self.dtype)

    def compressed_tile(self, level: int, row: int, column: int) -> tuple[bytes, str] | None:
        if self._closed or not self._jpeg_ok.get(level, True):
            return None
        info, image = self.levels[level], self._stored[level].default_instance.image_data
        if image.transfer_syntax != _JPEG or self.dtype != np.uint8:
            self._jpeg_ok[level] = False
            return None
        th, tw = info.tile
        inside = row >= 0 and column >= 0
        if not inside or (row + 1) * th > info.height or (column + 1) * tw > info.width:
            return None
        try:
            number = self._stored[level].level
            data = self._slide.read_encoded_tile(number, (column, row), self._plane)
        except Exception:  # `read` of the same tile says what is wrong
            return None
        data = standalone_jpeg(data, None, rgb=image.photometric_interpretation == "RGB")
        if level not in self._jpeg_ok:
            self._jpeg_ok[level] = shows(data, self.read(level, row * th, column * tw, th, tw))
        return (data, "image/jpeg") if self._jpeg_ok[level] else None

    def close(self) -> None:
        with self._lock:
            closed, self._closed = self._closed, True
        if not closed:
            self._slide.close()
