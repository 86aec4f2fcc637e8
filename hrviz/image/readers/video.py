"""Videos through PyAV: frames on demand, exact by their time stamps, and H.264's motion vectors.

A film is indexed by demuxing, which decodes nothing: the time stamps of its packets, sorted, number
its frames, and the key frame before a frame is where decoding starts. All readers of a film share
its decoders, so that frames asked for in order are decoded once each.
"""

from __future__ import annotations

import bisect
import itertools
import logging
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hrviz.errors import HrvizError
from hrviz.image.readers.base import Level, Reader, check_index
from hrviz.image.readers.raster import max_pixels
from hrviz.image.readers.sniff import first_line, short

logging.getLogger("libav").addHandler(logging.NullHandler())

# Containers of one file; a playlist could lead FFmpeg to other files and addresses.
_OPTIONS = {
    "format_whitelist": "mov,matroska,avi,mpegts,mpeg,ogg,flv,asf",
    "protocol_whitelist": "file",
}
_FILMS = 4  # kept with their decoders while nobody looks at them
_DECODERS = 3  # places a film is played at once
_CACHE_BYTES = 96 << 20  # decoded frames a film keeps
_COUNTED_BYTES = 64 << 20  # files up to this size are indexed when opened, whatever they claim
_MOST_FRAMES = 10_000_000
_STEP = 4  # frames that are decoded and passed by rather than sought past
_MOST_AHEAD = 20_000  # frames decoded to reach one: beyond, a film has too few key frames


@dataclass(frozen=True)
class MotionVectors:
    """What the encoder of a frame found to have moved.

    Parameters
    ----------
    target : ndarray, (n, 2)
        Centres of the blocks in this frame, (y, x) in level-0 pixels.
    source : ndarray, (n, 2)
        Centres of what they are predicted from; may lie outside. Fractions are of a pixel.
    size : ndarray, (n, 2)
        Height and width of the blocks.
    reference : ndarray, (n,)
        -1: predicted from an earlier frame, +1: from a later one.
    frame_type : str
        'I' (predicted from nothing, no vectors), 'P' or 'B'.
    """

    target: np.ndarray
    source: np.ndarray
    size: np.ndarray
    reference: np.ndarray
    frame_type: str

    def __post_init__(self) -> None:
        n = len(self.reference)
        assert self.target.shape == self.source.shape == self.size.shape == (n, 2)


class _Decoder:
    """An open container and where in it decoding is."""

    def __init__(self, path: Path) -> None:
        self.container, self.stream = _open(path)
        self.last: int | None = None  # time stamp of the last frame that came out
        self.damaged: list[str] = []
        self.frames = _decode(self.container, self.stream, self.damaged)

    def reach(self, stamp: int, places: tuple[int | None, ...]) -> Any:
        """The frame shown at `stamp`, or None; seeks to `places` in turn (None: goes on from here).

        Some containers seek by decoding times, and may end up behind the frame: then the next
        place, an earlier one, is tried.
        """
        for place in places:
            if place is not None:
                self.container.seek(place, stream=self.stream, backward=True)
                self.last, self.frames = None, _decode(self.container, self.stream, self.damaged)
            before = self.last
            for frame in itertools.islice(self.frames, _MOST_AHEAD + 1000):
                self.last = frame.pts if frame.pts is not None else frame.dts
                if self.last == stamp:
                    return frame
                if self.last is not None and self.last > stamp:
                    break
                before = self.last
            if before is not None:  # it came by, and the frame was not there
                return None
        return None


def _open(path: Path) -> tuple[Any, Any]:
    """A container and its first video stream."""
    import av

    container = av.open(str(path), options=_OPTIONS)
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    return container, stream


def _decode(container: Any, stream: Any, damaged: list[str]) -> Iterator[Any]:
    """Frames from where the container is; packets that cannot be decoded go to `damaged`."""
    import av

    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.error.EOFError:
            return
        except av.error.FFmpegError as error:
            damaged.append(first_line(error))
            continue
        yield from frames


class _Film:
    """Index, decoders and decoded frames of one file. All methods are thread-safe."""

    def __init__(self, path: Path) -> None:
        self._path, self.name = path, path.name
        self._lock = threading.Lock()
        self._stamps: list[int] = []  # of all packets seen so far, sorted
        self._keys: list[tuple[int, int]] = []  # of key frames: shown at, and where to seek
        self._reached: int | None = None  # decoding time of the last packet seen
        self._decoders: list[_Decoder] = []  # least recently used first
        self._cache: OrderedDict[int, np.ndarray] = OrderedDict()
        self._index, stream = _open(path)
        self._packets: Iterator[Any] | None = self._index.demux(stream)
        self._limit(stream)
        self.rate = float(stream.guessed_rate or stream.average_rate or 0) or None
        claimed = int(stream.frames or 0)
        if not claimed or path.stat().st_size <= _COUNTED_BYTES:
            self._advance(_MOST_FRAMES)
            claimed = max(claimed, len(self._stamps))
        self.count = claimed
        first = self._frame(0)
        self.turns = round(first.rotation / 90) % 4  # quarter turns counter-clockwise
        self.height, self.width = self._show(0, first).shape[:2]
        self.facts = self._facts(self._decoders[0], first)

    def _limit(self, stream: Any) -> None:
        if stream.codec_context is None:
            raise HrvizError(
                f"{short(self._path)} is in a coding that FFmpeg does not know, or damaged; convert "
                "it: ffmpeg -i FILE film.mp4"
            )
        pixels, limit = stream.width * stream.height, max_pixels()
        if pixels > limit:
            raise HrvizError(
                f"{short(self._path)} has frames of {pixels / 1e6:.0f} megapixels: at most "
                f"{limit / 1e6:.0f} are allowed; scale it (ffmpeg -i FILE -vf scale=7680:-2 "
                "film.mp4) or raise HRVIZ_MAX_PIXELS"
            )

    def _facts(self, decoder: _Decoder, first: Any) -> dict[str, str]:
        stream, context = decoder.stream, decoder.stream.codec_context
        facts = {
            "format": f"video, {context.codec.long_name} in {decoder.container.format.long_name}",
            "pixels": f"{first.format.name}, shown as 8-bit RGB",
        }
        seconds = self._seconds(decoder)
        if seconds:
            minutes, rest = divmod(seconds, 60)
            facts["duration"] = f"{minutes:.0f} min {rest:.0f} s" if minutes else f"{rest:.3g} s"
        if self.rate:
            facts["frame rate"] = f"{self.rate:.6g} a second"
        bits = context.bit_rate or (self._path.stat().st_size * 8 / seconds if seconds else 0)
        if bits:
            facts["bit rate"] = f"{bits / 1e6:.3g} Mbit/s"
        if self.turns:
            facts["orientation"] = "turned upright as the file says"
        aspect = stream.sample_aspect_ratio
        if aspect and aspect != 1:
            facts["aspect"] = f"pixels are {float(aspect):.4g} times as wide as high, not stretched"
        return facts

    def _seconds(self, decoder: _Decoder) -> float:
        stream = decoder.stream
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        if decoder.container.duration:
            return float(decoder.container.duration) / 1e6
        return self.count / self.rate if self.rate else 0.0

    # -- index ------------------------------------------------------------------------------
    def _advance(self, t: int) -> None:
        """Demux until the place of frame `t` is certain, or to the end.

        No frame is shown before it is decoded: once decoding times have passed a time stamp, no
        packet can come in before it.
        """
        import av

        while self._packets is not None:
            settled = len(self._stamps) > t and (self._reached or 0) > self._stamps[t]
            if settled:
                return
            try:
                packet = next(self._packets, None)
            except av.error.FFmpegError:  # a truncated file ends so
                packet = None
            if packet is None or len(self._stamps) >= _MOST_FRAMES:
                self._index.close()
                self._packets = None
                return
            stamp = packet.pts if packet.pts is not None else packet.dts
            if stamp is None or packet.is_discard:
                continue
            at = bisect.bisect_left(self._stamps, stamp)
            if at == len(self._stamps) or self._stamps[at] != stamp:
                self._stamps.insert(at, stamp)
            if packet.dts is not None:
                self._reached = packet.dts
            if packet.is_keyframe:
                decoded = stamp if packet.dts is None else min(stamp, packet.dts)
                bisect.insort(self._keys, (stamp, decoded))

    # -- frames -----------------------------------------------------------------------------
    def frame(self, t: int) -> np.ndarray:
        """Frame `t`, uint8 `(height, width, 3)`; not to be written to."""
        with self._lock:
            if t in self._cache:
                self._cache.move_to_end(t)
                return self._cache[t]
            return self._show(t, self._frame(t))

    def _show(self, t: int, frame: Any) -> np.ndarray:
        # Unsaid, high definition is BT.709 and the rest BT.601.
        space = {"src_colorspace": "ITU709"} if frame.colorspace == 2 and frame.height > 700 else {}
        pixels = np.rot90(frame.to_ndarray(format="rgb24", **space), self.turns)
        pixels = np.ascontiguousarray(pixels)
        self._cache[t] = pixels
        while len(self._cache) > max(2, _CACHE_BYTES // max(1, pixels.nbytes)):
            self._cache.popitem(last=False)
        return pixels

    def stamp(self, t: int) -> int:
        """Time stamp of frame `t`."""
        with self._lock:
            return self._stamp(t)

    def _stamp(self, t: int) -> int:
        self._advance(t)
        if t >= len(self._stamps):
            raise HrvizError(
                f"{short(self._path)} is truncated: it has {len(self._stamps)} of {self.count} "
                f"frames, so there is no t={t}; copy or download it again"
            )
        return self._stamps[t]

    def places(self, stamp: int) -> tuple[int, ...]:
        """Where to seek for the frame shown at `stamp`: its key frame, by three clocks."""
        at = bisect.bisect_right(self._keys, (stamp, 2**63)) - 1
        first = self._stamps[0]
        return (*self._keys[at], first) if at >= 0 else (first,)

    def _frame(self, t: int) -> Any:
        stamp = self._stamp(t)
        shown = self.places(stamp)[0]
        if t - bisect.bisect_left(self._stamps, shown) > _MOST_AHEAD:
            raise HrvizError(
                f"{short(self._path)}: frame {t} lies more than {_MOST_AHEAD} frames after a key "
                "frame, all of which would be decoded; add key frames: ffmpeg -i FILE -g 250 "
                "film.mp4"
            )
        # Going on over a few frames is not dearer than seeking.
        nearest = min(shown, self._stamps[max(0, t - _STEP)])
        going = [d for d in self._decoders if d.last is not None and nearest <= d.last < stamp]
        places: tuple[int | None, ...] = (None,)
        if going:
            decoder = max(going, key=lambda d: d.last or 0)
            self._decoders.remove(decoder)
        else:
            full = len(self._decoders) >= _DECODERS
            decoder = self._decoders.pop(0) if full else _Decoder(self._path)
            places = self.places(stamp)
        self._decoders.append(decoder)
        frame = decoder.reach(stamp, places)
        if frame is None:
            raise HrvizError(
                f"{short(self._path)}: frame {t} cannot be decoded; it is damaged or its data is "
                "missing: choose another, or copy the file again"
            )
        return frame

    def damaged(self) -> int:
        """Packets that could not be decoded, as far as decoding has come."""
        with self._lock:
            return max((len(d.damaged) for d in self._decoders), default=0)


_films: OrderedDict[tuple[str, int, int], _Film] = OrderedDict()
_films_lock = threading.Lock()


def _film(path: Path) -> tuple[_Film, str]:
    """The film of a file, shared while it stays unchanged, and its identity.

    Films leave when newer ones come; readers that still hold one keep it going.
    """
    status = path.stat()
    key = (str(path), status.st_size, status.st_mtime_ns)
    with _films_lock:
        film = _films.get(key)
        if film is None:
            film = _films[key] = _Film(path)
        _films.move_to_end(key)
        while len(_films) > _FILMS:
            _films.popitem(last=False)
    return film, ":".join(str(part) for part in key)


class VideoReader(Reader):
    """One frame of a video, as 8-bit RGB, upright.

    Parameters
    ----------
    path : Path
        An existing file: MP4, MOV, MKV, WebM, AVI, ...
    uri : str
        As the user wrote it.
    at : mapping of str to int
        The frame, 't', from 0.

    Raises
    ------
    HrvizError
        Without PyAV, without a video in the file, when its first frame cannot be decoded, and for
        frames above `HRVIZ_MAX_PIXELS`.
    """

    channels = 3
    dtype = np.dtype(np.uint8)

    def __init__(self, path: Path, uri: str, at: Mapping[str, int]) -> None:
        try:
            import av
        except ImportError:
            raise HrvizError(
                f"{short(path)}: videos are read with PyAV, which is not installed; "
                "pip install 'hrviz[formats]'"
            ) from None
        self.uri, self.name, self._path = uri, path.name, path
        self._closed = False
        try:
            self._film, self.identity = _film(path)
        except (av.error.FFmpegError, IndexError, ValueError) as error:
            if isinstance(error, HrvizError):
                raise
            reason = "no video in it" if isinstance(error, IndexError) else _reason(error)
            raise HrvizError(
                f"{short(path)} cannot be played ({reason}); it is damaged, truncated or no video: "
                "copy it again, or convert it: ffmpeg -i FILE film.mp4"
            ) from error
        film = self._film
        self.axes = {"t": film.count} if film.count > 1 else {}
        self.at = check_index(self.name, self.axes, at)
        self._t = self.at.get("t", 0)
        self.identity += f":{self._t}"
        self.frame_rate = film.rate
        self.levels = (Level(film.height, film.width, 1.0, (512, 512)),)
        self.metadata = dict(film.facts)

    def read(self, level: int, y: int, x: int, height: int, width: int) -> np.ndarray:
        """A window of the frame, decoding it, and those it builds on, if nobody has yet.

        Raises
        ------
        HrvizError
            When the film is truncated before it, or it cannot be decoded.
        """
        pixels = self._call(self._film.frame)
        return pixels[y : y + height, x : x + width].copy()

    def _call(self, function: Any) -> Any:
        import av

        if self._closed:
            raise HrvizError(f"{self.name} is closed; open it again")
        try:
            return function(self._t)
        except av.error.FFmpegError as error:
            raise HrvizError(
                f"{short(self._path)}: frame {self._t} cannot be decoded ({_reason(error)}); "
                "the file is damaged: copy it again"
            ) from error

    def compressed_tile_now(self, level: int, row: int, column: int) -> tuple[bytes, str] | None:
        """None: frames have no stored tiles."""
        return None

    def motion_vectors(self) -> MotionVectors:
        """Where the encoder found the blocks of this frame (H.264, MPEG-4 and older codecs).

        Returns
        -------
        MotionVectors
            Empty for I frames, and for codecs whose decoder does not tell.

        Raises
        ------
        HrvizError
            As `read`.
        """
        found: MotionVectors = self._call(self._vectors)
        return found

    def _vectors(self, t: int) -> MotionVectors:
        stamp = self._film.stamp(t)
        decoder = _Decoder(self._path)
        try:
            decoder.stream.codec_context.options = {"flags2": "+export_mvs"}
            frame = decoder.reach(stamp, self._film.places(stamp))
            if frame is None:
                raise HrvizError(
                    f"{short(self._path)}: frame {t} cannot be decoded; choose another"
                )
            data = frame.side_data.get("MOTION_VECTORS")
            kind = "?IPBSIPB"[frame.pict_type]
            table = None if data is None else data.to_ndarray().copy()
            shape = frame.height, frame.width
        finally:
            decoder.container.close()
        return _vectors(table, kind, shape, self._film.turns)

    def notes(self) -> list[str]:
        damaged = self._film.damaged()
        return [f"{damaged} packets of the film are damaged and were skipped"] if damaged else []

    def close(self) -> None:
        """Forget the frame; the film's decoders stay for its other readers."""
        self._closed = True


def _reason(error: BaseException) -> str:
    """FFmpeg's, without the number and the path."""
    return getattr(error, "strerror", None) or first_line(error)


def _vectors(table: Any, kind: str, shape: tuple[int, int], turns: int) -> MotionVectors:
    if table is None:
        return MotionVectors(
            np.zeros((0, 2)), np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0), kind
        )
    target = np.stack([table["dst_y"], table["dst_x"]], axis=1).astype(np.float64)
    motion = np.stack([table["motion_y"], table["motion_x"]], axis=1)
    source = target + motion / np.maximum(table["motion_scale"], 1)[:, None]
    size = np.stack([table["h"], table["w"]], axis=1).astype(np.float64)
    for _ in range(turns):  # a quarter counter-clockwise: (y, x) goes to (width - x, y)
        target, source = (np.stack([shape[1] - p[:, 1], p[:, 0]], axis=1) for p in (target, source))
        size, shape = size[:, ::-1], shape[::-1]
    return MotionVectors(target, source, size, np.sign(table["source"]).astype(int), kind)
