"""Segmentation: the task that all segmenters share, and what is told of it.

A batch has images x [B, H, W, C] and `segmentation` [B, H, W], the class of each pixel; a number
that is no class (255, by custom) marks pixels that do not count. All scores are of the confusion
matrix over all pixels of all images.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxdl import losses
from jaxdl.game import Nets, Shadow, supervised
from jaxdl.keys import Key
from jaxdl.metrics import Each, Mean, read_classes
from jaxdl.metrics.confusion import (
    Confusion,
    Score,
    accuracy,
    counts_of_rows,
    dice,
    dice_of_rows,
    error,
    iou,
    mean_accuracy,
    mean_iou,
    weighted_iou,
)
from jaxdl.metrics.regions import Regions
from jaxdl.net import Net
from jaxdl.objectives.classification import Criterion, check_outputs, logits_of, one_head
from jaxdl.samples import Masks, unit
from jaxdl.task import Batch, Labels, Metrics, Task

Array = jax.Array
Loss = Callable[..., Array]


SCORES = {
    'accuracy': Score(accuracy),
    'error': Score(error, 'lower'),
    'mean_accuracy': Score(mean_accuracy),
    'iou': Score(iou),
    'mean_iou': Score(mean_iou),
    'weighted_iou': Score(weighted_iou),
    'dice': Score(dice),
}


def segmenter(
    module: nn.Module,
    opt: optax.GradientTransformation,
    *,
    classes: int | Sequence[str],
    loss: Loss = losses.cross_entropy,
    criterion: Criterion = one_head,
    ignore: int = 255,
    scores: Mapping[str, Score] = SCORES,
    accumulate: int = 1,
    shadow: Shadow | None = None,
) -> Task:
    """Segmentation of x [B, H, W, C] into `segmentation` [B, H, W], pixel by pixel.

    Where the network's logits are of the middle of the image only (valid convolutions), so are the
    truth and the numbers. Measures 'loss', the mean cross-entropy of pixels, and of one 'confusion'
    matrix the `scores`. Beside a Dice coefficient it keeps 'dice/each', that of each image alone,
    NaN where neither truth nor prediction has a foreground. With a `shadow` (an EMA) it is the
    shadow that is measured.

    classes: how many, or their names.
    loss(logits, truth, weights=) -> scalar: of one head; truth int [B, H, W], weights [B, H, W].
    criterion(loss, output) -> scalar: what is descended, from the loss of one head and the output
        in training, as in `jaxdl.objectives.classification.classifier`.
    ignore: a class that does not count.
    """
    count, _ = read_classes(classes)

    def descended(net: Net, batch: Batch, key: Key) -> tuple[Array, tuple[Net, Metrics]]:
        output, net = net(batch['x'], key=key, train=True)
        logits = logits_of(output)
        check_outputs(module, logits, count)
        truth, weights = _truth(batch, logits, ignore)
        value = criterion(lambda logits: loss(logits, truth, weights=weights), output)
        return value, (net, {})

    def measure(net: Net, batch: Batch, key: Key) -> Metrics:
        output, _ = (net.shadow or net)(batch['x'])
        logits = logits_of(output)
        check_outputs(module, logits, count)
        truth, weights = _truth(batch, logits, ignore)
        each = optax.softmax_cross_entropy_with_integer_labels(logits, truth)
        rows = counts_of_rows(truth, logits.argmax(-1), weights, classes=count)
        pairs = Confusion.from_counts(rows.sum(0), classes=classes, scores=scores)
        metrics: Metrics = {'loss': Mean.of(each, weights, better='lower'), '': pairs}
        if 'dice' not in scores:
            return metrics
        return {**metrics, 'dice/each': Each.of(dice_of_rows(rows), batch['mask'])}

    task = supervised(module, descended, opt, measure, accumulate=accumulate, shadow=shadow)
    return task._replace(labels={'segmentation': Labels.of(classes, axes=2, ignore=ignore)})


def kept_apart(boundary: int = 1) -> Callable[[Nets, Batch, Key], Metrics]:
    """For `Eval.measure`: the numbers of the regions between the pixels of one class.

    'rand', 'variation' and the others of `jaxdl.metrics.regions.Regions`. They are made on the
    host, in a tenth of a second an image of 512x512 and threshold.
    """

    def measure(nets: Nets, batch: Batch, key: Key) -> Metrics:
        net = nets['net']
        output, _ = (net.shadow or net)(batch['x'])
        logits = logits_of(output)
        truth = middle(batch['segmentation'], logits) == boundary
        return {'': Regions.of(jax.nn.softmax(logits)[..., boundary], truth, batch['mask'])}

    return measure


def show_masks(nets: Nets, batch: Batch, key: Key, *, count: int = 6) -> dict[str, Any]:
    """Images, their truth and what is predicted, side by side, for `Eval.show`."""
    net = nets['net']
    x = batch['x'][:count]
    output, _ = (net.shadow or net)(x)
    logits = logits_of(output)
    seen = partial(middle, like=logits)
    truth = seen(batch['segmentation'][:count]).astype(jnp.int32)
    return {'masks': Masks(seen(unit(x)), truth, logits.argmax(-1))}


def middle(x: Array, like: Array) -> Array:
    """The middle of x [B, H, W, ...] of the height and width of `like` [B, H', W', ...]."""
    (high, wide), (rows, columns) = x.shape[1:3], like.shape[1:3]
    top, left = (high - rows) // 2, (wide - columns) // 2
    return x[:, top : top + rows, left : left + columns]


def _truth(batch: Batch, logits: Array, ignore: int) -> tuple[Array, Array]:
    """The classes int [B, H', W'] of the pixels that have logits, and which of them count."""
    truth = middle(batch['segmentation'], logits).astype(jnp.int32)
    counts = (truth != ignore) & batch['mask'][:, None, None]
    return jnp.where(counts, truth, 0), counts
