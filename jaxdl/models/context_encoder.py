"""The context encoder (Pathak et al. 2016): what belongs into the hole of an image.

The networks for a hole in the middle, as in the authors' code (figure 9 of the paper, whose layer
that joins channels is a 4x4 convolution to a vector there).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn import initializers

from jaxdl.nn.layers import BatchNorm, Conv, ConvTranspose

Array = jax.Array
Layer = Callable[..., Any]

conv = partial(Conv, kernel_size=(4, 4), use_bias=False, kernel_init=initializers.normal(0.02))
up = partial(
    ConvTranspose, kernel_size=(4, 4), use_bias=False, kernel_init=initializers.normal(0.02)
)
leaky = partial(nn.leaky_relu, negative_slope=0.2)


class ContextEncoder(nn.Module):
    """An image with a hole in its middle -> the middle, a half as high and as wide.

        layer                                   output on 128x128x3
        5 convolutions of stride 2              64x64x64, 32x32x64, 16x16x128, 8x8x256, 4x4x512
        convolution over all places             1x1x4000
        transposed convolution from there       4x4x512
        4 of stride 2, the last with a tanh     8x8x256, 16x16x128, 32x32x64, 64x64x3

    Kernels are 4x4. A norm after all but the first and the last layer; LeakyReLU (slope 0.2) on the
    way down, ReLU on the way up.

    base: maps of the first two layers. bottleneck: units of the vector.
    depth: convolutions of stride 2; the image has sides of 4 x 2^depth.
    """

    base: int = 64
    bottleneck: int = 4000
    depth: int = 5
    channels: int = 3
    norm: Layer = BatchNorm

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, S, S, C], -1..1 -> the middle [B, S/2, S/2, channels], -1..1."""
        side = 4 * 2**self.depth
        if x.shape[1:3] != (side, side):
            size = f'{x.shape[1]}x{x.shape[2]}'
            raise ValueError(f'depth={self.depth} is for images of {side}x{side}, not {size}')
        norm = partial(self.norm, use_running_average=not train)
        # Maps of the levels: two of base, then twice as many each.
        widths = [self.base << max(0, i - 1) for i in range(self.depth)]
        for i, width in enumerate(widths, 1):
            x = conv(width, strides=2, padding=1, name=f'down{i}')(x)
            x = leaky(norm(name=f'down{i}_norm')(x) if i > 1 else x)
        x = conv(self.bottleneck, padding='VALID', name='code')(x)
        x = leaky(norm(name='code_norm')(x))
        x = nn.relu(norm(name='up0_norm')(up(widths[-1], padding='VALID', name='up0')(x)))
        for i, width in enumerate([*reversed(widths[1:-1]), self.channels], 1):
            # PyTorch's padding of 1: the result is twice as large.
            x = up(width, strides=(2, 2), padding=((2, 2), (2, 2)), name=f'up{i}')(x)
            x = nn.relu(norm(name=f'up{i}_norm')(x)) if i < self.depth - 1 else x
        return jnp.tanh(x)


class ContextCritic(nn.Module):
    """The context encoder's discriminator of the middle: DCGAN's, with logits.

    `depth` 4x4 convolutions of stride 2 down to 4x4, with norms after all but the first, and one
    over all places. Images have sides of 4 x 2^depth.
    """

    base: int = 64
    depth: int = 4
    norm: Layer = BatchNorm

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, S, S, C] -> logits [B, 1]."""
        for i in range(self.depth):
            x = conv(self.base << i, strides=2, padding=1, name=f'conv{i + 1}')(x)
            if i:
                x = self.norm(use_running_average=not train, name=f'norm{i + 1}')(x)
            x = leaky(x)
        return conv(1, padding='VALID', name='score')(x).reshape(len(x), -1)
