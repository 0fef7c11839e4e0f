"""Segmentation: numbers from counts of pixels, and the task that all segmenters share.

A batch has images x [B, H, W, C] and `segmentation` [B, H, W], the class of each pixel; a number
that is no class (255, by custom) marks pixels that do not count. All metrics are of the counts
n_ij of pixels of class i predicted as j, t_i = sum_j n_ij, p_j = sum_i n_ij (Long et al. 2015,
section 5), over all pixels of all images. A class that is neither there nor predicted has no
value, and no part in a mean.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import losses
from jaxdl.game import Shadow, supervised
from jaxdl.keys import Key
from jaxdl.metrics import Confusion, Mean, Metric, known_mean
from jaxdl.net import Net, nets
from jaxdl.objectives import Criterion, one_head
from jaxdl.samples import Masks, unit
from jaxdl.task import Batch, Metrics, State, Task

Array = jax.Array
Loss = Callable[..., Array]


class Score(Metric):
    """A number from counts, int [classes, classes]: rows are the truth, columns the prediction."""

    counts: Array


class PixelAccuracy(Score):
    """The part of the pixels that are right: sum_i n_ii / sum_i t_i."""

    def value(self) -> float:
        """On the host; NaN without pixels."""
        hits, truth, _ = _parts(self.counts)
        return float(_ratio(hits.sum(), truth.sum()))


class PixelError(PixelAccuracy):
    """The part of the pixels that are wrong."""

    def value(self) -> float:
        """On the host; NaN without pixels."""
        return 1 - super().value()


class MeanAccuracy(Score):
    """The mean over classes of n_ii / t_i, their recall."""

    def value(self) -> float:
        """On the host; over the classes that are there."""
        hits, truth, _ = _parts(self.counts)
        return known_mean(_ratio(hits, truth))


class IoU(Score):
    """Intersection over union (Jaccard index) of each class: n_ii / (t_i + p_i - n_ii)."""

    def value(self) -> np.ndarray:
        """[classes], on the host."""
        return _iou(self.counts)


class MeanIoU(Score):
    """The mean of IoU over classes."""

    def value(self) -> float:
        """On the host."""
        return known_mean(_iou(self.counts))


class WeightedIoU(Score):
    """IoU weighted by the frequency of the class in truth: sum_i t_i IoU_i / sum_i t_i."""

    def value(self) -> float:
        """On the host; NaN without pixels."""
        _, truth, _ = _parts(self.counts)
        there = truth > 0
        return float(_ratio((truth * _iou(self.counts))[there].sum(), truth.sum()))


class Dice(Score):
    """Dice's coefficient, or F1, 2 n_ii / (t_i + p_i): the mean over classes but 0, the background.

    Of two classes it is that of class 1.
    """

    def value(self) -> float:
        """On the host."""
        hits, truth, predicted = _parts(self.counts)
        return known_mean(_ratio(2 * hits, truth + predicted)[1:])


METRICS: Mapping[str, Callable[..., Metric]] = {
    'accuracy': PixelAccuracy,
    'error': PixelError,
    'mean_accuracy': MeanAccuracy,
    'iou': IoU,
    'mean_iou': MeanIoU,
    'weighted_iou': WeightedIoU,
    'dice': Dice,
    'confusion': Confusion,
}


def segmenter(
    module: nn.Module,
    opt: optax.GradientTransformation,
    *,
    classes: int,
    loss: Loss = losses.cross_entropy,
    criterion: Criterion = one_head,
    ignore: int = 255,
    metrics: Mapping[str, Callable[..., Metric]] = METRICS,
    accumulate: int = 1,
    shadow: Shadow | None = None,
) -> Task:
    """Segmentation of x [B, H, W, C] into `segmentation` [B, H, W], pixel by pixel.

    Where the network's logits are of the middle of the image only (valid convolutions), so are the
    truth and the numbers. Measures 'loss', the mean cross-entropy of pixels, and `metrics`. With a
    `shadow` (an EMA) it is the shadow that is measured.

    loss(logits, truth, weights=) -> scalar: of one head; truth int [B, H, W], weights [B, H, W].
    criterion(loss, output) -> scalar: what is descended, from the loss of one head and the output
        in training, as in `jaxdl.objectives.classifier`.
    ignore: a class that does not count.
    """

    def descended(net: Net, batch: Batch, key: Key) -> tuple[Array, tuple[Net, Metrics]]:
        output, net = net(batch['x'], key=key, train=True)
        truth, weights = _truth(batch, getattr(output, 'logits', output), ignore)
        value = criterion(lambda logits: loss(logits, truth, weights=weights), output)
        return value, (net, {})

    def measure(net: Net, batch: Batch, key: Key) -> Metrics:
        logits, _ = (net.shadow or net)(batch['x'])
        truth, weights = _truth(batch, logits, ignore)
        each = optax.softmax_cross_entropy_with_integer_labels(logits, truth)
        pairs = Confusion.of(truth, logits.argmax(-1), classes, weights)
        counted = {name: metric(counts=pairs.counts) for name, metric in metrics.items()}
        return {'loss': Mean.of(each, weights), **counted}

    return supervised(module, descended, opt, measure, accumulate=accumulate, shadow=shadow)


def masks(key: Key, state: State, batch: Batch, *, count: int = 6) -> dict[str, Any]:
    """Images, their truth and what is predicted, side by side, for `Phase.show`."""
    net = nets(state)[0]
    x = batch['x'][:count]
    logits, _ = (net.shadow or net)(x)
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


def _parts(counts: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """n_ii, t_i and p_i, exact."""
    n = np.asarray(counts, np.int64)
    return n.diagonal(), n.sum(1), n.sum(0)


def _iou(counts: Any) -> np.ndarray:
    hits, truth, predicted = _parts(counts)
    return _ratio(hits, truth + predicted - hits)


def _ratio(a: Any, b: Any) -> np.ndarray:
    """a / b, NaN where b is zero."""
    return np.divide(a, b, out=np.full(np.shape(b), np.nan), where=np.asarray(b) > 0)
