"""Graphs as padded arrays: nodes, directed edges, and what is computed along them.

A message goes along an edge from its sender to its receiver; an undirected edge is two. Sums over
the edges of a node are `jax.ops.segment_sum`. Padding is a mask: an edge that is none may name any
node, and carries nothing. Several graphs are one graph of several parts that no edge joins.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from jaxdl.keys import Key

Array = jax.Array
Readout = Callable[[Array, 'Graph'], Array]


class Graph(struct.PyTreeNode):
    """One or several graphs of N nodes and E directed edges in all.

    x: the features of nodes, [N, F], or a `Sparse` matrix of N rows.
    senders, receivers: int [E], the numbers of the nodes at both ends of each edge.
    node_mask: bool [N], edge_mask: bool [E]: which of them are there; a real edge joins real nodes.
    member: int [N], the number of the graph that a node is of, ascending.
    graphs: how many graphs there are.
    """

    x: Any
    senders: Array
    receivers: Array
    node_mask: Array
    edge_mask: Array
    member: Array
    graphs: int = struct.field(pytree_node=False, default=1)

    @property
    def nodes(self) -> int:
        """N, padding included."""
        return len(self.node_mask)


class Sparse(struct.PyTreeNode):
    """A matrix most of whose entries are zero, by its other entries: bags of words.

    rows, columns: int [K], where the entries stand; values: [K], what they are. Padding has the
    value 0, anywhere. height: how many rows there are.
    """

    rows: Array
    columns: Array
    values: Array
    height: int = struct.field(pytree_node=False)

    def __matmul__(self, kernel: Array) -> Array:
        """The product with a matrix [F, D] -> [height, D]."""
        parts = self.values[:, None] * kernel[self.columns]
        return jax.ops.segment_sum(parts, self.rows, self.height)


def merged(x: Any, senders: Array, receivers: Array, node_mask: Array, edge_mask: Array) -> Graph:
    """The graph of a batch of B graphs, each padded to n nodes and e edges.

    x: the features of the nodes one graph after another, [B n, F], or `Sparse`.
    senders, receivers: int [B, e], numbered within each graph. node_mask: bool [B, n], edge_mask:
    bool [B, e]. The nodes of graph b become b n .. b n + n - 1.
    """
    graphs, nodes = node_mask.shape
    return Graph(
        x=x,
        senders=renumbered(senders, nodes),
        receivers=renumbered(receivers, nodes),
        node_mask=node_mask.ravel(),
        edge_mask=edge_mask.ravel(),
        member=jnp.repeat(jnp.arange(graphs), nodes),
        graphs=graphs,
    )


def renumbered(numbers: Array, nodes: int) -> Array:
    """Numbers of nodes [B, k] within each of B graphs of so many, among all nodes: [B k]."""
    first = nodes * jnp.arange(len(numbers), dtype=numbers.dtype)
    return (numbers + first[:, None]).ravel()


def with_self_loops(graph: Graph) -> Graph:
    """The graph with an edge more from each node that is there to itself: A + I."""
    own = jnp.arange(graph.nodes, dtype=graph.senders.dtype)
    return graph.replace(
        senders=jnp.concatenate([graph.senders, own]),
        receivers=jnp.concatenate([graph.receivers, own]),
        edge_mask=jnp.concatenate([graph.edge_mask, graph.node_mask]),
    )


def in_degrees(graph: Graph) -> Array:
    """How many edges each node receives, float32 [N]."""
    return jax.ops.segment_sum(graph.edge_mask.astype(jnp.float32), graph.receivers, graph.nodes)


def symmetric_weights(graph: Graph) -> Array:
    """The weight of each edge in D^-1/2 A D^-1/2, float32 [E]; 0 for padding.

    1 / sqrt(d_i d_j) with the degrees d of its ends: of an undirected graph, whose edges stand in
    both directions, as many as each node receives (Kipf and Welling 2017, eq. 2, of A + I).
    """
    degrees = in_degrees(graph)
    roots = jax.lax.rsqrt(jnp.maximum(degrees, 1.0))
    weights = roots[graph.senders] * roots[graph.receivers]
    return jnp.where(graph.edge_mask, weights, 0.0)


def summed(messages: Array, graph: Graph) -> Array:
    """The sum of the messages [E, ...] that each node receives, [N, ...]; padding sends nothing."""
    there = graph.edge_mask.reshape(-1, *(1,) * (messages.ndim - 1))
    sent = jnp.where(there, messages, 0)
    return jax.ops.segment_sum(sent, graph.receivers, graph.nodes)


def averaged(messages: Array, graph: Graph) -> Array:
    """The mean of the messages [E, F] that each node receives, [N, F]; 0 where there are none."""
    return summed(messages, graph) / jnp.maximum(in_degrees(graph), 1.0)[:, None]


def edge_softmax(scores: Array, graph: Graph) -> Array:
    """Softmax over the edges that each node receives: a_ij = exp(s_ij) / sum_k exp(s_ik).

    scores: [E, H], one softmax for each of H heads. Padding gets 0. The largest score of a node is
    taken off first, which changes nothing but what overflows.
    """
    scores = jnp.where(graph.edge_mask[:, None], scores, -jnp.inf)
    most = jax.ops.segment_max(jax.lax.stop_gradient(scores), graph.receivers, graph.nodes)
    most = jnp.where(jnp.isfinite(most), most, 0.0)
    powers = jnp.exp(scores - most[graph.receivers])
    totals = jax.ops.segment_sum(powers, graph.receivers, graph.nodes)
    totals = jnp.where(totals > 0, totals, 1.0)
    return powers / totals[graph.receivers]


def sum_readout(x: Array, graph: Graph) -> Array:
    """The sum over the nodes of each graph, [N, F] -> [graphs, F]."""
    there = jnp.where(graph.node_mask[:, None], x, 0)
    return jax.ops.segment_sum(there, graph.member, graph.graphs, indices_are_sorted=True)


def mean_readout(x: Array, graph: Graph) -> Array:
    """The mean over the nodes of each graph, [N, F] -> [graphs, F]; 0 for a graph of none."""
    counts = sum_readout(graph.node_mask[:, None].astype(x.dtype), graph)
    return sum_readout(x, graph) / jnp.maximum(counts, 1)


def sample_neighbours(
    key: Key, table: Array, degrees: Array, nodes: Array, *, size: int
) -> tuple[Array, Array]:
    """Neighbours of nodes, drawn with replacement: a pure function of the key and the table.

    A sample of fixed size for each node (Hamilton et al. 2017, section 3.2), whatever its degree.

    table: int [N, D], the neighbours of each node, of which the first `degrees` int [N] count; see
        `jaxdl.data.graphs.neighbour_table`.
    nodes: int [...], any numbers of nodes. Returns (neighbours int [..., size], bool [..., size]),
    the second false where a node has no neighbour, and stands for itself.
    """
    count = degrees[nodes][..., None]
    shape = (*nodes.shape, size)
    at = jax.random.randint(key, shape, 0, jnp.maximum(count, 1))
    found = table[nodes[..., None], at]
    there = jnp.broadcast_to(count > 0, shape)
    return jnp.where(there, found, nodes[..., None]), there
