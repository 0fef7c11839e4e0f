"""Graph networks in PyTorch, with the whole adjacency matrix: no edge is looked at by itself.

Called on features [N, F] and the senders and receivers of edges. Parameters are named as in PyTorch
Geometric.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional


def adjacency(x: Any, senders: Any, receivers: Any) -> Any:
    """A [N, N], of which row i has a one for each node that i receives from."""
    matrix = torch.zeros(len(x), len(x), dtype=x.dtype)
    matrix[receivers, senders] = 1
    return matrix


class GraphConvolution(nn.Module):
    """D^-1/2 (A + I) D^-1/2 X W + b."""

    def __init__(self, features: int, units: int) -> None:
        super().__init__()
        self.lin = nn.Linear(features, units, bias=False)
        self.bias = nn.Parameter(torch.zeros(units))

    def forward(self, x: Any, a: Any) -> Any:
        """[N, F], [N, N] -> [N, units]."""
        loops = a + torch.eye(len(a), dtype=a.dtype)
        root = torch.diag(loops.sum(1) ** -0.5)
        return root @ loops @ root @ self.lin(x) + self.bias


class GCN(nn.Module):
    """Two convolutions with ReLU between them."""

    def __init__(self, features: int = 1433, hidden: int = 16, classes: int = 7) -> None:
        super().__init__()
        self.conv1 = GraphConvolution(features, hidden)
        self.conv2 = GraphConvolution(hidden, classes)

    def forward(self, x: Any, senders: Any, receivers: Any) -> Any:
        """Logits [N, classes]."""
        a = adjacency(x, senders, receivers)
        return self.conv2(functional.relu(self.conv1(x, a)), a)


class GraphAttention(nn.Module):
    """Masked softmax of LeakyReLU(a . [h_i || h_j]) over all j, for each head."""

    def __init__(self, features: int, units: int, heads: int, *, concat: bool) -> None:
        super().__init__()
        self.lin = nn.Linear(features, heads * units, bias=False)
        self.att_src = nn.Parameter(torch.zeros(1, heads, units))
        self.att_dst = nn.Parameter(torch.zeros(1, heads, units))
        self.bias = nn.Parameter(torch.zeros(heads * units if concat else units))
        self.heads, self.concat = heads, concat

    def forward(self, x: Any, a: Any) -> Any:
        """[N, F], [N, N] -> [N, heads * units] or [N, units]."""
        there = a + torch.eye(len(a), dtype=a.dtype) > 0
        found = []
        for k, h in enumerate(self.lin(x).chunk(self.heads, 1)):
            pair = torch.cat([self.att_dst[0, k], self.att_src[0, k]])
            own, other = h[:, None].expand(-1, len(h), -1), h[None].expand(len(h), -1, -1)
            scores = functional.leaky_relu(torch.cat([own, other], 2) @ pair, 0.2)
            weights = torch.softmax(scores.masked_fill(~there, float('-inf')), 1)
            found.append(weights @ h)
        y = torch.cat(found, 1) if self.concat else torch.stack(found).mean(0)
        return y + self.bias


class GAT(nn.Module):
    """Two layers of attention with ELU between them."""

    def __init__(
        self,
        features: int = 1433,
        hidden: int = 8,
        heads: int = 8,
        classes: int = 7,
        last: int = 1,
    ) -> None:
        super().__init__()
        self.conv1 = GraphAttention(features, hidden, heads, concat=True)
        self.conv2 = GraphAttention(hidden * heads, classes, last, concat=False)

    def forward(self, x: Any, senders: Any, receivers: Any) -> Any:
        """Logits [N, classes]."""
        a = adjacency(x, senders, receivers)
        return self.conv2(functional.elu(self.conv1(x, a)), a)


class MeanAggregator(nn.Module):
    """W_r x_i + W_l mean_j x_j + b; the mean of none is zero."""

    def __init__(self, features: int, units: int) -> None:
        super().__init__()
        self.lin_l = nn.Linear(features, units)
        self.lin_r = nn.Linear(features, units, bias=False)

    def forward(self, x: Any, a: Any) -> Any:
        """[N, F], [N, N] -> [N, units]."""
        return self.lin_r(x) + self.lin_l(a @ x / a.sum(1, keepdim=True).clamp(min=1))


class GraphSAGE(nn.Module):
    """Two aggregators, each followed by ReLU and rows of length one; a linear layer."""

    def __init__(self, features: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.conv1 = MeanAggregator(features, hidden)
        self.conv2 = MeanAggregator(hidden, hidden)
        self.head = nn.Linear(hidden, classes)

    def forward(self, x: Any, senders: Any, receivers: Any) -> Any:
        """Logits [N, classes]."""
        a = adjacency(x, senders, receivers)
        for conv in (self.conv1, self.conv2):
            x = functional.normalize(functional.relu(conv(x, a)), dim=1)
        return self.head(x)


class Isomorphism(nn.Module):
    """MLP((1 + e) x_i + sum_j x_j)."""

    def __init__(self, features: int, units: int) -> None:
        super().__init__()
        self.eps = nn.Parameter(torch.zeros(1))
        layers: list[nn.Module] = []
        for width in (features, units):
            norm = nn.BatchNorm1d(units)
            layers += [nn.Linear(width, units, bias=False), norm, nn.ReLU()]
        self.nn = nn.Sequential(*layers)

    def forward(self, x: Any, a: Any) -> Any:
        """[N, F], [N, N] -> [N, units]."""
        return self.nn((1 + self.eps) * x + a @ x)


class GIN(nn.Module):
    """A linear layer of the sum over nodes after each of `depth` layers, added."""

    def __init__(self, features: int, hidden: int, classes: int, depth: int) -> None:
        super().__init__()
        widths = [features, *[hidden] * depth]
        self.depth = depth
        for i in range(depth):
            self.add_module(f'conv{i + 1}', Isomorphism(widths[i], hidden))
        self.head = nn.ModuleList(nn.Linear(width, classes) for width in widths)

    def forward(self, x: Any, senders: Any, receivers: Any) -> Any:
        """[1, classes], of all nodes as one graph."""
        a = adjacency(x, senders, receivers)
        y = self.head[0](x.sum(0, keepdim=True))
        for i in range(self.depth):
            x = self.get_submodule(f'conv{i + 1}')(x, a)
            y = y + self.head[i + 1](x.sum(0, keepdim=True))
        return y


ORIGINALS: dict[tuple[str, str], Callable[..., Any]] = {
    ('gcn', 'pyg'): GCN,
    ('gat', 'pyg'): GAT,
    ('graphsage', 'pyg'): GraphSAGE,
    ('gin', 'torch'): GIN,
}
