"""Features of regions: what lies under a box on a map, made as large as the head wants it.

Boxes are as in `jaxdl.boxes`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxdl.nn.pooling import maximum

Array = jax.Array


def roi_align(
    features: Array,
    boxes: Array,
    *,
    output: tuple[int, int] = (7, 7),
    scale: float,
    samples: int = 2,
    aligned: bool = False,
) -> Array:
    """RoIAlign (He et al. 2017, section 3): [H, W, C] and boxes [R, 4] -> [R, *output, C].

    Each bin is the mean of samples x samples points, evenly spaced in it, interpolated bilinearly;
    points more than a pixel outside the map are 0.

    The gradient is with respect to the features; boxes receive none.

    scale: of the map relative to the image, 1/16 for instance.
    aligned: take half a pixel off, so that values stand at the centres of pixels. Without it (as
        published and as in torchvision's Faster R-CNN) a region is at least one position wide.
    """
    boxes = lax.stop_gradient(boxes) * scale - (0.5 if aligned else 0.0)
    height, width, _ = features.shape
    rows = _taps(boxes[:, 1], boxes[:, 3], output[0], height, samples, aligned)
    columns = _taps(boxes[:, 0], boxes[:, 2], output[1], width, samples, aligned)
    return _interpolate(features, rows, columns)


Taps = tuple[Array, Array]


@jax.custom_vjp
def _interpolate(features: Array, rows: Taps, columns: Taps) -> Array:
    """Sum over taps (i, j) of wy_i wx_j f[row_i, column_j]: [H, W, C] -> [R, bins, bins, C]."""
    (y, wy), (x, wx) = rows, columns
    total = jnp.zeros((*y.shape[:2], x.shape[1], features.shape[2]), features.dtype)
    # Tap after tap: the gathers fuse into the sum, and no array holds all taps at once.
    for i in range(y.shape[-1]):
        for j in range(x.shape[-1]):
            weight = wy[:, :, None, i] * wx[:, None, :, j]
            total += weight[..., None] * features[y[:, :, None, i], x[:, None, :, j]]
    return total


def _interpolate_forward(features: Array, rows: Taps, columns: Taps) -> tuple[Array, Any]:
    return _interpolate(features, rows, columns), (features, rows, columns)


def _interpolate_backward(saved: Any, g: Array) -> tuple[Array, None, None]:
    # The transpose of a gather is a scatter, which takes six times as long on CPU as two products
    # with the axes' interpolation matrices.
    features, rows, columns = saved
    height, width, _ = features.shape
    across = jnp.einsum('rqw,rpqc->rpwc', _matrix(columns, width), g)
    return jnp.einsum('rph,rpwc->hwc', _matrix(rows, height), across), None, None


def _matrix(taps: Taps, size: int) -> Array:
    """The weights [R, bins, size] that taps [R, bins, n] give each position."""
    at, weights = taps
    return (jax.nn.one_hot(at, size, dtype=weights.dtype) * weights[..., None]).sum(2)


_interpolate.defvjp(_interpolate_forward, _interpolate_backward)


def _taps(
    low: Array, high: Array, bins: int, size: int, samples: int, aligned: bool
) -> tuple[Array, Array]:
    """Indices and weights [R, bins, 2 * samples] of one axis: bilinear interpolation separates."""
    length = high - low if aligned else jnp.maximum(high - low, 1.0)
    at = (np.arange(bins * samples, dtype=np.float32) + 0.5) / samples  # in bins
    points = low[:, None] + jnp.asarray(at)[None] * (length / bins)[:, None]
    inside = (points >= -1) & (points <= size)
    points = jnp.clip(points, 0, size - 1)
    below = jnp.minimum(jnp.floor(points).astype(jnp.int32), max(size - 2, 0))
    above = jnp.minimum(below + 1, size - 1)
    part = points - below
    weights = jnp.where(inside[..., None], jnp.stack([1 - part, part], -1), 0) / samples
    shape = (len(low), bins, 2 * samples)
    return jnp.stack([below, above], -1).reshape(shape), weights.reshape(shape)


def roi_pool(
    features: Array, boxes: Array, *, output: tuple[int, int] = (7, 7), scale: float
) -> Array:
    """RoI max pooling (Girshick 2015, section 2.1): [H, W, C], boxes [R, 4] -> [R, *output, C].

    A region is rounded to positions, both ends included, at least one; bin i of n of a region of
    length l is floor(i l / n) to ceil((i + 1) l / n). A bin outside the map is 0. The gradient goes
    to the first of equal maxima.
    """
    # floor(x + 1/2): as C rounds what is not negative; jnp.round goes to even numbers.
    edges = jnp.floor(boxes * scale + 0.5).astype(jnp.int32)
    rows = _bins(edges[:, 1], edges[:, 3], output[0], features.shape[0])
    columns = _bins(edges[:, 0], edges[:, 2], output[1], features.shape[1])
    lowest = jnp.array(-jnp.inf, features.dtype)
    across = maximum(jnp.where(columns[:, :, None, :, None], features[None, None], lowest), 3)
    both = maximum(jnp.where(rows[:, :, None, :, None], across[:, None], lowest), 3)
    some = rows.any(-1)[:, :, None, None] & columns.any(-1)[:, None, :, None]
    return jnp.where(some, both, 0)


def _bins(low: Array, high: Array, bins: int, size: int) -> Array:
    """Which positions [R, bins, size] of one axis lie in each bin."""
    length = jnp.maximum(high - low + 1, 1)[:, None]
    i = jnp.arange(bins)[None]
    first = low[:, None] + i * length // bins
    last = low[:, None] + -(-(i + 1) * length // bins)
    at = jnp.arange(size)[None, None]
    return (first[..., None] <= at) & (at < last[..., None])
