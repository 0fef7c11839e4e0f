"""GIN, the graph isomorphism network (Xu et al. 2019), and graphs by a readout of their nodes."""

import flax.linen as nn
import jax

from jaxdl.nn.graph import Graph, Readout, mean_readout, sum_readout
from jaxdl.nn.graph_layers import GINLayer
from jaxdl.nn.layers import Dense


class GIN(nn.Module):
    """GIN-e with the readout of its section 4.2: one prediction a graph.

    A linear layer for the sum over nodes after each layer, the features themselves among them; the
    prediction is their sum, as in the authors' code. The paper takes 5 layers, of which the first
    are the features, and drops half of the output of each linear layer on social networks.

    outputs: of a graph. features: hidden units. depth: layers that send messages.
    """

    outputs: int
    features: int = 64
    depth: int = 4
    dropout: float = 0.0
    readout: Readout = sum_readout

    @nn.compact
    def __call__(self, graph: Graph, *, train: bool = False) -> jax.Array:
        """Graphs -> [graphs, outputs]."""
        x = graph.x
        drop = nn.Dropout(self.dropout, deterministic=not train)
        y = drop(Dense(self.outputs, name='head_0')(self.readout(x, graph)))
        for i in range(self.depth):
            x = GINLayer(self.features, name=f'layers_{i}')(x, graph, train=train)
            y += drop(Dense(self.outputs, name=f'head_{i + 1}')(self.readout(x, graph)))
        return y


class Pooled(nn.Module):
    """Graphs by a network of their nodes, a readout, and a head.

    nodes: a module that is called on a graph, as `GCN`, for the features of its nodes [N, F].
    readout: `mean_readout` or `sum_readout`. head: a module of the features of graphs, as `MLP`.
    """

    nodes: nn.Module
    head: nn.Module
    readout: Readout = mean_readout

    @nn.compact
    def __call__(self, graph: Graph, *, train: bool = False) -> jax.Array:
        """Graphs -> what the head makes of [graphs, F]."""
        x = nn.relu(self.nodes(graph, train=train))
        return self.head(self.readout(x, graph), train=train)
