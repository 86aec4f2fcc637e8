"""The people: who they are, and where each is at any moment, in closed form.

Walkers follow closed lanes at their own constant speed, alone or side by side in groups; others
stand in circles or alone and sway a little. A position is computed from the time alone: frame 9,000
costs what frame 0 costs, and between two frames nobody jumps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hrviz.scenes.crowd.camera import PERSON, Camera
from hrviz.scenes.crowd.figure import LOOKS, PARTS, POSES, STEPS, YAWS, extents, key_of
from hrviz.scenes.crowd.square import SAMPLES, Square, square

FRAME_RATE = 25.0
_PACKED = 0.4  # walkers a square metre of lane, at most
STRIDE = 1.45  # metres of two steps of a grown-up
MAX_SPEED = 3.5  # metres a second: at the outer edge of a lane that turns

_SKINS = np.array([[236, 196, 170], [224, 178, 148], [205, 154, 122], [176, 124, 92], [128, 86, 62],
                   [92, 62, 46]], float)  # fmt: skip
_HAIRS = np.array([[38, 30, 26], [62, 44, 32], [92, 64, 42], [140, 104, 66], [196, 164, 110],
                   [150, 146, 142], [112, 58, 34]], float)  # fmt: skip
_TOPS = np.array([[232, 232, 228], [42, 46, 54], [58, 78, 120], [150, 44, 46], [196, 178, 148],
                  [86, 104, 82], [120, 128, 136], [214, 160, 62], [92, 140, 178], [178, 108, 124],
                  [70, 62, 58], [206, 92, 60], [58, 122, 118], [136, 92, 140]], float)  # fmt: skip
_BOTTOMS = np.array([[52, 62, 86], [40, 42, 46], [84, 98, 124], [134, 118, 96], [96, 92, 88],
                     [176, 164, 142], [66, 58, 52]], float)  # fmt: skip
_SHOES = np.array([[44, 38, 36], [228, 226, 222], [96, 70, 50], [62, 62, 66]], float)
_EXTRAS = np.array([[48, 56, 70], [170, 60, 50], [118, 88, 58], [206, 186, 140], [70, 96, 88],
                    [226, 222, 214]], float)  # fmt: skip


@dataclass(frozen=True)
class Crowd:
    """Everybody at one moment, the farthest first; arrays of one row a person.

    Attributes
    ----------
    track : numpy.ndarray
        int64: who it is, the same at all times.
    x, z : numpy.ndarray
        Metres on the ground.
    feet : numpy.ndarray
        (n, 2): (y, x) level-0 px.
    scale : numpy.ndarray
        Level-0 px a metre of a figure 1.75 m tall.
    key : numpy.ndarray
        int64: look, heading and pose (`figure.key_of`).
    boxes, heads : numpy.ndarray
        float64 (n, 4): y0, x0, y1, x1, level-0 px; not cut to the picture.
    """

    track: np.ndarray
    x: np.ndarray
    z: np.ndarray
    feet: np.ndarray
    scale: np.ndarray
    key: np.ndarray
    boxes: np.ndarray
    heads: np.ndarray

    @property
    def head_centres(self) -> np.ndarray:
        """float64 (n, 2): (y, x)."""
        return (self.heads[:, :2] + self.heads[:, 2:]) / 2


class Population:
    """Who is on the square.

    Parameters
    ----------
    plan : Square
    people : int
    """

    def __init__(self, plan: Square, people: int) -> None:
        self.camera: Camera = plan.camera
        self._plan, n = plan, people
        rng = np.random.default_rng([plan.seed, 4])
        sizes = rng.choice([1, 2, 3, 4, 5], size=n, p=[0.42, 0.32, 0.15, 0.07, 0.04])
        group = np.repeat(np.arange(n), sizes)[:n]
        groups = int(group[-1]) + 1 if n else 0
        first = np.concatenate([[0], np.cumsum(sizes)])[: max(groups, 1)]
        self._place = np.arange(n) - first[group] if n else np.zeros(0, int)
        self._size = sizes[group] if n else np.zeros(0, int)
        room = sum(lane.length * 2 * lane.half for lane in plan.lanes) * _PACKED
        share = min(0.62, room / max(n, 1))
        self.walking = (rng.random(groups) < share)[group]
        self._walk(rng, group, groups)
        self._stand(rng, group, groups)
        self.size = np.clip(rng.normal(1.0, 0.05, n), 0.88, 1.13)
        child = rng.random(n) < 0.06
        self.size[child] = rng.uniform(0.6, 0.82, int(child.sum()))
        chances = [0.2, 0.12, 0.15, 0.12, 0.09, 0.1, 0.12, 0.1]
        self.look = rng.choice(len(LOOKS), size=n, p=chances)
        self.still = rng.integers(STEPS, POSES, n)
        self.palette = _palettes(rng, n)
        self._phase = rng.random(n)

    def _walk(self, rng: np.random.Generator, group: np.ndarray, groups: int) -> None:
        lanes = self._plan.lanes
        self._points = np.stack([lane.points for lane in lanes])
        self._length = np.array([lane.length for lane in lanes])
        share = np.array([lane.length / lane.points[:, 1].mean() ** 0.7 for lane in lanes])
        share[-2:] = max(share[:-2].sum(), 1e-9) * np.array([0.09, 0.05])
        lane = rng.choice(len(lanes), size=groups, p=share / share.sum())
        half = np.array([way.half for way in lanes])[lane]
        speed = np.clip(rng.normal(1.3, 0.17, groups), 0.85, 1.75)
        way = np.where(rng.random(groups) < 0.88, 1.0, -1.0)  # a few go against the stream
        start = rng.random(groups) * self._length[lane]
        aside = rng.uniform(-1, 1, groups) * half
        self._lane, self._speed = lane[group], (speed * way)[group]
        n = len(group)
        self._start = start[group] + rng.normal(0, 0.16, n)
        self._aside = aside[group] + (self._place - (self._size - 1) / 2) * 0.66

    def _stand(self, rng: np.random.Generator, group: np.ndarray, groups: int) -> None:
        x, z = np.zeros(groups), np.zeros(groups)
        todo = np.arange(groups)
        for last in range(8):  # look for free ground, eight times at most
            z[todo] = self._plan.depth(rng, len(todo))
            x[todo] = rng.uniform(-1.02, 1.02, len(todo)) * self.camera.half_width(z[todo])
            taken = self._plan.taken(x[todo], z[todo])
            # On the last tries a lane is better than a tree.
            todo = todo[taken > (0 if last < 5 else 1)]
            if not len(todo):
                break
        turn = rng.uniform(0, 2 * np.pi, groups)
        radius = 0.34 + 0.13 * self._size
        angle = turn[group] + 2 * np.pi * self._place / self._size + rng.normal(0, 0.18, len(group))
        away = np.where(self._size > 1, radius, 0.0)
        self._home = x[group] + away * np.cos(angle), z[group] + away * np.sin(angle)
        facing = np.where(self._size > 1, angle + np.pi, turn[group])
        self._gaze = np.cos(facing), np.sin(facing)

    def _positions(self, seconds: float) -> tuple[np.ndarray, ...]:
        """x, z, heading (x and z), metres walked: of everybody."""
        phase = 2 * np.pi * self._phase
        walked = self._speed * seconds
        along = (self._start + walked) / self._length[self._lane] % 1.0 * SAMPLES
        k = np.minimum(along.astype(np.intp), SAMPLES - 1)
        t = (along - k)[:, None]
        point, after = self._points[self._lane, k], self._points[self._lane, k + 1]
        before = self._points[self._lane, (k - 1) % SAMPLES]
        later = self._points[self._lane, (k + 2) % SAMPLES]
        ahead = (1 - t) * (after - before) + t * (later - point)
        ahead /= np.maximum(np.hypot(ahead[:, :1], ahead[:, 1:]), 1e-9)
        aside = self._aside + 0.12 * np.sin(0.45 * seconds + phase)
        x = point[:, 0] + t[:, 0] * (after - point)[:, 0] - ahead[:, 1] * aside
        z = point[:, 1] + t[:, 0] * (after - point)[:, 1] + ahead[:, 0] * aside
        way = np.sign(self._speed)
        sway = 0.035 * np.sin(0.7 * seconds + phase)
        x = np.where(self.walking, x, self._home[0] + sway)
        z = np.where(self.walking, z, self._home[1] + 0.6 * sway)
        hx = np.where(self.walking, ahead[:, 0] * way, self._gaze[0])
        hz = np.where(self.walking, ahead[:, 1] * way, self._gaze[1])
        return x, z, hx, hz, np.abs(walked)

    def at(self, frame: int) -> Crowd:
        """Everybody in a frame, computed directly."""
        x, z, hx, hz, walked = self._positions(frame / FRAME_RATE)
        z = np.maximum(z, 0.5 * self.camera.near)
        y, column = self.camera.project(x, z)
        scale = self.camera.scale(z) * self.size
        yaw = np.rint(np.arctan2(hx, hz) * (YAWS / (2 * np.pi))).astype(np.int64) % YAWS
        step = ((walked / (STRIDE * self.size) + self._phase) * STEPS).astype(np.int64) % STEPS
        key = key_of(self.look, yaw, np.where(self.walking, step, self.still))
        order = np.lexsort((np.arange(len(z)), -z))
        whole, heads = extents()
        feet = np.stack([y, column], axis=-1)[order]
        scale, key = scale[order], key[order]
        corner = np.concatenate([feet, feet], axis=-1)
        return Crowd(
            order, x[order], z[order], feet, scale, key,
            corner + whole[key] * scale[:, None], corner + heads[key] * scale[:, None],
        )  # fmt: skip


def _palettes(rng: np.random.Generator, n: int) -> np.ndarray:
    """Colours of everybody's parts, float32 (n, PARTS, 3)."""
    out = np.empty((n, PARTS, 3))
    weights = ([5, 5, 4, 3, 2, 2], [5, 5, 4, 3, 2, 2, 1], [5, 5, 4, 2, 2, 2, 3, 1, 2, 1, 3, 1, 1, 1],
               [5, 5, 4, 2, 2, 2, 2], [4, 3, 2, 2], [4, 2, 3, 2, 2, 2])  # fmt: skip
    for part, (colours, weight) in enumerate(
        zip((_SKINS, _HAIRS, _TOPS, _BOTTOMS, _SHOES, _EXTRAS), weights, strict=True)
    ):
        p = np.array(weight) / np.sum(weight)
        out[:, part] = colours[rng.choice(len(colours), size=n, p=p)]
        spread = 0.04 if part == 0 else 0.1
        out[:, part] *= 1 + rng.normal(0, spread, (n, 1)) + rng.normal(0, 0.025, (n, 3))
    return out.clip(8, 246).astype(np.float32)


@lru_cache(maxsize=4)
def population(height: int, width: int, seed: int, people: int) -> Population:
    """The people of a scene, drawn once for all its frames."""
    return Population(square(height, width, seed), people)


__all__ = ["FRAME_RATE", "MAX_SPEED", "PERSON", "Crowd", "Population", "population"]
