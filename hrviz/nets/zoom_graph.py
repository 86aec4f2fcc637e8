"""Network of the hierarchical zoom graph: an encoder of regions and two graph attention networks.

Regions that were looked at are the nodes of a graph, each joined to the region it was cut from.
`node` says of each node whether to zoom into it, `whole` what the image shows. Graph attention is
torch_geometric's (Velickovic et al., ICLR 2018): with z = h W,

    e_ij = LeakyReLU(a_1 z_i + a_2 z_j) on edges,  alpha_i = softmax_j(e_ij),  out_i = sum_j alpha_ij z_j.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.nn import GATConv

from hrviz.nets.unet import conv

SLOPE = 0.2  # of LeakyReLU


class ZoomGraph(nn.Module):
    """Regions and the graph between them to zoom decisions and the image's class.

    Parameters
    ----------
    features : int
        H, of a region.
    heads, hidden : int
        Attention heads and channels of each.
    classes : int
        Of the image.
    """

    def __init__(
        self, features: int = 64, heads: int = 4, hidden: int = 16, classes: int = 2
    ) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            conv(3, features // 4, 2), conv(features // 4, features // 2, 2),
            conv(features // 2, features, 2), conv(features, features),
        )  # fmt: skip
        loops: dict[str, Any] = {"add_self_loops": False, "negative_slope": SLOPE}  # A has them
        self.node_in = GATConv(features, hidden, heads, **loops)
        self.node_out = GATConv(heads * hidden, 2, heads, concat=False, **loops)
        self.graph = GATConv(features, hidden, heads, **loops)
        self.head = nn.Linear(heads * hidden, classes)

    def encode(self, x: Tensor) -> Tensor:
        """Regions (n, 3, d, d) in 0..1 to features H (n, features)."""
        out: Tensor = self.encoder(2 * x - 1).amax((2, 3))
        return out

    def node(self, h: Tensor, edges: Tensor) -> Tensor:
        """GAT_node: logits (n, 2) of leaving and zooming; edges (2, m) as (from, to)."""
        out: Tensor = self.node_out(F.elu(self.node_in(h, edges)), edges)
        return out

    def whole(self, h: Tensor, edges: Tensor, tree: Tensor | None = None) -> Tensor:
        """GAT_graph, mean over nodes, W: class logits (trees, classes); `tree` (n,) of each node."""
        found = F.elu(self.graph(h, edges))
        if tree is None:
            tree = torch.zeros(len(h), dtype=torch.long, device=h.device)
        count = int(tree.max()) + 1
        total = found.new_zeros(count, found.shape[1]).index_add(0, tree, found)
        sizes = torch.bincount(tree, minlength=count)[:, None]
        out: Tensor = self.head(total / sizes)
        return out

    def attention(self, h: Tensor, edges: Tensor) -> Tensor:
        """Weights alpha (m,) of GAT_graph on edges, mean over heads, summing to 1 over a node's edges."""
        _, (_, alpha) = self.graph(h, edges, return_attention_weights=True)
        return alpha.mean(1)


def adjacency(parents: Tensor) -> Tensor:
    """Edges (2, m) as (from, to) of a forest: to and from each node's parent (-1: none), and itself."""
    nodes = torch.arange(len(parents), device=parents.device)
    child = nodes[parents >= 0]
    source = parents[child]
    return torch.cat(
        [torch.stack([child, source]), torch.stack([source, child]), torch.stack([nodes, nodes])], 1
    )
