"""Regions: whether a segmentation of boundaries keeps the same things apart.

A boundary with one gap is nearly right pixel by pixel, and joins two cells. So boundaries are
measured by the regions between them (Arganda-Carreras et al. 2015, section 3.2): those of the truth
and those that a prediction leaves, of the pixels that in truth are no boundary.
"""

from typing import NamedTuple

import jax
import numpy as np
from flax import struct

from jaxdl.metrics.base import Better, Metric, Number, joined

Array = jax.Array


class Agreement(NamedTuple):
    """How far two partitions of the same pixels agree.

    rand: the F-score of pairs of pixels that both keep together (V^Rand with alpha = 0.5).
    split, merge: its recall and precision: pairs of the truth that stay together; pairs of the
        prediction that belong together.
    variation: of information, H(truth | predicted) + H(predicted | truth), in bits (Meila 2007).
    """

    rand: float
    split: float
    merge: float
    variation: float


class Regions(Metric):
    """Boundaries predicted [B, H, W], their probability, and true [B, H, W]; adding joins images.

    Each number is the mean over images of `Agreement`, at the threshold 0.5: 'rand', 'rand_split',
    'rand_merge', 'variation'. The challenge of ISBI 2012 takes the best of all thresholds, on the
    images that it tests; that is 'rand_best', for comparison, and chooses by the truth.

    thresholds: those among which 'rand_best' is the best.
    """

    predicted: Array = joined()
    truth: Array = joined()
    counts: Array = joined()
    thresholds: tuple[float, ...] = struct.field(
        pytree_node=False, default=(0.1, 0.3, 0.5, 0.7, 0.9)
    )

    @classmethod
    def of(cls, predicted: Array, truth: Array, mask: Array) -> 'Regions':
        """Probabilities of boundary, which pixels are one, and which images count, bool [B]."""
        # A 255th is nothing to a threshold, and a quarter of the memory.
        eighth = (255 * predicted).round().astype('uint8')
        return cls(predicted=eighth, truth=truth.astype('uint8'), counts=mask)

    def value(self) -> dict[str, Number]:
        """The numbers by name."""
        counts = np.asarray(self.counts)
        predicted = np.asarray(self.predicted)[counts]
        truth = [regions(boundary) for boundary in np.asarray(self.truth)[counts] > 0]

        def at(threshold: float) -> np.ndarray:
            pairs = zip(predicted, truth, strict=True)
            found = [agreement(filled(p > 255 * threshold), t) for p, t in pairs]
            return np.mean(found, axis=0) if found else np.full(4, np.nan)

        names = ('rand', 'rand_split', 'rand_merge', 'variation')
        found = {threshold: at(threshold) for threshold in {0.5, *self.thresholds}}
        best = max(float(found[threshold][0]) for threshold in self.thresholds)
        return {**dict(zip(names, map(float, found[0.5]), strict=True)), 'rand_best': best}

    def directions(self) -> dict[str, Better]:
        """Higher is better, but for the variation of information."""
        return {
            'rand': 'higher',
            'rand_split': 'higher',
            'rand_merge': 'higher',
            'rand_best': 'higher',
            'variation': 'lower',
        }


def regions(boundary: np.ndarray) -> np.ndarray:
    """The connected parts (by sides) of what is no boundary, numbered from 1; 0 is boundary."""
    from scipy import ndimage

    return ndimage.label(~boundary)[0]


def filled(boundary: np.ndarray) -> np.ndarray:
    """The same, and a pixel of boundary belongs to the nearest region, if there is one.

    So a boundary that is drawn too thick costs nothing: what counts is what it keeps apart.
    """
    from scipy import ndimage

    parts = regions(boundary)
    if not parts.any():
        return parts
    nearest = ndimage.distance_transform_edt(
        parts == 0, return_distances=False, return_indices=True
    )
    return parts[tuple(nearest)]


def agreement(predicted: np.ndarray, truth: np.ndarray) -> Agreement:
    """Of two maps of regions, int [H, W], over the pixels where `truth` is not 0.

    NaN where there is no such pixel.
    """
    inside = truth > 0
    count = int(inside.sum())
    if not count:
        return Agreement(np.nan, np.nan, np.nan, np.nan)
    pairs = np.stack([truth[inside], predicted[inside]])
    (true, said), joint = np.unique(pairs, axis=1, return_counts=True)
    shares = joint / count
    of_truth = np.bincount(true, shares)
    of_said = np.bincount(said, shares)
    together = float((shares**2).sum())
    split, merge = together / float((of_truth**2).sum()), together / float((of_said**2).sum())
    entropies = [float(-(p[p > 0] * np.log2(p[p > 0])).sum()) for p in (of_truth, of_said, shares)]
    variation = max(0.0, 2 * entropies[2] - entropies[0] - entropies[1])
    return Agreement(2 * split * merge / (split + merge), split, merge, variation)
