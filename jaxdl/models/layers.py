"""Layers that every network uses, in formulations that suit the backend, with equal numbers.

XLA:CPU is slow at convolutions with few channels, such as the first ones on grey images, and at the
gradient of maximum pooling. There `convolution` and `max_pool` compute the same things otherwise:
a training step of LeNet on 28x28 images takes half the time. Elsewhere they are the plain ones.
What is taken where is chosen in this file and nowhere else.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

Array = jax.Array

NHWC = lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))


# Input channels up to which the other formulations are faster. Measured on 2 cores with the 5x5
# kernels of LeNet, batch 128: forward of the first 9.5 -> 2.6 ms, of the second the same; input
# gradient of the second 6.1 -> 3.3 ms.
FEW_TO_MULTIPLY = 4
FEW_TO_SCATTER = 8


def convolution(
    lhs: Array,
    rhs: Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    precision: Any = None,
) -> Array:
    """`lax.conv_general_dilated`, for ``nn.Conv(conv_general_dilated=convolution)``.

    lhs [B, H, W, I], rhs [kh, kw, I, O] -> [B, H', W', O].
    """
    steps = (*window_strides, *(lhs_dilation or ()), *(rhs_dilation or ()), feature_group_count)
    simple = lhs.ndim == 4 and precision is None and all(step == 1 for step in steps)
    if (
        jax.default_backend() == 'cpu'
        and simple
        and lhs.shape[-1] <= FEW_TO_SCATTER
        and lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers) == NHWC
    ):
        if isinstance(padding, str):
            padding = lax.padtype_to_pads(lhs.shape[1:3], rhs.shape[:2], (1, 1), padding)
        if all(side >= 0 for pair in padding for side in pair):
            x = lax.pad(
                lhs, jnp.zeros((), lhs.dtype), ((0, 0, 0), *((*p, 0) for p in padding), (0, 0, 0))
            )
            return _few_channels(x, rhs)
    return lax.conv_general_dilated(
        lhs,
        rhs,
        window_strides,
        padding,
        lhs_dilation,
        rhs_dilation,
        dimension_numbers,
        feature_group_count,
        precision=precision,
    )


def _plain(x: Array, w: Array) -> Array:
    return lax.conv_general_dilated(
        x, w, (1, 1), 'VALID', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    )


@jax.custom_vjp
def _few_channels(x: Array, w: Array) -> Array:
    """A valid convolution of stride 1, as one product of taps where there are very few channels."""
    kh, kw, inputs, outputs = w.shape
    if inputs > FEW_TO_MULTIPLY:
        return _plain(x, w)
    batch, rows, columns = x.shape[0], x.shape[1] - kh + 1, x.shape[2] - kw + 1
    maps = jnp.moveaxis(x, -1, 0)
    # Taps before positions: rows of the product's operand are then contiguous pieces of the image.
    taps = [maps[:, :, i : i + rows, j : j + columns] for i in range(kh) for j in range(kw)]
    positions = jnp.concatenate(taps).reshape(kh * kw * inputs, -1)
    y = w.reshape(-1, outputs).T @ positions
    return jnp.moveaxis(y.reshape(outputs, batch, rows, columns), 0, -1)


def _forward(x: Any, w: Any) -> tuple[Array, tuple[Array, Array, tuple[()] | None]]:
    # Whether anything asks for the gradient of x: nothing does where x is the data.
    asked = () if x.perturbed else None
    return _few_channels(x.value, w.value), (x.value, w.value, asked)


def _backward(
    saved: tuple[Array, Array, tuple[()] | None], g: Array
) -> tuple[Array | None, Array | None]:
    """dw as XLA has it; dx by adding each tap's product with the gradient where it came from."""
    x, w, asked = saved
    if isinstance(g, SymbolicZero):
        return None, None
    (dw,) = jax.linear_transpose(lambda w: _plain(x, w), w)(g)
    if asked is None:
        return None, dw
    (kh, kw, inputs, outputs), (batch, rows, columns, _) = w.shape, g.shape
    products = g.reshape(-1, outputs) @ w.reshape(-1, outputs).T
    products = products.reshape(batch, rows, columns, kh * kw, inputs)
    dx = jnp.zeros_like(x)
    for i in range(kh):
        for j in range(kw):
            dx = dx.at[:, i : i + rows, j : j + columns].add(products[:, :, :, i * kw + j])
    return dx, dw


_few_channels.defvjp(_forward, _backward, symbolic_zeros=True)


Padding = str | Sequence[tuple[int, int]]
Pair = tuple[int, int]


def max_pool(
    x: Array, window: Pair = (2, 2), *, strides: Pair | None = None, padding: Padding = 'VALID'
) -> Array:
    """Maximum over windows, [B, H, W, C] -> [B, H', W', C]; strides default to the window.

    Where maxima are equal the gradient goes to the first, as in the plain formulation.
    """
    strides = strides or window
    if jax.default_backend() == 'cpu' and x.ndim == 4 and padding == 'VALID':
        if window == strides == (2, 2):
            return _max_pool(x)
    return nn.max_pool(x, window_shape=window, strides=strides, padding=padding)


@jax.custom_vjp
def _max_pool(x: Array) -> Array:
    return nn.max_pool(x, window_shape=(2, 2), strides=(2, 2))


def _pool_forward(x: Array) -> Any:
    y = _max_pool(x)
    return y, (x, y)


def _pool_backward(saved: Any, g: Array) -> tuple[Array]:
    x, y = saved
    (batch, high, wide, channels), (_, rows, columns, _) = x.shape, y.shape
    inner = x[:, : 2 * rows, : 2 * columns].reshape(batch, rows, 2, columns, 2, channels)
    a, b, c, d = (inner[:, :, i, :, j] == y for i in (0, 1) for j in (0, 1))
    first = (a, b & ~a, c & ~(a | b), d & ~(a | b | c))
    parts = [jnp.where(hit, g, 0) for hit in first]
    top, bottom = (jnp.stack(parts[i : i + 2], axis=3) for i in (0, 2))
    out = jnp.stack((top, bottom), axis=2).reshape(batch, 2 * rows, 2 * columns, channels)
    return (jnp.pad(out, ((0, 0), (0, high - 2 * rows), (0, wide - 2 * columns), (0, 0))),)


_max_pool.defvjp(_pool_forward, _pool_backward)


def average_pool(
    x: Array,
    window: Pair = (2, 2),
    *,
    strides: Pair | None = None,
    padding: Padding = 'VALID',
    count_padding: bool = True,
) -> Array:
    """Mean over windows, [B, H, W, C] -> [B, H', W', C]; strides default to the window.

    count_padding: whether padded zeros count as elements of the mean.
    """
    strides = strides or window
    if window == strides == (2, 2) and padding == 'VALID':
        batch, high, wide, channels = x.shape
        rows, columns = high // 2, wide // 2
        inner = x[:, : 2 * rows, : 2 * columns].reshape(batch, rows, 2, columns, 2, channels)
        return inner.mean((2, 4))
    return nn.avg_pool(x, window, strides, padding, count_include_pad=count_padding)


Conv = partial(nn.Conv, conv_general_dilated=convolution)
ConvTranspose = nn.ConvTranspose
Dense = nn.Dense
BatchNorm = partial(nn.BatchNorm, momentum=0.9, epsilon=1e-5)
