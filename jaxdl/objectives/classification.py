"""Classification: the task that all classifiers share, and what is told of it."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxdl import losses
from jaxdl.errors import UsageError
from jaxdl.game import Nets, Shadow, supervised
from jaxdl.keys import Key
from jaxdl.metrics import Each, Mean, read_classes
from jaxdl.metrics.confusion import Confusion, Score, accuracy
from jaxdl.net import Net
from jaxdl.samples import Images, unit
from jaxdl.task import Batch, Labels, Metrics, Task

SCORES = {'accuracy': Score(accuracy)}

Criterion = Callable[[Callable[[jax.Array], jax.Array], Any], jax.Array]


def one_head(loss: Callable[[jax.Array], jax.Array], output: jax.Array) -> jax.Array:
    """The criterion of a network that returns logits alone: their loss."""
    return loss(output)


def classifier(
    module: nn.Module,
    opt: optax.GradientTransformation,
    *,
    classes: int | Sequence[str],
    scores: Mapping[str, Score] = SCORES,
    label_smoothing: float = 0.0,
    criterion: Criterion = one_head,
    inputs: Callable[[Batch], tuple[Any, ...]] = lambda batch: (batch['x'],),
    accumulate: int = 1,
    shadow: Shadow | None = None,
) -> Task:
    """Classification of x [B, ...] into y int [B] by cross-entropy.

    y may be probabilities [B, classes], as `mixup` makes them; the likeliest is then the truth.
    criterion(loss, output) -> scalar: what is descended, from the loss of one head and the output
    in training; `googlenet_loss` adds those of auxiliary heads, whose output has `logits`.
    Measures 'loss' (without smoothing), and of one 'confusion' matrix the `scores`: the accuracy,
    if you do not say. Beside an accuracy it keeps 'accuracy/each', whether each row is right. With
    a `shadow` (an EMA) it is the shadow that is measured.

    classes: how many, or their names. Raises UsageError, when it is traced, for a network of
        another number of outputs.
    inputs(batch) -> what the network is called with; of rows of different lengths
        ``lambda batch: (batch['x'], batch['lengths'])``.
    """
    count, _ = read_classes(classes)

    def loss(net: Net, batch: Batch, key: Key) -> tuple[jax.Array, tuple[Net, Metrics]]:
        y, mask = batch['y'], batch['mask']
        output, net = net(*inputs(batch), key=key, train=True)
        cross_entropy = partial(
            losses.cross_entropy, targets=y, weights=mask, label_smoothing=label_smoothing
        )
        logits = getattr(output, 'logits', output)
        check_outputs(module, logits, count)
        value = criterion(cross_entropy, output)
        right = logits.argmax(-1) == _dominant(y)
        return value, (net, {'accuracy': Mean.of(right, mask, better='higher')})

    def measure(net: Net, batch: Batch, key: Key) -> Metrics:
        y, mask = batch['y'], batch['mask']
        logits, _ = (net.shadow or net)(*inputs(batch))
        check_outputs(module, logits, count)
        each = _cross_entropies(logits, y)
        truth, predicted = _dominant(y), logits.argmax(-1)
        pairs = Confusion.of(truth, predicted, classes, mask, scores=scores)
        metrics: Metrics = {'loss': Mean.of(each, mask, better='lower'), '': pairs}
        if 'accuracy' not in scores:
            return metrics
        return {**metrics, 'accuracy/each': Each.of(predicted == truth, mask)}

    task = supervised(
        module, loss, opt, measure, inputs=inputs, accumulate=accumulate, shadow=shadow
    )
    return task._replace(labels={'y': Labels.of(classes, probabilities=True)})


def check_outputs(module: nn.Module, logits: jax.Array, classes: int) -> None:
    """Raise UsageError where a network has not one output [..., classes] for each class."""
    if logits.shape[-1] != classes:
        raise UsageError(
            f'{type(module).__name__} has {logits.shape[-1]} outputs, and there are {classes} '
            'classes: one output for each is needed'
        )


def show_mistakes(
    nets: Nets, batch: Batch, key: Key, *, count: int = 32, columns: int | None = None
) -> dict[str, Any]:
    """The images of a batch that a classifier gets most wrong, for `Eval.show`."""
    net = nets['net']
    logits, _ = (net.shadow or net)(batch['x'])
    each = _cross_entropies(logits, batch['y'])
    worst = jnp.argsort(-jnp.where(batch['mask'], each, -jnp.inf))[:count]
    pixels, predicted = unit(batch['x'])[worst], logits.argmax(-1)[worst]
    truth = _dominant(batch['y'])[worst]
    return {'mistakes': Images(pixels, labels=predicted, truth=truth, columns=columns)}


def _dominant(y: jax.Array) -> jax.Array:
    """The classes [B] of classes [B] or of probabilities [B, classes]."""
    return y if y.ndim == 1 else y.argmax(-1)


def _cross_entropies(logits: jax.Array, y: jax.Array) -> jax.Array:
    if y.ndim == 1:
        return optax.softmax_cross_entropy_with_integer_labels(logits, y)
    return optax.safe_softmax_cross_entropy(logits, y)
