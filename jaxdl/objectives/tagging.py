"""Tagging: a class for every token, such as its part of speech, or the entity it belongs to."""

from collections.abc import Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxdl import losses
from jaxdl.errors import UsageError
from jaxdl.game import Shadow, supervised
from jaxdl.keys import Key
from jaxdl.lengths import within
from jaxdl.metrics import Mean, Metric, read_classes
from jaxdl.metrics.confusion import Confusion, Score, accuracy, macro_f1
from jaxdl.metrics.entities import Entities
from jaxdl.net import Net
from jaxdl.objectives.classification import check_outputs, read_tokens
from jaxdl.task import Batch, Labels, Metrics, Task

Array = jax.Array

SCORES = {'accuracy': Score(accuracy), 'macro_f1': Score(macro_f1)}


def tagger(
    module: nn.Module,
    opt: optax.GradientTransformation,
    *,
    classes: int | Sequence[str],
    entities: bool = False,
    scores: Mapping[str, Score] = SCORES,
    ignore: int = -1,
    accumulate: int = 1,
    shadow: Shadow | None = None,
) -> Task:
    """A class for each token, by cross-entropy over the tokens that have one.

    module(tokens int [B, T], lengths [B]) -> logits [B, T, classes]. A batch has `tokens`,
    `lengths` and `tags` int [B, T]; see `jaxdl.data.text.tag_table`. Measures 'loss', and of one
    'confusion' matrix over tokens the `scores`. With a `shadow` (an EMA) it is the shadow that is
    measured.

    classes: how many, or their names.
    entities: whether the names are 'O', 'B-KIND' and 'I-KIND', and whole entities are measured too:
        'entity/precision', 'entity/recall' and 'entity/f1', see `Entities`.
    ignore: a tag of what has none: padding, and further parts of a word.
    """
    count, names = read_classes(classes)
    if entities and not names:
        raise UsageError(f'tagger: entities need the names of the classes, not {classes!r}')

    def loss(net: Net, batch: Batch, key: Key) -> tuple[Array, tuple[Net, Metrics]]:
        logits, net = net(*read_tokens(batch), key=key, train=True)
        check_outputs(module, logits, count)
        truth, weights = _truth(batch, ignore)
        return losses.cross_entropy(logits, truth, weights=weights), (net, {})

    def measure(net: Net, batch: Batch, key: Key) -> Metrics:
        logits, _ = (net.shadow or net)(*read_tokens(batch))
        check_outputs(module, logits, count)
        truth, weights = _truth(batch, ignore)
        each = optax.softmax_cross_entropy_with_integer_labels(logits, truth)
        predicted = logits.argmax(-1)
        numbers: dict[str, Metric] = {
            'loss': Mean.of(each, weights, better='lower'),
            '': Confusion.of(truth, predicted, classes, weights, scores=scores),
        }
        if entities:
            real = jnp.where(weights, truth, ignore)
            numbers['entity'] = Entities.of(
                predicted, real, batch['mask'], tags=names, ignore=ignore
            )
        return numbers

    task = supervised(
        module, loss, opt, measure, inputs=read_tokens, accumulate=accumulate, shadow=shadow
    )
    return task._replace(labels={'tags': Labels.of(classes, axes=1, ignore=ignore)})


def _truth(batch: Batch, ignore: int) -> tuple[Array, Array]:
    """The classes int [B, T] of tokens, and which of them count."""
    tags = batch['tags'].astype(jnp.int32)
    there = within(batch['lengths'], tags.shape[1])
    counts = (tags != ignore) & there & batch['mask'][:, None]
    return jnp.where(counts, tags, 0), counts
