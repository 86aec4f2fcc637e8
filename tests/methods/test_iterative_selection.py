"""The loop of iterative patch selection against the best of all, by brute force."""

from __future__ import annotations

import numpy as np
import pytest

import hrviz
from hrviz.methods.zooming.memory_loop import Grid, best_of, orders, raster, shares, starts

SURPRISE = np.array([[4.0, 2.0, 4.0, 0.0], [4.0, 4.0, 0.0, 4.0]])


def loop(logits: np.ndarray, memory: int, chunk: int) -> set[int]:
    """In the order of places, as written in the paper: softmax over what is present, keep the best."""
    kept = list(range(min(memory, logits.shape[1])))
    for start in range(memory, logits.shape[1], chunk):
        present = kept + list(range(start, min(start + chunk, logits.shape[1])))
        e = np.exp(logits[:, present])
        a = (e / e.sum(1, keepdims=True)).mean(0)
        kept = [present[k] for k in np.argsort(-a, kind="stable")[:memory]]
    return set(kept)


def best(logits: np.ndarray, memory: int) -> set[int]:
    e = np.exp(logits)
    a = (e / e.sum(1, keepdims=True)).mean(0)
    return set(np.argsort(-a, kind="stable")[:memory].tolist())


def both(logits: np.ndarray, memory: int, chunk: int) -> list[set[int]]:
    """What the two implementations of the loop keep: torch's for training, numpy's for showing."""
    torch = pytest.importorskip("torch")
    from hrviz.nets.iterative import select

    t = torch.from_numpy(logits)[None]
    *_, (kept, _) = select(logits.shape[1], memory, chunk, lambda a, b: t[:, :, a:b])
    held, _ = best_of(logits, np.arange(min(memory, logits.shape[1])), memory)
    for start in range(memory, logits.shape[1], chunk):
        fresh = np.arange(start, min(start + chunk, logits.shape[1]))
        held, _ = best_of(logits, np.r_[held, fresh], memory)
    return [set(kept[0].tolist()), set(held.tolist())]


def test_two_heads_can_lose_one_of_the_best() -> None:
    assert shares(SURPRISE) == pytest.approx([0.3978, 0.1971, 0.2352, 0.1699], abs=1e-4)
    assert best(SURPRISE, 2) == {0, 2}
    assert both(SURPRISE, 2, 1) == [{0, 1}, {0, 1}]


def test_one_head_ends_with_the_best_of_all() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        n, memory, chunk = (
            int(rng.integers(1, 40)),
            int(rng.integers(1, 9)),
            int(rng.integers(1, 9)),
        )
        logits = rng.normal(0, 2, (1, n))
        assert both(logits, memory, chunk) == [best(logits, memory)] * 2


def test_many_heads_agree_with_the_definition_and_often_differ_from_the_best() -> None:
    rng = np.random.default_rng(1)
    differ = 0
    for _ in range(200):
        logits = rng.normal(0, 2, (8, 30))
        kept = loop(logits, 5, 5)
        assert both(logits, 5, 5) == [kept, kept]
        differ += kept != best(logits, 5)
    assert 0.3 < differ / 200 < 0.95


def test_shuffled_orders_end_alike_with_one_head_only() -> None:
    rng = np.random.default_rng(2)
    one, many = rng.normal(0, 2, (1, 60)), rng.normal(0, 2, (8, 60))
    assert {frozenset(k.tolist()) for k in orders(one, 6, 4, 20, 0)} == {frozenset(best(one, 6))}
    assert len({frozenset(k.tolist()) for k in orders(many, 6, 4, 20, 0)}) > 1


def test_patches_cover_everything() -> None:
    for length, side, step in (
        (500, 48, 48),
        (1024, 96, 64),
        (97, 48, 20),
        (48, 48, 48),
        (7, 48, 9),
    ):
        at = starts(length, side, step)
        covered = np.zeros(length, bool)
        for start in at.astype(int):
            covered[start : start + side] = True
        assert covered.all()
        assert (np.diff(at) > 0).all()
        assert at[-1] + side <= max(length, side)


def test_the_map_of_patches_lies_where_they_are() -> None:
    """Patches of 48 px over 100: the last is moved back; overlaps are means."""
    view = hrviz.open("scene:tissue?size=100x48").view()
    line = starts(100, 48, 48)
    assert line.tolist() == [0, 48, 52]
    at = np.stack(np.meshgrid([0.0], line, indexing="ij"), -1).reshape(-1, 2)
    found = raster(view, Grid(at, (1, 3), 48, 48), np.array([1.0, 2.0, 4.0]))
    assert found.shape == (48, 100)
    assert found[5].tolist() == [1.0] * 48 + [2.0] * 4 + [3.0] * 44 + [4.0] * 4


SCENE = "scene:needle?size=512x512&object=cross&ratio=0.004&distractors=6&seed=5"


def test_the_tree_tells_the_time() -> None:
    run = hrviz.apply("ips", SCENE, memory=8, chunk=8, heads=3, task="none", order="shuffled")
    tree = run["tree"]
    patches = tree.nodes[1:]
    assert len(patches) == 64
    kept = [n for n in patches if n.decision == "processed"]
    assert len(kept) == 8
    assert all("in memory since step" in n.reason for n in kept)
    assert all("pushed out in step" in n.reason for n in patches if n.decision == "suppressed")
    assert all("not kept" in n.reason for n in patches if n.decision == "memory only")
    assert tree.pixels == run.reads.pixels_requested == 512 * 512
    assert run["memory"].series["of the final memory"][-1] == 8
    assert run["memory"].series["newcomers kept"][0] == 8
    assert run["held"].series["iterative"].max() == 16
    row = hrviz.apply("ips", SCENE, memory=8, chunk=8, heads=3, task="none")["tree"].nodes[1:]
    assert [n.box for n in row] != [n.box for n in patches]


def test_the_truth_finds_the_object() -> None:
    run = hrviz.apply("ips", SCENE, memory=2, saliency="truth", task="none")
    truth = hrviz.open(SCENE).truth
    y, x = truth.points()[0][truth.points()[1] == 1][0]
    boxes = [n.box for n in run["tree"].nodes if n.decision == "processed"]
    assert any(b.y0 <= y < b.y1 and b.x0 <= x < b.x1 for b in boxes)


def test_more_memory_than_patches_and_huge_images() -> None:
    small = hrviz.apply("ips", "scene:tissue?size=100x60", memory=128, task="none")
    assert small["tree"].summary()["processed"] == len(small["tree"].nodes) - 1
    huge = hrviz.apply("ips", "scene:tissue?size=40000x30000", most=64, task="none")
    assert len(huge["tree"].nodes) - 1 <= 64
    assert huge.reads.pixels_read < 2**24


def test_recipe() -> None:
    pytest.importorskip("torch")
    from hrviz.training import search_ips

    card = search_ips.train("colon-ips", seed=0, steps=1, report=lambda text: None, write=False)
    assert card["unseen"]["pictures"] == 6
