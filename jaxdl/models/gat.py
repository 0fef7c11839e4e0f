"""GAT: the graph attention network (Velickovic et al. 2018)."""

from collections.abc import Callable

import flax.linen as nn
import jax

from jaxdl.nn.graph import Graph
from jaxdl.nn.graph_layers import GATLayer, Project, Projection, mean_of_heads, side_by_side


class GAT(nn.Module):
    """Graph attention with ELU between its layers, as the paper has it for Cora (section 3.3).

    Hidden layers have their heads side by side, the last one their mean. With the defaults 8 heads
    of 8 features and one head of the output: on Cora 92,373 parameters.

    classes: features of the output.
    hidden: features of each head, of each hidden layer. heads: of a hidden layer; last: of the last
    one. dropout: of the inputs of each layer, and of its attention.
    first: the projection of the first layer, a `SparseProjection` for sparse features.
    """

    classes: int
    hidden: tuple[int, ...] = (8,)
    heads: int = 8
    last: int = 1
    dropout: float = 0.6
    activation: Callable[[jax.Array], jax.Array] = nn.elu
    first: Project = Projection

    @nn.compact
    def __call__(self, graph: Graph, *, train: bool = False) -> jax.Array:
        """A graph of N nodes -> [N, classes]."""
        x = graph.x
        widths = (*self.hidden, self.classes)
        for i, features in enumerate(widths):
            last = i == len(self.hidden)
            layer = GATLayer(
                features,
                self.last if last else self.heads,
                join=mean_of_heads if last else side_by_side,
                dropout=self.dropout,
                attention_dropout=self.dropout,
                project=Projection if i else self.first,
                name=f'layers_{i}',
            )
            x = layer(self.activation(x) if i else x, graph, train=train)
        return x
