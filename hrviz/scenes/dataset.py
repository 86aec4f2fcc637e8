"""A scene as a data set: pictures with truth, one a seed, whose splits share no seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from hrviz.errors import HrvizError

if TYPE_CHECKING:
    from hrviz.image.image import Image

Split = Literal["train", "held-out", "unseen"]

#: First seed of each split; each may hold `PER_SPLIT` pictures. Recipes are fitted on 'train',
#: chosen on 'held-out' and reported on 'unseen', which nobody may look at before.
FIRST_SEED: dict[str, int] = {"train": 1_000_000, "held-out": 2_000_000, "unseen": 3_000_000}
PER_SPLIT = 1_000_000


class SceneDataset(Sequence["Image"]):
    """Lazily opened images of one scene, `n` of one split.

    Works as a map-style data set of torch (`len`, `[i]`) without importing it. Indexing opens an
    image: no pixel is computed until it is read.

    Attributes
    ----------
    scene, split : str
    addresses : list of str
        What `hrviz.open` opens, in order.
    """

    def __init__(self, scene: str, split: str, n: int, **params: Any) -> None:
        from hrviz.scenes import SCENES

        if scene not in SCENES:
            raise HrvizError(f"scene {scene!r} is not known: there are {', '.join(SCENES)}")
        if split not in FIRST_SEED:
            raise HrvizError(f"split {split!r} is not known: there are {', '.join(FIRST_SEED)}")
        if not 1 <= n <= PER_SPLIT:
            raise HrvizError(f"n={n} pictures is out of range: choose 1 to {PER_SPLIT}")
        if "seed" in params:
            raise HrvizError("a data set chooses the seeds itself: leave seed out, choose a split")
        kind = SCENES[scene]
        known = {p.name: p for p in kind.params}
        values = dict(kind.small)
        for name, value in params.items():
            if name not in known:
                raise HrvizError(
                    f"scene:{scene} has no parameter {name!r}: it has {', '.join(known)}"
                )
            values[name] = known[name].check(value)
        first = FIRST_SEED[split]
        self.scene, self.split = scene, split
        self.addresses = [kind.address(**values, seed=first + i) for i in range(n)]

    def __repr__(self) -> str:
        return f"<SceneDataset {self.scene} {self.split}: {len(self)} images>"

    def __len__(self) -> int:
        return len(self.addresses)

    def __getitem__(self, index: Any) -> Any:
        from hrviz.image.image import open_image

        if isinstance(index, slice):
            return [open_image(a) for a in self.addresses[index]]
        return open_image(self.addresses[index])

    def __iter__(self) -> Iterator[Image]:
        return (self[i] for i in range(len(self)))


def dataset(scene: str, split: Split = "train", n: int = 100, **params: Any) -> SceneDataset:
    """Images of a scene for training and judging, each with `image.truth`.

    Parameters
    ----------
    scene : str
        A name in `SCENES`.
    split : {'train', 'held-out', 'unseen'}
        Splits share no seed.
    n : int
        How many; picture i of a split is always the same.
    **params
        The scene's parameters except `seed`; its size and the rest default to `small`, what one
        trains on.

    Returns
    -------
    SceneDataset

    Raises
    ------
    HrvizError
        Unknown scene, split or parameter.

    Examples
    --------
    >>> slides = dataset("tissue", split="train", n=2, width=4096, height=4096)
    >>> slides, slides[1].width
    (<SceneDataset tissue train: 2 images>, 4096)
    """
    return SceneDataset(scene, split, n, **params)
