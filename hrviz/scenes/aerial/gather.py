"""Lists of what stands in a window of the world: for drawing and for the truth alike."""

from __future__ import annotations

import numpy as np

from hrviz.scenes.aerial.airport import Fleet, fleet
from hrviz.scenes.aerial.things import Things, edge_cars, on_cell
from hrviz.scenes.aerial.world import FIELD, World
from hrviz.scenes.noise import lattice_hash, uniform

BoxM = tuple[float, float, float, float]


def gather(world: World, box: BoxM, cars: float) -> Things:
    """Everything on the cells that may touch a box of places in metres, outside airports."""
    cells = world.cells(box)
    if not cells:
        return Things.join([])
    indices = np.array(list(cells))
    zone = {k: cell.zone for k, cell in cells.items()}
    # Neighbours decide whether the street between is a wide one.
    around = [(i - 1, j) for i, j in zone] + [(i, j - 1) for i, j in zone]
    missing = np.array(sorted({k for k in around if k not in zone}) or indices[:1].tolist())
    found = world.zones(missing[:, 0], missing[:, 1])[0]
    zone |= {(int(i), int(j)): int(z) for (i, j), z in zip(missing, found, strict=True)}
    parts = []
    empty = [np.empty((0, k)) for k in (10, 8, 8, 8)]
    for (i, j), cell in cells.items():
        if cell.water.max() < 0:
            continue
        if cell.zone != FIELD:
            parts.append(on_cell(cell, cars))
        kinds = (
            2 if cell.zone or zone[i, j - 1] else _country(world, 80, j),
            2 if cell.zone or zone[i - 1, j] else _country(world, 81, i),
        )
        traffic = edge_cars(cell, kinds, cars)
        parts.append(Things(empty[0], empty[1], traffic, empty[2], empty[3]))
    return Things.join(parts)


def _country(world: World, number: int, index: int) -> int:
    """Whether there is a country road on a line of the lattice."""
    line = lattice_hash(np.array([index]), np.zeros(1, np.int64), world.salt(number))
    return int(uniform(line)[0] < 0.3)


def fleets(world: World, box: BoxM, cars: float) -> list[Fleet]:
    """What stands on the airports that may touch the box."""
    return [fleet(a, cars) for a in world.airports_near(box)]
