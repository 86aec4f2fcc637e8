"""Films written with PyAV: every frame in any order, against one plain decode from the start."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hrviz
from hrviz.errors import HrvizError
from hrviz.image.readers import open_reader

from .conftest import picture

av = pytest.importorskip("av")
from hrviz.image.readers import video  # noqa: E402


@pytest.fixture(autouse=True)
def no_films_kept() -> Iterator[None]:
    video._films.clear()
    yield
    video._films.clear()


def needs(codec: str) -> str:
    try:
        av.codec.Codec(codec, "w")
    except Exception:
        pytest.skip(f"this PyAV has no encoder {codec}")
    return codec


def write(
    path: Path,
    frames: list[np.ndarray],
    codec: str = "libx264",
    pixels: str = "yuv420p",
    container: dict[str, str] | None = None,
    rate: int = 25,
    stamps: list[int] | None = None,
    **options: str,
) -> Path:
    """A film of RGB or grey frames; `stamps` in milliseconds for a changing frame rate."""
    with av.open(str(path), "w", options=container or {}) as file:
        stream = file.add_stream(needs(codec), rate=rate, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        if stamps:
            stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for number, pixels_of in enumerate(frames):
            kind = "rgb24" if pixels_of.ndim == 3 else "gray"
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels_of), kind)
            if stamps:
                frame.pts, frame.time_base = stamps[number], Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


def scene(count: int, height: int = 96, width: int = 128) -> list[np.ndarray]:
    """A picture that slides by, so that no two frames are alike."""
    wide = picture(height, width + 3 * count)
    return [wide[:, 3 * t : 3 * t + width] for t in range(count)]


def decoded(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as file:
        return [f.to_ndarray(format="rgb24") for f in file.decode(video=0)]


def frame(path: Path, t: int) -> np.ndarray:
    reader = open_reader(f"{path}#t={t}")
    return reader.read(0, 0, 0, reader.levels[0].height, reader.levels[0].width)


CODECS: dict[str, tuple[str, dict[str, str]]] = {
    "h264-b-frames.mp4": ("libx264", {"g": "12", "bf": "3"}),
    "h264-open-gop.mkv": ("libx264", {"g": "10", "bf": "2", "x264-params": "open-gop=1"}),
    "h264.mov": ("libx264", {"g": "7", "bf": "0"}),
    "mpeg4-b-frames.avi": ("mpeg4", {"g": "12", "bf": "2"}),
    "vp9.webm": ("libvpx-vp9", {"g": "15", "deadline": "realtime", "cpu-used": "8"}),
    "hevc.mp4": ("libx265", {"preset": "ultrafast", "x265-params": "keyint=12:log-level=none"}),
    "every-frame-key.mkv": ("mjpeg", {}),
}


@pytest.mark.parametrize("name", sorted(CODECS))
def test_any_order(tmp_path: Path, name: str) -> None:
    codec, options = CODECS[name]
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = write(tmp_path / name, scene(50), codec, pixels, **options)
    expected = decoded(path)
    reader = open_reader(path)
    assert dict(reader.axes) == {"t": 50} == {"t": len(expected)}
    assert reader.frame_rate == 25
    order = [0, 1, 2, 49, 48, 30, 29, 28, 12, 11, *np.random.default_rng(0).permutation(50)]
    for t in order:
        np.testing.assert_array_equal(frame(path, int(t)), expected[t])


def test_lossless_pixels_and_windows(tmp_path: Path) -> None:
    frames = scene(6, 61, 43)
    path = write(tmp_path / "a.mkv", frames, "ffv1", "bgr0")
    for t in (5, 0, 3):
        np.testing.assert_array_equal(frame(path, t), frames[t])
    reader = open_reader(f"{path}#t=4")
    np.testing.assert_array_equal(reader.read(0, 7, 9, 20, 30), frames[4][7:27, 9:39])
    assert [(v.height, v.width, v.tile) for v in reader.levels] == [(61, 43, (512, 512))]
    assert reader.compressed_tile(0, 0, 0) is None


def test_grey_and_ten_bits(tmp_path: Path) -> None:
    grey = [f[..., 0] for f in scene(3, 41, 33)]
    path = write(tmp_path / "grey.mkv", grey, "ffv1", "gray")
    np.testing.assert_array_equal(frame(path, 2), np.repeat(grey[2][..., None], 3, axis=2))
    deep = write(tmp_path / "deep.mkv", scene(3, 64, 64), "ffv1", "yuv444p10le")
    assert np.abs(frame(deep, 1).astype(int) - scene(3, 64, 64)[1]).mean() < 2
    assert "yuv444p10le" in open_reader(deep).metadata["pixels"]


def test_changing_frame_rate(tmp_path: Path) -> None:
    gaps = np.random.default_rng(0).integers(1, 400, 30)
    stamps = [int(n) for n in np.cumsum(gaps)]
    frames = scene(30)
    path = write(tmp_path / "a.mkv", frames, "ffv1", "bgr0", stamps=stamps, g="6")
    for t in (29, 0, 14, 15, 3):
        np.testing.assert_array_equal(frame(path, t), frames[t])


def test_facts(tmp_path: Path) -> None:
    image = hrviz.open(write(tmp_path / "a.mp4", scene(50), rate=20))
    facts = image.facts()
    assert facts["time"] == "1 of 50, 20 a second"
    assert facts["duration"] == "2.5 s"
    assert "H.264" in facts["format"]
    assert facts["frame rate"] == "20 a second"
    assert "Mbit/s" in facts["bit rate"]
    later = image.at(t=7)
    assert later.index == {"t": 7}
    assert later.identity != image.identity
    with pytest.raises(HrvizError, match="choose 0 to 49"):
        image.at(t=50)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one a decoded frame."""
    frames: list[int] = []
    whole: Callable[..., Iterator[Any]] = video._decode

    def count(*args: Any) -> Iterator[Any]:
        for found in whole(*args):
            frames.append(1)
            yield found

    monkeypatch.setattr(video, "_decode", count)
    return frames


def test_playing_decodes_each_frame_once(tmp_path: Path, counted: list[int]) -> None:
    path = write(tmp_path / "a.mp4", scene(60), g="20")
    for t in range(60):
        for y in (0, 40):
            open_reader(f"{path}#t={t}").read(0, y, 0, 40, 100)
    assert len(counted) == 60


def test_jumps_start_at_the_key_frame_before(tmp_path: Path, counted: list[int]) -> None:
    path = write(tmp_path / "a.mp4", scene(120), g="20", bf="0", sc_threshold="0")
    open_reader(path)
    counted.clear()
    frame(path, 105)
    assert len(counted) == 6
    frame(path, 47)
    assert len(counted) == 6 + 8


def test_open_decoders_are_bounded(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", scene(100), g="5", sc_threshold="0")
    reader: Any = open_reader(path)
    for t in (90, 10, 70, 30, 50, 0):
        frame(path, t)
    assert len(reader._film._decoders) == 3
    for n in range(6):
        open_reader(write(tmp_path / f"{n}.mp4", scene(2)))
    assert len(video._films) == 4
    np.testing.assert_array_equal(reader.read(0, 0, 0, 96, 128), decoded(path)[0])


def test_threads(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", scene(40), g="10", bf="2")
    expected = decoded(path)
    order = [int(t) for t in np.random.default_rng(1).integers(0, 40, 60)]
    with ThreadPoolExecutor(8) as pool:
        for t, got in zip(order, pool.map(lambda t: frame(path, t), order), strict=True):
            np.testing.assert_array_equal(got, expected[t])


def test_large_files_are_indexed_as_far_as_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video, "_COUNTED_BYTES", 0)
    path = write(tmp_path / "a.mp4", scene(80), g="10", bf="2")
    reader: Any = open_reader(path)
    assert reader.axes["t"] == 80
    assert len(reader._film._stamps) < 20
    np.testing.assert_array_equal(frame(path, 33), decoded(path)[33])
    assert len(reader._film._stamps) < 50
    np.testing.assert_array_equal(frame(path, 79), decoded(path)[79])
    assert open_reader(write(tmp_path / "a.mkv", scene(9))).axes["t"] == 9  # none claimed: counted


def test_turned_upright(tmp_path: Path) -> None:
    """A phone's film: the track's matrix (QuickTime) turns it a quarter clockwise."""
    path = write(tmp_path / "a.mp4", scene(3))
    expected = decoded(path)
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40
    one = (1 << 16).to_bytes(4, "big")
    back = (-(1 << 16)).to_bytes(4, "big", signed=True)
    none = bytes(4)
    data[start : start + 24] = none + one + none + back + none + none  # a b u c d v
    path.write_bytes(data)
    for t in range(3):
        np.testing.assert_array_equal(frame(path, t), np.rot90(expected[t], -1))
    assert "turned upright" in open_reader(path).metadata["orientation"]


def moving(count: int, step: tuple[int, int]) -> tuple[list[np.ndarray], list[tuple[int, int]]]:
    """A textured square on grey, and its upper left corner (y, x) in each frame."""
    square = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    square = np.asarray(np.kron(square[::4, ::4], np.ones((4, 4))), np.uint8)
    frames, places = [], []
    for t in range(count):
        y, x = 40 + step[0] * t, 96 + step[1] * t
        whole = np.full((192, 256), 128, np.uint8)
        whole[y : y + 64, x : x + 64] = square
        frames.append(np.repeat(whole[..., None], 3, axis=2))
        places.append((y, x))
    return frames, places


@pytest.mark.parametrize("step", [(3, -5), (0, 4), (2, 2)])
@pytest.mark.parametrize("turned", [False, True])
def test_motion_vectors(tmp_path: Path, step: tuple[int, int], turned: bool) -> None:
    frames, places = moving(8, step)
    path = write(tmp_path / "a.mp4", frames, g="100", bf="0", refs="1", preset="slow", crf="10")
    reader: Any = open_reader(path)
    if turned:
        reader._film.turns = 3
    first = reader.motion_vectors()
    assert (first.frame_type, len(first.reference), first.target.shape) == ("I", 0, (0, 2))
    for t in (1, 4, 7):
        there: Any = open_reader(f"{path}#t={t}")
        found = there.motion_vectors()
        assert found.frame_type == "P"
        assert set(found.reference) == {-1}
        (y, x), moved = places[t], step
        low, high = np.array([y, x]), np.array([y + 64, x + 64])
        if turned:  # clockwise: (y, x) goes to (x, height - y)
            low, high = np.array([x, 192 - y - 64]), np.array([x + 64, 192 - y])
            moved = (step[1], -step[0])
        inside = ((found.target > low) & (found.target < high)).all(axis=1)
        assert inside.sum() >= 4
        motion = np.median((found.target - found.source)[inside], axis=0)
        np.testing.assert_allclose(motion, moved, atol=1)


def test_motion_of_b_frames(tmp_path: Path) -> None:
    frames, _ = moving(12, (2, 3))
    path = write(tmp_path / "a.mp4", frames, g="100", bf="2", **{"x264-params": "b-adapt=0"})
    kinds = {}
    for t in range(9):
        reader: Any = open_reader(f"{path}#t={t}")
        found = reader.motion_vectors()
        kinds.setdefault(found.frame_type, set()).update(found.reference.tolist())
        assert found.size.shape == found.source.shape == found.target.shape
        assert found.size.size == 0 or found.size.max() <= 16
    assert kinds == {"I": set(), "P": {-1}, "B": {-1, 1}}


def test_no_motion_from_codecs_without(tmp_path: Path) -> None:
    reader: Any = open_reader(f"{write(tmp_path / 'a.mkv', scene(3), 'ffv1', 'bgr0')}#t=1")
    assert len(reader.motion_vectors().reference) == 0


def refusal(path: Path | str) -> str:
    with pytest.raises(HrvizError) as caught:
        open_reader(path).read(0, 0, 0, 8, 8)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 400
    return text


def test_truncated_film_shows_what_it_has(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "a.mp4", scene(50), container={"movflags": "faststart"}, g="10", bf="0")
    expected = decoded(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    reader = open_reader(path)
    assert reader.axes["t"] == 50
    np.testing.assert_array_equal(frame(path, 10), expected[10])
    assert "is truncated: it has" in refusal(f"{path}#t=49")
    np.testing.assert_array_equal(frame(path, 5), expected[5])
    assert capfd.readouterr().err == ""


def test_truncated_before_its_index(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", scene(30))
    path.write_bytes(path.read_bytes()[:-200])
    text = refusal(path)
    assert "cannot be played (Invalid data" in text
    assert str(tmp_path) not in text


def test_damaged_inside(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Frames after the next key frame are as ever; damaged ones are a sentence or what decodes."""
    path = write(tmp_path / "a.mkv", scene(60), "mjpeg", "yuvj420p")
    expected = decoded(path)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 6000] = bytes(6000)
    path.write_bytes(data)
    np.testing.assert_array_equal(frame(path, 3), expected[3])
    for t in range(60):
        try:
            frame(path, t)
        except HrvizError as error:
            assert "\n" not in str(error)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("seed", range(3))
def test_random_bytes_inside(tmp_path: Path, seed: int, capfd: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "a.mp4", scene(12))
    whole = path.read_bytes()
    rng = np.random.default_rng(seed)
    for n in range(12):
        data = bytearray(whole)
        for at in rng.integers(0, len(data), 8):
            data[at] = rng.integers(256)
        (tmp_path / f"{n}.mp4").write_bytes(data)
        for t in (0, 5, 11):
            try:
                frame(tmp_path / f"{n}.mp4", t)
            except HrvizError as error:
                assert "\n" not in str(error)
    assert capfd.readouterr().err == ""


def test_sound_only(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        sound.sample_rate = 8000
        file.mux(stream.encode(sound))
        file.mux(stream.encode())
    assert "no video in it" in refusal(path)


def test_playlists_lead_nowhere(tmp_path: Path) -> None:
    """A text that sends FFmpeg to other files, under a film's name."""
    inner = write(tmp_path / "inner.mp4", scene(3))
    for text in (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:5,\n{inner.name}\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile {inner.name}\n",
    ):
        path = tmp_path / "list.mp4"
        path.write_text(text)
        assert "cannot be played" in refusal(path)


def test_without_pyav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.mp4", scene(2))
    monkeypatch.setitem(sys.modules, "av", None)
    assert "pip install 'hrviz[formats]'" in refusal(path)


def test_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.mp4", scene(2))
    monkeypatch.setenv("HRVIZ_MAX_PIXELS", "9000")
    assert "raise HRVIZ_MAX_PIXELS" in refusal(path)


def test_closed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", scene(4))
    one, other = open_reader(path), open_reader(f"{path}#t=2")
    one.close()
    with pytest.raises(HrvizError, match="closed"):
        one.read(0, 0, 0, 4, 4)
    assert other.read(0, 0, 0, 4, 4).shape == (4, 4, 3)
