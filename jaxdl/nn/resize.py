"""Bicubic resizing as MATLAB's imresize does it: what super-resolution is measured against."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.errors import UsageError

Array = jax.Array


def resize_bicubic(x: Array, size: tuple[int, int]) -> Array:
    """Images [B, H, W, C] -> [B, *size, C], float32, not rounded and not clipped.

    The cubic convolution of Keys (1981, eq. 4) with a = -0.5; where an axis becomes shorter its
    kernel is widened by as much, against aliasing. Beyond its border an image is mirrored, the edge
    pixels twice. The scale of an axis is its size after over its size before.
    """
    if x.ndim != 4 or min(size) < 1:
        raise UsageError(
            f'resize_bicubic: x is {list(x.shape)} and size={size}; images [B, H, W, C], and a '
            'height and a width of 1 or more'
        )
    down, across = (jnp.asarray(_weights(n, m)) for n, m in zip(x.shape[1:3], size, strict=True))
    return jnp.einsum('ih,bhwc,jw->bijc', down, x.astype(jnp.float32), across)


def cubic(x: np.ndarray) -> np.ndarray:
    """The kernel of Keys with a = -0.5: 1 at 0, and 0 at all other whole numbers."""
    x = np.abs(x)
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


@functools.cache
def _weights(before: int, after: int) -> np.ndarray:
    """Row i: what pixel i of the result takes of each of the old ones, float32 [after, before]."""
    scale = after / before
    stretch = min(scale, 1.0)
    width = 4 / stretch
    # The centres of the new pixels among the old ones.
    centre = (np.arange(after) + 0.5) / scale - 0.5
    first = np.floor(centre - width / 2).astype(int)
    taps = first[:, None] + np.arange(math.ceil(width) + 2)
    weights = cubic(stretch * (centre[:, None] - taps))
    weights /= weights.sum(1, keepdims=True)
    mirrored = taps % (2 * before)
    mirrored = np.minimum(mirrored, 2 * before - 1 - mirrored)
    matrix = np.zeros((after, before))
    np.add.at(matrix, (np.arange(after)[:, None], mirrored), weights)
    return matrix.astype(np.float32)


def pixel_shuffle(x: Array, factor: int) -> Array:
    """Channels become places: [B, H, W, factor^2 C] -> [B, factor H, factor W, C].

    The sub-pixel rearrangement of Shi et al. (2016, eq. 4), in PyTorch's order: channel
    c factor^2 + i factor + j goes to row i and column j of a square.
    """
    batch, high, wide, channels = x.shape
    if channels % factor**2:
        raise UsageError(f'pixel_shuffle: {channels} channels are no multiple of {factor}^2')
    x = x.reshape(batch, high, wide, channels // factor**2, factor, factor)
    return x.transpose(0, 1, 4, 2, 5, 3).reshape(batch, high * factor, wide * factor, -1)
