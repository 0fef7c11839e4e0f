"""GCN: the graph convolutional network (Kipf and Welling 2017)."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax

from jaxdl.nn.graph import Graph
from jaxdl.nn.graph_layers import GCNLayer, Project, Projection


class GCN(nn.Module):
    """Graph convolutions with a non-linearity between them; of two layers eq. 9 of the paper.

    On a graph without edges it is a perceptron without biases. On Cora the paper takes 16 hidden
    units and drops half of each layer's inputs: ``GCN((16, 7))``, 23,040 parameters.

    features: of each layer; the last one is the output.
    first: the projection of the first layer, a `SparseProjection` for sparse features.
    use_bias: whether layers have one; the paper's have none.
    """

    features: Sequence[int]
    dropout: float = 0.5
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    first: Project = Projection
    use_bias: bool = False

    @nn.compact
    def __call__(self, graph: Graph, *, train: bool = False) -> jax.Array:
        """A graph of N nodes -> [N, features[-1]]."""
        x = graph.x
        for i, features in enumerate(self.features):
            layer = GCNLayer(
                features,
                dropout=self.dropout,
                project=Projection if i else self.first,
                use_bias=self.use_bias,
                name=f'layers_{i}',
            )
            x = layer(self.activation(x) if i else x, graph, train=train)
        return x
