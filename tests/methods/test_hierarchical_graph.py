"""The zoom graph: graph attention against numpy and the sheet's numbers, trees against the truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from fake_images import image_of

import hrviz
from hrviz import nets
from hrviz.geometry import Box
from hrviz.methods.zooming.zoom_tree_run import NETWORK, quadrant
from hrviz.nets.zoom_graph import ZoomGraph, adjacency

CELLS = "scene:needle?size=500x500&object=cell&background=tissue&ratio=0.002&count=4&distractors=12"
DISC = "scene:needle?size=1024x1024&object=disc&ratio=0.0005&distractors=0"


# ------------------------------------------------------------------ graph attention
def attend(
    h: np.ndarray, w: np.ndarray, a1: np.ndarray, a2: np.ndarray, edges: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """One head, as the paper has it: z (n, d) summed by alpha (n, n); a row per listening node."""
    z = h @ w
    n = len(h)
    e = np.full((n, n), -np.inf)
    for start, end in edges.T:
        raw = a1 @ z[end] + a2 @ z[start]
        e[end, start] = raw if raw > 0 else 0.2 * raw
    alpha = np.exp(e - e.max(1, keepdims=True))
    alpha /= alpha.sum(1, keepdims=True)
    return alpha @ z, alpha


STAR = np.array([-1, 0, 0, 0, 0])
H = np.array([[1, 0], [0, 1], [1, 1], [2, 0], [0, 0]], float)
W, A1, A2 = np.array([[1, 0.5], [-0.5, 1]]), np.array([1.0, -1.0]), np.array([0.5, 1.0])


def published() -> Any:
    """torch_geometric's layer with the sheet's numbers."""
    from torch_geometric.nn import GATConv

    layer = GATConv(2, 2, 1, add_self_loops=False, bias=False, negative_slope=0.2).double()
    with torch.no_grad():
        layer.lin.weight.copy_(torch.tensor(W.T))
        layer.att_dst.copy_(torch.tensor(A1).view(1, 1, 2))
        layer.att_src.copy_(torch.tensor(A2).view(1, 1, 2))
    return layer


@pytest.mark.parametrize("by", ["numpy", "torch_geometric"])
def test_the_star_of_five_nodes(by: str) -> None:
    edges = adjacency(torch.tensor(STAR))
    if by == "numpy":
        out, alpha = attend(H, W, A1, A2, edges.numpy())
    else:
        with torch.no_grad():
            found, (_, weights) = published()(torch.tensor(H), edges, return_attention_weights=True)
        out, alpha = found.numpy(), np.zeros((5, 5))
        alpha[edges[1], edges[0]] = weights[:, 0]
    assert alpha[0] == pytest.approx([0.143226, 0.111545, 0.30321, 0.389329, 0.05269], abs=5e-7)
    assert alpha[1, [0, 1]] == pytest.approx([0.512497, 0.487503], abs=5e-7)
    assert alpha[3, [0, 3]] == pytest.approx([0.268941, 0.731059], abs=5e-7)
    assert out[0] == pytest.approx([1.017717, 1.027302], abs=5e-7)
    p = np.exp(out) / np.exp(out).sum(1, keepdims=True)
    expected = [[0.497604, 0.502396], [0.383432, 0.616568], [0.37314, 0.62686],
                [0.703815, 0.296185], [0.590378, 0.409622]]  # fmt: skip
    np.testing.assert_allclose(p, expected, atol=5e-7)
    assert np.flatnonzero(p[:, 1] > 0.5).tolist() == [0, 1, 2]


def test_a_lone_node_listens_to_itself() -> None:
    edges = adjacency(torch.tensor([-1, -1]))
    assert edges.tolist() == [[0, 1], [0, 1]]
    with torch.no_grad():
        out = published()(torch.tensor(H[:2]), edges)
    np.testing.assert_allclose(out, H[:2] @ W)


def test_every_node_is_joined_to_its_source_and_itself() -> None:
    edges = adjacency(torch.tensor([-1, 0, 0, 1]))
    pairs = {tuple(edge) for edge in edges.T.tolist()}
    assert pairs == {(0, 0), (1, 1), (2, 2), (3, 3), (0, 1), (1, 0), (0, 2), (2, 0), (1, 3), (3, 1)}


def elu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def heads(layer: Any, h: np.ndarray, edges: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each head of a layer, evaluated in numpy."""
    w = layer.lin.weight.detach().numpy().T.astype(float)
    d = layer.out_channels
    return [
        attend(h, w[:, k * d : (k + 1) * d], layer.att_dst[0, k].detach().numpy(),
               layer.att_src[0, k].detach().numpy(), edges)
        for k in range(layer.heads)
    ]  # fmt: skip


def test_both_networks_against_numpy() -> None:
    """Several heads: concatenated, averaged in the last node layer; mean over nodes, then W."""
    torch.manual_seed(3)
    net = ZoomGraph(features=8, heads=2, hidden=3).eval()
    edges = adjacency(torch.tensor([-1, 0, 0, 0, 0, 2, 2, 2, 2]))
    h = torch.randn(9, 8)
    e, x = edges.numpy(), h.double().numpy()
    with torch.no_grad():
        node, whole, alpha = net.node(h, edges), net.whole(h, edges)[0], net.attention(h, edges)
        b_in, b_out, b_graph = (
            m.bias.numpy() for m in (net.node_in, net.node_out, net.graph)
        )  # fmt: skip
        w, b = net.head.weight.numpy(), net.head.bias.numpy()
    first = elu(np.concatenate([o for o, _ in heads(net.node_in, x, e)], 1) + b_in)
    expected = np.mean([o for o, _ in heads(net.node_out, first, e)], 0) + b_out
    np.testing.assert_allclose(node, expected, atol=1e-5)
    found = heads(net.graph, x, e)
    graph = elu(np.concatenate([o for o, _ in found], 1) + b_graph)
    np.testing.assert_allclose(whole, w @ graph.mean(0) + b, atol=1e-5)
    weights = np.mean([a for _, a in found], 0)
    np.testing.assert_allclose(alpha, weights[e[1], e[0]], atol=1e-6)


def test_several_trees_at_once_are_each_alone() -> None:
    torch.manual_seed(4)
    net = ZoomGraph(features=8, heads=2, hidden=3).eval()
    parents = [[-1, 0, 0, 0, 0], [-1], [-1, 0, 0, 0, 0, 1, 1, 1, 1]]
    h = [torch.randn(len(p), 8) for p in parents]
    joined, tree = [], []
    for t, p in enumerate(parents):
        joined += [k + len(tree) if k >= 0 else -1 for k in p]
        tree += [t] * len(p)
    with torch.no_grad():
        together = net.whole(torch.cat(h), adjacency(torch.tensor(joined)), torch.tensor(tree))
        for row, x, p in zip(together, h, parents, strict=True):
            alone = net.whole(x, adjacency(torch.tensor(p)))[0]
            np.testing.assert_allclose(row, alone, atol=1e-6)


# ------------------------------------------------------------------ trees
def test_quadrants_are_the_parts_of_a_box() -> None:
    box = Box(10, 20, 15, 29)
    parts = [quadrant(box, row, column) for row in (0, 1) for column in (0, 1)]
    assert parts == [(10, 20, 12.5, 24.5), (10, 24.5, 12.5, 29), (12.5, 20, 15, 24.5),
                     (12.5, 24.5, 15, 29)]  # fmt: skip


@pytest.mark.parametrize("params", [{}, {"levels": 6}, {"threshold": 0.0, "levels": 3}])
def test_the_tree_costs_what_was_read(params: dict[str, Any]) -> None:
    run = hrviz.apply("du", CELLS, saliency="edges", task="none", **params)
    tree = run["tree"]
    assert tree.pixels == run.reads.pixels_requested
    assert len(tree.nodes) == len(run["graph"].nodes)


def test_at_threshold_zero_everything_is_looked_at() -> None:
    tree = hrviz.apply("du", CELLS, saliency="edges", threshold=0.0, task="none")["tree"]
    depths = list(tree.depths().values())
    assert [depths.count(k) for k in range(4)] == [1, 4, 16, 64]


def test_zooming_by_the_truth_follows_the_object() -> None:
    """Zoomed are exactly the regions that hold part of it, down to level R."""
    run = hrviz.apply("du", DISC, saliency="truth", task="none")
    tree, truth = run["tree"], hrviz.open(DISC).truth
    depths = tree.depths()
    for node in tree.nodes:
        if depths[node.id] in (1, 2):
            there = bool((truth.mask(node.box, (256, 256)) > 0).any())
            assert (node.decision == "zoomed") == there
    (point,), _ = truth.points()
    leaves = [n.box for n in tree.nodes if depths[n.id] == 3]
    assert any(b.y0 <= point[0] < b.y1 and b.x0 <= point[1] < b.x1 for b in leaves)


def test_nothing_to_zoom_into_leaves_five_regions() -> None:
    """A constant picture: the root is always zoomed into, its quadrants are not."""
    image = image_of(np.full((60, 80, 3), 120, np.uint8))
    run = hrviz.apply("du", image, saliency="edges", task="none")
    assert len(run["tree"].nodes) == 5
    assert len(run["graph"].edges) == 4


def test_a_gigapixel_picture_is_read_region_by_region() -> None:
    run = hrviz.apply("du", "scene:tissue?size=200000x100000", saliency="edges", task="none")
    assert run.reads.pixels_read < 2**23
    assert len(run["tree"].nodes) <= 85


# ------------------------------------------------------------------ with the network
def test_equation_10_sees_the_graph_of_its_own_level() -> None:
    """P of level 2 from the root and its quadrants alone, P of level 3 with what was cut from them."""
    run = hrviz.apply("du", CELLS + "&seed=3000003")
    tree = run["tree"]
    view = hrviz.open(CELLS + "&seed=3000003").view()
    net: Any = nets.load(NETWORK)
    depths = tree.depths()
    for level in (1, 2):
        known = [n for n in tree.nodes if depths[n.id] <= level]
        pixels = np.stack([view.read((64, 64), n.box) for n in known]).transpose(0, 3, 1, 2)
        parents = torch.tensor([-1 if n.parent is None else n.parent for n in known])
        with torch.no_grad():
            h = net.encode(torch.from_numpy(np.ascontiguousarray(pixels)))
            p = net.node(h, adjacency(parents)).softmax(1)[:, 1]
        for n in known:
            if depths[n.id] == level:
                assert n.score == pytest.approx(float(p[n.id]), abs=1e-4)
                assert (n.decision == "zoomed") == (n.score >= 0.5)


def test_at_threshold_one_the_graph_is_classified_as_it_is() -> None:
    run = hrviz.apply("du", CELLS, threshold=1.0)
    assert len(run["tree"].nodes) == 5
    assert sum(run["prediction"].values.values()) == pytest.approx(1)


def test_weights_of_edges_are_alpha() -> None:
    graph = hrviz.apply("du", CELLS)["graph"]
    assert graph.weights.shape == (len(graph.edges),)
    assert (graph.weights > 0).all()
    assert graph.weights[graph.edges[:, 0] == 0].sum() < 1  # the root listens to itself too


def test_the_trained_network_on_unseen_pictures() -> None:
    from hrviz.training.search_data import SETS

    right, looked = [], []
    for place in range(8):
        run = hrviz.apply("du", SETS["cells"].address("unseen", place))
        right.append(run["score"].values["right"])
        looked.append(len(run["tree"].nodes))
    assert sum(right) >= 7
    assert np.mean(looked) < 50


def test_the_recipe_runs() -> None:
    from hrviz.training import train

    card = train("needle-graph", steps=2, report=lambda text: None, write=False)
    assert card["held_out"]["pictures"] == 8


def test_training_trees_follow_the_labels() -> None:
    from hrviz.training import needle_graph

    class Never:
        def random(self) -> float:
            return 0.5

    wanted = [np.zeros((2**i, 2**i), bool) for i in range(4)]
    wanted[1][1, 0] = wanted[2][3, 1] = wanted[3][6, 2] = True
    nodes, parents = needle_graph.grow(wanted, Never())  # type: ignore[arg-type]
    assert len(nodes) == 13
    for (level, row, column), parent in zip(nodes[1:], parents[1:], strict=True):
        assert nodes[parent] == (level - 1, row // 2, column // 2)
    assert [n for n in nodes if n[0] == 3] == [(3, 6, 2), (3, 6, 3), (3, 7, 2), (3, 7, 3)]


# ------------------------------------------------------------------ what is drawn
def test_edges_are_as_wide_as_their_weight() -> None:
    from hrviz.results import Graph
    from hrviz.views.layers import WIDTHS, Lines, layers

    nodes = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    edges = np.array([[0, 1], [0, 2], [0, 3]])
    drawn = [p for p in layers(Graph(nodes, edges, weights=np.array([0.0, 0.5, 1.0])))
             if isinstance(p, Lines)]  # fmt: skip
    assert [part.width for part in drawn] == [1, WIDTHS / 2, WIDTHS]
    assert [len(part.polylines) for part in drawn] == [1, 1, 1]
    plain = [p for p in layers(Graph(nodes, edges)) if isinstance(p, Lines)]
    assert [len(p.polylines) for p in plain] == [3]
    (even,) = (p for p in layers(Graph(nodes, edges, weights=np.zeros(3))) if isinstance(p, Lines))
    assert even.width == 1


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [1.0, np.nan]])
def test_weights_of_edges_are_checked(weights: list[float]) -> None:
    from hrviz.errors import HrvizError
    from hrviz.results import Graph

    with pytest.raises(HrvizError, match="weight"):
        Graph(np.zeros((3, 2)), np.array([[0, 1], [1, 2]]), weights=np.array(weights))
