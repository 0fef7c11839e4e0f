"""Layers that every network uses, in formulations that suit the backend, with equal numbers.

XLA:CPU is slow at convolutions with few channels, and at the gradients of maximum pooling,
transposed convolutions, BatchNorm and the softmax of attention. There the layers compute the same
things otherwise; elsewhere they are the plain ones. What is taken where is chosen in this file and
nowhere else. Variables and names are those of Linen's layers everywhere.

Measured on 2 cores with jax 0.10.2 as time of a training step over that of the plain layers:
convolutions of few channels as products with a banded matrix, LeNet 0.6; 3x3 convolutions by
Winograd's method, ResNet-18 0.7, U-Net and the small CNN 0.8, for seconds more of compilation; 2x2
transposed convolutions, a U-Net of depth 2 0.65; those of stride 2 with 3x3 and 4x4 taps, DCGAN
0.36; BatchNorm's gradient, ResNet and U-Net 0.96; attention with its heads in the batch, ViT 0.95.
Forward and gradient of a 1x1 convolution as one product take 0.7 to 0.9 of the plain one's time; of
maxima see `maxima`. What did not pay: the weight gradient of 3x3 convolutions as products of
patches, in blocks or not, 1.1 to 6.3 times what XLA needs since it has YNNPACK; 4x4 convolutions of
stride 2 as products of patches, 1.2 to 2; keeping it from fusing the activation that comes before a
convolution into the transpositions of its gradient, 0.99; strides in the banded matrix; GELU with a
gradient derived by hand, 1.0; in Transformers LayerNorm with one, 0.97 to 1.0 of eight norms and
products; cross-entropy over 8,000 words with one, 1.02 of the output layer and the loss.
"""

import math
import os
from collections.abc import Sequence
from functools import partial, wraps
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from jaxdl.nn.cpu import banded, doubling, maxima, winograd

Array = jax.Array

NHWC = lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))

Padding = str | Sequence[tuple[int, int]]
Pair = tuple[int, int]


def cpu_formulations() -> bool:
    """Whether the formulations of this file are taken: on CPU, but with JAXDL_PLAIN_LAYERS=1.

    The variable is for those who doubt: with it every network is made of Linen's layers. It is read
    when a network is traced, so set it before a program starts.
    """
    return jax.default_backend() == 'cpu' and os.environ.get('JAXDL_PLAIN_LAYERS') != '1'


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

    Under ``jax.default_matmul_precision('highest')`` each of its multiplications is done as such.
    lhs [B, H, W, I], rhs [kh, kw, I, O] -> [B, H', W', O].
    """
    plain = partial(
        lax.conv_general_dilated,
        window_strides=window_strides,
        padding=padding,
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        dimension_numbers=dimension_numbers,
        feature_group_count=feature_group_count,
        precision=precision,
    )
    doubles = tuple(lhs_dilation or ()) == (2, 2) and not isinstance(padding, str)
    dilated = (1,) if doubles or lhs_dilation is None else lhs_dilation
    simple = {1} == {*dilated, *(rhs_dilation or (1,)), feature_group_count}
    if (
        not cpu_formulations()
        or lhs.ndim != 4
        or precision is not None
        or not simple
        or lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers) != NHWC
    ):
        return plain(lhs, rhs)
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(lhs.shape[1:3], rhs.shape[:2], window_strides, padding)
    if (
        not doubles
        and rhs.shape[:2] == (1, 1)
        and not any(side for pair in padding for side in pair)
    ):
        return lhs[:, :: window_strides[0], :: window_strides[1]] @ rhs[0, 0]
    (top, bottom), (left, right) = padding
    pads = ((top, bottom), (left, right))
    config: Any = jax.config
    if (
        set(window_strides) != {1}
        or not lhs.dtype == rhs.dtype == jnp.float32
        or config.jax_default_matmul_precision == 'highest'
    ):
        return plain(lhs, rhs)
    for method in (doubling,) if doubles else (winograd, banded):
        if method.pays(lhs.shape, rhs.shape, pads):
            return method.convolution(lhs, rhs, pads)
    return plain(lhs, rhs)


def max_pool(
    x: Array, window: Pair = (2, 2), *, strides: Pair | None = None, padding: Padding = 'VALID'
) -> Array:
    """Maximum over windows, [B, H, W, C] -> [B, H', W', C]; strides default to the window.

    Where maxima are equal the gradient goes to the first, as in the plain formulation.
    """
    strides = strides or window
    plain = partial(nn.max_pool, x, window_shape=window, strides=strides)
    if not cpu_formulations() or x.ndim != 4 or not jnp.issubdtype(x.dtype, jnp.floating):
        return plain(padding=padding)
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(x.shape[1:3], window, strides, padding)
    (top, bottom), (left, right) = padding
    windows = maxima.Windows(window, strides, ((top, bottom), (left, right)))
    return maxima.pool(windows, x) if windows.fit(x.shape) else plain(padding=padding)


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


class ConvTranspose(nn.ConvTranspose):
    """`nn.ConvTranspose`; where the windows tile the output it is one product and a reshaping.

    One of stride 2 is a `convolution` of the image with a zero between neighbours.
    """

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        """[B, H, W, C] -> [B, H', W', features]."""
        size, strides = _pair(self.kernel_size), _pair(self.strides or 1)
        tiles = size == strides and self.padding in ('VALID', 'SAME')
        around = _doubled_padding(size, self.padding) if strides == (2, 2) else None
        given = (self.kernel_dilation, self.mask, self.dtype, self.precision)
        if (
            not cpu_formulations()
            or inputs.ndim != 4
            or isinstance(self.kernel_size, int)
            or not (tiles or (around and inputs.dtype == self.param_dtype == jnp.float32))
            or any(option is not None for option in (*given, self.preferred_element_type))
            or self.transpose_kernel
        ):
            return super().__call__(inputs)
        (batch, rows, columns, channels), (high, wide) = inputs.shape, size
        shape = (high, wide, channels, self.features)
        w = self.param('kernel', self.kernel_init, shape, self.param_dtype)
        if not tiles:
            assert around is not None
            y = convolution(inputs, w, (1, 1), around, lhs_dilation=strides, dimension_numbers=NHWC)
            return self._biased(y)
        # As lax.conv_transpose has it: the kernel's first tap is the window's last place.
        taps = w[::-1, ::-1].transpose(2, 0, 1, 3).reshape(channels, -1)
        y = (inputs.reshape(-1, channels) @ taps).reshape(batch, rows, columns, high, wide, -1)
        return self._biased(
            y.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows * high, columns * wide, -1)
        )

    def _biased(self, y: Array) -> Array:
        if not self.use_bias:
            return y
        bias = self.param('bias', self.bias_init, (self.features,), self.param_dtype)
        return y + _wide(bias, y)


def _pair(sides: int | Sequence[int]) -> tuple[int, ...]:
    return (sides, sides) if isinstance(sides, int) else tuple(sides)


def _doubled_padding(size: Sequence[int], padding: Any) -> tuple[Pair, Pair] | None:
    """What `nn.ConvTranspose` of stride 2 pads the image with zeros between by; None if unknown."""
    if padding == 'SAME' and all(taps > 1 for taps in size):
        high, wide = ((taps - taps // 2, taps // 2) for taps in size)
        return high, wide
    if isinstance(padding, str | int) or any(isinstance(pair, int) for pair in padding):
        return None
    (top, bottom), (left, right) = padding
    return (top, bottom), (left, right)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _normalise(x: Array, scale: Array, bias: Array, epsilon: float) -> tuple[Array, Array, Array]:
    """x [..., C] normalised over all axes but the last, with its mean and variance [C]."""
    return _normalise_forward(x, scale, bias, epsilon)[0]


def _normalise_forward(x: Array, scale: Array, bias: Array, epsilon: float) -> Any:
    axes = tuple(range(x.ndim - 1))
    # One pass, and no difference of large numbers: deviations are from the mean of the first image,
    # not from zero, which would cost all digits where the mean is a thousand deviations.
    shift = x[0].mean(axes[:-1])
    deviation = x - _wide(shift, x)
    offset = deviation.mean(axes)
    variance = jnp.maximum(0, (deviation * deviation).mean(axes) - offset * offset)
    mean = shift + offset
    rate = lax.rsqrt(variance + epsilon)
    y = (x - _wide(mean, x)) * _wide(rate * scale, x) + _wide(bias, x)
    return (y, mean, variance), (x, mean, rate, scale)


def _normalise_backward(epsilon: float, saved: Any, gradients: Any) -> tuple[Array, Array, Array]:
    """dx = a g + b x + c, with numbers a, b and c for each channel."""
    (g, g_mean, g_variance), (x, mean, rate, scale) = gradients, saved
    axes, n = tuple(range(x.ndim - 1)), x.size // x.shape[-1]
    d_bias = g.sum(axes)
    d_scale = (g * (x - _wide(mean, x))).sum(axes) * rate
    a = scale * rate
    b = (2 * g_variance - a * rate * d_scale) / n
    c = (g_mean - a * d_bias) / n - mean * b
    return _wide(a, x) * g + _wide(b, x) * x + _wide(c, x), d_scale, d_bias


_normalise.defvjp(_normalise_forward, _normalise_backward)


def _wide(channels: Array, x: Array) -> Array:
    return jnp.expand_dims(channels, tuple(range(x.ndim - 1)))


class BatchNorm(nn.BatchNorm):
    """`nn.BatchNorm` with torch's momentum and, on CPU, a gradient derived by hand.

    The variance keeps its digits where the mean is large: it is no difference of two means. The
    running one is that of the batch, divided by n; torch's is divided by n - 1.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    use_fast_variance: bool = False

    @nn.compact
    def __call__(
        self, x: Array, use_running_average: bool | None = None, *, mask: Array | None = None
    ) -> Array:
        """x [..., C] -> [..., C]."""
        running = nn.merge_param(
            'use_running_average', self.use_running_average, use_running_average
        )
        if (
            not cpu_formulations()
            or running
            or mask is not None
            or x.dtype != jnp.float32
            or self.axis != -1
            or self.dtype not in (None, jnp.float32)
            or self.param_dtype != jnp.float32
            or self.axis_name is not None
            or self.use_fast_variance
        ):
            return super().__call__(x, use_running_average, mask=mask)
        width = (x.shape[-1],)
        old_mean = self.variable('batch_stats', 'mean', jnp.zeros, width)
        old_variance = self.variable('batch_stats', 'var', jnp.ones, width)
        scale = self.param('scale', self.scale_init, width) if self.use_scale else jnp.ones(width)
        bias = self.param('bias', self.bias_init, width) if self.use_bias else jnp.zeros(width)
        y, mean, variance = _normalise(x, scale, bias, self.epsilon)
        if not self.is_initializing():
            for old, new in ((old_mean, mean), (old_variance, variance)):
                old.value = self.momentum * old.value + (1 - self.momentum) * new
        return y


class LayerNorm(nn.LayerNorm):
    """`nn.LayerNorm` over the last axis, exact where the mean is large.

    What is added to all features changes nothing, so the mean is taken off first, and Linen's
    variance is no difference of two large numbers. A ViT's step on CPU takes 0.96 to 1.03 of
    before; with Linen's own variance in two passes 1.09.
    """

    @nn.compact
    def __call__(self, x: Array, *, mask: Array | None = None) -> Array:
        """x [..., C] -> [..., C]."""
        return super().__call__(x - lax.stop_gradient(x.mean(-1, keepdims=True)), mask=mask)


@wraps(nn.dot_product_attention, assigned=())  # Linen passes the options that a signature names
def attention(query: Array, key: Array, value: Array, **options: Any) -> Array:
    """`nn.dot_product_attention`, for ``nn.MultiHeadDotProductAttention(attention_fn=attention)``.

    query [B, Q, H, D], key and value [B, K, H, D] -> [B, Q, H, D].
    """
    asked = {name for name, value in options.items() if value is not None and value is not False}
    asked -= {'deterministic', 'broadcast_dropout', 'dropout_rng', 'dropout_rate'}
    drops = options.get('dropout_rate', 0) > 0 and not options.get('deterministic', False)
    if (
        not cpu_formulations()
        or asked
        or drops
        or query.ndim != 4
        or {query.dtype, key.dtype, value.dtype} != {jnp.dtype('float32')}
    ):
        return nn.dot_product_attention(query, key, value, **options)
    batch, _, heads, depth = query.shape

    def by_head(x: Array) -> Array:  # [B H, T, D]
        return x.swapaxes(1, 2).reshape(batch * heads, -1, x.shape[-1])

    q, k, v = by_head(query / math.sqrt(depth)), by_head(key), by_head(value)
    y = softmax(q @ k.swapaxes(1, 2)) @ v
    return y.reshape(batch, heads, *y.shape[1:]).swapaxes(1, 2)


@jax.custom_vjp
def softmax(x: Array) -> Array:
    """exp(x_i) / sum_j exp(x_j) over the last axis, with a gradient derived by hand."""
    return jax.nn.softmax(x)


def _softmax_forward(x: Array) -> tuple[Array, Array]:
    y = jax.nn.softmax(x)
    return y, y


def _softmax_backward(y: Array, g: Array) -> tuple[Array]:
    return (y * (g - (y * g).sum(-1, keepdims=True)),)


softmax.defvjp(_softmax_forward, _softmax_backward)

Conv = partial(nn.Conv, conv_general_dilated=convolution)
Dense = nn.Dense
