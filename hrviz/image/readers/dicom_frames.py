"""DICOM images that are no slides: one frame at a time through pydicom, with their grey window.

Stored values are kept (a note gives the rescaling to Hounsfield units and the like); the window
that the file asks for becomes the limits of its one channel.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hrviz.errors import HrvizError
from hrviz.image.readers.base import Channel, Level, Reader, check_index
from hrviz.image.readers.dicom import quiet
from hrviz.image.readers.raster import max_pixels
from hrviz.image.readers.sniff import first_line, short

# Transfer syntaxes pydicom itself needs other packages for -> decoder of imagecodecs.
_CODECS = {
    "1.2.840.10008.1.2.4.51": "jpeg_decode",  # 12 bit
    "1.2.840.10008.1.2.4.57": "ljpeg_decode",
    "1.2.840.10008.1.2.4.70": "ljpeg_decode",
    "1.2.840.10008.1.2.4.80": "jpegls_decode",
    "1.2.840.10008.1.2.4.81": "jpegls_decode",
    "1.2.840.10008.1.2.4.201": "jpeg2k_decode",
    "1.2.840.10008.1.2.4.202": "jpeg2k_decode",
    "1.2.840.10008.1.2.4.203": "jpeg2k_decode",
}
#: What pydicom asks of a decoder plugin, with `is_available` and `decode`.
DECODER_DEPENDENCIES = dict.fromkeys(_CODECS, ("imagecodecs",))
_plugged = threading.Lock()


def is_available(syntax: str) -> bool:
    """Whether `decode` decodes this transfer syntax."""
    return syntax in _CODECS


def decode(source: bytes, runner: Any) -> bytearray:
    """One frame, as pydicom's decoder plugins give it."""
    import imagecodecs

    pixels = getattr(imagecodecs, _CODECS[runner.transfer_syntax])(source)
    runner.set_option("planar_configuration", 0)
    runner.set_option("bits_allocated", pixels.dtype.itemsize * 8)
    return bytearray(np.ascontiguousarray(pixels).tobytes())


def _plug_in() -> None:
    from pydicom.pixels.decoders.base import get_decoder

    with _plugged:
        for syntax in _CODECS:
            decoder = get_decoder(syntax)
            if "hrviz" not in decoder.available_plugins:
                decoder.add_plugin("hrviz", (__name__, "decode"))


class FramesReader(Reader):
    """One frame of a DICOM image, decoded whole at the first read.

    Parameters
    ----------
    path : Path
        An existing file.
    uri : str
        As the user wrote it.
    at : mapping of str to int
        Frame 't'.

    Raises
    ------
    HrvizError
        For DICOM without pixels, and frames above `HRVIZ_MAX_PIXELS`.
    """

    def __init__(self, path: Path, uri: str, at: Mapping[str, int]) -> None:
        from pydicom import dcmread

        self.uri, self.name, self._path = uri, path.name, path
        status = path.stat()
        self.identity = f"{path}:{status.st_size}:{status.st_mtime_ns}"
        self._lock, self._closed = threading.Lock(), False
        self._decoded: np.ndarray | None = None
        header = dcmread(path, stop_before_pixels=True)
        self._check(header)
        frames = int(header.get("NumberOfFrames") or 1)
        self.axes = {"t": frames} if frames > 1 else {}
        self.at = check_index(self.name, self.axes, at)
        self._frame = self.at.get("t", 0)
        if self._frame:
            self.identity += f":{self._frame}"
        self.frame_rate = _rate(header) if frames > 1 else None
        height, width = int(header.Rows), int(header.Columns)
        self.levels = (Level(height, width, 1.0, (min(height, 1024), min(width, 1024))),)
        self._kind = str(header.get("PhotometricInterpretation", "MONOCHROME2"))
        self._header = header
        self._types(header)
        self.pixel_size = _spacing(header)
        syntax = header.file_meta.get("TransferSyntaxUID")
        self.metadata = {
            "format": f"DICOM, {getattr(syntax, 'name', 'unknown coding')}, decoded a frame at once",
            "kind": header.get("SOPClassUID", header.file_meta.MediaStorageSOPClassUID).name,
            **self._grey(header),
        }

    def _check(self, header: Any) -> None:
        kind = header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID")
        if not header.get("Rows") or not header.get("Columns"):
            raise HrvizError(
                f"{short(self._path)} is DICOM without pixels ({getattr(kind, 'name', 'unknown')}); "
                "open an image of its study"
            )
        pixels, limit = int(header.Rows) * int(header.Columns), max_pixels()
        if pixels > limit:
            raise HrvizError(
                f"{short(self._path)} has frames of {pixels / 1e6:.0f} megapixels, decoded whole: "
                f"at most {limit / 1e6:.0f} are allowed; raise HRVIZ_MAX_PIXELS"
            )

    def _types(self, header: Any) -> None:
        samples = int(header.get("SamplesPerPixel", 1))
        bits = int(header.get("BitsAllocated", 8))
        letter = "i" if int(header.get("PixelRepresentation", 0)) and samples == 1 else "u"
        if header.get("PixelData") is None and bits in (32, 64) and "BitsStored" not in header:
            letter = "f"  # FloatPixelData and DoubleFloatPixelData have no BitsStored
        if samples not in (1, 3) or bits not in (1, 8, 16, 32, 64):
            raise HrvizError(
                f"{short(self._path)} has {samples} samples of {bits} bits a pixel; 1 or 3 samples "
                "of 1, 8, 16 or 32 bits are read: export it as such"
            )
        self.channels = 3 if samples == 3 or self._kind == "PALETTE COLOR" else 1
        self.dtype = np.dtype(f"{letter}{max(1, bits // 8)}")
        if self._kind == "PALETTE COLOR":
            self.dtype = np.dtype(np.uint8)

    def _grey(self, header: Any) -> dict[str, str]:
        """Facts of grey images; sets `channel_info` where the file asks for a window."""
        facts = {"colour": "palette, shown as RGB"} if self._kind == "PALETTE COLOR" else {}
        if self.channels != 1:
            return facts
        if self._kind == "MONOCHROME1":
            facts["colour"] = "white is zero, shown inverted"
        modality = _group(header, "PixelValueTransformationSequence")
        slope, offset = (
            float(_first(modality.get(k), d))
            for k, d in (("RescaleSlope", 1), ("RescaleIntercept", 0))
        )
        if (slope, offset) != (1, 0):
            unit = str(modality.get("RescaleType", "") or "")
            unit = "HU" if not unit and header.get("Modality") == "CT" else unit
            facts["values"] = f"stored; {unit or 'value'} = {slope:g} x stored {offset:+g}"
        window = _group(header, "FrameVOILUTSequence")
        centre, width = (_first(window.get(k), None) for k in ("WindowCenter", "WindowWidth"))
        if centre is None or width is None or not float(width) > 0 or slope == 0:
            return facts
        facts["window"] = f"{float(centre):g} ± {float(width) / 2:g}"
        exact = str(window.get("VOILUTFunction", "LINEAR")) == "LINEAR_EXACT"
        shift, half = (0.0, float(width) / 2) if exact else (0.5, max(float(width) - 1, 0.5) / 2)
        ends = [(float(centre) - shift + s * half - offset) / slope for s in (-1, 1)]
        if self._kind == "MONOCHROME1":
            ends = [self._mirror() - e for e in ends]
        self.channel_info = (Channel("grey", (255, 255, 255), (min(ends), max(ends))),)
        return facts

    def _mirror(self) -> int:
        """Smallest plus largest stored value: what inverted pixels are subtracted from."""
        if self.dtype.kind == "f":
            return 0
        bits = int(self._header.get("BitsStored", self.dtype.itemsize * 8))
        return -1 if self.dtype.kind == "i" else 2**bits - 1

    def _decode(self) -> np.ndarray:
        from pydicom.pixels.processing import apply_color_lut
        from pydicom.pixels.utils import pixel_array

        _plug_in()
        with quiet():
            pixels = pixel_array(self._path, index=self._frame)
            if self._kind == "PALETTE COLOR":
                pixels = apply_color_lut(pixels, self._header)
                pixels = (pixels >> 8 if pixels.dtype.itemsize == 2 else pixels).astype(np.uint8)
        if self._kind == "MONOCHROME1":
            pixels = (self._mirror() - pixels.astype(np.int64)).astype(self.dtype)
        if int(self._header.get("BitsAllocated", 8)) == 1:
            pixels = pixels * np.uint8(255)
        info = self.levels[0]
        return pixels.astype(self.dtype).reshape(info.height, info.width, self.channels)

    def read(self, level: int, y: int, x: int, height: int, width: int) -> np.ndarray:
        """A window of the frame; the first read decodes all of it."""
        with self._lock:
            if self._closed:
                raise HrvizError(f"{self.name} is closed; open it again")
            if self._decoded is None:
                try:
                    self._decoded = self._decode()
                except Exception as error:
                    raise HrvizError(
                        f"{short(self._path)}: frame {self._frame} cannot be decoded "
                        f"({first_line(error)}); it is truncated, damaged or in an unknown coding: "
                        "copy it again or export it uncompressed"
                    ) from error
            pixels = self._decoded
        return pixels[y : y + height, x : x + width].copy()

    def compressed_tile_now(self, level: int, row: int, column: int) -> tuple[bytes, str] | None:
        """None: frames are not tiles."""
        return None

    def close(self) -> None:
        """Forget the decoded frame."""
        with self._lock:
            self._closed, self._decoded = True, None


def _first(value: Any, default: Any) -> Any:
    """The first of what may be several values."""
    if value is None or value == "":
        return default
    return value if isinstance(value, (str, int, float)) else (list(value) or [default])[0]


def _group(header: Any, name: str) -> Any:
    """The item of a functional group shared by (else of the first of) all frames, else the header."""
    for outer in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for item in (header.get(outer) or ())[:1]:
            if item.get(name):
                return item[name][0]
    return header


def _spacing(header: Any) -> float | None:
    """Micrometres a pixel; at the detector where the file does not know it in the patient."""
    group = _group(header, "PixelMeasuresSequence")
    for name in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        values = group.get(name)
        if values is not None and len(values) == 2:
            size = sum(float(v) for v in values) / 2 * 1000
            return size if 0 < size < 1e7 else None
    return None


def _rate(header: Any) -> float | None:
    for name in ("RecommendedDisplayFrameRate", "CineRate"):
        if header.get(name):
            return float(header[name].value)
    time = header.get("FrameTime")  # milliseconds
    return 1000 / float(time) if time and float(time) > 0 else None
