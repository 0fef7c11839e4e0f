"""GraphSAGE: a node by a mean of its neighbours, all of them or a sample (Hamilton et al. 2017)."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.nn.graph import Graph
from jaxdl.nn.graph_layers import Project, Projection, SAGELayer
from jaxdl.nn.layers import Dense


def unit_rows(x: jax.Array) -> jax.Array:
    """Each row over its Euclidean norm, [N, F]; a row of zeros stays one."""
    squares = (x**2).sum(-1, keepdims=True)
    # Two wheres: the gradient of a root of zero would be NaN although its value is not taken.
    some = squares > 0
    return jnp.where(some, x * jax.lax.rsqrt(jnp.where(some, squares, 1.0)), 0.0)


class GraphSAGE(nn.Module):
    """GraphSAGE with the mean aggregator (algorithm 1), and a linear layer that classifies.

    Each layer is followed by ReLU, and each node's features are scaled to length one. The paper has
    two layers of 128. What a node receives is what edges there are: of a whole graph, or of sampled
    trees, whose root is the node that is asked for (`jaxdl.data.graphs.sampled_trees`).

    first: the projection of the first layer, a `SparseProjection` for sparse features.
    """

    classes: int
    features: Sequence[int] = (128, 128)
    dropout: float = 0.0
    first: Project = Projection

    @nn.compact
    def __call__(self, graph: Graph, *, train: bool = False) -> jax.Array:
        """A graph of N nodes -> [N, classes]."""
        x = graph.x
        for i, features in enumerate(self.features):
            project = Projection if i else self.first
            layer = SAGELayer(features, self.dropout, project, name=f'layers_{i}')
            x = unit_rows(nn.relu(layer(x, graph, train=train)))
        return Dense(self.classes, name='head')(x)
