"""Graphs on the host: edges in both directions, padding, splits of nodes, sampled neighbourhoods.

Batches are as `jaxdl.objectives.graphs` says: a graph a row.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxdl.data import order
from jaxdl.data.card import Card
from jaxdl.data.draws import REMEMBERED, Draw
from jaxdl.data.source import Source
from jaxdl.data.stream import over
from jaxdl.data.table import Table, from_arrays
from jaxdl.errors import UsageError
from jaxdl.keys import Key, key_for
from jaxdl.nn.graph import sample_neighbours
from jaxdl.task import Batch


class NodeGraph(NamedTuple):
    """A graph whose nodes are classified, some of them known: N nodes, E directed edges.

    features: {'x': [N, F]}, or of sparse ones the entries, {'rows': int [K], 'columns': int [K],
    'values': [K]}. senders, receivers: int [E]. y: int [N].
    """

    features: Mapping[str, np.ndarray]
    senders: np.ndarray
    receivers: np.ndarray
    y: np.ndarray
    name: str = 'graph'

    @property
    def nodes(self) -> int:
        """N."""
        return len(self.y)


def both_ways(pairs: Any, *, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """The senders and receivers int32 [E] of undirected pairs [P, 2], by receiver.

    Each pair is an edge in both directions, once however often it is given; a pair of a node with
    itself is none. Raises UsageError for a node that is not among 0..nodes - 1.
    """
    ends = np.asarray(pairs, np.int64).reshape(-1, 2)
    if ends.size and not (0 <= ends.min() and ends.max() < nodes):
        wrong = ends[(ends < 0) | (ends >= nodes)][0]
        raise UsageError(f'both_ways: an edge names node {wrong}; there are 0..{nodes - 1}')
    ends = ends[ends[:, 0] != ends[:, 1]]
    codes = np.unique(np.concatenate([ends @ [nodes, 1], ends @ [1, nodes]]))
    receivers, senders = np.divmod(codes, nodes)
    return senders.astype(np.int32), receivers.astype(np.int32)


def shuffled_ends(graph: NodeGraph, *, seed: int) -> NodeGraph:
    """The same graph between other nodes: its edges join nodes by a random renaming.

    Degrees, triangles and everything else that edges alone tell are kept; what they say of features
    and labels is lost.
    """
    names = order.permutation(graph.nodes, seed=seed, name='ends').astype(np.int32)
    return graph._replace(senders=names[graph.senders], receivers=names[graph.receivers])


def without_edges(graph: NodeGraph) -> NodeGraph:
    """The nodes alone."""
    none = np.zeros(0, np.int32)
    return graph._replace(senders=none, receivers=none)


def node_batches(source: Source, graph: NodeGraph) -> Source:
    """The whole graph in each batch, its `labelled` nodes those of the source's rows.

    source: of rows with a column `node`: ``node_batches(in_order(test, batch=500), graph)``. The
    graph is held on the device once.
    """
    some = max(1, len(graph.senders))  # no edges at all are one that is none
    ends = {'senders': graph.senders, 'receivers': graph.receivers}
    held = {
        **graph.features,
        **{name: np.resize(np.append(end, 0), some).astype(np.int32) for name, end in ends.items()},
        'node_mask': np.ones(graph.nodes, bool),
        'edge_mask': np.arange(some) < len(graph.senders),
        'y': graph.y.astype(np.int32),
    }

    def make(key: Key, batch: Batch, arrays: Mapping[str, Any]) -> Batch:
        whole = {name: array[None] for name, array in arrays.items()}
        asked = jnp.zeros(graph.nodes, bool).at[batch['node']].max(batch['mask'])
        return {**whole, 'labelled': asked[None], 'mask': jnp.ones(1, bool)}

    return over(source, held, make)


def class_draws(
    table: Table, *, by: str, each: int, valid: int, test: int
) -> tuple[Draw, Draw, Draw]:
    """Training, validation and test rows that every seed draws: so many of each class to train on.

    The sizes of the Planetoid splits, drawn anew (Shchur et al. 2018): `each` rows of every class,
    then `valid` and `test` of the others; what is left is nowhere. Raises UsageError where a class
    has fewer rows, or too few rows are left.
    """
    labels = table.labels_of('class_draws by', by)
    values, counts = np.unique(labels, return_counts=True)
    for value, count in zip(values, counts, strict=True):
        if count < each:
            raise UsageError(
                f'{table.name}: class_draws: class {value} has {count} rows; {each} are asked for'
            )
    left = len(table) - each * len(values)
    if min(each, valid, test) < 1 or valid + test > left:
        raise UsageError(
            f'{table.name}: class_draws: valid={valid} and test={test} of the {left} rows that '
            f'are left by {each} of each class: each of them at least 1, together at most {left}'
        )

    @lru_cache(maxsize=REMEMBERED)
    def rows(seed: int) -> list[np.ndarray]:
        drawn = order.permutation(len(table), seed=seed, name='class draws')
        first = np.concatenate([drawn[labels[drawn] == value][:each] for value in values])
        others = drawn[~np.isin(drawn, first)]
        parts = [first, others[:valid], others[valid : valid + test]]
        return [np.sort(part) for part in parts]

    def part(index: int) -> Callable[[int], np.ndarray]:
        return lambda seed: rows(seed)[index]

    train, middle, last = (
        Draw(table, part(i), f'{table.name} {name}')
        for i, name in enumerate(('train', 'valid', 'test'))
    )
    return train, middle, last


def neighbour_table(
    senders: Any, receivers: Any, *, nodes: int, most: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Whom each node receives from, int32 [nodes, D], padded with 0, and how many, int32 [nodes].

    most: neighbours kept of each node, the first ones; None: all, D being the largest degree.
    """
    senders, receivers = np.asarray(senders), np.asarray(receivers)
    counts = np.bincount(receivers, minlength=nodes)
    width = max(1, min(counts.max(initial=0), most or len(senders) + 1))
    found = np.zeros((nodes, width), np.int32)
    by_receiver = np.argsort(receivers, kind='stable')
    places = np.arange(len(receivers)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = places < width
    found[receivers[by_receiver][kept], places[kept]] = senders[by_receiver][kept]
    return found, np.minimum(counts, width).astype(np.int32)


def sampled_trees(source: Source, graph: NodeGraph, *, sizes: Sequence[int]) -> Source:
    """A sampled neighbourhood for each row of the source: minibatches (Hamilton et al. 2017).

    Row by row a tree whose root, node 0, is the row's `node`, and the only one that is `labelled`:
    sizes[0] neighbours of it, sizes[1] of each of those, and so on, all drawn with replacement. A
    network of as many layers sees of the root what it would of the whole graph, but for the draw.
    The paper takes ``sizes=(25, 10)``. Raises UsageError for a graph of sparse features.
    """
    if 'x' not in graph.features:
        raise UsageError(f'sampled_trees: {graph.name} has sparse features; rows x are needed')
    table, degrees = neighbour_table(graph.senders, graph.receivers, nodes=graph.nodes)
    widths = np.cumprod([1, *sizes])
    first = np.cumsum(widths)[:-1]  # the first node of each level below the root
    senders = np.arange(1, widths.sum(), dtype=np.int32)
    receivers = np.concatenate(
        [
            above + np.repeat(np.arange(wide), size)
            for above, wide, size in zip([0, *first], widths, sizes, strict=False)
        ]
    ).astype(np.int32)
    known = {'x': graph.features['x'], 'y': graph.y.astype(np.int32)}
    held = {**known, 'table': table, 'degrees': degrees}

    def make(key: Key, batch: Batch, arrays: Mapping[str, Any]) -> Batch:
        level = batch['node'][:, None]
        rows = len(level)
        levels, there = [level], [jnp.ones((rows, 1), bool)]
        for i, size in enumerate(sizes):
            drawn, some = sample_neighbours(
                key_for(key, f'level {i}'), arrays['table'], arrays['degrees'], level, size=size
            )
            level = drawn.reshape(rows, -1)
            levels.append(level)
            there.append((some & there[-1][..., None]).reshape(rows, -1))
        nodes, real = jnp.concatenate(levels, 1), jnp.concatenate(there, 1)
        root = jnp.arange(nodes.shape[1]) == 0
        return {
            'x': arrays['x'][nodes],
            'y': arrays['y'][nodes],
            'labelled': jnp.broadcast_to(root[None], nodes.shape),
            'senders': jnp.broadcast_to(jnp.asarray(senders)[None], (rows, len(senders))),
            'receivers': jnp.broadcast_to(jnp.asarray(receivers)[None], (rows, len(senders))),
            'node_mask': real,
            'edge_mask': real[:, 1:],
            'mask': batch['mask'],
        }

    return over(source, held, make)


def graph_table(
    graphs: Sequence[Mapping[str, Any]], *, name: str = 'graphs', card: Card | None = None
) -> Table:
    """A table of graphs, a row each, padded to the largest of them.

    graphs: each {'x': [n, F], 'senders': [e], 'receivers': [e]} and what else belongs to a graph,
    such as its 'y'; edges in both directions if they are undirected, see `both_ways`.
    Raises UsageError, naming the graph, for an edge that names a node that is not there.
    """
    most = {
        'nodes': max((len(graph['x']) for graph in graphs), default=0),
        'edges': max((len(graph['senders']) for graph in graphs), default=0),
    }
    if not most['nodes']:
        raise UsageError(f'{name}: there are no nodes')
    rows = []
    for index, graph in enumerate(graphs):
        ends = np.concatenate([graph['senders'], graph['receivers']])
        if len(graph['senders']) != len(graph['receivers']) or (
            ends.size and not (0 <= ends.min() and ends.max() < len(graph['x']))
        ):
            raise UsageError(
                f'{name}: graph {index} has {len(graph["x"])} nodes; each edge has a sender and a '
                f'receiver among 0..{len(graph["x"]) - 1}'
            )
        rows.append(_padded(graph, **most))
    columns = {key: np.stack([row[key] for row in rows]) for key in rows[0]}
    return from_arrays(columns, name=name, card=card)


def _padded(graph: Mapping[str, Any], *, nodes: int = 0, edges: int = 0) -> dict[str, np.ndarray]:
    """The arrays of a graph, and its masks, with so many nodes and edges at least."""
    n, e = max(nodes, len(graph['x'])), max(edges, 1, len(graph['senders']))
    lengths = {'x': n, 'senders': e, 'receivers': e}

    def long(name: str, value: Any) -> np.ndarray:
        array = np.asarray(value)
        if name not in lengths:
            return array
        return np.pad(array, [(0, lengths[name] - len(array)), *[(0, 0)] * (array.ndim - 1)])

    padded = {name: long(name, value) for name, value in graph.items()}
    padded['node_mask'] = np.arange(n) < len(graph['x'])
    padded['edge_mask'] = np.arange(e) < len(graph['senders'])
    return padded
