"""Tasks on graphs: a class for each node; what a graph network sees of a batch.

A batch of graphs has one a row, padded to n nodes and e edges: x [B, n, F], or of sparse features
the entries, `rows`, `columns` and `values` [B, k]; `senders` and `receivers` int [B, e], numbered
within a graph, as rows are; `node_mask` bool [B, n] and `edge_mask` bool [B, e]; and `mask` [B].
See `jaxdl.data.graphs`. One label a graph is for a `classifier` or a `regressor` with
``inputs=read_graph``.
"""

from collections.abc import Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxdl import losses
from jaxdl.errors import UsageError
from jaxdl.game import Shadow, supervised
from jaxdl.keys import Key
from jaxdl.metrics import Each, Mean, Metric, read_classes
from jaxdl.metrics.confusion import Confusion, Score
from jaxdl.net import Net
from jaxdl.nn.graph import Graph, Sparse, merged, renumbered
from jaxdl.objectives.classification import SCORES, Inputs, check_outputs
from jaxdl.task import Batch, Labels, Metrics, Task

Array = jax.Array


def read_graph(batch: Batch) -> tuple[Graph]:
    """The graphs of a batch as one, with features x."""
    x = batch['x']
    return (_merged(x.reshape(-1, x.shape[-1]), batch),)


def read_sparse_graph(batch: Batch) -> tuple[Graph]:
    """The graphs of a batch as one, with sparse features."""
    graphs, nodes = batch['node_mask'].shape
    entries = batch['columns'].ravel(), batch['values'].ravel()
    x = Sparse(renumbered(batch['rows'], nodes), *entries, height=graphs * nodes)
    return (_merged(x, batch),)


def node_classifier(
    module: nn.Module,
    opt: optax.GradientTransformation,
    *,
    classes: int | Sequence[str],
    scores: Mapping[str, Score] = SCORES,
    inputs: Inputs = read_graph,
    accumulate: int = 1,
    shadow: Shadow | None = None,
) -> Task:
    """A class y int [B, n] for each node, by cross-entropy over those that are `labelled`.

    module(graph) -> logits [N, classes]. `labelled` bool [B, n] says which nodes count in a batch:
    of one graph that is trained and tested on, others in each split (transductive learning).
    Measures 'loss', and of one 'confusion' matrix over nodes the `scores`: the accuracy, if you do
    not say; beside it 'accuracy/each', of each of those nodes in the order of the graph. With a
    `shadow` (an EMA) it is the shadow that is measured.

    classes: how many, or their names. Raises UsageError, when it is traced, for a network of
        another number of outputs.
    """
    count, _ = read_classes(classes)

    def logits_of(net: Net, batch: Batch, **options: object) -> tuple[Array, Net]:
        logits, net = net(*inputs(batch), **options)  # type: ignore[arg-type]
        check_outputs(module, logits, count)
        nodes = batch['y'].shape
        if logits.shape[:-1] != (nodes[0] * nodes[1],):
            raise UsageError(
                f'{type(module).__name__} has outputs {list(logits.shape)} for {list(nodes)} '
                'nodes: [graphs x nodes, classes] are needed'
            )
        return logits.reshape(*nodes, -1), net

    def loss(net: Net, batch: Batch, key: Key) -> tuple[Array, tuple[Net, Metrics]]:
        logits, net = logits_of(net, batch, key=key, train=True)
        y, counts = batch['y'], _counted(batch)
        value = losses.cross_entropy(logits, y, weights=counts)
        right = logits.argmax(-1) == y
        return value, (net, {'accuracy': Mean.of(right, counts, better='higher')})

    def measure(net: Net, batch: Batch, key: Key) -> Metrics:
        logits, _ = logits_of(net.shadow or net, batch)
        y, counts = batch['y'], _counted(batch)
        each = optax.softmax_cross_entropy_with_integer_labels(logits, y)
        predicted = logits.argmax(-1)
        metrics: dict[str, Metric] = {
            'loss': Mean.of(each, counts, better='lower'),
            '': Confusion.of(y, predicted, classes, counts, scores=scores),
        }
        if 'accuracy' in scores:
            metrics['accuracy/each'] = Each.of((predicted == y).ravel(), counts.ravel())
        return metrics

    task = supervised(
        module, loss, opt, measure, inputs=inputs, accumulate=accumulate, shadow=shadow
    )
    return task._replace(labels={'y': Labels.of(classes, axes=1)})


def _merged(x: Array | Sparse, batch: Batch) -> Graph:
    there = batch['node_mask'], batch['edge_mask']
    return merged(x, batch['senders'], batch['receivers'], *there)


def _counted(batch: Batch) -> Array:
    """Which nodes count, bool [B, n]."""
    return batch['labelled'] & jnp.expand_dims(batch['mask'], 1)
