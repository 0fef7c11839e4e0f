"""The generator of pix2pix (Isola et al. 2017, appendix 6.1.1): a U-Net down to one pixel.

Its discriminator is `jaxdl.models.cyclegan.PatchGAN`, which sees x and y as one image's channels.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.models.cyclegan import batch_norm, normal
from jaxdl.nn.layers import Conv, ConvTranspose

Array = jax.Array
Layer = Callable[..., Any]


class UNetGenerator(nn.Module):
    """An image into another of the same size, with skips between levels of one size.

        down  4x4 convolutions of stride 2, maps 64, 128, 256, then 512 until one pixel is left
        up    4x4 transposed ones back, each of the maps below beside those of its level; a tanh

    On the way down a LeakyReLU (slope 0.2) stands before all convolutions but the first and a norm
    after all but the first and the last; on the way up a ReLU before, and a norm after all but the
    last. 54,413,955 parameters with 8 levels.

    base: maps of the first level; later ones have twice as many each, up to 8 base.
    depth: levels, 5 or more; sides must be multiples of 2^depth.
    norm: norm(name=, train=) -> a layer.
    dropout: share of units dropped on the way up, where levels have 8 base maps, but in the lowest;
        the noise of a generator that is given none else.
    """

    base: int = 64
    depth: int = 8
    channels: int = 3
    norm: Layer = batch_norm
    dropout: float = 0.5

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, H, W, C], -1..1 -> [B, H, W, channels], -1..1."""
        high, wide = x.shape[1:3]
        if self.depth < 5 or high % 2**self.depth or wide % 2**self.depth:
            raise ValueError(
                f'depth={self.depth} on {high}x{wide}: it is 5 or more, and sides are multiples of '
                f'{2**self.depth}'
            )
        half = partial(
            Conv, kernel_size=(4, 4), strides=2, padding=1, use_bias=False, kernel_init=normal
        )
        twice = partial(
            ConvTranspose,
            kernel_size=(4, 4),
            strides=(2, 2),
            padding=((2, 2), (2, 2)),
            kernel_init=normal,
        )
        widths = [self.base * min(2**i, 8) for i in range(self.depth)]
        skips: list[Array] = []
        for i, width in enumerate(widths, 1):
            if i > 1:
                skips.append(x)
                x = nn.leaky_relu(x, 0.2)
            x = half(width, name=f'down{i}')(x)
            if 1 < i < self.depth:
                x = self.norm(name=f'down{i}_norm', train=train)(x)
        for i in range(self.depth, 1, -1):
            x = twice(widths[i - 2], use_bias=False, name=f'up{i}')(nn.relu(x))
            x = self.norm(name=f'up{i}_norm', train=train)(x)
            if 4 < i < self.depth:
                x = nn.Dropout(self.dropout, deterministic=not train)(x)
            x = jnp.concatenate((skips.pop(), x), axis=-1)
        return jnp.tanh(twice(self.channels, name='up1')(nn.relu(x)))
