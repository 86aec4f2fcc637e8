"""A control for set `colon`: the same pictures, those without cells with as many objects as the others.

In `scene:needle` with presence 'half' a picture without needles holds fewer objects, so a network can
be right by counting. In set `colon-even` such pictures get further look-alikes in the needles' place:
networks that were trained on `colon` and look at cells stay right there, those that count do not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import platformdirs

from hrviz.image import Image
from hrviz.results import write_whole
from hrviz.scenes import dataset
from hrviz.scenes.dataset import FIRST_SEED, Split
from hrviz.scenes.needle.scene import NeedleScene, plant
from hrviz.training import search_data
from hrviz.training import search_training as shared
from hrviz.training.search_data import SETS

EVEN = "colon-even"


class EvenNeedle(NeedleScene):
    """`scene:needle` with as many objects whether needles are there or not."""

    def setup(self, values: Mapping[str, Any], **more: Any) -> None:
        """Fill in what `Scene.setup` does; a picture without needles is planted anew."""
        super().setup(values, **more)
        if self._planted.needles == 0:
            area = values["ratio"] * values["width"] * values["height"]
            objects = values["distractors"] + values["count"]
            kind, seed = values["object"], values["seed"]
            self._planted = plant(
                kind, values["height"], values["width"], area, 0, objects, seed
            )  # fmt: skip


SETS.setdefault(EVEN, SETS["colon"])  # the same labels and seeds; `fill` gives other pictures
if EVEN not in shared.TURNED:
    shared.TURNED = (*shared.TURNED, EVEN)  # type: ignore[assignment]


def fill(splits: Mapping[Split, int], report: Callable[[str], None]) -> None:
    """Render `colon-even` to where `pictures` looks for rendered sets, at least so many of a split."""
    asked = SETS[EVEN]
    folder = platformdirs.user_cache_path("hrviz") / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in splits.items():
        address = dataset(asked.scene, split, 1, **asked.params).addresses[0]
        file = folder / f"{EVEN}-{split}-{search_data._key(address)}.npy"
        if file.exists() and len(np.load(file, mmap_mode="r")) >= count:
            continue
        found = []
        for k in range(count):
            image = Image(EvenNeedle(**asked.params, seed=FIRST_SEED[split] + k))
            found.append(image.rgb(image.box, asked.size))
            if (k + 1) % 100 == 0:
                report(f"{EVEN}, {split}: {k + 1} of {count} pictures")
        whole = np.stack(found)
        write_whole(file, lambda handle, whole=whole: np.save(handle, whole))  # type: ignore[misc]
