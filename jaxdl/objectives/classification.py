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
from jaxdl.samples import Decode, Images, Texts, unit
from jaxdl.task import Batch, Labels, Metrics, Task

SCORES = {'accuracy': Score(accuracy)}

Inputs = Callable[[Batch], tuple[Any, ...]]
Criterion = Callable[[Callable[[jax.Array], jax.Array], Any], jax.Array]


def one_head(loss: Callable[[jax.Array], jax.Array], output: Any) -> jax.Array:
    """The criterion that descends the loss of the network's own logits, and no other head's."""
    return loss(logits_of(output))


def logits_of(output: Any) -> jax.Array:
    """The logits of a network whose output is nothing else, or has them among its heads."""
    return getattr(output, 'logits', output)


def read_x(batch: Batch) -> tuple[Any, ...]:
    """The inputs of a network that sees x alone."""
    return (batch['x'],)


def read_tokens(batch: Batch) -> tuple[Any, ...]:
    """The inputs of a network that reads text: tokens int [B, T] and their lengths [B]."""
    return batch['tokens'], batch['lengths']


def classifier(
    module: nn.Module,
    opt: optax.GradientTransformation,
    *,
    classes: int | Sequence[str],
    scores: Mapping[str, Score] = SCORES,
    label_smoothing: float = 0.0,
    criterion: Criterion = one_head,
    inputs: Inputs = read_x,
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
    inputs(batch) -> tuple: what the network sees, where it is not x; see `read_tokens` for text.
    """
    count, _ = read_classes(classes)

    def loss(net: Net, batch: Batch, key: Key) -> tuple[jax.Array, tuple[Net, Metrics]]:
        y, mask = batch['y'], batch['mask']
        output, net = net(*inputs(batch), key=key, train=True)
        cross_entropy = partial(
            losses.cross_entropy, targets=y, weights=mask, label_smoothing=label_smoothing
        )
        logits = logits_of(output)
        check_outputs(module, logits, count)
        value = criterion(cross_entropy, output)
        right = logits.argmax(-1) == _dominant(y)
        return value, (net, {'accuracy': Mean.of(right, mask, better='higher')})

    measure = measure_classes(module, classes=classes, scores=scores, inputs=inputs)
    task = supervised(
        module, loss, opt, measure, inputs=inputs, accumulate=accumulate, shadow=shadow
    )
    return task._replace(labels={'y': Labels.of(classes, probabilities=True)})


def measure_classes(
    module: nn.Module,
    *,
    classes: int | Sequence[str],
    scores: Mapping[str, Score] = SCORES,
    inputs: Inputs = read_x,
) -> Callable[[Net, Batch, Key], Metrics]:
    """What every classifier is measured by, however it learns; see `classifier`."""
    count, _ = read_classes(classes)

    def measure(net: Net, batch: Batch, key: Key) -> Metrics:
        y, mask = batch['y'], batch['mask']
        output, _ = (net.shadow or net)(*inputs(batch))
        logits = logits_of(output)
        check_outputs(module, logits, count)
        each = _cross_entropies(logits, y)
        truth, predicted = _dominant(y), logits.argmax(-1)
        pairs = Confusion.of(truth, predicted, classes, mask, scores=scores)
        metrics: Metrics = {'loss': Mean.of(each, mask, better='lower'), '': pairs}
        if 'accuracy' not in scores:
            return metrics
        return {**metrics, 'accuracy/each': Each.of(predicted == truth, mask)}

    return measure


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
    output, _ = (net.shadow or net)(batch['x'])
    logits = logits_of(output)
    worst = _worst(logits, batch)[:count]
    pixels, predicted = unit(batch['x'])[worst], logits.argmax(-1)[worst]
    truth = _dominant(batch['y'])[worst]
    return {'mistakes': Images(pixels, labels=predicted, truth=truth, columns=columns)}


def show_misread(
    nets: Nets, batch: Batch, key: Key, *, decode: Decode, count: int = 16
) -> dict[str, Any]:
    """The texts of a batch that a classifier gets most wrong, for `Eval.show`.

    decode: `Tokenizer.decode`, of the batch's tokens.
    """
    net = nets['net']
    logits, _ = (net.shadow or net)(*read_tokens(batch))
    worst = _worst(logits, batch)[:count]
    predicted, truth = logits.argmax(-1)[worst], _dominant(batch['y'])[worst]
    return {'misread': Texts(batch['tokens'][worst], predicted, truth, decode=decode)}


def _worst(logits: jax.Array, batch: Batch) -> jax.Array:
    """The rows of a batch, those of the largest cross-entropy first, padding last."""
    each = _cross_entropies(logits, batch['y'])
    return jnp.argsort(-jnp.where(batch['mask'], each, -jnp.inf))


def _dominant(y: jax.Array) -> jax.Array:
    """The classes [B] of classes [B] or of probabilities [B, classes]."""
    return y if y.ndim == 1 else y.argmax(-1)


def _cross_entropies(logits: jax.Array, y: jax.Array) -> jax.Array:
    if y.ndim == 1:
        return optax.softmax_cross_entropy_with_integer_labels(logits, y)
    return optax.safe_softmax_cross_entropy(logits, y)
