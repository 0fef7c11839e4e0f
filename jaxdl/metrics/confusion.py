"""The confusion matrix, and the numbers that follow of it.

The scores are plain functions of the counts n_ij of members of class i predicted as j, whether
rows or pixels, with t_i = sum_j n_ij and p_j = sum_i n_ij. A class that is neither there nor
predicted has no value, NaN, and no part in a mean.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxdl.metrics.base import Better, Metric, Number, known_mean, read_classes

Array = jax.Array


class Score(NamedTuple):
    """A number of a confusion matrix: a function of the counts, and which values are better."""

    of: Callable[[np.ndarray], Number]
    better: Better | None = 'higher'


class Confusion(Metric):
    """Counts of (true class, predicted class), shape [classes, classes], and what follows of them.

    Its numbers are the matrix, 'confusion', and its `scores` by name. Rows are the truth.
    """

    counts: Array
    scores: tuple[tuple[str, Score], ...] = struct.field(pytree_node=False, default=())
    names: tuple[str, ...] = struct.field(pytree_node=False, default=())

    @classmethod
    def of(
        cls,
        labels: Array,
        predicted: Array,
        classes: int | Sequence[str],
        mask: Any = None,
        *,
        scores: Mapping[str, Score] | None = None,
    ) -> 'Confusion':
        """Count pairs of int arrays of one shape, where `mask` (same shape) is true.

        A pair with a number outside 0..classes - 1 (an "ignore" label) is not counted. `classes`:
        how many, or their names, which reach the figures.
        """
        count, _ = read_classes(classes)
        one = (1, -1)  # row, which has all pairs
        weight = None if mask is None else jnp.reshape(mask, one)
        pairs = jnp.reshape(labels, one), jnp.reshape(predicted, one)
        counts = counts_of_rows(*pairs, weight, classes=count)[0]
        return cls.from_counts(counts, classes=classes, scores=scores)

    @classmethod
    def from_counts(
        cls,
        counts: Array,
        *,
        classes: int | Sequence[str],
        scores: Mapping[str, Score] | None = None,
    ) -> 'Confusion':
        """The matrix of known counts, int [classes, classes]."""
        _, names = read_classes(classes)
        return cls(counts=counts, scores=tuple((scores or {}).items()), names=names)

    def value(self) -> dict[str, Number]:
        """The matrix and the scores."""
        counts = np.asarray(self.counts)
        exact = counts.astype(np.int64)
        return {**{name: score.of(exact) for name, score in self.scores}, 'confusion': counts}

    def directions(self) -> Mapping[str, Better]:
        """Those of the scores."""
        return {name: score.better for name, score in self.scores if score.better}

    def labels(self) -> Mapping[str, Sequence[str]]:
        """The names of the classes, for the matrix and for scores of each class."""
        return dict.fromkeys(['confusion', *dict(self.scores)], self.names) if self.names else {}


def counts_of_rows(labels: Array, predicted: Array, mask: Any = None, *, classes: int) -> Array:
    """The matrix of each row, int32 [rows, classes, classes], of int arrays [rows, ...].

    mask: which pairs count, as in `Confusion.of`.
    """
    rows, cells = labels.shape[0], classes * classes
    known = (labels >= 0) & (labels < classes) & (predicted >= 0) & (predicted < classes)
    pairs = jnp.where(known, labels * classes + predicted, rows * cells).reshape(rows, -1)
    # A pair that is not known lies beyond the last row's cells, whichever row it is of.
    pairs = (pairs + cells * jnp.arange(rows, dtype=pairs.dtype)[:, None]).ravel()
    weight = jnp.ones_like(pairs) if mask is None else jnp.asarray(mask, jnp.int32).ravel()
    counts = jnp.zeros(rows * cells, jnp.int32).at[pairs].add(weight, mode='drop')
    return counts.reshape(rows, classes, classes)


def dice_of_rows(counts: Array) -> Array:
    """`dice` of each row's matrix, inside a program: [rows, classes, classes] -> float32 [rows]."""
    hits = jnp.diagonal(counts, axis1=1, axis2=2)[:, 1:]
    members = (counts.sum(1) + counts.sum(2))[:, 1:]
    each = jnp.where(members > 0, 2 * hits / jnp.maximum(members, 1), 0.0)
    return each.sum(1) / (members > 0).sum(1)  # NaN where there is none


# ---- scores: from counts, int64 [classes, classes], on the host ---------------------------------


def accuracy(counts: np.ndarray) -> float:
    """The part that is right: sum_i n_ii / sum_i t_i. It is micro F1 too; NaN without members."""
    hits, truth, _ = _parts(counts)
    return float(_ratio(hits.sum(), truth.sum()))


def error(counts: np.ndarray) -> float:
    """The part that is wrong."""
    return 1 - accuracy(counts)


def recall(counts: np.ndarray) -> np.ndarray:
    """n_ii / t_i, [classes]."""
    hits, truth, _ = _parts(counts)
    return _ratio(hits, truth)


def precision(counts: np.ndarray) -> np.ndarray:
    """n_ii / p_i, [classes]."""
    hits, _, predicted = _parts(counts)
    return _ratio(hits, predicted)


def f1(counts: np.ndarray) -> np.ndarray:
    """2 n_ii / (t_i + p_i), [classes]: Dice's coefficient of each class."""
    hits, truth, predicted = _parts(counts)
    return _ratio(2 * hits, truth + predicted)


def macro_f1(counts: np.ndarray) -> float:
    """The mean of F1 over classes."""
    return known_mean(f1(counts))


def dice(counts: np.ndarray) -> float:
    """The mean of F1 over classes but 0, the background: of two classes that of class 1."""
    return known_mean(f1(counts)[1:])


def mean_accuracy(counts: np.ndarray) -> float:
    """The mean of recall over the classes that are there (Long et al. 2015, section 5)."""
    return known_mean(recall(counts))


def iou(counts: np.ndarray) -> np.ndarray:
    """Intersection over union (Jaccard index), n_ii / (t_i + p_i - n_ii), [classes]."""
    hits, truth, predicted = _parts(counts)
    return _ratio(hits, truth + predicted - hits)


def mean_iou(counts: np.ndarray) -> float:
    """The mean of IoU over classes (Long et al. 2015, section 5)."""
    return known_mean(iou(counts))


def weighted_iou(counts: np.ndarray) -> float:
    """IoU weighted by the frequency of the class: sum_i t_i IoU_i / sum_i t_i (as above)."""
    _, truth, _ = _parts(counts)
    there = truth > 0
    return float(_ratio((truth * iou(counts))[there].sum(), truth.sum()))


def _parts(n: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """n_ii, t_i and p_i."""
    return n.diagonal(), n.sum(1), n.sum(0)


def _ratio(a: Any, b: Any) -> np.ndarray:
    """a / b, NaN where b is zero."""
    return np.divide(a, b, out=np.full(np.shape(b), np.nan), where=np.asarray(b) > 0)
