"""Layers of graph networks: what a node becomes of itself and of what it receives."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
from jax.nn import initializers

from jaxdl.nn.graph import (
    Graph,
    Sparse,
    averaged,
    edge_softmax,
    summed,
    symmetric_weights,
    with_self_loops,
)
from jaxdl.nn.layers import BatchNorm

Array = jax.Array
Project = Callable[..., nn.Module]  # (features, dropout=rate) -> the module of x W

glorot = initializers.glorot_uniform()


class Projection(nn.Module):
    """x W, the features x [N, F] being dropped at random in training."""

    features: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[N, F] -> [N, features]."""
        kernel = self.param('kernel', glorot, (x.shape[-1], self.features))
        return nn.Dropout(self.dropout, deterministic=not train)(x) @ kernel


class SparseProjection(nn.Module):
    """x W of a `Sparse` matrix, whose entries alone are multiplied, and dropped in training.

    What is zero is zero when it is dropped: it is the same layer as `Projection`, at a hundredth of
    its price on Cora, most of which is drawing noise. It goes first in a network:
    ``GCN((16, 7), first=partial(SparseProjection, columns=1433))``.

    columns: how many the matrix has, F.
    """

    features: int
    dropout: float = 0.0
    columns: int = 1

    @nn.compact
    def __call__(self, x: Sparse, *, train: bool = False) -> Array:
        """A matrix of N rows -> [N, features]."""
        kernel = self.param('kernel', glorot, (self.columns, self.features))
        values = nn.Dropout(self.dropout, deterministic=not train)(x.values)
        return x.replace(values=values) @ kernel


class GCNLayer(nn.Module):
    """Graph convolution (Kipf and Welling 2017, eq. 2): D^-1/2 (A + I) D^-1/2 x W, d of A + I.

    use_bias: add one, as the authors' PyTorch version and PyTorch Geometric do; the paper has none.
    """

    features: int
    dropout: float = 0.0
    project: Project = Projection
    use_bias: bool = False

    @nn.compact
    def __call__(self, x: Any, graph: Graph, *, train: bool = False) -> Array:
        """Features of N nodes -> [N, features]; x stands for those in the graph."""
        x = self.project(self.features, dropout=self.dropout, name='project')(x, train=train)
        graph = with_self_loops(graph)
        y = summed(symmetric_weights(graph)[:, None] * x[graph.senders], graph)
        if not self.use_bias:
            return y
        return y + self.param('bias', initializers.zeros, (self.features,))[None]


def side_by_side(heads: Array) -> Array:
    """[N, H, D] -> [N, H D]: the heads concatenated (Velickovic et al. 2018, eq. 5)."""
    return heads.reshape(len(heads), -1)


def mean_of_heads(heads: Array) -> Array:
    """[N, H, D] -> [N, D]: the heads averaged (Velickovic et al. 2018, eq. 6)."""
    return heads.mean(1)


class GATLayer(nn.Module):
    """Graph attention (Velickovic et al. 2018, eq. 1 to 6), before the non-linearity.

    h = x W, e_ij = LeakyReLU(a . [h_i || h_j]) of a node i and those it receives from, itself among
    them; y_i = sum_j softmax_j(e_ij) h_j + b, for each head. LeakyReLU has the slope 0.2 below 0.

    features: of each head. join: what becomes of the heads, `side_by_side` or `mean_of_heads`.
    dropout: of x; attention_dropout: of the softmaxes, so that each node sees a drawn few of its
    neighbours in training.
    """

    features: int = 8
    heads: int = 8
    join: Callable[[Array], Array] = side_by_side
    dropout: float = 0.0
    attention_dropout: float = 0.0
    project: Project = Projection

    @nn.compact
    def __call__(self, x: Any, graph: Graph, *, train: bool = False) -> Array:
        """Features of N nodes -> [N, H D] or [N, D]; x stands for those in the graph."""
        each = (self.heads, self.features)
        width = self.heads * self.features
        x = self.project(width, dropout=self.dropout, name='project')(x, train=train)
        h = x.reshape(-1, *each)
        graph = with_self_loops(graph)
        # a . [h_i || h_j] is a sum of two products, one for each end of an edge.
        sent = (h * self.param('sender', glorot, each)[None]).sum(-1)
        received = (h * self.param('receiver', glorot, each)[None]).sum(-1)
        scores = nn.leaky_relu(sent[graph.senders] + received[graph.receivers], 0.2)
        weights = edge_softmax(scores, graph)
        weights = nn.Dropout(self.attention_dropout, deterministic=not train)(weights)
        y = self.join(summed(weights[..., None] * h[graph.senders], graph))
        return y + self.param('bias', initializers.zeros, y.shape[1:])[None]


class SAGELayer(nn.Module):
    """GraphSAGE with the mean aggregator (Hamilton et al. 2017, algorithm 1, lines 4 and 5).

    W [x_i || mean_j x_j] + b over the nodes j that i receives from, before the non-linearity. The
    two halves of W are kernels of their own, and draw dropout of their own.
    """

    features: int
    dropout: float = 0.0
    project: Project = Projection

    @nn.compact
    def __call__(self, x: Any, graph: Graph, *, train: bool = False) -> Array:
        """Features of N nodes -> [N, features]; x stands for those in the graph."""
        own = self.project(self.features, dropout=self.dropout, name='own')(x, train=train)
        sent = self.project(self.features, dropout=self.dropout, name='others')(x, train=train)
        y = own + averaged(sent[graph.senders], graph)
        return y + self.param('bias', initializers.zeros, (self.features,))[None]


class GINLayer(nn.Module):
    """Graph isomorphism layer (Xu et al. 2019, eq. 4.1): MLP((1 + e) x_i + sum_j x_j), e learned.

    The perceptron has two layers, each followed by BatchNorm over the nodes that are there, and
    ReLU (section 7).
    """

    features: int

    @nn.compact
    def __call__(self, x: Array, graph: Graph, *, train: bool = False) -> Array:
        """Features of N nodes [N, F] -> [N, features]; x stands for those in the graph."""
        epsilon = self.param('epsilon', initializers.zeros, (1,))
        x = (1 + epsilon[None]) * x + summed(x[graph.senders], graph)
        for _ in range(2):
            x = nn.Dense(self.features, use_bias=False)(x)
            norm = BatchNorm(use_running_average=not train)
            x = nn.relu(norm(x, mask=graph.node_mask[:, None]))
        return x
