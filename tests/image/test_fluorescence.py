"""Many-channel images: pages of OME and ImageJ stacks, their channels, and the composite."""

from __future__ import annotations

import colorsys
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from hrviz.errors import HrvizError
from hrviz.image import Image, open_image
from hrviz.image.cache import TILES
from hrviz.image.composite import (
    PAIR,
    PALETTE,
    colours_for,
    composite,
    known_colour,
    percentile_limits,
)
from hrviz.image.readers import open_reader

from .conftest import assert_reads, picture

RNG = np.random.default_rng(0)
STACK = RNG.integers(0, 4000, (2, 3, 4, 150, 210)).astype(np.uint16)  # t, c, z, y, x


def signed(red: int, green: int, blue: int) -> int:
    """A colour as OME writes it: RGBA in a signed 32-bit integer."""
    value = red << 24 | green << 16 | blue << 8 | 255
    return value - 2**32 if value >= 2**31 else value


def ome_stack(path: Path, channels: dict[str, Any] | None = None, levels: int = 1) -> Path:
    meta: dict[str, Any] = {"axes": "TCZYX", "Channel": channels or {}}
    options: dict[str, Any] = {"tile": (64, 64), "photometric": "minisblack"}
    with tifffile.TiffWriter(path, ome=True) as tiff:
        tiff.write(STACK, subifds=levels - 1, metadata=meta, **options)
        for i in range(1, levels):
            tiff.write(STACK[..., :: 2**i, :: 2**i], subfiletype=1, **options)
    return path


def with_xml(path: Path, old: str, new: str) -> Path:
    """Another OME-XML in the file, as other writers put it."""
    xml = tifffile.tiffcomment(path)
    assert old in xml
    tifffile.tiffcomment(path, xml.replace(old, new).encode())
    return path


# -- pages --------------------------------------------------------------------------------------
@pytest.mark.parametrize("levels", [1, 2])
def test_every_page_of_an_ome_stack(tmp_path: Path, levels: int) -> None:
    path = ome_stack(tmp_path / "a.ome.tif", levels=levels)
    oracle = tifffile.imread(path)
    assert oracle.shape == STACK.shape
    assert open_reader(path).axes == {"t": 2, "z": 4}
    identities = set()
    for t in range(2):
        for z in range(4):
            reader = open_reader(f"{path}#t={t}&z={z}")
            assert reader.at == {"t": t, "z": z}
            planes = oracle[t, :, z]
            expected = [planes[:, :: 2**i, :: 2**i].transpose(1, 2, 0) for i in range(levels)]
            assert_reads(reader, tuple(expected))
            identities.add(reader.identity)
    assert len(identities) == 8
    with pytest.raises(HrvizError, match="choose 0 to 3"):
        open_reader(f"{path}#z=4")
    with pytest.raises(HrvizError, match="no axis 'p'"):
        open_reader(f"{path}#p=0")


@pytest.mark.parametrize("order", ["XYZCT", "XYCZT", "XYTZC", "XYTCZ"])
def test_any_order_of_pages(tmp_path: Path, order: str) -> None:
    axes = order[:1:-1] + "YX"  # OME writes the fastest first
    moved = STACK.transpose([*("TCZ".index(a) for a in axes[:3]), 3, 4])
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, moved, metadata={"axes": axes}, compression="zlib")
    for t, z in ((0, 0), (1, 3), (1, 0), (0, 2)):
        expected = STACK[t, :, z].transpose(1, 2, 0)
        assert_reads(open_reader(f"{path}#t={t}&z={z}"), (expected,))


@pytest.mark.parametrize("compressed", [False, True])
def test_imagej_hyperstack(tmp_path: Path, compressed: bool) -> None:
    """Uncompressed, one page header stands for all."""
    path = tmp_path / "a.tif"
    tzc = STACK.transpose(0, 2, 1, 3, 4)
    options = {"compression": "zlib"} if compressed else {}
    tifffile.imwrite(path, tzc, imagej=True, metadata={"axes": "TZCYX"}, **options)  # type: ignore[arg-type]
    for t, z in ((0, 0), (1, 3), (1, 0)):
        reader = open_reader(f"{path}#t={t}&z={z}")
        assert reader.axes == {"t": 2, "z": 4}
        assert_reads(reader, (STACK[t, :, z].transpose(1, 2, 0),))


def test_plain_pages_and_rgb_stacks(tmp_path: Path) -> None:
    frames = picture(40, 50, 5).transpose(2, 0, 1)
    with tifffile.TiffWriter(tmp_path / "pages.tif") as tiff:
        for frame in frames:
            tiff.write(frame, metadata=None, contiguous=False)
    assert_reads(open_reader(f"{tmp_path / 'pages.tif'}#i=3"), (frames[3][..., None],))
    nested = RNG.integers(0, 255, (5, 6, 40, 50)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "nested.tif", nested, photometric="minisblack")
    reader = open_reader(f"{tmp_path / 'nested.tif'}#q=4&r=2")
    assert reader.axes == {"q": 5, "r": 6}
    assert_reads(reader, (nested[4, 2][..., None],))
    colour = RNG.integers(0, 255, (4, 40, 50, 3)).astype(np.uint8)
    meta = {"axes": "ZYXS"}
    tifffile.imwrite(tmp_path / "rgb.ome.tif", colour, photometric="rgb", metadata=meta)
    reader = open_reader(f"{tmp_path / 'rgb.ome.tif'}#z=2")
    assert reader.channel_info is None
    assert_reads(reader, (colour[2],))


def test_images_move_along_axes(tmp_path: Path) -> None:
    image = open_image(ome_stack(tmp_path / "a.ome.tif"))
    there = image.at(t=1).at(z=3)
    assert there.index == {"t": 1, "z": 3}
    got = there.window(0, 0, 0, 150, 210)
    np.testing.assert_array_equal(got, STACK[1, :, 3].transpose(1, 2, 0))
    assert image.facts()["time"] == "1 of 2"
    assert there.facts()["focus"] == "4 of 4"


# -- channels as files give them ----------------------------------------------------------------
def test_ome_channels(tmp_path: Path) -> None:
    colours = [(0, 0, 255), (1, 200, 3), (255, 128, 0)]
    channels = {"Name": ["DAPI", "µ-tubulin", ""], "Color": [signed(*c) for c in colours]}
    found = open_reader(ome_stack(tmp_path / "a.ome.tif", channels)).channel_info
    assert found is not None
    assert [c.name for c in found] == ["DAPI", "µ-tubulin", "channel 3"]
    assert [c.colour for c in found] == colours
    assert all(c.limits is None and c.active for c in found)


def test_ome_without_colours_takes_the_dyes(tmp_path: Path) -> None:
    channels = {"Name": ["DAPI", "Alexa 488", "marker"], "Color": [-1, -1, -1]}
    found = open_reader(ome_stack(tmp_path / "a.ome.tif", channels)).channel_info
    assert found is not None
    assert [c.colour for c in found] == [(0, 96, 255), (0, 255, 0), PALETTE[0]]


def test_ome_emission_wavelengths(tmp_path: Path) -> None:
    channels = {"EmissionWavelength": [450.0, 520.0, 670.0]}
    found = open_reader(ome_stack(tmp_path / "a.ome.tif", channels)).channel_info
    assert found is not None
    assert [c.colour for c in found] == [(0, 96, 255), (0, 255, 0), (255, 0, 255)]


def test_ome_black_and_white_levels(tmp_path: Path) -> None:
    path = ome_stack(tmp_path / "a.ome.tif", {"Name": ["a", "b", "c"]})
    level = '<GreenChannel ChannelNumber="1" BlackLevel="100" WhiteLevel="900" isOn="true"/>'
    bad = '<RedChannel ChannelNumber="77" BlackLevel="1" WhiteLevel="2"/>'
    shown = f"<DisplayOptions>{level}{bad}</DisplayOptions></Image>"
    found = open_reader(with_xml(path, "</Image>", shown)).channel_info
    assert found is not None
    assert [c.limits for c in found] == [None, (100, 900), None]


def test_odd_xml_is_survived(tmp_path: Path) -> None:
    channels = {"Name": ["a", "b", "c"], "Color": [signed(9, 9, 9)] * 3}
    path = ome_stack(tmp_path / "a.ome.tif", channels)
    found = open_reader(with_xml(path, f'Color="{signed(9, 9, 9)}"', 'Color="red"')).channel_info
    assert found is not None
    assert [c.colour for c in found] == list(PALETTE[:3])


def test_imagej_tables_and_ranges(tmp_path: Path) -> None:
    ramp = np.arange(256)
    colours = [(0, 255, 255), (255, 0, 0), (255, 255, 0)]
    tables = [np.array([ramp * (v > 0) for v in c], np.uint8) for c in colours]
    meta = {"axes": "CYX", "LUTs": tables, "Ranges": (1.0, 20.0, 3.0, 3.0, 5.0, 60.0)}
    tifffile.imwrite(tmp_path / "a.tif", STACK[0, :, 0], imagej=True, metadata=meta)
    found = open_reader(tmp_path / "a.tif").channel_info
    assert found is not None
    assert [c.colour for c in found] == colours
    assert [c.limits for c in found] == [(1, 20), None, (5, 60)]


def test_grey_and_rgb_stay_what_they_are(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "grey.ome.tif", STACK[0, 0, 0], metadata={"axes": "YX"})
    assert open_reader(tmp_path / "grey.ome.tif").channel_info is None
    planes = picture(40, 50).transpose(2, 0, 1)
    tifffile.imwrite(
        tmp_path / "rgb.ome.tif", planes, photometric="minisblack", metadata={"axes": "CYX"}
    )
    assert open_reader(tmp_path / "rgb.ome.tif").channel_info is None
    green = {"axes": "YX", "Channel": {"Color": [signed(0, 255, 0)]}}
    tifffile.imwrite(tmp_path / "green.ome.tif", STACK[0, 0, 0], metadata=green)
    shown = open_image(tmp_path / "green.ome.tif").thumbnail(64)
    assert shown[..., 1].max() > 100
    assert not shown[..., [0, 2]].any()


# -- colours ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "hue"),
    [
        *(("DAPI", 0.6), ("Hoechst 33342", 0.6), ("CFP", 0.5), ("EGFP", 0.33), ("AF488", 0.33)),
        *(("TRITC", 0.1), ("Cy3", 0.1), ("mCherry", 0.0), ("Alexa Fluor 594", 0.0)),
        *(("Cy5", 0.83), ("640", 0.83), ("iRFP670", 0.83)),
    ],
)
def test_dyes_have_their_usual_hue(name: str, hue: float) -> None:
    colour = known_colour(name)
    assert colour is not None
    found = colorsys.rgb_to_hsv(*(v / 255 for v in colour))[0]
    assert min(abs(found - hue), 1 - abs(found - hue)) < 0.06


def test_default_colours() -> None:
    assert known_colour("marker 3") is None
    assert colours_for(["a"]) == [(255, 255, 255)]
    assert colours_for(["a", "b"]) == list(PAIR)
    assert colours_for(["GFP", "b"]) == [PAIR[0], PAIR[1]]
    for n in range(3, 8):
        assert len(set(colours_for(["x"] * n))) == n
    assert len(colours_for(["x"] * 40)) == 40
    twice = colours_for(["DAPI", "DAPI 2", "GFP", "other"])
    assert len(set(twice)) == 4
    np.testing.assert_array_equal(np.sum(PAIR, 0), [255, 255, 255])


# -- composite ----------------------------------------------------------------------------------
def brute_force(
    pixels: np.ndarray, colours: list[Any], limits: list[tuple[float, float]]
) -> np.ndarray:
    """One pixel at a time, in double precision."""
    out = np.zeros((*pixels.shape[:2], 3))
    for y, x in np.ndindex(pixels.shape[:2]):
        for c, colour in enumerate(colours):
            low, high = limits[c]
            value = float(pixels[y, x, c])
            part = 0.0 if np.isnan(value) else min(1.0, max(0.0, (value - low) / (high - low)))
            for k in range(3):
                out[y, x, k] += 0 if colour is None else part * colour[k]
    return np.minimum(out, 255)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "u4", "i8", "f2", "f4", "f8"])
@pytest.mark.parametrize("channels", [1, 2, 4, 7])
def test_composite_is_the_sum(dtype: str, channels: int) -> None:
    pixels = (RNG.random((13, 17, channels)) * 120).astype(dtype)
    if dtype[0] == "f":
        pixels[0, 0], pixels[0, 1], pixels[0, 2] = np.nan, np.inf, -np.inf
    colours = [tuple(int(v) for v in RNG.integers(0, 256, 3)) for _ in range(channels)]
    limits = [(float(i), 60.0 + 9 * i) for i in range(channels)]
    for shown in (colours, [None if i % 2 else c for i, c in enumerate(colours)]):
        expected = brute_force(pixels, list(shown), limits)
        got = composite(pixels, shown, limits)
        assert got.dtype == np.uint8
        assert np.abs(got - expected).max() <= 0.5 + 1e-3


def test_composite_of_nothing_is_black() -> None:
    pixels = np.full((5, 6, 2), 9, np.uint8)
    assert not composite(pixels, [None, None], [(0, 1), (0, 1)]).any()
    assert composite(pixels[:0], PAIR, [(0, 1), (0, 1)]).shape == (0, 6, 3)
    big = (np.arange(700 * 300) % 251).reshape(700, 300, 1).astype(np.uint8)  # several blocks
    np.testing.assert_array_equal(
        composite(big, [(255, 255, 255)], [(0, 255)]), np.repeat(big, 3, 2)
    )


def test_percentiles() -> None:
    pixels = RNG.normal(100, 20, (200, 300, 2))
    pixels[..., 1] = 5
    low, high = percentile_limits(pixels)[0]
    values = np.sort(pixels[..., 0].ravel())
    assert low == pytest.approx(values[300], abs=0.2)
    assert high == pytest.approx(values[-300], abs=0.2)
    assert percentile_limits(pixels)[1] == (5, 6)
    assert percentile_limits(np.full((3, 3, 1), np.nan)) == [(0, 1)]


def opened(tmp_path: Path) -> Image:
    channels = {"Name": ["DAPI", "GFP", "Cy5"]}
    return open_image(ome_stack(tmp_path / "a.ome.tif", channels))


def test_images_are_composited(tmp_path: Path) -> None:
    image = opened(tmp_path)
    assert image.channel_info is not None
    planes = STACK[0, :, 0].transpose(1, 2, 0)
    limits = [tuple(np.percentile(planes[..., c], [0.5, 99.5])) for c in range(3)]
    expected = brute_force(planes[:20, :30], [c.colour for c in image.channel_info], limits)
    got = image.rgb((0, 0, 20, 30))
    assert np.abs(got - expected).max() <= 0.5 + 1e-3
    outside = image.rgb((-10, -10, 10, 10))
    assert not outside[:10].any()  # light on black
    assert image.facts()["channels"].endswith("DAPI, GFP, Cy5")


def test_with_channels(tmp_path: Path) -> None:
    image = opened(tmp_path)
    other = image.with_channels([2, 0], {0: (10, 20)})
    assert other.channel_info is not None
    assert [c.active for c in other.channel_info] == [True, False, True]
    assert other.channel_limits[0] == (10, 20)
    assert other.channel_limits[2] == image.channel_limits[2]
    assert other.identity != image.identity
    assert image.with_channels().identity == image.identity
    assert image.with_channels([0, 1, 2]).identity == image.identity
    assert other.with_channels([0]).channel_limits[0] == (10, 20)
    assert not image.with_channels([]).rgb(image.box).any()
    assert (other.rgb(image.box) != image.rgb(image.box)).any()
    copy = pickle.loads(pickle.dumps(other))
    assert copy.identity == other.identity
    np.testing.assert_array_equal(copy.rgb(image.box), other.rgb(image.box))
    assert pickle.loads(pickle.dumps(image)).identity == image.identity
    assert other.at(t=1).channel_info == other.channel_info


def test_settings_share_decoded_tiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    TILES.clear()
    image = opened(tmp_path)
    image.rgb(image.box)
    monkeypatch.setattr(type(image.reader), "read", lambda *_: pytest.fail("decoded again"))
    for active in ([0], [1, 2]):
        image.with_channels(active).rgb(image.box)


@pytest.mark.parametrize(
    ("active", "limits", "said"),
    [
        ([3], None, "no channel 3: choose 0 to 2"),
        ([-1], None, "no channel -1"),
        (None, {5: (0, 1)}, "no channel 5"),
        (None, {1: (5, 5)}, "channel 1 (GFP) have no range"),
        (None, {1: (0, np.nan)}, "have no range"),
    ],
)
def test_bad_settings(tmp_path: Path, active: Any, limits: Any, said: str) -> None:
    with pytest.raises(HrvizError) as caught:
        opened(tmp_path).with_channels(active, limits)
    assert said in str(caught.value)


def test_rgb_has_no_channels_to_switch(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", picture(20, 20), photometric="rgb")
    with pytest.raises(HrvizError, match="is shown as RGB: it has no channels"):
        open_image(tmp_path / "a.tif").with_channels([0])


def test_two_bare_channels_are_green_and_magenta(tmp_path: Path) -> None:
    planes = np.zeros((2, 30, 40), np.uint8)
    planes[0, :, :20], planes[1, :, 20:] = 255, 100
    np.save(tmp_path / "a.npy", planes)
    shown = open_image(tmp_path / "a.npy").rgb((0, 0, 30, 40))
    np.testing.assert_array_equal(shown[5, 5], [0, 255, 0])
    np.testing.assert_array_equal(shown[5, 30], [100, 0, 100])
