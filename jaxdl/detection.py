"""Detection: average precision and recall, and the task that all detectors share.

A batch has images x [B, H, W, C], boxes [B, N, 4] in pixels, boxes_mask [B, N] and classes int
[B, N]; a detector's answer is `jaxdl.models.boxes.Detections`. Precision is no mean over batches,
because the detections of all images are ranked together: these metrics carry the detections
themselves, and adding joins them.
"""

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple, Self

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from jaxdl.game import Shadow, supervised
from jaxdl.keys import Key
from jaxdl.metrics import Metric, known_mean
from jaxdl.models.boxes import Detections
from jaxdl.net import Net, nets
from jaxdl.samples import Boxes, unit
from jaxdl.task import Batch, Metrics, State, Task

Curve = Callable[[np.ndarray, np.ndarray], float]
Predict = Callable[[Net, jax.Array], Detections]
Loss = Callable[[Net, Batch, Key], tuple[jax.Array, tuple[Net, Metrics]]]

COCO = tuple(np.linspace(0.5, 0.95, 10).tolist())  # the IoU thresholds of COCO


# ---- the area under a curve ---------------------------------------------------------------------


def at_101_points(recall: np.ndarray, precision: np.ndarray) -> float:
    """Mean precision at recall 0, 0.01 ... 1, each the best at that recall or beyond (COCO).

    The points are those of COCO's own code, some of which lie just above k / 100: a recall of
    exactly 0.35 is not enough for the point 0.35000000000000003.
    """
    return _interpolated(recall, precision, np.linspace(0, 1, 101))


def at_11_points(recall: np.ndarray, precision: np.ndarray) -> float:
    """Mean precision at recall 0, 0.1 ... 1 (Everingham et al. 2010, eq. 1; VOC 2007).

    A recall of exactly k / 10 counts at that point, as in the equation.
    """
    # A quotient is rounded to the nearest number, whatever fraction it was written as, so that
    # 3 of 10 and 6 of 20 are this 3 / 10; linspace has 0.30000000000000004 there.
    return _interpolated(recall, precision, np.arange(11) / 10)


def at_all_points(recall: np.ndarray, precision: np.ndarray) -> float:
    """The area under the monotone precision-recall curve (VOC since 2010)."""
    return float(np.diff(recall, prepend=0) @ _best_beyond(precision))


def _interpolated(recall: np.ndarray, precision: np.ndarray, points: np.ndarray) -> float:
    best = np.append(_best_beyond(precision), 0.0)
    return float(best[np.searchsorted(recall, points)].mean())


def _best_beyond(precision: np.ndarray) -> np.ndarray:
    return np.maximum.accumulate(precision[::-1])[::-1]


# ---- metrics ------------------------------------------------------------------------------------


class Ranking(NamedTuple):
    """The detections of one class over all images, best first."""

    hits: np.ndarray  # bool [thresholds, detections]: whether each found a truth of its own
    truths: int


class Found(Metric):
    """Detections [..., B, D, ...] and truths [..., B, N, ...] of B images; adding joins images.

    Matching is COCO's: within an image and a class each detection, best score first, takes the
    truth of the highest IoU that none before it took, if that is the threshold at least. At most
    `limit` detections of an image and class count. Values are exact: the arithmetic is in float64,
    on the host.
    """

    boxes: Any
    scores: Any
    classes: Any
    mask: Any
    truth: Any
    truth_classes: Any
    truth_mask: Any
    kinds: int = struct.field(pytree_node=False)
    thresholds: tuple[float, ...] = struct.field(pytree_node=False, default=COCO)
    limit: int = struct.field(pytree_node=False, default=100)
    curve: Curve = struct.field(pytree_node=False, default=at_101_points)

    # Axes from the axis of images to the end; in front there may be one of seeds.
    AXES: ClassVar = {'boxes': 3, 'truth': 3}

    @classmethod
    def of(cls, found: Detections, batch: Batch, *, kinds: int, **options: Any) -> Self:
        """What was found in a batch; images whose `mask` is false have no part."""
        return cls(
            **found._replace(mask=found.mask & batch['mask'][:, None])._asdict(),
            truth=batch['boxes'],
            truth_classes=batch['classes'],
            truth_mask=batch['boxes_mask'] & batch['mask'][:, None],
            kinds=kinds,
            **options,
        )

    def __add__(self, other: Self) -> Self:
        def join(name: str) -> Any:
            a, b = getattr(self, name), getattr(other, name)
            both = (np if isinstance(a, np.ndarray) else jnp).concatenate
            return both([a, b], axis=a.ndim - self.AXES.get(name, 2))

        return self.replace(**{name: join(name) for name in self._arrays()})

    def collapse(self) -> Self:
        """The images of all entries of the leading axis."""

        def merge(x: Any) -> Any:
            return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])  # -1 is unknown of no boxes

        return self.replace(**{name: merge(getattr(self, name)) for name in self._arrays()})

    def widened(self) -> Self:
        """The same: what is joined and not added needs no room to grow."""
        return self

    def narrowed(self) -> Self:
        """The same, too."""
        return self

    def _arrays(self) -> list[str]:
        return [*Detections._fields, 'truth', 'truth_classes', 'truth_mask']

    def rankings(self) -> Iterator[Ranking]:
        """The ranking of each class."""
        host = {name: np.asarray(getattr(self, name)) for name in self._arrays()}
        for kind in range(self.kinds):
            mine = host['mask'] & (host['classes'] == kind)
            true = host['truth_mask'] & (host['truth_classes'] == kind)
            scores, hits = [np.empty(0)], [np.empty((len(self.thresholds), 0), bool)]
            for image in np.flatnonzero(mine.any(1)):
                score = host['scores'][image][mine[image]]
                order = np.argsort(-score, kind='stable')[: self.limit]
                boxes = host['boxes'][image][mine[image]][order]
                truth = host['truth'][image][true[image]]
                scores.append(score[order])
                hits.append(_matched(boxes, truth, np.array(self.thresholds)))
            # Stable: of equal scores the earlier image comes first, however images were batched.
            order = np.argsort(-np.concatenate(scores), kind='stable')
            yield Ranking(np.concatenate(hits, 1)[:, order], int(true.sum()))


class AveragePrecision(Found):
    """AP, the area under the precision-recall `curve`: the mean over classes and IoU thresholds.

    A class without truths has no part; NaN where none has any. COCO's AP by default; VOC's mAP with
    ``thresholds=(0.5,), curve=at_all_points`` (but for its rule of matching). It knows neither
    COCO's crowd regions ("iscrowd") nor VOC's mark 'difficult': every true box has to be found.
    """

    def by_class(self) -> np.ndarray:
        """AP [classes, thresholds]; NaN for a class without truths."""
        table = np.full((self.kinds, len(self.thresholds)), np.nan)
        for kind, (hits, truths) in enumerate(self.rankings()):
            if truths:
                found = hits.cumsum(1)
                precision = found / np.arange(1, hits.shape[1] + 1)[None]
                for i in range(len(self.thresholds)):
                    table[kind, i] = self.curve(found[i] / truths, precision[i])
        return table

    def value(self) -> float:
        """The mean."""
        return known_mean(self.by_class())


class ClassPrecision(AveragePrecision):
    """AP of each class, [classes]: the mean over IoU thresholds."""

    def value(self) -> np.ndarray:  # type: ignore[override]
        """The means."""
        return self.by_class().mean(1)


class AverageRecall(Found):
    """AR: the part of truths found by `limit` detections an image, a mean as in AP."""

    def value(self) -> float:
        """The mean over classes with truths and IoU thresholds."""
        return known_mean(
            np.array([hits.sum(1) / truths for hits, truths in self.rankings() if truths])
        )


def _matched(boxes: np.ndarray, truth: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Whether each box, best first, finds a truth of its own: bool [thresholds, boxes]."""
    hits = np.zeros((len(thresholds), len(boxes)), bool)
    if not len(truth):
        return hits
    overlaps = _iou(boxes.astype(np.float64), truth.astype(np.float64))
    free = np.ones((len(thresholds), len(truth)), bool)
    least, rows = np.minimum(thresholds, 1 - 1e-10), np.arange(len(thresholds))
    for i in np.flatnonzero(overlaps.max(1) >= least.min()):
        can = free & (overlaps[i][None] >= least[:, None])
        # The last of equal ones, as in COCO's own code.
        last = len(truth) - 1 - np.where(can, overlaps[i][None], -1.0)[:, ::-1].argmax(1)
        hits[:, i] = can.any(1)
        free[rows, last] &= ~hits[:, i]
    return hits


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    common = np.maximum(np.minimum(a[:, None, 2:], b[None, :, 2:]) - low, 0).prod(-1)
    sizes = [(c[:, 2:] - c[:, :2]).prod(-1) for c in (a, b)]
    union = sizes[0][:, None] + sizes[1][None] - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


# ---- the task -----------------------------------------------------------------------------------


def detector(
    module: nn.Module,
    opt: optax.GradientTransformation,
    *,
    loss: Loss,
    predict: Predict,
    kinds: int,
    accumulate: int = 1,
    shadow: Shadow | None = None,
) -> Task:
    """Detection of boxes of `kinds` classes.

    loss(net, batch, key) -> (scalar, (net, metrics)), as in `supervised`.
    predict(net, x) -> Detections [B, D, ...].

    Measures 'mAP50' (at an IoU of 0.5), 'mAP' (COCO's, the mean over 0.5 ... 0.95), 'AR', and
    'AP50', an array with one number a class. With a `shadow` (an EMA) it is the shadow that is
    measured.
    """

    def measure(net: Net, batch: Batch, key: Key) -> Metrics:
        found = predict(net.shadow or net, batch['x'])
        return {
            'mAP50': AveragePrecision.of(found, batch, kinds=kinds, thresholds=(0.5,)),
            'mAP': AveragePrecision.of(found, batch, kinds=kinds),
            'AR': AverageRecall.of(found, batch, kinds=kinds),
            'AP50': ClassPrecision.of(found, batch, kinds=kinds, thresholds=(0.5,)),
        }

    return supervised(module, loss, opt, measure, accumulate=accumulate, shadow=shadow)


def drawn(predict: Predict, *, least: float = 0.5, count: int = 8) -> Callable[..., dict[str, Any]]:
    """For `Phase.show`: the first images of a batch, with the boxes of a score above `least`."""

    def show(key: Key, state: State, batch: Batch) -> dict[str, Any]:
        first = jax.tree.map(lambda x: x[:count], batch)
        net = nets(state)[0]
        found = predict(net.shadow or net, first['x'])
        return {
            'boxes': Boxes(
                unit(first['x']),
                found.boxes,
                found.classes,
                found.mask & (found.scores > least),
                scores=found.scores,
                truth=first['boxes'],
                truth_mask=first['boxes_mask'],
            )
        }

    return show
