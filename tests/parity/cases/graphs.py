"""Graph networks: a graph in one piece and one with a node apart, edges as they come."""

from typing import Any

import jax.numpy as jnp
from golden import Case, Exactly

from jaxdl.nn.graph import Graph

# A ring of six with two chords, and beside it a tree and a node that nothing joins.
RING = ((0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 0), (0, 3), (1, 4))
FOREST = ((3, 0), (0, 2), (0, 5), (5, 7), (5, 8), (6, 1), (1, 9))
SMALL = {'features': 5, 'hidden': 4, 'classes': 3}


def graph(pairs: Any, nodes: int, features: int) -> Any:
    """Features, and senders and receivers of edges in both directions."""
    one, other = zip(*pairs, strict=True)
    return (nodes, features), Exactly((*one, *other)), Exactly((*other, *one))


def padded(x: Any, senders: Any, receivers: Any) -> Graph:
    """The graph with two edges and three nodes that are not there."""
    nodes = len(x) + 3
    return Graph(
        x=jnp.concatenate([x, jnp.full((3, x.shape[1]), 7.0)]),
        senders=jnp.append(senders, jnp.array([1, nodes - 1])),
        receivers=jnp.append(receivers, jnp.array([0, 2])),
        node_mask=jnp.arange(nodes) < len(x),
        edge_mask=jnp.arange(len(senders) + 2) < len(senders),
        member=jnp.zeros(nodes, jnp.int32),
    )


def of_nodes(module: Any, x: Any, senders: Any, receivers: Any) -> Any:
    """What our network has of each node."""
    return module(padded(x, senders, receivers))[: len(x)]


def of_graphs(module: Any, x: Any, senders: Any, receivers: Any, train: bool = False) -> Any:
    """What our network has of each graph."""
    return module(padded(x, senders, receivers), train=train)


def case(arch: str, layout: str, config: dict[str, Any], call: Any = of_nodes) -> Case:
    """A case on both graphs."""
    return Case(
        arch,
        layout,
        graph(RING, 6, config['features']),
        config,
        1e-5,
        train=True,
        again=graph(FOREST, 11, config['features']),
        call=call,
    )


CASES = [
    case('gcn', 'pyg', SMALL),
    case('gat', 'pyg', {**SMALL, 'heads': 3, 'last': 2}),
    case('graphsage', 'pyg', SMALL),
    case('gin', 'torch', {**SMALL, 'depth': 2}, of_graphs),
    # At the sizes of Cora's networks.
    Case('gcn', 'pyg', graph(RING, 6, 1433), tolerance=1e-5, train=True, full=True, call=of_nodes),
    Case('gat', 'pyg', graph(RING, 6, 1433), tolerance=1e-5, train=True, full=True, call=of_nodes),
]
