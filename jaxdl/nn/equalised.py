"""Layers of equal learning rates, plain and modulated, as StyleGAN2 has them.

Weights are drawn from N(0, 1) and scaled where they are used, by 1 / sqrt(fan in): so all of them
learn at one rate (Karras et al. 2018, section 4.1). Those of modulated convolutions are scaled by
the demodulation.
"""

import math
from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
from flax.linen.initializers import constant, normal, zeros
from jax import lax

from jaxdl.nn.layers import NHWC, convolution
from jaxdl.nn.resample import downsample, upfirdn

Array = jax.Array
conv = partial(convolution, dimension_numbers=NHWC)


def leaky(x: Array) -> Array:
    """Leaky ReLU of slope 0.2, times sqrt(2): of N(0, 1) the output's mean square is about 1."""
    return nn.leaky_relu(x, 0.2) * math.sqrt(2)


class EqualDense(nn.Module):
    """y = (r / sqrt(I)) x W + r b, with W ~ N(0, 1 / r^2) and r the rate.

    rate: how fast it learns relative to others. start: what the bias is at first.
    """

    features: int
    rate: float = 1.0
    start: float = 0.0

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, I] -> [B, features]."""
        kernel = self.param('kernel', normal(1 / self.rate), (x.shape[-1], self.features))
        bias = self.param('bias', constant(self.start), (self.features,))
        return x @ kernel * (self.rate / math.sqrt(x.shape[-1])) + self.rate * bias[None]


class EqualConv(nn.Module):
    """A zero padded convolution whose weights are scaled by 1 / sqrt(fan in); with `down` halved.

    Before it is halved the image is filtered with [1, 3, 3, 1].
    """

    features: int
    kernel_size: int = 3
    use_bias: bool = True
    down: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, I] -> [B, H, W, features], or [B, H / 2, W / 2, features]."""
        k, inputs = self.kernel_size, x.shape[-1]
        kernel = self.param('kernel', normal(1.0), (k, k, inputs, self.features))
        kernel = kernel / math.sqrt(k * k * inputs)
        if not self.down:
            x = conv(x, kernel, (1, 1), 'SAME')
        elif k == 1:
            x = conv(downsample(x), kernel, (1, 1), 'VALID')
        else:  # one pixel more on each side, for the convolution, than in `downsample`
            x = upfirdn(x, padding=(1 + k // 2, 1 + k // 2))
            x = conv(x, kernel, (2, 2), 'VALID')
        if self.use_bias:
            x += self.param('bias', zeros, (self.features,))[None, None, None]
        return x


def convolve(x: Array, kernel: Array) -> Array:
    """A zero padded convolution of stride 1: [B, H, W, I], [k, k, I, O] -> [B, H, W, O]."""
    return conv(x, kernel, (1, 1), 'SAME')


def convolve_up(x: Array, kernel: Array) -> Array:
    """Of twice the size: [B, H, W, I], [3, 3, I, O] -> [B, 2 H, 2 W, O].

    The transposed convolution of stride 2, filtered with [1, 3, 3, 1].
    """
    x = conv(x, kernel, (1, 1), ((2, 2), (2, 2)), lhs_dilation=(2, 2))
    return 4 * upfirdn(x, padding=(1, 1))


def modulate(
    x: Array,
    kernel: Array,
    style: Array,
    *,
    convolve: Callable[[Array, Array], Array] = convolve,
    demodulate: bool = True,
) -> Array:
    """A convolution with kernels of each image's own (Karras et al. 2020, eq. 1 and 3).

        w'_ijk = s_i w_ijk,   w''_ijk = w'_ijk / sqrt(sum_ik w'_ijk^2 + 1e-8)

    x [B, H, W, I], kernel [k, k, I, O], style s [B, I] -> [B, H', W', O]. What s does to inputs and
    the root to outputs is done to the images: equal, because a convolution is linear. With kernels
    it would be a convolution with a group for each image, which XLA:CPU runs slowly.
    demodulate: whether to divide by the root: then the outputs for x ~ N(0, 1) have variance one.
    """
    y = convolve(x * style[:, None, None], kernel)
    if demodulate:
        squares = (kernel**2).sum((0, 1))
        y *= lax.rsqrt(style**2 @ squares + 1e-8)[:, None, None]
    return y
