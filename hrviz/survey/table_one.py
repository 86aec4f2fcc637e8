"""Table I: uniform downsampling against cutting into patches, in the survey and here.

The survey counts people in Shanghai Tech Part B with SASNet at 1024 x 768 px, and at a quarter and a
sixteenth of the pixels: downsampled, with the network fine-tuned for that size, or cut into disjoint
patches whose counts are summed, with the network as it is. `PAPER` holds its numbers. `ours` holds
the same experiment done here, by `benchmarks/table_one.py`, with a small counting network and frames
of `scene:crowd`; `live` counts one unseen frame here and now.

Notes
-----
The comparison is at equal peak memory, not at equal operations: the patches together cost what the
whole image costs, one after another, while downsampling saves both.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hrviz.errors import HrvizError

if TYPE_CHECKING:
    from hrviz.results import HeatMap, Picture, Points

RECORD = Path(__file__).with_name("table_one.json")


@dataclass(frozen=True)
class PaperRow:
    """A line of the survey's Table I.

    Attributes
    ----------
    arm : str
        'original', 'ud-4', 'cip-4', 'ud-16' or 'cip-16'.
    size : (int, int)
        (height, width) of what the network is given, px.
    share : float
        Of the original's pixels in one pass.
    mae : float
        Mean absolute error of the count, heads.
    change : float
        Relative to the original, as printed.
    """

    arm: str
    size: tuple[int, int]
    share: float
    mae: float
    change: float


#: Shanghai Tech Part B, SASNet.
PAPER = (
    PaperRow("original", (768, 1024), 1.0, 6.31, 0.0),
    PaperRow("ud-4", (384, 512), 1 / 4, 9.01, 0.43),
    PaperRow("cip-4", (384, 512), 1 / 4, 6.40, 0.01),
    PaperRow("ud-16", (192, 256), 1 / 16, 16.06, 1.55),
    PaperRow("cip-16", (192, 256), 1 / 16, 6.67, 0.06),
)
ARMS = tuple(row.arm for row in PAPER)


def record() -> dict[str, Any]:
    """How our table was made (date, command, seeds, frames) and its rows, of every kind of frames."""
    if not RECORD.exists():
        return {}
    return dict(json.loads(RECORD.read_text()))


def ours(kind: str = "square") -> list[dict[str, Any]]:
    """Our rows of the table: each a dict, in the order of `PAPER`.

    Parameters
    ----------
    kind : {'square', 'rings'}
        Frames of `scene:crowd`, or the control without low frequencies.

    Returns
    -------
    list of dict
        With 'arm', 'share', 'mae', 'interval' (95 %, over frames and trainings), 'bias', 'passes',
        'memory' (bytes of one pass, predicted), 'flops' (of an image, all passes), 'paper_mae';
        'change' and 'change_interval' (to the original), 'mae_by_seed', 'seconds', 'time_ratio' (of
        one processor, measured); empty where nothing is recorded.
    """
    rows: list[dict[str, Any]] = record().get("rows", [])
    return [row for row in rows if row["kind"] == kind]


@dataclass(frozen=True, eq=False)
class Counted:
    """One unseen frame as an arm counts it.

    Attributes
    ----------
    arm : str
    halo : int
        px of the frame.
    uri : str
        Address of the whole square, of which `density.box` is the frame.
    picture : Picture
        What the network is given; patches are cut from it.
    density : HeatMap
        Heads a pixel of the frame, whatever the resolution of the map: arms compare by colour.
    heads : Points
        The truth.
    count, truth : float, int
        Heads counted (the integral of `density`), and heads there are.
    passes : int
        Of the network, one after another.
    """

    arm: str
    halo: int
    uri: str
    picture: Picture
    density: HeatMap
    heads: Points
    count: float
    truth: int
    passes: int


def live(seed: int = 0, arm: str = "original", halo: int = 0) -> Counted:
    """Count one frame that no training has seen, here and now.

    Parameters
    ----------
    seed : int
        Which of the unseen frames, from 0.
    arm : str
        A name in `ARMS`.
    halo : int
        Of patches: 0 as in the survey, to 24 px in steps of 4, from where on they give what the
        whole frame gives. Other arms have none.

    Raises
    ------
    HrvizError
        Unknown arm, or a halo that is none.
    """
    if arm not in ARMS:
        raise HrvizError(f"arm {arm!r} is not known: choose {', '.join(ARMS)}")
    if seed < 0:
        raise HrvizError(f"seed={seed} is no frame: choose 0 or more")
    way, _, share = arm.partition("-")
    side = int(share or 1) ** 0.5
    factor, cut = (int(side), 1) if way == "ud" else (1, int(side))
    if halo and cut == 1:
        raise HrvizError(f"arm {arm!r} has no patches: choose halo=0, or cip-4 or cip-16")

    from hrviz import nets
    from hrviz.nets.sasnet import in_patches
    from hrviz.results import HeatMap, Picture, Points
    from hrviz.training import crowd_counter as recipe
    from hrviz.training import crowd_counter_data as data

    name = recipe.ARMS[arm if way == "ud" else "original"][0]
    image = data.square("unseen", seed)
    pixels, heads = data.frame("square", "unseen", seed)
    given = recipe.smaller(recipe.tensor(pixels[None]), factor)
    found = in_patches(lambda x: nets.run(name, x), given, cut, halo)[0, 0].double().numpy()
    return Counted(
        arm=arm,
        halo=halo,
        uri=image.uri,
        picture=Picture(given[0].permute(1, 2, 0).numpy(), data.WINDOW),
        density=HeatMap(
            found / factor**2, data.WINDOW, "density", "heads a pixel of the frame",
            source=f"trained: {name}",
        ),
        heads=Points(heads * data.STRIDE + [data.WINDOW.y0, data.WINDOW.x0]),
        count=float(found.sum()),
        truth=len(heads),
        passes=cut * cut,
    )  # fmt: skip
