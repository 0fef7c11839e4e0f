"""Maximum pooling that remembers where each maximum is.

The place of a maximum in its window, a byte, is decided in the forward pass, once. A backward pass
that looks for it again, `x == y`, finds none where XLA has computed x twice, rounded otherwise, as
it does behind a norm: then the gradient is lost, and nothing says so. With places every window's
gradient arrives somewhere, whatever is computed again.

Forward the columns come first, then the rows: the largest of each row of a window serves all
windows that share it. Backward, positions of x that are equal modulo the strides, a phase, are
equally far from the windows they are in: each phase is a sum of shifted arrays, and the phases
interleave.

Measured on 2 cores as time of a stem (convolution, BatchNorm, ReLU, pooling) with its gradient over
that with the plain pooling: MEASURED
"""

import itertools
import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Array = jax.Array
Pair = tuple[int, int]

PLACES = 256  # that a byte can hold


class Windows(NamedTuple):
    """The windows of a pooling, by (rows, columns)."""

    size: Pair
    strides: Pair
    padding: tuple[Pair, Pair]

    def fit(self, images: Sequence[int]) -> bool:
        """Whether `pool` takes them for images [B, H, W, C]: there is an output, and bytes do."""
        sizes = zip(images[1:3], self.padding, self.size, strict=True)
        some = all(length + sum(pads) >= size for length, pads, size in sizes)
        return some and math.prod(self.size) <= PLACES and min(map(min, self.padding)) >= 0


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def pool(windows: Windows, x: Array) -> Array:
    """Maximum over windows, [B, H, W, C] -> [B, H', W', C], of any floating-point type."""
    return nn.max_pool(x, *windows)


def _forward(windows: Windows, x: Array) -> tuple[Array, tuple[Array, Array]]:
    """The maxima, and for the backward pass the place in its window of each."""
    low = jnp.array(-jnp.inf, x.dtype)
    x = lax.pad(x, low, ((0, 0, 0), *((*pair, 0) for pair in windows.padding), (0, 0, 0)))
    y, place = x, jnp.zeros(x.shape, jnp.uint8)
    for axis, step in ((2, 1), (1, windows.size[1])):
        y, place = _along(axis, windows, y, place, step)
    return y, (place, jnp.zeros((0, *x.shape[1:3]), bool))


def _along(axis: int, windows: Windows, x: Array, place: Array, step: int) -> tuple[Array, Array]:
    """Maxima over windows of one axis, the first of equal ones, and their places.

    A place counts `step` for each position along the axis. NaN is larger than any number.
    """
    size, stride = windows.size[axis - 1], windows.strides[axis - 1]
    before = windows.padding[axis - 1][0]
    count = (x.shape[axis] - size) // stride + 1

    def every(array: Array, k: int) -> Array:  # position k of each window
        return lax.slice_in_dim(array, k, k + stride * (count - 1) + 1, stride, axis)

    # A window starts from its first position that is no padding: what is padded never wins.
    first = step * np.maximum(before - stride * np.arange(count), 0)
    first = np.expand_dims(first.astype(np.uint8), [i for i in range(4) if i != axis])
    y, at = every(x, 0), every(place, 0) + first
    for k in range(1, size):
        value = every(x, k)
        at = jnp.where(value > y, every(place, k) + np.uint8(k * step), at)
        y = _larger(value, y)
    return y, at


@jax.custom_jvp
def _larger(a: Array, b: Array) -> Array:
    """The larger one; NaN is larger than any number. `lax.max` would look for itself in a and b."""
    return lax.max(a, b)


@_larger.defjvp
def _larger_tangent(both: tuple[Array, Array], tangents: Any) -> tuple[Array, Array]:
    (a, b), (da, db) = both, tangents
    return lax.max(a, b), jnp.where(a > b, da, db)


def _backward(windows: Windows, saved: tuple[Array, Array], g: Array) -> tuple[Array]:
    """Each place gets the gradients of the windows whose maximum it holds."""
    place, padded = saved
    (high, wide), (down, across), ((top, bottom), (left, right)) = windows
    _, rows, columns, channels = g.shape
    lines, width = -(-padded.shape[1] // down), -(-padded.shape[2] // across)

    def phase(p: int, q: int) -> Array:
        total = jnp.zeros((len(g), lines, width, channels), g.dtype)
        for i, j in itertools.product(range(p, high, down), range(q, wide, across)):
            part = jnp.where(place == np.uint8(i * wide + j), g, 0)
            shift, aside = i // down, j // across
            around = ((shift, lines - shift - rows, 0), (aside, width - aside - columns, 0))
            total += lax.pad(part, jnp.zeros((), g.dtype), ((0, 0, 0), *around, (0, 0, 0)))
        return total

    phases = [jnp.stack([phase(p, q) for q in range(across)], axis=3) for p in range(down)]
    dx = jnp.stack(phases, axis=2).reshape(len(g), down * lines, across * width, channels)
    return (dx[:, top : padded.shape[1] - bottom, left : padded.shape[2] - right],)


pool.defvjp(_forward, _backward)
