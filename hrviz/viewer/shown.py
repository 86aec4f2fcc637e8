"""What of an image is shown: its truth, a scene's parameters, channels, and moments of films."""

from __future__ import annotations

import html
from typing import Any

import numpy as np
import streamlit as st

from hrviz.errors import HrvizError
from hrviz.forms.streamlit import controls
from hrviz.image import Image
from hrviz.image.readers import split_address
from hrviz.scenes import Scene
from hrviz.viewer import overlays, panels, shell
from hrviz.viewer.shell import Session
from hrviz.views import colour
from hrviz.views import truth as known

ANSWER = "answer"
AXES = {"t": "Time", "z": "Focus"}
PLAYED = "One picture after the other, about two a second, from the first again after the last"


# -- truth -------------------------------------------------------------------------------------
def truth(s: Session) -> list[dict[str, Any]]:
    """Toggles of the scene's truth; what was chosen, as overlays of what is visible."""
    image = s.image
    if image.truth is None:
        return []
    titles = known.titles(image.truth)
    if "label" in image.truth.knows:
        titles = titles | {ANSWER: "Answer"}
    key = f"truth-{'-'.join(titles.values())}"
    chosen = st.pills("Truth", list(titles), selection_mode="multi", key=key, format_func=titles.__getitem__,
                      help="What the scene knows: guess first, then look")  # fmt: skip
    layers, hint = overlays.truth(s, chosen)
    if ANSWER in chosen:
        said, among = (html.escape(part) for part in answer(image))
        st.html(f'<div class="hv-answer">Answer<b>{said}</b> {among}</div>')
    if hint:
        st.html(f'<span class="hv-left">{hint}</span>')
    return layers


def answer(image: Image) -> tuple[str, str]:
    """The whole image's label, and what it could have been ('' for counts)."""
    told = image.truth.label
    text = colour.number(told) if isinstance(told, int | float) else str(told)
    others = [str(v) for v in image.truth.labels]
    among = f"of {', '.join(others)}" if 1 < len(others) <= 8 else ""
    return f"{text} {image.truth.unit}".strip(), among


# -- scenes ------------------------------------------------------------------------------------
def scene(s: Session) -> None:
    """A scene's idea and its parameters; moving one opens the scene with it."""
    reader = s.image.reader
    assert isinstance(reader, Scene)
    kind = reader.kind
    st.html(f'<p class="hv-idea">{panels.sentences(kind.idea)}</p>')
    key = f"scene-{s.round}"
    start = s.settled(key, dict(reader.params))
    wanted = controls(kind, key, start)
    if wanted == reader.params:
        return
    _, at = split_address(s.address)
    try:
        frames = int(wanted.get("frames", 1))
        s.become(kind.address(**wanted))
        if at and frames > 1:
            s.move(t=min(at.get("t", 0), frames - 1))
    except HrvizError as error:
        st.html(panels.sentence(str(error)))
        return
    st.rerun()


# -- channels ----------------------------------------------------------------------------------
def channels(s: Session) -> None:
    """Which channels of a fluorescence image are shown, and between which values."""
    image = s.image
    assert image.channel_info is not None
    ends = shell.cached(("channel ends", s.round), image.reader, lambda: _ends(image))
    start = s.settled(f"channels-{s.round}", (image.channel_info, image.channel_limits))
    active, limits = [], []
    whole = image.dtype.kind in "iu"
    for k, (info, given) in enumerate(zip(*start, strict=True)):
        key = f"channel-{s.round}-{k}"
        with st.container(horizontal=True, vertical_alignment="center", gap="small", wrap=False):
            ink = "rgb({}, {}, {})".format(*info.colour)
            st.html(
                f'<i class="hv-dot hv-rim" style="background:{ink};margin:0"></i>', width="content"
            )
            if st.checkbox(info.name, info.active, key=key):
                active.append(k)
        low, high = min(ends[k][0], given[0]), max(ends[k][1], given[1])
        kind = int if whole and high - low > 1 else float
        step = 1 if kind is int else (high - low) / 200
        chosen = st.slider(f"Contrast of {info.name}", kind(low), kind(high), (kind(given[0]), kind(given[1])),
                           step=step, key=f"{key}-limits", label_visibility="collapsed",
                           help="Values shown as black and as full colour")  # fmt: skip
        if chosen[0] < chosen[1] and chosen != (kind(given[0]), kind(given[1])):
            limits.append((k, (float(chosen[0]), float(chosen[1]))))
    wanted = tuple(active), tuple(limits)
    plain = wanted == (tuple(k for k, c in enumerate(start[0]) if c.active), ())
    now = None if plain else wanted
    if now != s.channels:
        s.channels = now
        st.rerun()


def _ends(image: Image) -> list[tuple[float, float]]:
    """Smallest and largest value of each channel on the coarsest level (at most 1024 px a side)."""
    info = image.levels_info[-1]
    values = image.window(len(image.levels_info) - 1, 0, 0, info.height, info.width)
    flat = values.reshape(-1, image.channels).astype(np.float64)
    flat = flat[np.isfinite(flat).all(axis=1)]
    if not len(flat):
        return [(0.0, 1.0)] * image.channels
    return [(float(a), float(max(b, a + 1))) for a, b in zip(flat.min(0), flat.max(0), strict=True)]


# -- moments -----------------------------------------------------------------------------------
def axes(s: Session, play: bool = True) -> None:
    """A slider for each axis of a film or stack; the first can play."""
    image = s.image
    if s.playing in image.axes:
        _step(s, s.playing, image.axes[s.playing])
        image = s.image
    for place, (axis, n) in enumerate(image.axes.items()):
        if play and place == 0:
            # two buttons: Streamlit may tell of a click twice, after the label has changed
            st.button("Pause" if s.playing else "Play", key="pause" if s.playing else "play", on_click=_play, args=(s, "" if s.playing else axis),
                      icon=":material/pause:" if s.playing else ":material/play_arrow:", help=PLAYED)  # fmt: skip
        key = f"axis-{s.round}-{s.visit}-{axis}-{n}"
        st.session_state[key] = image.index[axis]
        st.html(f'<span class="hv-noted">{AXES.get(axis, axis)}</span>', width="content")
        st.slider(AXES.get(axis, axis), 0, n - 1, key=key, label_visibility="collapsed", width="stretch",
                  on_change=_moved, args=(axis, key))  # fmt: skip
        st.html(f'<span class="hv-noted hv-now">{_told(image, axis)}</span>', width="content")


def _told(image: Image, axis: str) -> str:
    index, last = image.index[axis], image.axes[axis] - 1
    if axis == "t" and image.frame_rate:
        rate = image.frame_rate
        return f"t = {index} · {index / rate:.2f} of {last / rate:.2f} s · {rate:.4g} a second"
    return f"{axis} = {index} · last {last}"


def _play(s: Session, axis: str) -> None:
    """Play an axis, '' for none."""
    s.playing = axis
    s.played.clear()


def _step(s: Session, axis: str, n: int) -> None:
    s.played.append(s.image.index[axis])
    _go(s, axis, (s.image.index[axis] + 1) % n)


def _moved(axis: str, key: str) -> None:
    s = shell.session()
    if s.playing == axis and st.session_state[key] in s.played:
        return  # nobody moved it: the browser told where it was before it heard of the next step
    s.playing = ""
    _go(s, axis, st.session_state[key])


def _go(s: Session, axis: str, index: int) -> None:
    try:
        s.move(**{axis: index})
    except HrvizError as error:
        s.playing = ""
        s.notes[:] = [str(error)]
