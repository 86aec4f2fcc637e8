"""Films are real H.264: decoded again they are what was rendered; stopped, they leave nothing."""

from __future__ import annotations

import numpy as np
import pytest

from hrviz.errors import Cancelled, HrvizError
from hrviz.image import open_image
from hrviz.scenes import SCENES
from hrviz.scenes.film import write_film

av = pytest.importorskip("av")

ADDRESS = "scene:crowd?size=640x480&people=60&seed=3&frames=8"


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "crowd.mp4"
    shares = []
    assert write_film(open_image(ADDRESS), path, size=(241, 320), progress=shares.append) == path
    return path, shares


def test_what_is_in_the_file(film):
    path, shares = film
    assert shares == [(k + 1) / 8 for k in range(8)]
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264" and stream.pix_fmt == "yuv420p"
        assert float(stream.average_rate) == 25
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(frames) == 8
    image = open_image(ADDRESS)
    for t, frame in enumerate(frames):
        assert frame.shape == (240, 320, 3)
        wanted = image.at(t=t).rgb(image.box, (240, 320)).astype(float)
        error = ((frame - wanted) ** 2).mean()
        assert 10 * np.log10(255**2 / error) > 28
    assert not np.array_equal(frames[0], frames[-1])
    assert [p.name for p in path.parent.iterdir()] == ["crowd.mp4"]


def test_a_part_from_an_index(tmp_path):
    write_film(open_image(ADDRESS + "#t=5"), tmp_path / "part.mp4", frames=2, size=(120, 160))
    with av.open(str(tmp_path / "part.mp4")) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    image = open_image(ADDRESS)
    errors = [
        np.abs(frames[0] - image.at(t=t).rgb(image.box, (120, 160)).astype(float)).mean()
        for t in range(8)
    ]
    assert len(frames) == 2 and np.argmin(errors) == 5


def test_cancelling_leaves_nothing(tmp_path):
    (tmp_path / "old.mp4").write_bytes(b"before")
    asked = []

    def cancelled():
        asked.append(1)
        return len(asked) > 3

    for name in ("new.mp4", "old.mp4"):
        asked.clear()
        with pytest.raises(Cancelled):
            write_film(open_image(ADDRESS), tmp_path / name, size=(60, 80), cancelled=cancelled)
    assert [p.name for p in tmp_path.iterdir()] == ["old.mp4"]
    assert (tmp_path / "old.mp4").read_bytes() == b"before"


@pytest.mark.parametrize(
    ("address", "name", "options", "words"),
    [
        (ADDRESS, "a.avi", {}, "use .mp4"),
        (ADDRESS, "none/a.mp4", {}, "no folder"),
        ("scene:crowd?size=64x48", "a.mp4", {}, "no time axis"),
        (ADDRESS, "a.mp4", {"frames": 9}, "choose 1 to 8"),
        (ADDRESS + "#t=6", "a.mp4", {"frames": 3}, "choose 1 to 2"),
        (ADDRESS, "a.mp4", {"size": (5000, 100)}, "2 to 4096"),
        (ADDRESS, "a.mp4", {"size": (1, 100)}, "2 to 4096"),
    ],
)
def test_refusals(tmp_path, address, name, options, words):
    with pytest.raises(HrvizError, match=words) as caught:
        write_film(open_image(address), tmp_path / name, **options)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_film_is_no_scene():
    assert "film" not in SCENES and "crowd" in SCENES
