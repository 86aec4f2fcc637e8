"""A person as some thirty rounded shapes: a skeleton in three dimensions, dressed and projected.

A figure is 1.75 m tall and stands with its feet at the origin. Its shape is one of `LOOKS` in one
of `YAWS` directions and `POSES`; only size and colours differ from person to person, so that small
figures can be averaged from a drawing made once (`atlas.py`). Lengths are metres, `v` points down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hrviz.scenes.crowd.shape import Shape, axis, extent

YAWS = 8  # headings: 0 away from the camera, then clockwise seen from above
STEPS = 8  # of a stride
POSES = STEPS + 3  # and three ways to stand
SKIN, HAIR, TOP, BOTTOM, SHOES, EXTRA, PARTS = range(7)
Joint = tuple[float, float, float]
SHADOW = (0.72, 0.55)  # where the sun throws a metre of height: sideways and away, metres


@dataclass(frozen=True)
class Look:
    """A kind of dress and hair: what has a shape of its own."""

    sleeves: str = "short"
    legs: str = "trousers"
    hair: str = "short"
    bag: str = ""
    striped: bool = False
    slim: float = 1.0


LOOKS = (
    Look(),
    Look("long", striped=True),
    Look("long", hair="long", slim=0.9),
    Look("short", "dress", "long", slim=0.88),
    Look("long", "coat", "hat"),
    Look("short", "shorts", "cap"),
    Look("long", "skirt", "bun", "tote", slim=0.9),
    Look("long", hair="short", bag="backpack"),
)
KEYS = len(LOOKS) * YAWS * POSES
_OUTLINE = np.array([0, 0, 0, 3, 4, 0, 6, 0])  # looks whose shadows are told apart


def key_of(look: np.ndarray, yaw: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """One number for look, heading and pose: 0 to `KEYS` - 1."""
    return np.asarray((look * YAWS + yaw) * POSES + pose)


def outline_of(key: np.ndarray) -> np.ndarray:
    """The key of the figure whose shadow stands for those of similar looks."""
    each = YAWS * POSES
    return np.asarray(_OUTLINE[key // each] * each + key % each)


class _Body:
    """Collects shapes given in the body's own frame: (right, up, forward)."""

    def __init__(self, yaw: float) -> None:
        self.fx, self.fz = math.sin(yaw), math.cos(yaw)
        self.shapes: list[Shape] = []

    def place(self, p: Joint) -> Joint:
        r, u, f = p
        return r * self.fz + f * self.fx, u, f * self.fz - r * self.fx

    def wide(self, across: float, deep: float) -> float:
        """Half width as seen of something `across` wide and `deep` deep."""
        return math.hypot(across * self.fz, deep * self.fx)

    def limb(
        self,
        p: Joint,
        q: Joint,
        wp: float,
        wq: float,
        part: int,
        order: float,
        shade: float = 1.0,
        corner: float | None = None,
        fine: bool = False,
    ) -> None:
        """A limb between two joints; `corner` less than its width makes blunt ends."""
        a, b = self.place(p), self.place(q)
        ends = [(a[0], -a[1]), (b[0], -b[1])]
        round_ = min(wp, wq) if corner is None else corner
        if corner is None:  # round ends reach beyond the joints
            _, ux, uv = axis(*ends)
            ends = [
                (ends[0][0] - ux * wp, ends[0][1] - uv * wp),
                (ends[1][0] + ux * wq, ends[1][1] + uv * wq),
            ]
        self.shapes.append(
            Shape(
                ends[0], ends[1], wp, wq, round_, part, shade, order, fine=fine,
                solid=() if fine else (*a, *b),
            )
        )  # fmt: skip

    def ball(
        self,
        p: Joint,
        across: float,
        tall: float,
        part: int,
        order: float,
        shade: float = 1.0,
        fine: bool = False,
    ) -> None:
        x, u, z = self.place(p)
        self.shapes.append(
            Shape((x, -u), (x, -u), across, tall, 0.0, part, shade, order, True, fine,
                  () if fine else (x, u - tall + across, z, x, u + tall - across, z))
        )  # fmt: skip


@lru_cache(maxsize=KEYS)
def shapes(key: int) -> tuple[Shape, ...]:
    """Shapes of a figure in painter's order; see `key_of`."""
    look = LOOKS[key // (YAWS * POSES)]
    pose = key % POSES
    body = _Body(2 * math.pi * (key // POSES % YAWS) / YAWS)
    hips, shoulders = 0.93, 1.43
    legs, arms = _swing(pose)
    feet = [
        _leg(side, angle, flex, hips) for side, (angle, flex) in zip((-1, 1), legs, strict=True)
    ]
    drop = min(foot[2][1] for foot in feet) - 0.075  # the lower foot stands on the ground
    hips, shoulders = hips - drop, shoulders - drop
    for hip, knee, ankle in feet:
        _draw_leg(body, look, *((r, u - drop, f) for r, u, f in (hip, knee, ankle)))
    _draw_trunk(body, look, hips, shoulders)
    for side, (upper, lower) in zip((-1, 1), arms, strict=True):
        _draw_arm(body, look, side, upper, lower, shoulders)
    _draw_head(body, look, shoulders)
    return tuple(sorted(body.shapes, key=lambda s: s.order))


def _swing(pose: int) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Angles of thighs and flexion of knees, angles of upper arms and forearms (left, right)."""
    if pose < STEPS:
        phases = [2 * math.pi * pose / STEPS + k * math.pi for k in (0, 1)]
        legs = [
            (0.44 * math.sin(p) + 0.05, 0.1 + 0.75 * max(0.0, math.cos(p)) ** 1.5) for p in phases
        ]
        arms = [(-0.42 * math.sin(p), -0.42 * math.sin(p) + 0.35) for p in phases]
        return legs, arms
    legs = [(0.02, 0.04), (-0.03, 0.02)]
    return legs, [
        [(0.03, 0.12), (-0.02, 0.1)],
        [(0.05, 0.15), (0.35, 2.3)],  # looks at a telephone
        [(0.45, 1.75), (0.4, 1.7)],  # hands together
    ][pose - STEPS]


def _leg(side: int, angle: float, flex: float, hips: float) -> tuple[Joint, Joint, Joint]:
    r = 0.085 * side
    hip = (r, hips - 0.04, 0.0)
    knee = (r, hip[1] - 0.42 * math.cos(angle), 0.42 * math.sin(angle))
    shin = angle - flex
    ankle = (r * 1.1, knee[1] - 0.40 * math.cos(shin), knee[2] + 0.40 * math.sin(shin))
    return hip, knee, ankle


def _draw_leg(body: _Body, look: Look, hip: Joint, knee: Joint, ankle: Joint) -> None:
    depth = body.place((hip[0], 0, (hip[2] + ankle[2]) / 2))[2]
    order = 0.5 - depth / 4
    shade = 0.8 if depth > 0.04 else 0.95
    bare = look.legs in ("dress", "skirt", "shorts")
    toe = (ankle[0], ankle[1] - 0.035, ankle[2] + 0.15)
    body.limb(ankle, toe, 0.043, 0.036, SHOES, order, shade)
    k = look.slim
    body.limb(knee, ankle, (0.052 if bare else 0.066) * k, (0.036 if bare else 0.052) * k,
              SKIN if bare else BOTTOM, order + 0.01, shade)  # fmt: skip
    part = SKIN if look.legs in ("dress", "skirt") else BOTTOM
    body.limb(hip, knee, 0.092 * k, (0.085 if look.legs == "shorts" else 0.066) * k,
              part, order + 0.02, shade)  # fmt: skip


def _draw_trunk(body: _Body, look: Look, hips: float, shoulders: float) -> None:
    k = look.slim
    chest, waist = body.wide(0.205 * k, 0.125), body.wide(0.165 * k, 0.118)
    seat = body.wide(0.172, 0.125)
    if look.legs in ("dress", "skirt", "coat"):
        hem = {"dress": 0.36, "skirt": 0.30, "coat": 0.42}[look.legs]
        part = BOTTOM if look.legs == "skirt" else TOP
        flare = body.wide(0.235, 0.22) if look.legs != "coat" else body.wide(0.215, 0.175)
        body.limb(
            (0, hips + 0.12, 0), (0, hips - hem, 0), waist * 1.02, flare, part, 1.0, 0.96, 0.03
        )
    else:
        body.limb((0, hips + 0.08, 0), (0, hips - 0.09, 0), waist, seat, BOTTOM, 1.0, 0.95, 0.05)
    body.limb((0, shoulders + 0.035, 0), (0, hips + 0.02, 0), chest, waist, TOP, 2.0, 1.0, 0.07)
    if look.striped:
        for n in range(4):
            u = shoulders - 0.08 - 0.1 * n
            w = (chest + (waist - chest) * (0.1 + 0.1 * n) / 0.45) * 0.985
            body.limb((0, u + 0.02, 0), (0, u - 0.02, 0), w, w, EXTRA, 2.1, 1.0, 0.004)
    if look.legs in ("trousers", "shorts"):
        body.limb(
            (0, hips + 0.035, 0), (0, hips + 0.012, 0), waist, waist, SHOES, 2.2, 0.8, 0.004, True
        )
    elif look.legs == "coat" and body.fz < 0.3:
        x = 0.12  # the coat's closing line, on the chest
        body.limb(
            (0.0, shoulders - 0.06, x),
            (0.0, hips - 0.35, x),
            0.006,
            0.006,
            TOP,
            2.2,
            0.62,
            fine=True,
        )
    if look.bag == "backpack":
        z = body.place((0, 0, -0.16))[2]
        body.limb((0, shoulders - 0.02, -0.17), (0, hips + 0.12, -0.18), body.wide(0.15, 0.085),
                  body.wide(0.16, 0.10), EXTRA, 1.8 if z > 0.02 else 3.4, 0.95, 0.06)  # fmt: skip
        if z > 0.02:
            for side in (-0.11, 0.11):
                body.limb((side, shoulders + 0.02, 0.09), (side, shoulders - 0.3, 0.1), 0.018, 0.018,
                          EXTRA, 2.3, 0.85, fine=True)  # fmt: skip
    if look.bag == "tote":
        z = body.place((0.24, 0, 0))[2]
        order = 1.7 if z > 0.02 else 3.3
        body.limb(
            (0.2, shoulders, 0), (0.26, hips + 0.1, 0), 0.01, 0.01, EXTRA, order, 0.8, fine=True
        )
        body.limb((0.26, hips + 0.1, 0), (0.26, hips - 0.2, 0), body.wide(0.05, 0.15),
                  body.wide(0.055, 0.16), EXTRA, order, 0.95, 0.02)  # fmt: skip


def _draw_arm(
    body: _Body, look: Look, side: int, upper: float, lower: float, shoulders: float
) -> None:
    k = look.slim
    shoulder = (0.183 * k * side, shoulders - 0.02, 0.0)
    elbow = (0.232 * k * side, shoulder[1] - 0.28 * math.cos(upper), 0.28 * math.sin(upper))
    inward = 0.8 if lower > 1 else 1.02  # folded arms meet before the chest
    hand = (
        elbow[0] * inward * (0.55 if lower > 1 else 1),
        elbow[1] - 0.25 * math.cos(lower),
        elbow[2] + 0.25 * math.sin(lower),
    )
    z = body.place(((shoulder[0] + hand[0]) / 2, 0, (elbow[2] + hand[2]) / 2))[2]
    order = 1.5 - z / 10 if z > 0.015 else 3.0 - z / 10
    shade = 0.82 if z > 0.05 else 0.93
    sleeve = TOP if look.sleeves == "long" else SKIN
    body.ball(hand, 0.042, 0.052, SKIN, order, shade)
    body.limb(elbow, hand, 0.047 * k, 0.037 * k, sleeve, order + 0.001, shade)
    body.limb(
        shoulder, elbow, 0.062 * k, 0.050 * k, TOP if sleeve == TOP else SKIN, order + 0.002, shade
    )
    if sleeve == SKIN:
        half = tuple(s + 0.55 * (e - s) for s, e in zip(shoulder, elbow, strict=True))
        body.limb(shoulder, half, 0.068 * k, 0.066 * k, TOP, order + 0.003, shade)  # type: ignore[arg-type]


def _draw_head(body: _Body, look: Look, shoulders: float) -> None:
    u = shoulders + 0.19
    away = body.fz
    body.limb((0, shoulders, 0), (0, u - 0.06, 0.01), 0.05, 0.046, SKIN, 2.5, 0.84)
    wide = body.wide(0.078, 0.095)
    body.ball((0, u, 0.012), wide * 0.97, 0.112, SKIN, 4.0)
    if away < 0.3:
        _draw_face(body, u)
    back = 4.5 if away > 0.3 else 3.9 if away > -0.3 else 1.6  # long hair falls behind the neck
    body.ball((0, u + 0.022, -0.022), wide * 1.1, 0.113, HAIR, 3.8)
    if away > 0.3:
        body.ball((0, u + 0.012, -0.012), wide * 1.07, 0.112, HAIR, 4.5)
    else:  # forehead: a cap of hair over the upper face
        body.ball((0, u + 0.083, -0.002), wide * 0.93, 0.047, HAIR, 4.4)
        if body.fz > -0.9:  # temple and back of the head, seen from the side
            body.ball((0, u + 0.035, -0.055), wide * 0.66, 0.098, HAIR, 4.4)
    if look.hair == "long":
        body.limb((0, u + 0.03, -0.05), (0, shoulders - 0.10, -0.075), wide * 1.02, wide * 0.98, HAIR, back,
                  0.95, 0.06)  # fmt: skip
    if look.hair == "bun":
        body.ball((0, u + 0.105, -0.06), 0.05, 0.048, HAIR, 4.6, 1.05)
    if look.hair in ("hat", "cap"):
        body.ball((0, u + 0.085, -0.008), wide * 1.13, 0.062, EXTRA, 4.7)
        if look.hair == "cap":
            body.limb((0, u + 0.065, 0.08), (0, u + 0.06, 0.16), 0.014, 0.012, EXTRA, 4.8, 0.85)
        else:
            body.limb(
                (0, u + 0.06, 0),
                (0, u + 0.03, 0),
                wide * 1.15,
                wide * 1.15,
                EXTRA,
                4.8,
                0.88,
                0.012,
            )


def _draw_face(body: _Body, u: float) -> None:
    for side in (-1, 1):
        if body.place((0.032 * side, 0, 0.088))[2] > -0.03:  # on the other side of the head
            continue
        body.ball((0.032 * side, u + 0.012, 0.088), 0.0085, 0.0065, HAIR, 4.2, 0.4, True)
        body.limb((0.02 * side, u + 0.032, 0.09), (0.045 * side, u + 0.031, 0.08), 0.004, 0.003, HAIR, 4.2,
                  0.8, fine=True)  # fmt: skip
        body.ball((0.036 * side, u - 0.03, 0.082), 0.017, 0.014, SKIN, 4.1, 0.93, True)
    body.limb((0, u + 0.008, 0.086), (0, u - 0.02, 0.092), 0.006, 0.010, SKIN, 4.3, 0.88, fine=True)
    body.limb(
        (-0.02, u - 0.055, 0.09), (0.02, u - 0.055, 0.09), 0.005, 0.005, SKIN, 4.3, 0.66, fine=True
    )


@lru_cache(maxsize=1)
def extents() -> tuple[np.ndarray, np.ndarray]:
    """Boxes (v0, x0, v1, x1) of all figures and of their heads with hair: float64 (KEYS, 4) each."""
    whole, heads = np.empty((KEYS, 4)), np.empty((KEYS, 4))
    for key in range(KEYS):
        parts = shapes(key)
        for out, chosen in (
            (whole, [s for s in parts if not s.fine]),
            (heads, [s for s in parts if s.ellipse and s.order >= 3.8 and not s.fine]),
        ):
            boxes = np.array([extent(s) for s in chosen])
            out[key] = (*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0))
    return whole, heads
