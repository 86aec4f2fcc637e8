"""What all pages of the app share: the session, the bar on top, the address, errors in place."""

from __future__ import annotations

import functools
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from hrviz.cli import DISCLAIMER
from hrviz.errors import HrvizError
from hrviz.geometry import Box
from hrviz.image import Image
from hrviz.image.composite import Limits
from hrviz.image.readers import with_index
from hrviz.method import METHODS
from hrviz.viewer import gallery, panels, permalink
from hrviz.viewer.live import Baselines, Live
from hrviz.viewer.permalink import Link
from hrviz.viewer.registry import register_image
from hrviz.views import colour

log = logging.getLogger("hrviz.app")
FIRST_METHOD = "saliency-sampler"
PAGES = (
    ("pages/explore.py", "Explore"),
    ("pages/methods.py", "Methods"),
    ("pages/compare.py", "Compare"),
    ("pages/memory.py", "Memory"),
)


@dataclass
class Session:
    """One browser tab: what it looks at and how; `Link` is what of it an address holds."""

    address: str
    view: Box | None = None
    fly: Box | None = None
    fly_version: int = 0
    region: str = "view"
    held: Box | None = None
    method: str = FIRST_METHOD
    start: dict[str, Any] = field(default_factory=dict)
    params: dict[str, dict[str, Any]] = field(default_factory=dict)
    layers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    step: dict[str, str] = field(default_factory=dict)
    theme: str = "dark"
    drawings: dict[str, Any] = field(default_factory=lambda: {"boxes": [], "strokes": []})
    drawings_version: int = 0  # changes when drawings change here, not in the viewer
    before: dict[str, str] = field(default_factory=dict)  # saliency before something was drawn
    notes: list[str] = field(default_factory=list)
    page: str = ""
    live: Live = field(default_factory=Live)
    baselines: Baselines = field(default_factory=Baselines)
    compared: dict[str, Live] = field(default_factory=dict)
    polling: dict[str, bool] = field(default_factory=dict)
    drawn: dict[Any, Any] = field(default_factory=dict)  # encoded overlays by what they show
    image_error: str = ""
    channels: tuple[tuple[int, ...], tuple[tuple[int, Limits], ...]] | None = None
    playing: str = ""  # the axis that moves by itself
    played: deque[int] = field(default_factory=lambda: deque(maxlen=4))  # where it was last
    round: int = 0  # images opened
    visit: int = 0  # pages entered
    asked: int = 0  # steps chosen
    defaults: dict[str, Any] = field(default_factory=dict)
    memory: dict[str, str] = field(default_factory=dict)  # what the Memory page is asked

    @property
    def image(self) -> Image:
        image = gallery.opened(self.address)
        return image if self.channels is None else gallery.recoloured(image, *self.channels)

    @property
    def look(self) -> colour.Theme:
        return colour.THEMES[self.theme]

    def settled(self, key: str, value: Any) -> Any:
        """The default that a widget had when it was first drawn: it must not change later."""
        return self.defaults.setdefault(key, value)

    def changed(self, key: str, value: Any) -> bool:
        """Whether the user changed a widget: Streamlit also reports its first value as a change."""
        last = self.defaults.get(f"{key} last", self.defaults.get(key))
        self.defaults[f"{key} last"] = value
        return bool(value != last)

    def visible(self) -> Box:
        """What is on screen, level-0 pixels."""
        return self.view.intersect(self.image.box) if self.view else self.image.box

    def area(self) -> Box:
        """What methods run on."""
        if self.region == "whole":
            return self.image.box
        return (self.held or self.visible()) if self.region == "hold" else self.visible()

    def go(self, box: Box | None) -> None:
        """Ask the viewers to fly there."""
        self.view = self.fly = box
        self.fly_version += 1

    def saw(self, box: Box) -> None:
        """A viewer came to rest: its view counts, unless it only fitted what was asked."""
        f = self.fly
        if f is not None:
            slack = 0.01 * max(f.width, f.height) + 2
            inside = all((box.y0 <= f.y0 + slack, box.x0 <= f.x0 + slack,
                          box.y1 >= f.y1 - slack, box.x1 >= f.x1 - slack))  # fmt: skip
            if inside and min(box.width - f.width, box.height - f.height) <= slack:
                self.view = f
                return
        self.view = box

    def open(self, address: str) -> None:
        """Change the image.

        Raises
        ------
        HrvizError
            When it cannot be opened; the one shown stays.
        """
        gallery.opened(address)
        if address != self.address:
            self.live.cancel()
            for slot in (*self.compared.values(), *self.baselines.slots.values()):
                slot.cancel()
            self.live, self.baselines, self.compared = Live(), Baselines(), {}
            self.draw([], [])
            self.drawn = {}
            self.address, self.held, self.region = address, None, "view"
            self.channels, self.playing = None, ""
            self.go(None)
            self.round += 1

    def draw(self, boxes: list[Any], strokes: list[Any]) -> None:
        """Set what is drawn: boxes {x, y, w, h} and strokes of (x, y)."""
        self.drawings = {"boxes": boxes, "strokes": strokes}
        self.drawings_version += 1

    def become(self, address: str) -> None:
        """Show another picture of the same kind: another moment, the scene with other parameters.

        Method, parameters and drawings stay, and so does the view, unless the size is another.

        Raises
        ------
        HrvizError
            When it cannot be opened; the one shown stays.
        """
        before, after = self.image.box, gallery.opened(address).box
        self.address = address
        if before != after:
            self.held, self.region = None, "view"
            self.go(None)

    def move(self, **index: int) -> None:
        """Go to another index of the image's axes."""
        self.become(with_index(self.address, index))

    def link(self) -> Link:
        view = self.held if self.region == "hold" and self.held else self.view
        link = Link(self.address, view, self.region, theme=self.theme)
        if self.page == "Memory":
            link.memory = self.memory
        elif self.page != "Explore":
            link.method, link.params = self.method, self.params.get(self.method, {})
            link.layers = self.layers.get(self.method)
        return link


def session() -> Session:
    """The session of the tab; the first call reads the address bar."""
    if "hrviz" not in st.session_state:
        st.session_state["hrviz"] = _from_address()
    found: Session = st.session_state["hrviz"]
    return found


def _from_address() -> Session:
    link = permalink.parse(st.query_params.to_dict())
    s = Session(gallery.initial(), notes=link.problems)
    for address in (link.image, gallery.initial(), gallery.DEFAULT):
        if not address:
            continue
        try:
            gallery.opened(address)
        except HrvizError as error:
            s.notes.append(f"{str(error).rstrip('.')}; another image is shown")
            link.view = None
            continue
        s.address = address
        break
    s.theme, s.memory = link.theme or "dark", link.memory
    if link.view is not None:
        try:
            box = s.image.view(link.view).box
            s.go(box)
            s.region = link.region
            s.held = box if link.region == "hold" else None
        except HrvizError as error:
            s.notes.append(f"The link's viewport was not used: {error}")
    elif link.region == "whole":
        s.region = "whole"
    if link.method:
        s.method, s.params[link.method] = link.method, link.params
        boxes = [permalink.rect(b) for b in link.params.get("boxes", ())]
        s.draw(boxes, [[(x, y) for y, x in line] for line in link.params.get("strokes", ())])
        if link.layers is not None:
            s.layers[link.method] = link.layers
    return s


def remember() -> None:
    """Write the session into the address bar, so that it can be copied as it is."""
    wanted = permalink.to_query(session().link())
    if st.query_params.to_dict() != wanted:
        st.query_params.from_dict(wanted)


def entered(name: str) -> Session:
    """Called first by each page: on arrival the viewer flies to where the session is."""
    s = session()
    if s.page != name:
        s.page = name
        s.visit += 1
        s.go(s.view)
        s.start = dict(s.params.get(s.method, {}))
    return s


def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Errors become one sentence in place; what nobody expected is logged with its trace."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except HrvizError as error:
            st.html(panels.sentence(str(error)))
        except Exception:
            log.exception("page failed")
            st.html(
                panels.sentence(
                    "Something went wrong here and was logged: reload the page, or open another image"
                )
            )

    return run


def polled(name: str, body: Callable[[], bool]) -> None:
    """Draw `body` as a fragment that repeats by itself while it returns True (busy)."""
    s = session()
    every = 0.4 if s.polling.get(name) else None

    def once() -> None:
        busy = bool(guarded(body)())
        if busy != s.polling.get(name, False):
            s.polling[name] = busy
            st.rerun()
        remember()  # not before a rerun, which would drop the message to the browser

    st.fragment(once, run_every=every, key=f"live-{name}")()


# -- the viewer --------------------------------------------------------------------------------
def viewer_data(s: Session, overlays: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """The viewer's data contract for the session's image."""
    out: dict[str, Any] = {
        # pictures of one series replace each other in place
        "image": register_image(s.image) | {"series": s.round}, "overlays": overlays, "theme": s.theme,
        "drawings": s.drawings, "drawings_version": s.drawings_version, "disclaimer": DISCLAIMER,
    }  # fmt: skip
    if s.fly is not None:
        b = s.fly
        out["viewport"] = {"x": b.x0, "y": b.y0, "w": b.width, "h": b.height}
        out["viewport_version"] = s.fly_version
    return out | more


def watch(key: str) -> dict[str, Callable[[], None]]:
    """Callbacks of a viewer that keep the session up to date."""

    def moved() -> None:
        box = st.session_state[key].get("viewport")
        if box:
            session().saw(Box(box["y"], box["x"], box["y"] + box["h"], box["x"] + box["w"]))

    def drew() -> None:
        s = session()
        told = dict(st.session_state[key].get("drawings") or {"boxes": [], "strokes": []})
        # what was drawn before the page set the drawings may arrive after it, even in the same message
        if told.pop("version", s.drawings_version) == s.drawings_version:
            s.drawings = told

    return {"on_viewport": moved, "on_drawings": drew}


def drawn_params(s: Session) -> dict[str, Any]:
    """What was drawn, in the terms of methods: (y0, x0, y1, x1) and (y, x)."""
    boxes = tuple((b["y"], b["x"], b["y"] + b["h"], b["x"] + b["w"]) for b in s.drawings["boxes"])
    strokes = tuple(tuple((y, x) for x, y in line) for line in s.drawings["strokes"])
    return {"boxes": boxes, "strokes": strokes}


def cached(key: Any, owner: Any, make: Callable[[], Any]) -> Any:
    """Made once for as long as `owner` is the same object; the last 64 are kept."""
    store = session().drawn
    if key in store and store[key][0] is owner:
        return store[key][1]
    if len(store) > 64:
        store.pop(next(iter(store)))
    store[key] = (owner, make())
    return store[key][1]


# -- the bar -----------------------------------------------------------------------------------
def bar(page: str) -> None:
    """Name, pages, image, link and theme."""
    from hrviz.viewer.chooser import image_chooser
    from hrviz.viewer.chrome import css, tools

    s = session()
    st.html(f"<style>{css(s.look, s.theme)}</style>")
    with st.container(
        key="bar", horizontal=True, vertical_alignment="center", gap="small", wrap=False
    ):
        st.html('<b class="hv-brand">hrviz</b>', width="content")
        for path, title in PAGES:
            with st.container(key=f"nav-{title.lower()}", width="content"):
                st.page_link(path, label=title)
        with st.popover(_short(panels.nice(s.image.name)), width="content", key="image-popover"):
            guarded(image_chooser)()
        st.html(
            f'<span class="hv-disclaimer">{DISCLAIMER if page == "Compare" else ""}</span>',
            width="stretch",
        )
        chosen = tools(s.theme)
    if chosen and chosen != s.theme:
        s.theme = chosen
        st.rerun()
    if s.notes:
        with st.container(key="notes", horizontal=True, vertical_alignment="center", wrap=False):
            st.html("".join(panels.sentence(note, "notice") for note in s.notes), width="stretch")
            st.button("Dismiss", key="dismiss", on_click=s.notes.clear)


def _short(name: str, most: int = 34) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def pick_method(name: str) -> None:
    """Callback of the rail."""
    s = session()
    s.method = METHODS.find(name).name
    s.start = dict(s.params.get(s.method, {}))
