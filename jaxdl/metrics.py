"""Additive numbers. Adding is the same over steps, batches and devices; `finish` divides once.

A metric is a pytree of arrays with `+` and `value()`. Totals over a padded last batch are exact
because padding is a mask of weight zero: never a mean of batch means, never a dropped remainder.
Programs add in 32 bits, a batch or a chunk of steps at a time; the host adds those in 64, because
float32 does not count beyond 2^24 and int32 not beyond 2^31.
"""

import operator
from collections.abc import Mapping
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

Array = jax.Array
Number = float | np.ndarray


class Metric(struct.PyTreeNode):
    """A number under construction: leaves add, `value` finishes on the host."""

    def __add__(self, other: Self) -> Self:
        return jax.tree.map(operator.add, self, other)

    def collapse(self) -> Self:
        """The sum over a leading axis of equal metrics, as `lax.scan` stacks them."""
        return jax.tree.map(lambda x: x.sum(0, dtype=x.dtype), self)

    def widened(self) -> Self:
        """The same from host arrays, as the host adds it: float leaves float64, integers int64."""
        return jax.tree.map(_wide, self)

    def narrowed(self) -> Self:
        """The same as programs take it: float32, int32 (its largest where that is too small)."""
        return jax.tree.map(_narrow, self)

    def value(self) -> Number:
        """The finished number, from host arrays."""
        raise NotImplementedError


def _wide(x: Any) -> np.ndarray:
    x = np.asarray(x)
    if jnp.issubdtype(x.dtype, jnp.floating):
        return x.astype(np.float64)
    return x.astype(np.int64) if jnp.issubdtype(x.dtype, jnp.integer) else x


def _narrow(x: Any) -> np.ndarray:
    x = np.asarray(x)
    if x.dtype == np.float64:
        return x.astype(np.float32)
    if x.dtype == np.int64:
        limits = np.iinfo(np.int32)
        return x.clip(limits.min, limits.max).astype(np.int32)
    return x


class Mean(Metric):
    """A weighted mean: total / weight. NaN where nothing was weighed."""

    total: Array
    weight: Array

    @classmethod
    def of(cls, values: Any, mask: Any = None) -> 'Mean':
        """The mean of `values` where `mask` (same shape or a prefix of it) is true or weighs."""
        values = jnp.asarray(values, jnp.float32)
        if mask is None:
            return cls(total=values.sum(), weight=jnp.float32(values.size))
        mask = jnp.asarray(mask, jnp.float32)
        mask = mask.reshape(mask.shape + (1,) * (values.ndim - mask.ndim))
        weight = jnp.broadcast_to(mask, values.shape)
        # where, not a product: padding may hold anything, NaN included.
        return cls(total=jnp.where(weight > 0, values * weight, 0.0).sum(), weight=weight.sum())

    def ratio(self) -> Array:
        """Total / weight, inside a program."""
        return jnp.where(self.weight > 0, self.total / jnp.maximum(self.weight, 1e-30), jnp.nan)

    def value(self) -> float:
        """Total / weight, on the host."""
        total, weight = float(self.total), float(self.weight)
        return total / weight if weight else float('nan')


class Confusion(Metric):
    """Counts of (true class, predicted class), shape [classes, classes]."""

    counts: Array

    @classmethod
    def of(cls, labels: Array, predicted: Array, classes: int, mask: Any = None) -> 'Confusion':
        """Count pairs of int arrays of one shape, where `mask` (same shape) is true.

        A pair with a number outside 0..classes - 1 (an "ignore" label) is not counted.
        """
        known = (labels >= 0) & (labels < classes) & (predicted >= 0) & (predicted < classes)
        pairs = jnp.where(known, labels * classes + predicted, classes * classes).ravel()
        weight = jnp.ones_like(pairs) if mask is None else jnp.asarray(mask, jnp.int32).ravel()
        counts = jnp.zeros(classes * classes, jnp.int32).at[pairs].add(weight, mode='drop')
        return cls(counts=counts.reshape(classes, classes))

    def value(self) -> np.ndarray:
        """The matrix; rows are the truth."""
        return np.asarray(self.counts)


def known_mean(values: np.ndarray) -> float:
    """The mean of what is not NaN, on the host; NaN where nothing is known."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float('nan')


def widened(metrics: Mapping[str, Metric]) -> dict[str, Metric]:
    """Metrics that were read from the device, ready to be added on the host."""
    return {name: metric.widened() for name, metric in metrics.items()}


def narrowed(metrics: Mapping[str, Metric]) -> dict[str, Metric]:
    """Totals of the host, ready to be put on the device."""
    return {name: metric.narrowed() for name, metric in metrics.items()}


def finish(metrics: Mapping[str, Metric]) -> dict[str, Number]:
    """The finished numbers by name. Reads the device, so it runs once, after all adding."""
    return {name: metric.value() for name, metric in jax.device_get(dict(metrics)).items()}
