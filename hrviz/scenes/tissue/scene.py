"""`scene:tissue`: a slide stained with hematoxylin and eosin that is computed, not stored.

What is simulated, from large to small: glass; pieces of tissue with frayed edges and cracks;
stroma, whose collagen follows a smooth flow field; fat; lobules of glands, each a ring of
epithelium around a lumen; small vessels; lymphoid aggregates; nests of tumour; and in all of them
nuclei. Light passes through the stains by Beer-Lambert. Any window of any level is computed
directly from its coordinates and the seed, so a slide of 200,000 x 200,000 px costs nothing until
it is looked at.

What stands in for what: this is a drawing with known truth, not medical data. Tumour and lymphoid
aggregates are about equally dark from afar and differ only in their cells: nuclei of 8-13 um with
nucleoli against round ones of 6 um. That is the lesson the scene is made for: lowered resolution
removes exactly the evidence that decides.

Windows are assembled from blocks of 512 x 512 px that are aligned with the level. A block is always
computed whole and alone, which makes a pixel the same to the bit whatever window it is asked in; a
small cache keeps the last blocks.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np

from hrviz.method import Control
from hrviz.scenes.noise import Raster, octaves, upsample
from hrviz.scenes.scene import BLOCK, Height, Scene, SceneSeed, Width, scene
from hrviz.scenes.tissue import nuclei as cells
from hrviz.scenes.tissue import stain
from hrviz.scenes.tissue.anatomy import EPITHELIUM, Anatomy, anatomy, block_raster, fat
from hrviz.scenes.tissue.layout import Layout
from hrviz.scenes.tissue.population import SPARSE_UP_TO, populations
from hrviz.scenes.tissue.truth import TissueTruth

PIXEL_SIZE = 0.25
DRAWN_UP_TO = 64  # downsample: crowded nuclei are drawn one by one up to here, their mean beyond


Tumour = Annotated[
    float, Control("Up: more of the tissue is tumour.", 0.0, 0.5, 0.001, title="Tumour of tissue")
]


@scene("tissue", title="Tissue", tasks=("segmentation", "detection", "slide label"),
       small={"width": 8192, "height": 8192, "tumour": 0.03})  # fmt: skip
class TissueScene(Scene):
    """An H&E-like slide, lazily computed.

    Parameters
    ----------
    width, height : int
        Level-0 pixels, 1 to 200,000 (checked by `open_scene`).
    seed : int
        Another seed, another patient.
    tumour : float
        Tumour area as a fraction of tissue area, 0 to 0.5.
    """

    version = 1

    def __init__(
        self,
        *,
        width: Width = 100_000,
        height: Height = 100_000,
        seed: SceneSeed = 7,
        tumour: Tumour = 0.005,
    ) -> None:
        self.setup(
            {"width": width, "height": height, "seed": seed, "tumour": tumour},
            pixel_size=PIXEL_SIZE,
            facts={
                "scene": "tissue (synthetic, not medical data)",
                "stain": "hematoxylin and eosin, simulated",
                "objective": "40",
                "seed": str(seed),
                "tumour fraction of tissue": f"{tumour:g}",
            },
        )
        self.layout = Layout(height, width, seed, tumour)
        self.truth = TissueTruth(self.layout)

    def render(self, downsample: float, row: int, column: int) -> np.ndarray:
        """One block (see `Scene.render`)."""
        return render(self.layout, downsample, row, column)


def _cover(distance: np.ndarray, soft: float) -> np.ndarray:
    """Share of a pixel inside an outline from the signed distance of its centre."""
    return np.asarray((0.5 - distance / np.float32(soft)).clip(0, 1))


def _lay(picture: np.ndarray, cover: np.ndarray, colour: np.ndarray) -> None:
    """Cover a picture (3, n, n) with a colour (3,) in place."""
    for c in range(3):
        picture[c] += cover * (colour[c] - picture[c])


def _shrink(radius: float, pixel: float) -> float:
    """How much a disc of `radius` px seems to grow by a soft edge `pixel` wide."""
    return radius - math.sqrt(max(radius**2 - pixel**2 / 12, radius**2 / 4))


def _grain(layout: Layout, exact: Raster, pixel: float) -> np.ndarray | None:
    """Fine mottle of cytoplasm and chromatin where pixels still show it."""
    grains = ((4, 0.35), (8, 0.75), (16, 0.6))
    parts = [
        (w, size, layout.salt(182 + k))
        for k, (w, size) in enumerate(grains)
        if w >= max(2 * pixel, 8) or pixel == 1
    ]
    return octaves(exact, parts) if parts else None


def _fat(picture: np.ndarray, gap: np.ndarray, pixel: float) -> np.ndarray:
    """Fat cells: a thin pink wall around emptiness; returns the share of each pixel in fat.

    `gap` is the distance to the wall, positive in fat.
    """
    wall = 5.5  # half its width
    within = _cover(-gap, max(pixel, 2)) if pixel <= 8 else (gap > 0).astype(np.float32)
    line = np.clip((wall + pixel / 2 - np.abs(gap)) / pixel, 0, min(1.0, 2 * wall / pixel))
    _lay(picture, within * 0.75, stain.FAT_WALL)
    _lay(picture, np.clip(within - line, 0, 1), stain.FAT)
    return within


def render(layout: Layout, pixel: float, row: int, column: int) -> np.ndarray:
    """One block of the level whose pixels are `pixel` level-0 pixels wide, uint8."""
    span = BLOCK * pixel
    y0, x0 = row * span, column * span
    exact = Raster(y0 + pixel / 2, x0 + pixel / 2, BLOCK, BLOCK, pixel, pixel, pixel)
    uneven = [(16384, 0.55, layout.salt(180))]
    if pixel <= 1:
        uneven.append((4, 0.45, layout.salt(181)))
    glow = octaves(exact, uneven)
    known = anatomy(layout, y0, x0, span, pixel)
    picture: np.ndarray
    if known is None:
        picture = np.ones((3, BLOCK, BLOCK), np.float32)
    else:
        picture = _tissue(layout, known, exact, pixel)
    out = np.empty((BLOCK, BLOCK, 3), np.uint8)
    for c in range(3):
        out[..., c] = (picture[c] * stain.GLASS[c] + glow + 0.5).clip(0, 255)
    return out


def _tissue(layout: Layout, known: Anatomy, exact: Raster, pixel: float) -> np.ndarray:
    """Transmitted intensity (3, n, n) of a block with tissue."""
    factor = max(1, round(known.raster.step / pixel))

    done: dict[int, np.ndarray] = {}

    def fine(grid: np.ndarray) -> np.ndarray:
        if id(grid) not in done:
            done[id(grid)] = upsample(grid, BLOCK, factor, known.margin)
        return done[id(grid)]

    grain = _grain(layout, exact, pixel)
    picture, texture = _stroma(known, fine, pixel)
    if grain is not None:
        picture *= 1 + 0.022 * grain
    fat_step = max(2.0, pixel)
    fat_raster, fat_margin = block_raster(
        exact.y - pixel / 2, exact.x - pixel / 2, BLOCK * pixel, fat_step, 72.0
    )
    holes = fat(layout, fat_raster)
    solid = np.ones((BLOCK, BLOCK), np.float32)
    if holes is not None:
        solid -= _fat(picture, upsample(holes, BLOCK, round(fat_step / pixel), fat_margin), pixel)
    if known.vessels is not None:
        s = fine(known.vessels)
        _lay(picture, _cover(s, max(pixel, 3)) * 0.75, stain.FIBRE_DARK)
        blood = _cover(s + 10, max(pixel, 3))
        _lay(picture, blood, stain.LUMEN)
        clot = np.clip(fine(known.density) * 1.4 + 0.4, 0, 1)
        _lay(picture, blood * clot, stain.BLOOD)
    if known.glands is not None:
        s = fine(known.glands)
        wall = EPITHELIUM + 7 * fine(known.density)
        # A soft edge as wide as a pixel would make small round things larger: take that off again.
        outer, inner = _shrink(112.0, pixel), _shrink(65.0, pixel)
        _lay(picture, _cover(s - 9 + outer, max(pixel, 5)) * 0.55, stain.FIBRE_DARK)
        _lay(picture, _cover(s + outer, max(pixel, 3)), stain.EPITHELIUM)
        _lay(picture, _cover(s + wall + inner, max(pixel, 6)), stain.LUMEN)
    if known.aggregates is not None:
        _lay(picture, _cover(fine(known.aggregates), max(pixel, 60)) * 0.8, stain.LYMPHOID)
    if known.nests is not None:
        s = fine(known.nests)
        # Fixation shrinks the tissue: stroma next to a nest is denser, and a cleft opens in places.
        _lay(picture, _cover(s - 40, max(pixel, 90)) * 0.35, stain.FIBRE_DARK)
        open_ = np.clip(fine(known.looseness) - 0.1, 0, 0.8) * 1.2
        cleft = _cover(s - 9, max(pixel, 4)) - _cover(s, max(pixel, 4))
        _lay(picture, cleft * open_, stain.CLEAR)
        mottle = 0.98 + 0.05 * fine(known.density)
        if grain is not None:
            mottle = mottle + 0.05 * grain
        cover = _cover(s, max(pixel, 5))
        if known.septa is not None:
            cover = cover * _cover(-fine(known.septa), max(pixel, 8))
        for c in range(3):
            picture[c] += cover * (stain.TUMOUR[c] * mottle - picture[c])
    if pixel <= DRAWN_UP_TO:
        found = cells.Nuclei.join(
            [part for _, part in populations(layout, known, exact, pixel, holes, fat_raster)]
        )
        corner = (exact.y - pixel / 2, exact.x - pixel / 2)
        cover, dark = cells.splat(found, corner, BLOCK, pixel, grain)
        if pixel > SPARSE_UP_TO:
            mean_cover, mean_dark = _mean_nuclei(known, fine, solid, crowded=False)
            cover, dark = np.minimum(cover + mean_cover, 1), np.minimum(dark + mean_dark, 1)
    else:
        cover, dark = _mean_nuclei(known, fine, solid)
    for c in range(3):
        pale, black = stain.NUCLEUS_PALE[c], stain.NUCLEUS_DARK[c]
        picture[c] = picture[c] * (1 - cover) + pale * cover + (black - pale) * dark
    # Loose ends of fibres fray the edge: strong bundles reach out, clefts open inwards.
    edge = fine(known.tissue) + 46 * (0.44 - texture.real) + 40 * texture.imag
    _lay(picture, 1 - _cover(edge, max(pixel, 5)), stain.CLEAR)
    return picture


def _stroma(known: Anatomy, fine: Any, pixel: float) -> tuple[np.ndarray, np.ndarray]:
    """Collagen: pale and dark fibres and clefts, mixed linearly; and the texture it came from."""
    texture = stain.fibres(fine(known.across), fine(known.along), pixel)
    tone = fine(known.tone)
    dark = texture.real * (1 + 0.22 * tone)
    cleft = texture.imag
    loose = np.clip(0.25 + 0.35 * fine(known.looseness), 0, 0.8)
    if known.lobules is not None:
        loose = loose + _cover(fine(known.lobules) + 60, max(pixel, 260)) * (0.9 - loose)
    dark = dark * (1 - 0.65 * loose)
    picture = np.empty((3, BLOCK, BLOCK), np.float32)
    pale = stain.stain(0.075, 0.13)
    for c in range(3):
        ground = stain.FIBRE_PALE[c] + loose * (pale[c] - stain.FIBRE_PALE[c])
        picture[c] = ground + dark * (stain.FIBRE_DARK[c] - ground) + cleft * (0.97 - ground)
    return picture, texture


def _mean_nuclei(
    known: Anatomy, fine: Any, solid: np.ndarray, crowded: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Expected cover and darkness where pixels are larger than the spacing of nuclei."""
    soft = float(known.raster.step)
    cover = solid * (0.041 + 0.015 * fine(known.density))
    if known.lobules is not None:
        cover = cover + solid * 0.024 * _cover(fine(known.lobules) + 60, soft)
    dark = cover * 0.70
    for grid, share, tone in (
        (known.lobules if known.glands is None else known.glands, 0.17, 0.56),
        (known.aggregates, 0.62, 0.79),
        (known.nests, 0.55, 0.70),
    ):
        if grid is not None:
            inside = _cover(fine(grid), soft)
            share = share if crowded else 0.0
            cover = cover + inside * (share - cover)
            dark = dark + inside * (share * tone - dark)
    return np.clip(cover, 0, 1), np.clip(dark, 0, 1)
