"""Pooling that depends on the size of its input, and the maximum along an axis."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxdl.nn.layers import max_pool

Array = jax.Array


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def maximum(x: Array, axis: int) -> Array:
    """The largest values along an axis, whose gradient goes to the first place that has them.

    The gradient of `jnp.max` looks for the maximum among the values again. Where a compiler has
    computed them twice, with other rounding, it finds none, and divides by their number: NaN.
    """
    return x.max(axis)


@maximum.defjvp
def _maximum_tangent(axis: int, of: tuple[Array], tangents: Any) -> tuple[Array, Array]:
    (x,), (dx,) = of, tangents
    at = jnp.expand_dims(x.argmax(axis), axis)
    there = lax.broadcasted_iota(at.dtype, x.shape, axis % x.ndim) == at
    return x.max(axis), jnp.where(there, dx, 0).sum(axis)


def adaptive_average_pool(x: Array, size: tuple[int, int]) -> Array:
    """Mean over `size` bins of nearly equal extent, [B, H, W, C] -> [B, *size, C].

    Bin i of n covers positions floor(i H / n) to ceil((i + 1) H / n): bins overlap where n does not
    divide H, and repeat positions where n > H. It is the identity where the size is right already.
    """
    for axis, n in zip((1, 2), size, strict=True):
        length = x.shape[axis]
        if length != n:
            edges = [(i * length // n, -(-(i + 1) * length // n)) for i in range(n)]
            bins = [lax.slice_in_dim(x, *edge, axis=axis).mean(axis) for edge in edges]
            x = jnp.stack(bins, axis)
    return x


def ceil_max_pool(x: Array, window: int, *, stride: int) -> Array:
    """Maximum over windows, the last of which may reach over the edge ("ceil mode").

    [B, H, W, C] -> [B, ceil((H - window) / stride) + 1, ..., C], for window >= stride. 'SAME' gives
    the same on even sizes only.
    """
    over = [max(-(length - window) % stride, window - length) for length in x.shape[1:3]]
    padding = [(0, right) for right in over]
    if not any(over):
        return max_pool(x, (window, window), strides=(stride, stride))
    return max_pool(x, (window, window), strides=(stride, stride), padding=padding)
