"""How good generated examples are: in a judge's features, and by the classes that it sees.

The judge is a classifier that was trained here, not the Inception network of the papers. So the
formulae are theirs and the numbers are not: they compare generators that had the same judge.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxdl.errors import UsageError
from jaxdl.metrics.base import Better, Metric, Number, joined

Array = jax.Array


class Moments(NamedTuple):
    """Of each batch that was seen: rows, their mean, and sum of outer products about that mean.

    count [n], mean [n, D], scatter [n, D, D]. About the mean of the batch, not about zero, where
    float32 would lose the small differences between rows in what they have in common.
    """

    count: Any
    mean: Any
    scatter: Any

    @classmethod
    def of(cls, features: Array, mask: Array) -> 'Moments':
        """Those of one batch, features [B, D] where `mask` [B] is true."""
        count = mask.sum().astype(jnp.float32)
        mean = jnp.where(mask[:, None], features, 0).sum(0) / jnp.maximum(count, 1)
        apart = jnp.where(mask[:, None], features - mean[None], 0)
        scatter = jnp.matmul(apart.T, apart, precision='highest')
        return cls(count[None], mean[None], scatter[None])

    def gathered(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean [D] and covariance [D, D] (over n - 1) of all rows, on the host in float64.

        NaN of less than two rows. Batches are put together as Chan et al. (1979) do it:
        the scatter about the whole mean is that about each batch's, and n d d^T for a mean that
        lies d apart.
        """
        count, means, scatter = (np.asarray(x, np.float64) for x in self)
        n, size = count.sum(), means.shape[-1]
        if n < 2:
            return np.full(size, np.nan), np.full((size, size), np.nan)
        mean = count @ means / n
        apart = means - mean
        return mean, (scatter.sum(0) + (count[:, None] * apart).T @ apart) / (n - 1)


class Frechet(Metric):
    """The Fréchet distance of two Gaussians: |m - w|^2 + tr(C + D - 2 (C D)^(1/2)).

    m, C and w, D are mean and covariance of the features of real and of generated examples (Heusel
    et al. 2017, eq. 6; Dowson and Landau 1982). It is the square of a distance, lower is better,
    and larger for few examples than for many.
    """

    real: Moments = joined()
    fake: Moments = joined()

    @classmethod
    def of(cls, real: Array, fake: Array, mask: Array) -> Self:
        """Of features [B, D] each, where `mask` [B] is true."""
        return cls(real=Moments.of(real, mask), fake=Moments.of(fake, mask))

    def value(self) -> float:
        """The distance; NaN of less than two rows."""
        (m, c), (w, d) = self.real.gathered(), self.fake.gathered()
        return frechet_distance(m, c, w, d)

    def directions(self) -> Mapping[str, Better]:
        """Lower is better."""
        return {'': 'lower'}


def frechet_distance(m: np.ndarray, c: np.ndarray, w: np.ndarray, d: np.ndarray) -> float:
    """|m - w|^2 + tr(c + d - 2 (c d)^(1/2)), of means [D] and covariances [D, D]; NaN of NaN.

    The trace of the root is that of (r d r)^(1/2) with r = c^(1/2): similar to c d, but symmetric.
    """
    if not all(np.isfinite(x).all() for x in (m, c, w, d)):
        return float('nan')
    values, vectors = np.linalg.eigh(c)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    inner = np.maximum(np.linalg.eigvalsh(root @ d @ root), 0)
    return float(((m - w) ** 2).sum() + np.trace(c) + np.trace(d) - 2 * np.sqrt(inner).sum())


class ClassScore(Metric):
    """exp(mean_x KL(p(y|x) || p(y))): the Inception score (Salimans et al. 2016), of this judge.

    From 1 to the number of classes; it is high where each example is clearly of one class, and all
    classes are there. It knows nothing of real examples.
    """

    classes: Array  # sum of p(y|x), [classes]
    information: Array  # sum of p log p
    rows: Array

    @classmethod
    def of(cls, logits: Array, mask: Array) -> Self:
        """Of the judge's logits [B, classes] of generated examples, where `mask` [B] is true."""
        log_p = jax.nn.log_softmax(jnp.where(mask[:, None], logits, 0))
        p = jnp.where(mask[:, None], jnp.exp(log_p), 0)
        return cls(classes=p.sum(0), information=(p * log_p).sum(), rows=mask.sum())

    def value(self) -> float:
        """The score; NaN of no rows."""
        rows = int(self.rows)
        if not rows:
            return float('nan')
        p = np.asarray(self.classes, np.float64) / rows
        entropy = -(p * np.log(np.where(p > 0, p, 1))).sum()
        return float(np.exp(entropy + float(self.information) / rows))

    def directions(self) -> Mapping[str, Better]:
        """Higher is better."""
        return {'': 'higher'}


class ClassesSeen(Metric):
    """How many classes at least a share `least` of all generated examples are of, to the judge.

    A generator that drops modes is seen by counting them (Metz et al. 2017, section 3.3).
    """

    counts: Array  # [classes]
    least: float = struct.field(pytree_node=False, default=0.01)

    @classmethod
    def of(cls, logits: Array, mask: Array, *, least: float = 0.01) -> Self:
        """Of the judge's logits [B, classes], where `mask` [B] is true."""
        hits = jax.nn.one_hot(logits.argmax(-1), logits.shape[-1], dtype=jnp.int32)
        return cls(counts=jnp.where(mask[:, None], hits, 0).sum(0), least=least)

    def value(self) -> float:
        """A number from 0 to that of the classes; NaN of no rows."""
        counts = np.asarray(self.counts)
        if not counts.sum():
            return float('nan')
        return float((counts >= self.least * counts.sum()).sum())

    def directions(self) -> Mapping[str, Better]:
        """More are better."""
        return {'': 'higher'}


class Manifolds(Metric):
    """Improved precision and recall (Kynkäänniemi et al. 2019, eq. 1 and 2).

    The manifold of a set is the union of balls around its members, each as wide as the way to its
    k-th nearest neighbour in the set. precision: the share of generated examples that lie in the
    real manifold. recall: the share of real ones that lie in the generated one.

    Both depend on how many examples there are: compare them at one number of rows. Features are
    joined, and distances are taken on the host, of all pairs.
    """

    real: Any = joined()  # [n, D]
    fake: Any = joined()
    mask: Any = joined()  # [n]
    neighbours: int = struct.field(pytree_node=False, default=3)

    @classmethod
    def of(cls, real: Array, fake: Array, mask: Array, *, neighbours: int = 3) -> Self:
        """Of features [B, D] each, where `mask` [B] is true. neighbours: k."""
        if neighbours < 1:
            raise UsageError(f'Manifolds: neighbours is {neighbours}; it is 1 or more')
        return cls(real=real, fake=fake, mask=mask, neighbours=neighbours)

    def value(self) -> dict[str, Number]:
        """The two shares; NaN where there are not more rows than neighbours."""
        mask = np.asarray(self.mask, bool)
        real, fake = (np.asarray(x, np.float64)[mask] for x in (self.real, self.fake))
        if len(real) <= self.neighbours:
            return {'precision': float('nan'), 'recall': float('nan')}
        across = _distances(real, fake)
        return {
            'precision': float((across <= self._radii(real)[:, None]).any(0).mean()),
            'recall': float((across <= self._radii(fake)[None]).any(1).mean()),
        }

    def directions(self) -> Mapping[str, Better]:
        """Higher is better."""
        return {'precision': 'higher', 'recall': 'higher'}

    def _radii(self, points: np.ndarray) -> np.ndarray:
        """The squared distance of each point to its k-th nearest other one."""
        distances = _distances(points, points)
        np.fill_diagonal(distances, np.inf)
        return np.partition(distances, self.neighbours - 1, axis=1)[:, self.neighbours - 1]


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distances of all pairs, [n, m]."""
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
    return np.maximum(squares, 0)
