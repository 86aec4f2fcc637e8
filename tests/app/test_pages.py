"""Pages and helpers without a browser."""

import socket
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.method import METHODS
from hrviz.results import Boxes, Node, Partition, Picture, Step, ZoomTree
from hrviz.scenes import SCENES
from hrviz.viewer import gallery, launch, live, permalink, shell
from hrviz.viewer.permalink import Link
from hrviz.viewer.shell import Session
from hrviz.views import deepzoom, outputs

APP = Path(__file__).parents[2] / "app"


@pytest.mark.parametrize("name", ["explore", "methods", "compare", "memory"])
@pytest.mark.parametrize("image", ["scene:tissue?size=1024x1024", "scene:road?size=320x240"])
def test_page_runs_without_exception(name, image, monkeypatch):
    testing = pytest.importorskip("streamlit.testing.v1")
    monkeypatch.setenv("HRVIZ_IMAGE", image)
    app = testing.AppTest.from_file(str(APP / "Home.py"), default_timeout=60)
    app.query_params.update({"method": "learning-to-zoom", "p.saliency": "edges", "p.task": "none"})
    app.run()
    if name != "explore":
        app.switch_page(f"pages/{name}.py").run()
    assert not app.exception


@pytest.mark.parametrize("picked", [["saliency-sampler", "fovea"], ["fovea", "saliency-sampler"]])
def test_methods_with_other_choices_are_compared(picked, monkeypatch):
    """FOVEA's sources of saliency are boxes: what one method does not know, it replaces by its default."""
    testing = pytest.importorskip("streamlit.testing.v1")
    monkeypatch.setenv("HRVIZ_IMAGE", "scene:road?size=320x240")
    app = testing.AppTest.from_file(str(APP / "Home.py"), default_timeout=60)
    app.query_params.update({"method": "fovea", "p.saliency": "data set"})
    app.run()
    app.session_state["compare-methods"] = picked
    app.switch_page("pages/compare.py").run()
    assert not app.exception
    (sources,) = [box for box in app.selectbox if box.label == "Saliency from"]
    assert {"spectral residual", "data set", "edges"} <= set(sources.options)
    for source in ("spectral residual", "data set"):
        (sources,) = [box for box in app.selectbox if box.label == "Saliency from"]
        sources.set_value(source).run()
        assert not app.exception
        assert not [m for m in app.get("html") if "is not allowed" in str(m.proto)]


def test_permalink_round_trip():
    params = {"bandwidth": 9.0, "task": "none", "boxes": ((1.0, 2.0, 11.0, 22.0),),
              "strokes": (((1.0, 2.0), (3.0, 4.5)),)}  # fmt: skip
    link = Link("scene:tissue?seed=3", Box(10, 20, 110, 220), "hold", "saliency-sampler", params,
                ("grid", "truth"), "light")  # fmt: skip
    back = permalink.parse(permalink.to_query(link))
    assert back == link


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ({"x": "a", "y": "1", "w": "2", "h": "3"}, "viewport"),
        ({"x": "1"}, "viewport"),
        ({"method": "nonsense"}, "method"),
        ({"method": "cip", "p.patch": "-3"}, "patch"),
        ({"method": "cip", "p.nothing": "1"}, "nothing"),
        ({"region": "moon"}, "region"),
        ({"theme": "pink"}, "theme"),
    ],
)
def test_bad_permalink_is_told_and_ignored(query, told):
    link = permalink.parse(query)
    assert len(link.problems) == 1 and told in link.problems[0] and "\n" not in link.problems[0]
    assert link.view is None and not link.params and link.region == "view" and link.theme is None


def test_only_the_served_folder_is_opened(tmp_path, monkeypatch):
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret.png").write_bytes(b"x")
    (inside / "link.png").symlink_to(tmp_path / "secret.png")
    (inside / "good.png").write_bytes(b"x")
    monkeypatch.setenv("HRVIZ_ROOT", str(inside))
    monkeypatch.delenv("HRVIZ_IMAGE", raising=False)
    assert gallery.permitted("good.png") == str(inside / "good.png")
    assert gallery.permitted("good.png#t=3") == f"{inside / 'good.png'}#t=3"
    assert gallery.listed() == ["good.png"]  # no link that leads out
    bad = ("../secret.png", str(tmp_path / "secret.png"), "link.png", "../secret.png#t=1",
           "/etc/passwd", "~/x.png", "~nobody/x.png", "a\0b", "x" * 5000 + "/../../../../secret.png",
           "http://x/y", "https://host/slide.svs", "file:///etc/a.zarr", "memory://a.zarr",
           "https://host/a.zarr::file:///etc", "s3://bucket/a.zarr", "", "#t=3")  # fmt: skip
    for address in bad:
        with pytest.raises(HrvizError) as caught:
            gallery.opened(address)
        assert "\n" not in str(caught.value)
    assert gallery.permitted("https://host/a.zarr") == "https://host/a.zarr"


def test_the_image_the_app_was_started_with_opens_wherever_it_lies(tmp_path, monkeypatch):
    (tmp_path / "served").mkdir()
    outside = tmp_path / "film.npy"
    np.save(outside, np.zeros((4, 60, 80, 3), np.uint8))
    monkeypatch.setenv("HRVIZ_ROOT", str(tmp_path / "served"))
    monkeypatch.setenv("HRVIZ_IMAGE", str(outside))
    assert gallery.opened(str(outside)).width == 80
    with pytest.raises(HrvizError):
        gallery.permitted(str(tmp_path / "other.npy"))
    monkeypatch.delenv("HRVIZ_IMAGE")
    with pytest.raises(HrvizError, match="outside the served folder"):
        gallery.permitted(str(outside))


def test_folders_that_are_one_image_are_listed_as_one(tmp_path, monkeypatch):
    import zarr

    for name in ("a.zarr", "deep/b.zarr", ".hidden/c.zarr"):
        made = zarr.create_array(tmp_path / name, shape=(64, 64), chunks=(32, 32), dtype="u1")
        made[:] = 1
    slide = tmp_path / "slide"
    slide.mkdir()
    for n in range(3):
        (slide / f"{n}.dcm").write_bytes(bytes(128) + b"DICM" + bytes(64))
    for name in ("c.mp4", "d.jp2", "e.npy", "f.svs", "g.dcm", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    assert gallery.listed(tmp_path) == [
        "a.zarr", "c.mp4", "d.jp2", "e.npy", "f.svs", "g.dcm", "deep/b.zarr", "slide",
    ]  # fmt: skip


def test_upload_is_kept_whole_or_not_at_all(monkeypatch):
    from PIL import Image

    data = BytesIO()
    Image.new("RGB", (64, 48), "red").save(data, "PNG")
    data.seek(0)
    path = gallery.keep_upload("../../evil name.png", data)
    assert Path(path).parent == gallery.uploads()
    assert gallery.opened(path).width == 64
    before = set(gallery.uploads().iterdir())
    for name, bad in (("a.png", b""), ("b.png", b"no picture"), ("c.exe", b"MZ")):
        with pytest.raises(HrvizError) as caught:
            gallery.keep_upload(name, BytesIO(bad))
        assert gallery.uploads().name not in str(caught.value)
    monkeypatch.setattr(gallery, "upload_limit", lambda: 2**10)
    with pytest.raises(HrvizError, match=r"big\.png is larger than .* GiB"):
        gallery.keep_upload("big.png", BytesIO(bytes(2**11)))
    assert set(gallery.uploads().iterdir()) == before


def test_first_region_lies_inside():
    small = [k.address(**k.small) for k in SCENES.values()]
    for address in ("scene:tissue?size=100000x80000", "scene:tissue?size=300x200", *small):
        image = gallery.opened(address)
        box = gallery.first_region(image)
        assert box.intersect(image.box) == box and box.area > 0
    slide = gallery.opened("scene:tissue?size=100000x80000")
    boxes, _ = slide.truth.lesions()  # as ever: around the nest in the middle of the list
    y, x = Box(*boxes[len(boxes) // 2]).centre
    around = gallery.first_region(slide)
    assert around.y0 <= y < around.y1 and around.x0 <= x < around.x1 and around.x0 % 4096 == 0


def test_the_view_stays_when_only_the_moment_changes():
    s = Session("scene:crowd?size=600x400&people=9&frames=5")
    s.params["saliency-sampler"] = {"size": 96}
    s.go(Box(10, 20, 110, 220))
    s.move(t=3)
    assert s.address.endswith("#t=3") and s.image.index == {"t": 3}
    assert s.view == Box(10, 20, 110, 220) and s.params["saliency-sampler"] == {"size": 96}
    link = permalink.parse(permalink.to_query(s.link()))
    assert link.image == s.address
    with pytest.raises(HrvizError):
        s.move(t=9)
    assert s.image.index == {"t": 3}
    s.become("scene:crowd?size=700x400&people=9")
    assert s.view is None and not s.image.axes


def test_of_several_grids_the_one_that_warps_is_shown():
    import hrviz

    run = hrviz.apply(
        "agdn", "scene:tissue?size=400x300", saliency="edges", task="none", size=64
    )  # structured and custom are parts of the mix
    steps = {step.name: step for step in run.steps}
    assert list(steps).index("structured grid") < list(steps).index("grid")
    assert live.telling(steps) == "grid"


def test_newest_parameters_win_and_last_result_stays():
    image = gallery.opened("scene:tissue?size=1024x1024")
    method = METHODS["saliency-sampler"]
    slot = live.Live()
    params = {"saliency": "edges", "task": "none", "size": 64}
    slot.apply(method, image, image.box, params, wait=60)
    assert not slot.busy and slot.run is not None and "warped" in slot.steps
    first = slot.run
    slot.apply(method, image, image.box, params, wait=60)
    assert slot.run is first
    slot.apply(method, image, image.box, {**params, "size": 10**6}, wait=60)
    assert slot.error and slot.error.count("\n") == 0 and "warped" in slot.steps
    slot.apply(method, image, image.box, {**params, "size": 96}, wait=60)
    assert slot.error is None and slot.run is not first
    assert live.telling(slot.steps) == "grid"
    assert live.pictured(slot.steps).name == "warped"


def test_what_stands_beside_the_viewer():
    image = gallery.opened("scene:tissue?size=1024x1024")
    params = {"saliency": "edges", "task": "none", "size": 64}
    slot = live.Live()
    slot.apply(METHODS["saliency-sampler"], image, image.box, params, wait=60)
    steps = slot.steps
    assert list(outputs.views(steps)) == ["warped", "uniform", "output magnification", "round trip"]
    assert outputs.shown(steps, "grid") == outputs.shown(steps, "profile") == ["warped", "uniform"]
    assert outputs.shown(steps, "round trip") == ["warped", "round trip"]
    assert outputs.shown(steps, "warped") == ["warped"]
    assert live.charted(steps["profile"].result)
    assert live.drawable(steps["magnification"].result)
    assert not live.drawable(steps["output magnification"].result)  # it lies on the output
    pane = deepzoom.pane(steps, "grid")
    assert [v.get("even") for v in pane["views"]] == ["uniform", None, None, None]
    assert pane["views"][2]["map"]["lut"] == "diverging"
    assert deepzoom.pane({}) is None
    cut = {"patches": Step("patches", Picture(np.zeros((4, 6, 3))))}
    assert outputs.shown(cut) == ["patches"] and outputs.uniform(cut) == ""
    assert outputs.shown(steps | cut, "patches") == ["patches"]  # a strip lies nowhere: alone


def test_a_tree_tells_before_boxes_and_parts():
    box = Box(0, 0, 8, 8)
    node = Node(0, None, box, 1, "processed")
    cut = np.array([[0.0, 0, 8, 8]])
    results = {
        "parts": Partition(cut, np.array([0]), ("A",)),
        "boxes": Boxes(cut),
        "tree": ZoomTree((node,)),
        "picture": Picture(np.zeros((4, 6, 3))),
    }
    steps = {name: Step(name, result) for name, result in results.items()}
    assert live.telling(steps) == "tree" and live.drawable(steps["tree"].result)
    assert live.pictured(steps).name == "picture"  # where there is room for one picture alone
    assert outputs.shown(steps, "tree") == ["tree"]


def _methods_page(monkeypatch, image, **query):
    testing = pytest.importorskip("streamlit.testing.v1")
    monkeypatch.setenv("HRVIZ_IMAGE", image)
    app = testing.AppTest.from_file(str(APP / "Home.py"), default_timeout=60)
    app.query_params.update({"method": "learning-to-zoom", **query})
    app.run()
    return app.switch_page("pages/methods.py").run()


def test_what_is_drawn_is_the_saliency_until_it_is_removed(monkeypatch):
    query = {"p.saliency": "edges", "p.task": "none", "p.size": "64"}
    app = _methods_page(monkeypatch, "scene:tissue?size=1024x1024", **query)
    s = app.session_state["hrviz"]
    assert s.live.job.params["saliency"] == "edges" and not app.exception
    s.drawings = {
        "boxes": [{"x": 100, "y": 200, "w": 300, "h": 250}],
        "strokes": [],
        "drawing": True,
    }
    app.run()
    assert s.live.job.params["saliency"] == "drawn" and s.live.job.params["size"] == 64
    assert s.live.job.params["boxes"] == ((200, 100, 450, 400),)
    assert "Saliency from" not in [w.label for w in app.selectbox]  # its place is the way back
    version = s.drawings_version
    next(b for b in app.button if b.label == "Remove drawings, back to edges").click().run()
    assert s.live.job.params["saliency"] == "edges" and s.live.job.params["boxes"] == ()
    assert s.drawings_version == version + 1 and not app.exception
    assert next(w for w in app.selectbox if w.label == "Saliency from").value == "edges"


def test_a_chart_is_shown_under_the_viewer(monkeypatch):
    query = {"p.saliency": "edges", "p.task": "none", "p.size": "64"}
    app = _methods_page(monkeypatch, "scene:tissue?size=1024x1024", **query)
    s = app.session_state["hrviz"]
    assert s.live.job.wait(60)
    s.step["saliency-sampler"] = "profile"
    app.run()
    assert not app.exception and len(app.get("plotly_chart")) == 1


def test_an_image_that_does_not_suit_offers_the_example(monkeypatch):
    app = _methods_page(monkeypatch, "scene:road?size=320x240", **{"p.saliency": "edges"})
    s = app.session_state["hrviz"]
    assert s.live.job.params["task"] == "none"
    next(b for b in app.button if b.label == "Open its example").click().run()
    assert s.address == METHODS["saliency-sampler"].example and not app.exception
    assert s.live.job.params["task"] == "automatic"
    s.live.cancel()


def test_a_link_with_drawn_boxes_shows_them(monkeypatch):
    query = {"p.saliency": "drawn", "p.boxes": "100,200,300,250", "p.task": "none", "p.size": "64"}
    app = _methods_page(monkeypatch, "scene:tissue?size=1024x1024", **query)
    s = app.session_state["hrviz"]
    assert s.drawings["boxes"] == [{"x": 100, "y": 200, "w": 300, "h": 250}]
    assert s.live.job.params["boxes"] == ((200, 100, 450, 400),) and not app.exception


def test_way_out_without_networks():
    for method in METHODS.values():
        way = live.without_networks(method, {})
        assert way is None or not method.network(method.bind(way))


def test_port_taken_means_a_neighbour():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert launch.free_port("127.0.0.1", port) != port
    with pytest.raises(HrvizError):
        launch.free_port("127.0.0.1", 0)
    assert launch.server_file().name == "server.py"


def test_a_film_plays_on_when_the_browser_tells_of_an_earlier_moment(monkeypatch):
    """The slider's value comes back with every message, and may be older than the last step."""
    testing = pytest.importorskip("streamlit.testing.v1")
    monkeypatch.setenv("HRVIZ_IMAGE", "scene:crowd?size=320x240&people=4&frames=9")
    app = testing.AppTest.from_file(str(APP / "Home.py"), default_timeout=60).run()
    s = app.session_state["hrviz"]
    next(b for b in app.button if b.label == "Play").click().run()

    def time():
        return next(w for w in app.slider if w.label == "Time")

    # a click that Streamlit tells of once more meets the button it was on, not the one in its place
    assert {b.key for b in app.button} & {"play", "pause"} == {"pause"}
    now = s.image.index["t"]
    time().set_value(now - 1).run()
    assert s.playing == "t" and s.image.index["t"] == time().value == now + 1
    time().set_value(8).run()  # moved by hand
    assert not s.playing and s.image.index["t"] == time().value == 8
    assert not app.exception


def test_drawings_made_before_they_were_removed_stay_away(monkeypatch):
    """A message of the viewer that was under way when they were removed, or that came with the click."""
    s = Session(address="scene:tissue")
    box = {"x": 1, "y": 2, "w": 3, "h": 4}
    state = {"viewer": {"drawings": {"boxes": [box], "strokes": [], "version": 0}}}
    monkeypatch.setattr(shell.st, "session_state", state)
    monkeypatch.setattr(shell, "session", lambda: s)
    drew = shell.watch("viewer")["on_drawings"]
    drew()
    assert s.drawings == {"boxes": [box], "strokes": []}
    s.draw([], [])
    drew()
    assert s.drawings == {"boxes": [], "strokes": []}
    state["viewer"]["drawings"]["version"] = s.drawings_version
    drew()
    assert s.drawings == {"boxes": [box], "strokes": []}
