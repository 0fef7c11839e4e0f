"""Nodes and graphs as tasks: what counts, what is measured, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl.data.graphs import NodeGraph, both_ways, graph_table, node_batches
from jaxdl.data.stream import in_order
from jaxdl.data.table import from_arrays
from jaxdl.errors import UsageError
from jaxdl.metrics import finish, total
from jaxdl.models.gcn import GCN
from jaxdl.models.gin import GIN
from jaxdl.models.mlp import MLP
from jaxdl.objectives.graphs import node_classifier, read_graph
from jaxdl.objectives.regression import regressor

KEY = jax.random.key(0)
ENDS = both_ways([(0, 1), (1, 2), (3, 4)], nodes=5)
GRAPH = NodeGraph({'x': np.eye(5, dtype=np.float32)}, *ENDS, np.array([0, 0, 0, 1, 1]))


def batch_of(nodes):
    rows = from_arrays({'node': np.array(nodes, np.int32)}, name='some')
    return next(iter(node_batches(in_order(rows, batch=len(nodes)), GRAPH)))


def test_labels_reach_nodes_that_have_none_and_only_labelled_ones_count():
    task = node_classifier(GCN((4, 2), dropout=0.0), optax.adam(0.1), classes=2)
    train, test = batch_of([0, 4]), batch_of([1, 2, 3])
    state = jax.jit(task.init)(KEY, train)
    step = jax.jit(task.step)
    for i in range(20):
        state, _ = step(jax.random.fold_in(KEY, i), state, train)
    measure = jax.jit(task.measure)
    found = finish(measure(KEY, state, test))
    assert found['accuracy'] == 1 and found['confusion'].tolist() == [[2, 0], [0, 1]]
    assert found['accuracy/each'].tolist() == [1, 1, 1]
    # The labels that do not count do not train.
    other = {**train, 'y': jnp.where(train['labelled'], train['y'], 1 - train['y'])}
    after, _ = step(KEY, state, train)
    again, _ = step(KEY, state, other)
    same = jax.tree.map(lambda a, b: bool(jnp.array_equal(a, b)), after, again)
    assert all(jax.tree.leaves(same))


def test_outputs_that_do_not_fit_are_refused():
    opt, batch = optax.sgd(0.1), batch_of([0])
    wide = node_classifier(GCN((3,)), opt, classes=2)
    with pytest.raises(UsageError, match='GCN has 3 outputs, and there are 2 classes'):
        jax.eval_shape(wide.step, KEY, jax.eval_shape(wide.init, KEY, batch), batch)
    whole = node_classifier(GIN(2, 4, 1), opt, classes=2)
    with pytest.raises(UsageError, match=r'outputs \[1, 2\] for \[1, 5\] nodes'):
        jax.eval_shape(whole.step, KEY, jax.eval_shape(whole.init, KEY, batch), batch)


def test_errors_are_in_the_units_of_y_and_exact_over_batches():
    x = np.arange(12, dtype=np.float32).reshape(6, 2)
    table = from_arrays({'x': x, 'y': 3 * x[:, 0] + 10}, name='line')
    task = regressor(MLP((1,)), optax.sgd(0.1), mean=20.0, scale=5.0)
    state = task.init(KEY, next(iter(in_order(table, batch=4))))
    measure = jax.jit(task.measure)
    found = finish(total([measure(KEY, state, batch) for batch in in_order(table, batch=4)]))
    net = state['net'].net
    error = np.asarray(net(x)[0])[:, 0] * 5 + 20 - table.column('y')
    np.testing.assert_allclose(found['rmse'], np.sqrt((error**2).mean()), rtol=1e-5)
    np.testing.assert_allclose(found['mae'], np.abs(error).mean(), rtol=1e-5)
    with pytest.raises(UsageError, match='scale is 0; it is above 0'):
        regressor(MLP((1,)), optax.sgd(0.1), scale=0.0)
    batch = next(iter(in_order(table, batch=4)))
    two = regressor(MLP((2,)), optax.sgd(0.1))
    with pytest.raises(UsageError, match=r'MLP has outputs \[4, 2\] for y \[4\]'):
        jax.eval_shape(two.step, KEY, jax.eval_shape(two.init, KEY, batch), batch)


def test_a_graph_network_learns_a_number_of_a_graph():
    """How many edges a node of three has cannot be told from its features: all are one."""
    paths = [[(0, 1)], [(0, 1), (1, 2)], [(0, 1), (1, 2), (0, 2)], []]
    graphs = []
    for pairs in paths:
        senders, receivers = both_ways(pairs, nodes=3)
        x = np.ones((3, 1), np.float32)
        graphs.append({'x': x, 'senders': senders, 'receivers': receivers, 'y': len(pairs)})
    batch = next(iter(in_order(graph_table(graphs), batch=4)))
    batch['y'] = batch['y'].astype(jnp.float32)
    task = regressor(GIN(1, 8, 2), optax.adam(0.03), inputs=read_graph)
    state = jax.jit(task.init)(KEY, batch)
    step = jax.jit(task.step)
    first = None
    for i in range(150):
        state, metrics = step(jax.random.fold_in(KEY, i), state, batch)
        first = first or float(metrics['loss'].value())
    assert float(metrics['loss'].value()) < 0.05 * first
