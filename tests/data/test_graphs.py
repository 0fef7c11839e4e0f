"""Graphs on the host: edges, padding, splits of nodes, Cora, molecules, label propagation."""

import numpy as np
import pytest

from jaxdl.baselines import label_propagation
from jaxdl.data.catalogue import available
from jaxdl.data.graphs import (
    NodeGraph,
    both_ways,
    class_draws,
    graph_table,
    node_batches,
    shuffled_ends,
    without_edges,
)
from jaxdl.data.sets.cora import cora, cora_graph
from jaxdl.data.stream import in_order
from jaxdl.data.table import from_arrays
from jaxdl.errors import UsageError

SENDERS, RECEIVERS = both_ways([(0, 1), (1, 0), (1, 2), (2, 2), (3, 4)], nodes=5)
GRAPH = NodeGraph({'x': np.eye(5)}, SENDERS, RECEIVERS, np.array([0, 0, 1, 1, 2]))


@pytest.fixture
def prepared():
    if {entry.name: entry.state for entry in available()}['planetoid'] != 'prepared':
        pytest.skip('planetoid is not under JAXDL_DATA_DIR')


def test_pairs_are_edges_both_ways_once():
    ends = list(zip(SENDERS.tolist(), RECEIVERS.tolist(), strict=True))
    assert ends == [(1, 0), (0, 1), (2, 1), (1, 2), (4, 3), (3, 4)]
    with pytest.raises(UsageError, match=r'an edge names node 5; there are 0\.\.4'):
        both_ways([(0, 5)], nodes=5)


def test_shuffled_ends_keep_the_graph_and_lose_the_nodes():
    other = shuffled_ends(GRAPH, seed=1)
    degrees = [sorted(np.bincount(g.receivers, minlength=5)) for g in (GRAPH, other)]
    assert degrees[0] == degrees[1]
    assert not np.array_equal(other.senders, GRAPH.senders)
    again = shuffled_ends(GRAPH, seed=1)
    np.testing.assert_array_equal(again.senders, other.senders)


def test_a_batch_has_the_whole_graph_and_the_nodes_that_are_asked_for():
    rows = from_arrays({'node': np.array([3, 1, 4], np.int32)}, name='some')
    first, second = iter(node_batches(in_order(rows, batch=2), GRAPH))
    assert first['labelled'].tolist() == [[False, True, False, True, False]]
    assert second['labelled'].tolist() == [[False] * 4 + [True]]  # and not its padding
    assert first['x'].shape == (1, 5, 5) and first['edge_mask'].all() and first['mask'].all()
    (alone,) = iter(node_batches(in_order(rows, batch=3), without_edges(GRAPH)))
    assert alone['senders'].shape == (1, 1) and not alone['edge_mask'].any()


def test_graphs_are_padded_to_the_largest():
    one = {'x': np.ones((2, 3)), 'senders': [0, 1], 'receivers': [1, 0], 'y': 1.0}
    two = {'x': np.ones((1, 3)), 'senders': [], 'receivers': [], 'y': 2.0}
    table = graph_table([one, two])
    assert table.column('x').shape == (2, 2, 3) and table.column('y').tolist() == [1, 2]
    assert table.column('node_mask').tolist() == [[True, True], [True, False]]
    assert table.column('edge_mask').tolist() == [[True, True], [False, False]]
    with pytest.raises(UsageError, match='graph 1 has 1 nodes; each edge has a sender and a rece'):
        graph_table([one, {**two, 'senders': [0], 'receivers': [1]}])
    with pytest.raises(UsageError, match='there are no nodes'):
        graph_table([])


def test_every_seed_draws_so_many_of_each_class():
    labels = np.repeat([0, 1, 2], [10, 20, 30])
    table = from_arrays({'y': labels, 'node': np.arange(60)}, name='t')
    parts = class_draws(table, by='y', each=4, valid=15, test=20)
    for seed in (0, 1):
        rows = [part.numbers(seed) for part in parts]
        assert [len(r) for r in rows] == [12, 15, 20]
        assert len(np.unique(np.concatenate(rows))) == 47
        assert np.bincount(labels[rows[0]]).tolist() == [4, 4, 4]
    assert not np.array_equal(parts[2].numbers(0), parts[2].numbers(1))
    with pytest.raises(UsageError, match='class 0 has 10 rows; 11 are asked for'):
        class_draws(table, by='y', each=11, valid=1, test=1)
    with pytest.raises(UsageError, match='together at most 48'):
        class_draws(table, by='y', each=4, valid=15, test=34)


def test_labels_spread_along_edges():
    """Between two labels each node of a path takes the nearer; one apart gets the frequent one."""
    senders, receivers = both_ways([(0, 1), (1, 2), (2, 3), (3, 4)], nodes=6)
    labels = np.array([1, 9, 9, 9, 0, 9])
    found = label_propagation(senders, receivers, labels, [0, 4])
    assert found[:2].tolist() == [1, 1] and found[3:5].tolist() == [0, 0]
    more = label_propagation(senders, receivers, np.array([1, 1, 9, 9, 0, 9]), [0, 1, 4])
    assert more.tolist() == [1, 1, 1, 0, 0, 1]
    with pytest.raises(UsageError, match='no label is known'):
        label_propagation(senders, receivers, labels, [])


def test_cora_is_as_published(prepared):
    graph = cora_graph()
    assert (graph.nodes, len(graph.senders)) == (2708, 10556)
    assert np.bincount(graph.y).tolist() == [351, 217, 418, 818, 426, 298, 180]
    # Citations tell fields: of the ends of an edge four fifths agree (homophily 0.81).
    assert 0.8 < (graph.y[graph.senders] == graph.y[graph.receivers]).mean() < 0.82
    train, valid, test = (cora(split) for split in ('train', 'valid', 'test'))
    assert [len(part) for part in (train, valid, test)] == [140, 500, 1000]
    assert np.bincount(train.column('y')).tolist() == [20] * 7
    x = test.column('x')
    assert x.shape == (1000, 1433)
    np.testing.assert_allclose(x.sum(1), 1, rtol=1e-5)
    assert len(graph.features['values']) == 49216
    with pytest.raises(UsageError, match="there is no split 'tests'; did you mean 'test'"):
        cora('tests')


def test_a_molecule_is_a_graph_of_its_atoms():
    pytest.importorskip('rdkit')
    from jaxdl.data.molecules import FEATURES, molecule_graph, solubility_descriptors

    ethanol = molecule_graph('CCO ')
    assert ethanol['x'].shape == (3, FEATURES)
    assert ethanol['x'][:, :3].tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 1]]
    ends = zip(ethanol['senders'].tolist(), ethanol['receivers'].tolist(), strict=True)
    assert sorted(ends) == [(0, 1), (1, 0), (1, 2), (2, 1)]
    benzene = molecule_graph('c1ccccc1')
    assert len(benzene['senders']) == 12 and benzene['x'][:, -2:].all()
    logp, weight, rotate, aromatic = solubility_descriptors(['Cc1ccccc1'])[0]
    assert 1.9 < logp < 2.1 and round(weight, 2) == 92.14
    assert rotate == 0 and round(aromatic, 3) == 0.857
    with pytest.raises(UsageError, match="'C1CC' is no SMILES"):
        molecule_graph('C1CC')
    with pytest.raises(UsageError, match="'' is no SMILES"):
        molecule_graph('')
