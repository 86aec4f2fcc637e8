r"""Iterative patch selection: the M best patches of any number, with memory for M + I at a time.

A cross-attention scorer with H heads and learned queries gives every patch embedding its attention,
softmax over the patches *present*, mean over heads and queries. The loop keeps the M best of the
memory and the next I. With one head each step's softmax has the order of its logits, so the loop
ends with the M best of all; with several heads the mean of H softmaxes depends on what else is
present, and so does what is kept (Bergner, Lippert and Mahendran, ICLR 2023).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from hrviz.nets.attention_sampling import PatchFeatures


def shares(logits: Tensor) -> Tensor:
    """Attention of the patches present: logits (..., heads, n) to (..., n), summing to 1."""
    return logits.softmax(-1).mean(-2)


def iterations(count: int, memory: int, chunk: int) -> Iterator[tuple[int, int]]:
    """Places [start, stop) in the order of patches that are encoded at each step, first the memory.

    Examples
    --------
    >>> list(iterations(10, 4, 3))
    [(0, 4), (4, 7), (7, 10)]
    """
    first = min(memory, count)
    yield 0, first
    for start in range(first, count, chunk):
        yield start, min(start + chunk, count)


def select(
    count: int, memory: int, chunk: int, logits: Callable[[int, int], Tensor]
) -> Iterator[tuple[Tensor, Tensor]]:
    """The loop, without gradients: after each step the places kept and their attention.

    Parameters
    ----------
    count : int
        Patches in all.
    memory, chunk : int
        M and I.
    logits : callable
        Of (start, stop): attention logits (b, heads, stop - start) of the patches at these places.

    Yields
    ------
    kept : Tensor int (b, at most M)
        Best first.
    attention : Tensor (b, at most M)
        Among what was present at that step.
    """
    kept = held = None
    with torch.no_grad():
        for start, stop in iterations(count, memory, chunk):
            new = logits(start, stop)
            b, heads = new.shape[:2]
            places = torch.arange(start, stop, device=new.device).expand(b, -1)
            if kept is None or held is None:
                present, here = new, places
            else:
                present, here = torch.cat([held, new], 2), torch.cat([kept, places], 1)
            attention = shares(present)
            best = attention.topk(min(memory, here.shape[1]), dim=1)
            kept = here.gather(1, best.indices)
            held = present.gather(2, best.indices[:, None].expand(-1, heads, -1))
            yield kept, best.values


class CrossAttention(nn.Module):
    """Learned queries that attend to patch embeddings (b, n, width): scores and pooling.

    Parameters
    ----------
    width, heads, queries : int
        Width is divisible by heads.
    """

    def __init__(self, width: int, heads: int, queries: int = 1) -> None:
        super().__init__()
        self.heads, self.queries = heads, queries
        self.query = nn.Parameter(torch.randn(queries, width) * width**-0.5)
        self.to_query, self.to_key = nn.Linear(width, width), nn.Linear(width, width)
        self.to_value, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.mix = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(True), nn.Linear(2 * width, width))  # fmt: skip

    def logits(self, embeddings: Tensor) -> Tensor:
        """Attention logits (b, heads * queries, n): one row a head and query."""
        b, n, width = embeddings.shape
        size = width // self.heads
        q = self.to_query(self.query).view(self.queries, self.heads, size)
        k = self.to_key(embeddings).view(b, n, self.heads, size)
        out = torch.einsum("qhd,bnhd->bhqn", q, k) * size**-0.5
        return out.reshape(b, self.heads * self.queries, n)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Pooled (b, width): attention over the patches given, a small network, mean over queries."""
        b, n, width = embeddings.shape
        a = self.logits(embeddings).softmax(-1).view(b, self.heads, self.queries, n)
        v = self.to_value(embeddings).view(b, n, self.heads, width // self.heads)
        x = self.out(torch.einsum("bhqn,bnhd->bqhd", a, v).flatten(2))
        pooled: Tensor = (x + self.mix(self.norm(x))).mean(1)
        return pooled


class IterativeSelection(nn.Module):
    """The small network that is trained: patch features, cross-attention, classifier.

    Parameters
    ----------
    classes : int
    heads, queries, memory, chunk : int
        H, learned queries, M and I that it is trained with.
    width, stride : int
        Of `PatchFeatures`.
    patch, step : int
        Side of a patch and distance between patches, full-resolution pixels.
    """

    def __init__(
        self, classes: int, heads: int = 4, queries: int = 1, memory: int = 16, chunk: int = 64,
        width: int = 32, stride: int = 4, patch: int = 96, step: int = 64,
    ) -> None:  # fmt: skip
        super().__init__()
        self.features = PatchFeatures(width, stride)
        self.pool = CrossAttention(width, heads, queries)
        self.head = nn.Linear(width, classes)
        self.memory, self.chunk, self.patch, self.step = memory, chunk, patch, step

    def attend(self, patches: Tensor) -> Tensor:
        """Attention logits (heads * queries, n) of patches (n, 3, side, side) of one picture."""
        return self.pool.logits(self.features(patches)[None])[0]

    def forward(self, patches: Tensor) -> Tensor:
        """Logits (1, classes) from the kept patches (n, 3, side, side) of one picture."""
        return self.decide(patches[None])

    def decide(self, patches: Tensor) -> Tensor:
        """Logits (b, classes) from the kept patches (b, n, 3, side, side)."""
        b, n = patches.shape[:2]
        embeddings = self.features(patches.flatten(0, 1)).view(b, n, -1)
        out: Tensor = self.head(self.pool(embeddings))
        return out
