"""Detection: average precision and recall, and the task that all detectors share.

A batch has images x [B, H, W, C], boxes [B, N, 4] in pixels, boxes_mask [B, N] and classes int
[B, N]; a detector's answer is `jaxdl.boxes.Detections`. Precision is no mean over batches,
because the detections of all images are ranked together: the metric carries the detections
themselves, and adding joins them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from flax import struct

from jaxdl.boxes import Detections
from jaxdl.metrics import Better, Metric, Number, joined, known_mean, read_classes
from jaxdl.task import Batch

Curve = Callable[[np.ndarray, np.ndarray], float]

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


# ---- the metric ---------------------------------------------------------------------------------


class Ranking(NamedTuple):
    """The detections of one class over all images, best first."""

    hits: np.ndarray  # bool [thresholds, detections]: whether each found a truth of its own
    truths: int


class Found(Metric):
    """Detections [B, D, ...] and truths [B, N, ...] of B images; adding joins images.

    Matching is COCO's: within an image and a class each detection, best score first, takes the
    truth of the highest IoU that none before it took, if that is the threshold at least. At most
    `limit` detections of an image and class count. It is done once, in float64, on the host, and
    gives means over the classes that have truths (NaN where none has any):

    mAP: COCO's, the mean of average precision, the area under the precision-recall `curve`, over
        the `thresholds` of IoU.
    mAP50, AP50: of the threshold 0.5, if it is among them; AP50 class by class, [kinds].
    AR: the part of truths found, a mean as in mAP.

    VOC's mAP is mAP50 with ``curve=at_all_points`` (but for its rule of matching). Nothing knows
    COCO's crowd regions ("iscrowd") or VOC's mark 'difficult': every true box has to be found.
    """

    boxes: Any = joined()
    scores: Any = joined()
    classes: Any = joined()
    mask: Any = joined()
    truth: Any = joined()
    truth_classes: Any = joined()
    truth_mask: Any = joined()
    kinds: int = struct.field(pytree_node=False, kw_only=True)
    names: tuple[str, ...] = struct.field(pytree_node=False, default=())
    thresholds: tuple[float, ...] = struct.field(pytree_node=False, default=COCO)
    limit: int = struct.field(pytree_node=False, default=100)
    curve: Curve = struct.field(pytree_node=False, default=at_101_points)

    @classmethod
    def of(
        cls, found: Detections, batch: Batch, *, classes: int | Sequence[str], **options: Any
    ) -> Self:
        """What was found in a batch; images whose `mask` is false have no part.

        classes: how many, or their names, which reach the figures.
        """
        kinds, names = read_classes(classes)
        return cls(
            **found._replace(mask=found.mask & batch['mask'][:, None])._asdict(),
            truth=batch['boxes'],
            truth_classes=batch['classes'],
            truth_mask=batch['boxes_mask'] & batch['mask'][:, None],
            kinds=kinds,
            names=names,
            **options,
        )

    def value(self) -> dict[str, Number]:
        """The numbers by name."""
        rankings = list(self.rankings())
        table = self._precisions(rankings)
        recalls = [hits.sum(1) / truths for hits, truths in rankings if truths]
        numbers: dict[str, Number] = {}
        if 0.5 in self.thresholds:
            at_50 = table[:, self.thresholds.index(0.5)]
            numbers = {'mAP50': known_mean(at_50), 'AP50': at_50}
        return {**numbers, 'mAP': known_mean(table), 'AR': known_mean(np.array(recalls))}

    def directions(self) -> Mapping[str, Better]:
        """All are better if higher."""
        return dict.fromkeys(('mAP50', 'AP50', 'mAP', 'AR'), 'higher')

    def labels(self) -> Mapping[str, Sequence[str]]:
        """The names of the classes."""
        return {'AP50': self.names} if self.names else {}

    def rankings(self) -> Iterator[Ranking]:
        """The ranking of each class."""
        host = {name: np.asarray(getattr(self, name)) for name, _ in self._fields()}
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

    def _precisions(self, rankings: Sequence[Ranking]) -> np.ndarray:
        """AP [classes, thresholds]; NaN for a class without truths."""
        table = np.full((self.kinds, len(self.thresholds)), np.nan)
        for kind, (hits, truths) in enumerate(rankings):
            if truths:
                found = hits.cumsum(1)
                precision = found / np.arange(1, hits.shape[1] + 1)[None]
                for i in range(len(self.thresholds)):
                    table[kind, i] = self.curve(found[i] / truths, precision[i])
        return table


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
