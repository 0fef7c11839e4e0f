"""Graph networks: padding, permutations, several graphs at once, sparse features, sampling."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.data.graphs import NodeGraph, both_ways, neighbour_table, sampled_trees
from jaxdl.data.stream import in_order
from jaxdl.data.table import from_arrays
from jaxdl.models.gat import GAT
from jaxdl.models.gcn import GCN
from jaxdl.models.gin import GIN, Pooled
from jaxdl.models.graphsage import GraphSAGE
from jaxdl.models.mlp import MLP
from jaxdl.nn.graph import (
    Graph,
    Sparse,
    edge_softmax,
    mean_readout,
    merged,
    sample_neighbours,
    symmetric_weights,
    with_self_loops,
)
from jaxdl.nn.graph_layers import SparseProjection
from jaxdl.objectives.graphs import read_graph

RNG = np.random.default_rng(0)
NODES, FEATURES = 7, 4
SENDERS, RECEIVERS = both_ways([(0, 1), (1, 2), (2, 3), (3, 0), (1, 3), (4, 5)], nodes=NODES)
X = RNG.normal(size=(NODES, FEATURES)).astype(np.float32)
ADJACENCY = np.zeros((NODES, NODES))
ADJACENCY[RECEIVERS, SENDERS] = 1

OF_NODES = {
    'gcn': GCN((5, 3), use_bias=True),
    'gat': GAT(3, (2,), heads=3, last=2),
    'graphsage': GraphSAGE(3, (5, 4)),
}
OF_GRAPHS = {
    'gin': GIN(2, 5, depth=2),
    'pooled': Pooled(GCN((5, 4)), MLP((3, 2)), mean_readout),
}


def batch_of(*graphs, nodes=10, edges=16):
    """A batch of graphs (x, senders, receivers), whose padding holds anything."""
    rows = []
    for x, senders, receivers in graphs:
        n, e = len(x), len(senders)
        more = RNG.integers(nodes, size=(2, edges - e))
        rows.append(
            {
                'x': np.concatenate([x, RNG.normal(size=(nodes - n, x.shape[1]))]),
                'senders': np.append(senders, more[0]).astype(np.int32),
                'receivers': np.append(receivers, more[1]).astype(np.int32),
                'node_mask': np.arange(nodes) < n,
                'edge_mask': np.arange(edges) < e,
            }
        )
    batch = {key: jnp.asarray(np.stack([row[key] for row in rows])) for key in rows[0]}
    return {**batch, 'x': batch['x'].astype(jnp.float32), 'mask': jnp.ones(len(rows), bool)}


def whole(x=X, senders=SENDERS, receivers=RECEIVERS, nodes=NODES):
    return read_graph(batch_of((x, senders, receivers), nodes=nodes, edges=len(senders)))[0]


GRAPH = whole()


@pytest.fixture(scope='module', params=OF_NODES | OF_GRAPHS)
def network(request):
    module = (OF_NODES | OF_GRAPHS)[request.param]
    variables = jax.jit(module.init)(jax.random.key(0), GRAPH)
    leaves = jax.tree.map(lambda x: x + 0.1, variables)  # no bias is zero
    return request.param, jax.jit(partial(module.apply, leaves))


def test_padding_and_other_graphs_change_nothing(network):
    name, apply = network
    alone = np.asarray(apply(GRAPH))
    other = RNG.normal(size=(3, FEATURES)), *both_ways([(0, 1), (1, 2)], nodes=3)
    batch = batch_of(other, (X, SENDERS, RECEIVERS), other)
    found = np.asarray(apply(read_graph(batch)[0]))
    if name in OF_GRAPHS:
        assert alone.shape == (1, 2) and found.shape == (3, 2)
        np.testing.assert_allclose(found[1], alone[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found[0], found[2], rtol=1e-4, atol=1e-5)
    else:
        assert alone.shape == (NODES, 3) and found.shape == (30, 3)
        np.testing.assert_allclose(found[10 : 10 + NODES], alone, rtol=1e-4, atol=1e-5)


def test_nodes_have_no_order_and_edges_have_none(network):
    name, apply = network
    names = RNG.permutation(NODES)  # node i is called names[i]
    order = RNG.permutation(len(SENDERS))
    x = np.empty_like(X)
    x[names] = X
    renamed = whole(x, names[SENDERS][order], names[RECEIVERS][order])
    found, before = np.asarray(apply(renamed)), np.asarray(apply(GRAPH))
    found = found if name in OF_GRAPHS else found[names]
    np.testing.assert_allclose(found, before, rtol=1e-4, atol=1e-5)


def test_edges_matter(network):
    _, apply = network
    senders = SENDERS.copy()
    senders[0] = 6
    assert np.abs(apply(whole(senders=senders)) - apply(GRAPH)).max() > 1e-3


def test_weights_are_those_of_the_normalised_adjacency():
    graph = with_self_loops(GRAPH)
    loops = ADJACENCY + np.eye(NODES)
    root = np.diag(loops.sum(1) ** -0.5)
    expected = root @ loops @ root
    found = np.zeros_like(expected)
    found[graph.receivers, graph.senders] = symmetric_weights(graph)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_softmax_is_over_what_a_node_receives_however_large():
    scores = RNG.normal(size=(len(SENDERS), 2)).astype(np.float32)
    scores[0] = 1e4
    found = np.asarray(jax.jit(edge_softmax)(scores, GRAPH))
    for node in range(NODES):
        mine = RECEIVERS == node
        if mine.any():
            powers = np.exp(scores[mine] - scores[mine].max(0))
            np.testing.assert_allclose(found[mine], powers / powers.sum(0), rtol=1e-5)
    gradient = jax.jit(jax.grad(lambda s: (edge_softmax(s, GRAPH) ** 2).sum()))(scores)
    assert np.isfinite(gradient).all()


def test_sparse_features_are_the_same_features():
    x = np.where(RNG.random((NODES, FEATURES)) < 0.4, X, 0)
    rows, columns = np.nonzero(x)
    padding = np.zeros(3, np.int32)
    sparse = Sparse(
        jnp.append(rows, padding),
        jnp.append(columns, padding),
        jnp.append(x[rows, columns], padding.astype(np.float32)),
        height=NODES,
    )
    module = OF_NODES['gat'].clone(first=partial(SparseProjection, columns=FEATURES))
    variables = jax.jit(module.init)(jax.random.key(0), GRAPH.replace(x=sparse))
    found = jax.jit(module.apply)(variables, GRAPH.replace(x=sparse))
    expected = jax.jit(OF_NODES['gat'].apply)(variables, whole(x))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_without_edges_gcn_is_a_perceptron():
    graph = GRAPH.replace(edge_mask=jnp.zeros_like(GRAPH.edge_mask))
    variables = jax.jit(OF_NODES['gcn'].init)(jax.random.key(0), graph)
    first, second = (variables['params'][f'layers_{i}']['project']['kernel'] for i in range(2))
    expected = np.maximum(X @ first, 0) @ second
    found = jax.jit(OF_NODES['gcn'].apply)(variables, graph)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_sampled_neighbours_are_drawn_evenly_by_the_key_alone():
    table, degrees = neighbour_table(SENDERS, RECEIVERS, nodes=NODES)
    assert degrees.tolist() == ADJACENCY.sum(1).tolist() and table.shape == (NODES, 3)
    draw = jax.jit(partial(sample_neighbours, size=3000))
    args = jnp.asarray(table), jnp.asarray(degrees), jnp.arange(NODES)
    found, there = draw(jax.random.key(0), *args)
    np.testing.assert_array_equal(found, draw(jax.random.key(0), *args)[0])
    assert (found != draw(jax.random.key(1), *args)[0]).any()
    assert there[:6].all() and not there[6].any() and (found[6] == 6).all()
    for node in range(6):
        counts = np.bincount(found[node], minlength=NODES)
        np.testing.assert_array_equal(counts > 0, ADJACENCY[node] > 0)
        share = counts[ADJACENCY[node] > 0] / 3000
        np.testing.assert_allclose(share, 1 / degrees[node], atol=0.05)
    few, counts = neighbour_table(SENDERS, RECEIVERS, nodes=NODES, most=2)
    assert few.shape == (NODES, 2) and counts.max() == 2
    np.testing.assert_array_equal(few, table[:, :2])


def test_a_sampled_tree_tells_what_the_whole_graph_does_where_nothing_is_left_to_chance():
    """Each node of a directed ring receives from one node: every sample of it is the same."""
    senders, receivers = np.arange(6), np.array([1, 2, 3, 4, 5, 0])
    ring = NodeGraph({'x': X[:6]}, senders, receivers, np.arange(6) % 3)
    nodes = from_arrays({'node': np.array([4, 2, 0], np.int32)}, name='some')
    batch = next(iter(sampled_trees(in_order(nodes, batch=4), ring, sizes=(3, 2))))
    assert batch['x'].shape == (4, 1 + 3 + 6, FEATURES) and batch['mask'].tolist()[3] is False
    assert batch['labelled'].sum(1).tolist() == [1] * 4 and batch['y'][:3, 0].tolist() == [1, 2, 0]
    module = OF_NODES['graphsage']
    variables = jax.jit(module.init)(jax.random.key(0), GRAPH)
    apply = jax.jit(module.apply)
    expected = apply(variables, whole(X[:6], senders, receivers, nodes=6))
    found = apply(variables, jax.jit(read_graph)(batch)[0]).reshape(4, 10, -1)
    np.testing.assert_allclose(found[:3, 0], expected[np.array([4, 2, 0])], atol=1e-5)


def test_graphs_of_one_batch_are_numbered():
    graph = merged(
        jnp.zeros((4, 1)),
        *(jnp.array([[0, 1], [1, 0]]),) * 2,
        node_mask=jnp.ones((2, 2), bool),
        edge_mask=jnp.ones((2, 2), bool),
    )
    assert isinstance(graph, Graph) and graph.graphs == 2 and graph.nodes == 4
    assert graph.senders.tolist() == [0, 1, 3, 2] and graph.member.tolist() == [0, 0, 1, 1]
