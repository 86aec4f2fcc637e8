"""DICOM written with pydicom: slides against the pixels in their frames, images against arrays."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image as PILImage

import hrviz
from hrviz.errors import HrvizError
from hrviz.image.readers import open_reader

from .conftest import assert_reads, picture, windows

pydicom = pytest.importorskip("pydicom")
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset  # noqa: E402
from pydicom.encaps import encapsulate  # noqa: E402
from pydicom.sequence import Sequence  # noqa: E402
from pydicom.uid import (  # noqa: E402
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
TILE = 64


def blank(path: Path, sop: str, syntax: str = ExplicitVRLittleEndian, **values: Any) -> Any:
    """A data set with what every DICOM file has."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = sop, syntax
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    data.SOPClassUID, data.SOPInstanceUID = sop, meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID = data.SeriesInstanceUID = generate_uid()
    data.PatientName, data.PatientID = "A^B", "1"
    data.StudyDate = data.ContentDate = "20260101"
    data.StudyTime = data.ContentTime = "120000"
    data.Manufacturer, data.ManufacturerModelName = "Maker", "Model 1"
    data.SeriesNumber = data.InstanceNumber = 1
    for name, value in values.items():
        setattr(data, name, value)
    return data


def pixels_of(data: Any, frames: np.ndarray, coding: str = "MONOCHROME2") -> None:
    """Describe `frames` (frame, y, x[, sample]) in the header; stored plainly."""
    data.Rows, data.Columns = frames.shape[1:3]
    data.SamplesPerPixel = 3 if frames.ndim == 4 else 1
    data.PhotometricInterpretation = coding
    data.BitsAllocated = data.BitsStored = frames.dtype.itemsize * 8
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, int(frames.dtype.kind == "i")
    if frames.ndim == 4:
        data.PlanarConfiguration = 0
    data.NumberOfFrames = len(frames)
    data.PixelData = frames.tobytes()


def item(**values: Any) -> Any:
    found = Dataset()
    for name, value in values.items():
        setattr(found, name, value)
    return found


def jpeg(tile: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    PILImage.fromarray(tile).save(buffer, "JPEG", quality=90, subsampling="4:2:2")
    return buffer.getvalue()


def tiles(full: np.ndarray) -> list[np.ndarray]:
    """The tiles of a TILED_FULL image, in rows, padded with white."""
    h, w = (-(-n // TILE) * TILE for n in full.shape[:2])
    padded = np.pad(
        full, ((0, h - full.shape[0]), (0, w - full.shape[1]), (0, 0)), constant_values=255
    )
    return [
        padded[y : y + TILE, x : x + TILE] for y in range(0, h, TILE) for x in range(0, w, TILE)
    ]


def slide_level(path: Path, full: np.ndarray, number: int, series: str, **values: Any) -> None:
    """One level of a slide as a file, its frames JPEG baseline; 0.5 um a pixel at level 0."""
    data = blank(path, SLIDE, JPEGBaseline8Bit)
    data.SeriesInstanceUID, data.Modality, data.InstanceNumber = series, "SM", number + 1
    data.StudyInstanceUID = data.FrameOfReferenceUID = f"{series}.1"
    spacing = 0.0005 * 2**number
    kind = "ORIGINAL" if number == 0 else "DERIVED"
    data.ImageType = [kind, "PRIMARY", "VOLUME", "NONE" if number == 0 else "RESAMPLED"]
    frames = [jpeg(tile) for tile in tiles(full)]
    pixels_of(data, np.zeros((1, TILE, TILE, 3), np.uint8), "YBR_FULL_422")
    data.NumberOfFrames = len(frames)
    data.PixelData = encapsulate(frames)
    data["PixelData"].is_undefined_length = True
    data.TotalPixelMatrixRows, data.TotalPixelMatrixColumns = full.shape[:2]
    data.TotalPixelMatrixFocalPlanes = 1
    data.DimensionOrganizationType = "TILED_FULL"
    data.ImagedVolumeHeight, data.ImagedVolumeWidth = (n * spacing for n in full.shape[:2])
    data.ImagedVolumeDepth = 0.001
    data.ImageOrientationSlide = [0, -1, 0, -1, 0, 0]
    data.TotalPixelMatrixOriginSequence = Sequence(
        [item(XOffsetInSlideCoordinateSystem=0.0, YOffsetInSlideCoordinateSystem=0.0)]
    )
    data.SpecimenLabelInImage, data.BurnedInAnnotation = "NO", "NO"
    data.FocusMethod, data.ExtendedDepthOfField = "AUTO", "NO"
    data.LossyImageCompression, data.LossyImageCompressionRatio = "01", 10
    data.LossyImageCompressionMethod = "ISO_10918_1"
    data.VolumetricProperties, data.PresentationLUTShape = "VOLUME", "IDENTITY"
    data.ContainerIdentifier, data.AcquisitionDateTime = "1", "20260101120000"
    data.NumberOfOpticalPaths = 1
    data.OpticalPathSequence = Sequence(
        [
            item(
                OpticalPathIdentifier="0",
                IlluminationTypeCodeSequence=Sequence(
                    [
                        item(
                            CodeValue="111744",
                            CodingSchemeDesignator="DCM",
                            CodeMeaning="Brightfield illumination",
                        )
                    ]
                ),
                ObjectiveLensPower=20,
                ICCProfile=b"\0" * 128,
            )
        ]
    )
    measures = item(PixelSpacing=[spacing, spacing], SliceThickness=0.001)
    data.SharedFunctionalGroupsSequence = Sequence(
        [item(PixelMeasuresSequence=Sequence([measures]))]
    )
    for name, value in values.items():
        setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)


def decoded(full: np.ndarray) -> np.ndarray:
    """What a slide's JPEG frames give, put together by hand."""
    across = -(-full.shape[1] // TILE)
    out = np.zeros((-(-full.shape[0] // TILE) * TILE, across * TILE, 3), np.uint8)
    for n, tile in enumerate(tiles(full)):
        y, x = n // across * TILE, n % across * TILE
        out[y : y + TILE, x : x + TILE] = np.asarray(PILImage.open(io.BytesIO(jpeg(tile))))
    return out[: full.shape[0], : full.shape[1]]


@pytest.fixture
def slide(tmp_path: Path) -> tuple[Path, tuple[np.ndarray, ...]]:
    """A folder with a slide of two levels."""
    pytest.importorskip("wsidicom")
    folder, series = tmp_path / "slide", generate_uid()
    folder.mkdir()
    full = picture(300, 410)
    levels = (full, full[::2, ::2])
    for number, level in enumerate(levels):
        slide_level(folder / f"{2 - number}.dcm", level, number, series)
    return folder, levels


def close_to(reader: Any, levels: tuple[np.ndarray, ...]) -> None:
    """JPEG decoders differ by rounding."""
    for number, full in enumerate(levels):
        info, expected = reader.levels[number], decoded(full).astype(int)
        assert (info.height, info.width) == full.shape[:2]
        for y, x, h, w in windows(info.height, info.width):
            got = reader.read(number, y, x, h, w)
            assert got.shape == (h, w, 3)
            apart = np.abs(got - expected[y : y + h, x : x + w])
            assert apart.mean() < 1.5
            assert apart.max() <= 12


def test_slide_folder(slide: tuple[Path, tuple[np.ndarray, ...]]) -> None:
    reader = open_reader(slide[0])
    assert [level.downsample for level in reader.levels] == [1, 2]
    assert {level.tile for level in reader.levels} == {(TILE, TILE)}
    assert reader.pixel_size == pytest.approx(0.5)
    assert (reader.channels, reader.dtype) == (3, np.uint8)
    close_to(reader, slide[1])
    facts = hrviz.open(slide[0]).facts()
    assert facts["format"] == "DICOM slide (JPEG Baseline (Process 1))"
    assert facts["objective"] == "20 x"
    assert facts["vendor"] == "Maker Model 1"
    assert facts["colour profile"] == "ICC, not applied"
    assert facts["optical path"] == "0"
    assert "pixel size" in facts


def test_a_file_of_the_slide_opens_all_of_it(slide: tuple[Path, tuple[np.ndarray, ...]]) -> None:
    folder, levels = slide
    slide_level(folder / "other.dcm", picture(70, 70), 0, generate_uid())
    for name in ("1.dcm", "2.dcm"):
        close_to(open_reader(folder / name), levels)
    assert len(open_reader(folder / "other.dcm").levels) == 1
    with pytest.raises(HrvizError, match=r"holds 2 slides; open one of them by a file of it: "):
        open_reader(folder)


def test_slide_as_openslide_reads_it(slide: tuple[Path, tuple[np.ndarray, ...]]) -> None:
    openslide = pytest.importorskip("openslide")
    oracle = openslide.OpenSlide(str(slide[0] / "1.dcm"))
    reader = open_reader(slide[0])
    assert oracle.level_dimensions == tuple((v.width, v.height) for v in reader.levels)
    for y, x, h, w in windows(300, 410):
        expected = np.asarray(oracle.read_region((x, y), 0, (w, h)))[..., :3].astype(int)
        assert np.abs(reader.read(0, y, x, h, w) - expected).mean() < 1.5


def test_jpeg_frames_pass_through(slide: tuple[Path, tuple[np.ndarray, ...]]) -> None:
    reader = open_reader(slide[0])
    for level, row, column in ((0, 0, 0), (0, 3, 5), (1, 1, 2)):
        tile = reader.compressed_tile(level, row, column)
        assert tile is not None
        assert tile[1] == "image/jpeg"
        shown = np.asarray(PILImage.open(io.BytesIO(tile[0]))).astype(int)
        stored = reader.read(level, row * TILE, column * TILE, TILE, TILE)
        assert np.abs(shown - stored).mean() < 1.5
    assert reader.compressed_tile(0, 4, 0) is None  # overhangs the level
    assert reader.compressed_tile(0, 0, 6) is None


def test_slide_from_many_threads(slide: tuple[Path, tuple[np.ndarray, ...]]) -> None:
    reader = open_reader(slide[0])
    places = [(y, x) for y in range(0, 240, 24) for x in range(0, 340, 34)]
    expected = {p: reader.read(0, *p, 60, 70) for p in places}
    reader = open_reader(slide[0])
    with ThreadPoolExecutor(8) as pool:
        for place, got in zip(
            places, pool.map(lambda p: reader.read(0, *p, 60, 70), places), strict=True
        ):
            np.testing.assert_array_equal(got, expected[place])
    reader.close()
    with pytest.raises(HrvizError, match="closed"):
        reader.read(0, 0, 0, 1, 1)


def test_slide_without_wsidicom(
    slide: tuple[Path, tuple[np.ndarray, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openslide")
    monkeypatch.setitem(sys.modules, "wsidicom", None)
    for path in (slide[0], slide[0] / "2.dcm"):
        reader = open_reader(path)
        assert reader.metadata["format"] == "dicom slide (OpenSlide)"
        close_to(reader, slide[1])


def test_nothing_installed(
    slide: tuple[Path, tuple[np.ndarray, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("wsidicom", "pydicom", "openslide"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "hrviz.image.readers.slide", raising=False)
    with pytest.raises(HrvizError, match=r"pip install 'hrviz\[slides\]'"):
        open_reader(slide[0])


def test_truncated_slide(
    slide: tuple[Path, tuple[np.ndarray, ...]], capfd: pytest.CaptureFixture[str]
) -> None:
    path = slide[0] / "2.dcm"
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with pytest.raises(HrvizError) as caught:
        reader = open_reader(path)
        reader.read(0, 0, 0, 300, 410)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_damaged_slides(
    slide: tuple[Path, tuple[np.ndarray, ...]], capfd: pytest.CaptureFixture[str]
) -> None:
    """Random bytes in the header of a level: it reads, or says one sentence."""
    path = slide[0] / "2.dcm"
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(40):
        data = bytearray(whole)
        for at in rng.integers(132, 2500, 3):
            data[at] = rng.integers(256)
        path.write_bytes(data)
        try:
            reader = open_reader(path)
            for number, level in enumerate(reader.levels):
                reader.read(number, 0, 0, min(level.height, 64), min(level.width, 64))
                reader.compressed_tile(number, 0, 0)
            reader.close()
        except HrvizError as error:
            assert "\n" not in str(error)
    assert capfd.readouterr().err == ""


def image(path: Path, frames: np.ndarray, coding: str = "MONOCHROME2", **values: Any) -> Path:
    """A multi-frame secondary capture."""
    data = blank(path, "1.2.840.10008.5.1.4.1.1.7.2")
    pixels_of(data, frames, coding)
    for name, value in values.items():
        setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
def test_grey_image(tmp_path: Path, dtype: str) -> None:
    frame = (picture(120, 90, 1)[..., 0].astype(int) * 3 % 250 - 40 * (dtype == "int16")).astype(
        dtype
    )
    reader = open_reader(
        image(tmp_path / "a.dcm", frame[None], PixelSpacing=[0.5, 0.5], Modality="CT")
    )
    assert reader.pixel_size == pytest.approx(500)
    assert dict(reader.axes) == {}
    assert reader.channel_info is None
    assert_reads(reader, (frame[..., None],))


def test_colour_image_without_suffix(tmp_path: Path) -> None:
    frame = picture(70, 80)
    assert_reads(open_reader(image(tmp_path / "a", frame[None], "RGB")), (frame,))


def test_folder_of_one_image(tmp_path: Path) -> None:
    frame = picture(70, 80)
    image(tmp_path / "a.dcm", frame[None], "RGB")
    assert_reads(open_reader(tmp_path), (frame,))
    image(tmp_path / "b.dcm", frame[None], "RGB")
    with pytest.raises(HrvizError, match=r"holds 2 DICOM images; .* a\.dcm, b\.dcm"):
        open_reader(tmp_path)


def test_frames(tmp_path: Path) -> None:
    frames = picture(60, 70, 5).transpose(2, 0, 1)
    path = image(tmp_path / "a.dcm", frames, FrameTime=40)
    first = hrviz.open(path)
    assert (first.axes, first.index, first.frame_rate) == ({"t": 5}, {"t": 0}, 25)
    seen = set()
    for t in range(5):
        reader = first.at(t=t).reader
        assert_reads(reader, (frames[t][..., None],))
        seen.add(reader.identity)
    assert len(seen) == 5
    with pytest.raises(HrvizError, match="choose 0 to 4"):
        open_reader(f"{path}#t=5")


@pytest.mark.parametrize(
    ("window", "limits"),
    [
        ({"WindowCenter": 40, "WindowWidth": 400}, (-160 + 1024, 239 + 1024)),
        (
            {"WindowCenter": [40, 9], "WindowWidth": [400, 9], "VOILUTFunction": "LINEAR_EXACT"},
            (-160 + 1024, 240 + 1024),
        ),
    ],
)
def test_window(tmp_path: Path, window: dict[str, Any], limits: tuple[float, float]) -> None:
    """C.11.2.1.2 of the standard, in stored values: Hounsfield units plus 1024."""
    frame = np.arange(1600, dtype=np.uint16).reshape(40, 40)
    ct = {"RescaleSlope": 1, "RescaleIntercept": -1024, "Modality": "CT", "BitsStored": 12}
    path = image(tmp_path / "a.dcm", frame[None], **ct, HighBit=11, **window)
    reader = open_reader(path)
    assert reader.channel_info is not None
    assert reader.channel_info[0].limits == pytest.approx(limits)
    assert reader.metadata["values"] == "stored; HU = 1 x stored -1024"
    assert reader.metadata["window"] == "40 ± 200"
    assert_reads(reader, (frame[..., None],))


def test_white_is_zero(tmp_path: Path) -> None:
    frame = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    window = {"WindowCenter": 1000.5, "WindowWidth": 201, "BitsStored": 12, "HighBit": 11}
    reader = open_reader(image(tmp_path / "a.dcm", frame[None], "MONOCHROME1", **window))
    assert_reads(reader, (4095 - frame[..., None],))
    assert reader.channel_info is not None
    assert reader.channel_info[0].limits == (4095 - 1100, 4095 - 900)


def test_palette(tmp_path: Path) -> None:
    index = picture(50, 60, 1)[..., 0]
    table = np.random.default_rng(0).integers(0, 256, (256, 3)).astype(np.uint16)
    luts = {
        f"{name}PaletteColorLookupTable{part}": value
        for i, name in enumerate(("Red", "Green", "Blue"))
        for part, value in (
            ("Descriptor", [256, 0, 16]),
            ("Data", (table[:, i] * 257).astype("<u2").tobytes()),
        )
    }
    reader = open_reader(image(tmp_path / "a.dcm", index[None], "PALETTE COLOR", **luts))
    assert_reads(reader, (table[index].astype(np.uint8),))


def test_bits(tmp_path: Path) -> None:
    bits = picture(16, 24, 1)[..., 0] > 127
    path = image(
        tmp_path / "a.dcm",
        np.zeros((1, 16, 24), np.uint8),
        BitsAllocated=1,
        BitsStored=1,
        HighBit=0,
    )
    data = pydicom.dcmread(path)
    data.PixelData = np.packbits(bits.ravel(), bitorder="little").tobytes()
    data.save_as(path)
    assert_reads(open_reader(path), (bits[..., None] * np.uint8(255),))


@pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        (RLELossless, None),
        (JPEG2000Lossless, lambda a: imagecodecs.jpeg2k_encode(a, level=0, codecformat="j2k")),
        (JPEGLSLossless, imagecodecs.jpegls_encode),
        (JPEGLosslessSV1, lambda a: imagecodecs.ljpeg_encode(a, bitspersample=16)),
    ],
)
def test_compressed(tmp_path: Path, syntax: str, encode: Callable[..., bytes] | None) -> None:
    frames = picture(64, 48, 2).transpose(2, 0, 1).astype(np.uint16) * 150
    path = tmp_path / "a.dcm"
    data = blank(path, "1.2.840.10008.5.1.4.1.1.7.3", syntax)
    pixels_of(data, frames)
    if encode is None:
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.compress(syntax, generate_instance_uid=False)
    else:
        data.PixelData = encapsulate([encode(np.ascontiguousarray(f)) for f in frames])
        data["PixelData"].is_undefined_length = True
    data.save_as(path, enforce_file_format=True)
    for t in range(2):
        assert_reads(open_reader(f"{path}#t={t}"), (frames[t][..., None],))


def test_frames_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = picture(60, 70, 3).transpose(2, 0, 1)
    reader: Any = open_reader(image(tmp_path / "a.dcm", frames))
    source, decoded = reader._source, []
    whole = source._decode
    monkeypatch.setattr(source, "_decode", lambda: decoded.append(1) or whole())
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda y: reader.read(0, y, 0, 2, 70), range(0, 58, 3)))
    assert decoded == [1]


def test_no_pixels(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    blank(path, "1.2.840.10008.5.1.4.1.1.88.11").save_as(path, enforce_file_format=True)
    with pytest.raises(HrvizError, match=r"DICOM without pixels \(Basic Text SR Storage\)"):
        open_reader(path)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.95])
def test_truncated_image(tmp_path: Path, share: float, capfd: pytest.CaptureFixture[str]) -> None:
    path = image(tmp_path / "a.dcm", picture(60, 70)[None], "RGB")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(HrvizError, match="truncated") as caught:
        open_reader(path).read(0, 0, 0, 60, 70)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = image(tmp_path / "a.dcm", picture(60, 70)[None], "RGB")
    monkeypatch.setenv("HRVIZ_MAX_PIXELS", "4000")
    with pytest.raises(HrvizError, match="raise HRVIZ_MAX_PIXELS"):
        open_reader(path)


def test_damaged_headers(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Random bytes in the header: it reads, or says one sentence, and nothing on stderr."""
    path = image(tmp_path / "a.dcm", picture(30, 40, 2).transpose(2, 0, 1), WindowCenter=40)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(60):
        data = bytearray(whole)
        for at in rng.integers(132, len(whole) - 2400, 3):
            data[at] = rng.integers(256)
        path.write_bytes(data)
        try:
            reader = open_reader(path)
            reader.read(0, 0, 0, min(reader.levels[0].height, 64), reader.levels[0].width)
        except HrvizError as error:
            assert "\n" not in str(error)
    assert capfd.readouterr().err == ""
