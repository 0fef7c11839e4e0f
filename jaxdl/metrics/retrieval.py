"""Retrieval: whether what belongs to a query is among the k nearest of all candidates.

It is no mean over batches: every query is compared with the candidates of all of them. So the
metric carries the embeddings, adding joins them, and the ranks are found once, on the host.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxdl.errors import UsageError
from jaxdl.metrics.base import Better, Metric, joined

Array = jax.Array
BLOCK = 1024  # queries compared at once


class Retrieval(Metric):
    """Pairs of embeddings [n, d] of two kinds; each should be found by its other half.

    Its numbers, in both directions: 'image_to_text/recall@1', the part of images whose nearest text
    is theirs, other k likewise, and 'image_to_text/median_rank' (1 is the first); and
    'contrastive_loss', of all pairs at once (see `jaxdl.objectives.clip`). A candidate that lies as
    near as the right one counts as nearer: all embeddings equal is no success.
    """

    a: Any = joined()
    b: Any = joined()
    group: Any = joined()
    scale: Any = joined()
    mask: Any = joined()
    ks: tuple[int, ...] = struct.field(pytree_node=False, default=(1, 5))
    names: tuple[str, str] = struct.field(pytree_node=False, default=('image', 'text'))

    @classmethod
    def of(
        cls,
        a: Array,
        b: Array,
        mask: Array,
        *,
        group: Array | None = None,
        scale: Any = 1.0,
        ks: Sequence[int] = (1, 5),
        names: tuple[str, str] = ('image', 'text'),
    ) -> Self:
        """Embeddings a and b [n, d], row i of one belonging to row i of the other, where mask [n].

        group: int [n], rows of one group belong together too (images with the same text); None:
            each row is alone. scale: of the products in the loss. ks: of the recalls.

        Raises UsageError for embeddings of unlike shapes and for a k below 1.
        """
        if a.ndim != 2 or a.shape != b.shape:
            raise UsageError(
                f'Retrieval: {list(a.shape)} and {list(b.shape)}; both are [pairs, width]'
            )
        if not ks or min(ks) < 1:
            raise UsageError(f'Retrieval: ks={tuple(ks)}; each is 1 or more')
        rows = len(a)
        alone = jnp.full(rows, -1, jnp.int32)
        return cls(
            a,
            b,
            alone if group is None else jnp.asarray(group, jnp.int32),
            jnp.broadcast_to(jnp.asarray(scale, jnp.float32), (rows,)),
            jnp.asarray(mask, bool),
            ks=tuple(ks),
            names=names,
        )

    def value(self) -> dict[str, float]:
        """The recalls, median ranks, and the loss over all pairs; NaN of none."""
        kept = np.asarray(self.mask)
        a, b = (np.asarray(x, np.float64)[kept] for x in (self.a, self.b))
        group, scale = np.asarray(self.group)[kept], np.asarray(self.scale, np.float64)[kept]
        found: dict[str, float] = {}
        losses = []
        for (query, candidate), (x, y) in (
            (self.names, (a, b)),
            (self.names[::-1], (b, a)),
        ):
            ranks, loss = _ranks(x, y, group, scale)
            losses.append(loss)
            way = f'{query}_to_{candidate}'
            for k in self.ks:
                found[f'{way}/recall@{k}'] = float((ranks <= k).mean()) if len(a) else math.nan
            found[f'{way}/median_rank'] = float(np.median(ranks)) if len(a) else math.nan
        return {**found, 'contrastive_loss': sum(losses) / 2}

    def directions(self) -> Mapping[str, Better]:
        """Recalls are better higher, ranks and the loss lower."""
        found: dict[str, Better] = {'contrastive_loss': 'lower'}
        for query, candidate in (self.names, self.names[::-1]):
            way = f'{query}_to_{candidate}'
            for k in self.ks:
                found[f'{way}/recall@{k}'] = 'higher'
            found[f'{way}/median_rank'] = 'lower'
        return found


def _ranks(
    queries: np.ndarray, candidates: np.ndarray, group: np.ndarray, scale: np.ndarray
) -> tuple[np.ndarray, float]:
    """The rank [n] of the nearest candidate that belongs to each query, and the cross-entropy."""
    n = len(queries)
    ranks, total = np.zeros(n, int), 0.0
    for first in range(0, n, BLOCK):
        rows = np.arange(first, min(first + BLOCK, n))
        products = queries[rows] @ candidates.T
        logits = products * scale[rows, None]
        own = logits[np.arange(len(rows)), rows]
        total += float((np.logaddexp.reduce(logits, axis=1) - own).sum())
        belongs = (group[rows, None] == group[None]) & (group[None] >= 0)
        belongs[np.arange(len(rows)), rows] = True
        best = np.where(belongs, products, -np.inf).max(1)
        ranks[rows] = 1 + ((products >= best[:, None]) & ~belongs).sum(1)
    return ranks, total / n if n else math.nan
