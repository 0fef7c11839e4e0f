"""The U-Net of denoising diffusion (Ho et al. 2020, appendix B), for `jaxdl.diffusion`.

Residual blocks with group norm and swish, told the step of the diffusion; self-attention of one
head on maps of some sizes. `DenoisingUNet()` is that of CIFAR-10, of 35,746,307 parameters.
"""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn import initializers

from jaxdl.nn.layers import Conv, Dense

Array = jax.Array

zeros = initializers.zeros
EPSILON = 1e-6  # of the norms, as the authors have it
uniform = initializers.variance_scaling(1.0, 'fan_avg', 'uniform')


def step_embedding(steps: Array, width: int) -> Array:
    """Sines and cosines of steps of a diffusion, [B] -> [B, width] (Vaswani 2017, section 3.5).

    Wave i of width / 2 has the frequency 10000^(-i / (width / 2 - 1)).
    """
    half = width // 2
    frequencies = jnp.exp(-math.log(10_000) * jnp.arange(half) / (half - 1))
    angles = steps.astype(jnp.float32)[:, None] * frequencies[None]
    return jnp.concatenate((jnp.sin(angles), jnp.cos(angles)), axis=-1)


class Residual(nn.Module):
    """Two 3x3 convolutions, told the step between them; x comes back in at the end.

    The last convolution starts from zero, so that the block starts as its shortcut.
    """

    width: int
    groups: int = 32
    dropout: float = 0.1

    @nn.compact
    def __call__(self, x: Array, told: Array, *, train: bool = False) -> Array:
        """[B, H, W, C], [B, n] -> [B, H, W, width]."""
        h = nn.swish(nn.GroupNorm(self.groups, epsilon=EPSILON, name='norm1')(x))
        h = Conv(self.width, (3, 3), kernel_init=uniform, name='conv1')(h)
        told = Dense(self.width, kernel_init=uniform, name='told')(nn.swish(told))
        h = nn.swish(
            nn.GroupNorm(self.groups, epsilon=EPSILON, name='norm2')(h + told[:, None, None])
        )
        h = nn.Dropout(self.dropout)(h, deterministic=not train)
        h = Conv(self.width, (3, 3), kernel_init=zeros, name='conv2')(h)
        if x.shape[-1] != self.width:
            x = Conv(self.width, (1, 1), kernel_init=uniform, name='shortcut')(x)
        return x + h


class MapAttention(nn.Module):
    """Self-attention of one head over the positions of a map, added to it."""

    groups: int = 32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, C] -> the same; it starts as the identity."""
        batch, *_, channels = x.shape
        h = nn.GroupNorm(self.groups, epsilon=EPSILON, name='norm')(x)
        query, key, value = (
            Conv(channels, (1, 1), kernel_init=uniform, name=name)(h).reshape(batch, -1, channels)
            for name in ('query', 'key', 'value')
        )
        weights = jax.nn.softmax(query @ key.mT / math.sqrt(channels), axis=-1)
        h = (weights @ value).reshape(x.shape)
        return x + Conv(channels, (1, 1), kernel_init=zeros, name='out')(h)


class DenoisingUNet(nn.Module):
    """Noise from noisy images and the step of each (Ho et al. 2020, appendix B).

    channels: of the images. width: maps of the first level. levels: how many times that each level
    has; each is half as large as the one before. blocks: residual blocks of a level, one more on
    the way up. attention: sides of the maps that attend. groups: of the norms; they divide the
    maps of every level.
    """

    channels: int = 3
    width: int = 128
    levels: Sequence[int] = (1, 2, 2, 2)
    blocks: int = 2
    attention: Sequence[int] = (16,)
    groups: int = 32
    dropout: float = 0.1

    @nn.compact
    def __call__(self, x: Array, steps: Array, *, train: bool = False) -> Array:
        """[B, H, W, channels], int [B] -> [B, H, W, channels].

        H and W are multiples of 2^(levels - 1). Raises ValueError for others.
        """
        halvings = len(self.levels) - 1
        if any(side % 2**halvings for side in x.shape[1:3]):
            raise ValueError(
                f'a map of {x.shape[1]}x{x.shape[2]} cannot be halved {halvings} times; '
                f'sides are multiples of {2**halvings}'
            )

        def block(x: Array, width: int, name: str, *, attends: bool) -> Array:
            x = Residual(width, self.groups, self.dropout, name=name)(x, told, train=train)
            return MapAttention(self.groups, name=f'{name}_attention')(x) if attends else x

        told = step_embedding(steps, self.width).astype(x.dtype)
        told = nn.swish(Dense(4 * self.width, kernel_init=uniform, name='step1')(told))
        told = Dense(4 * self.width, kernel_init=uniform, name='step2')(told)
        x = Conv(self.width, (3, 3), kernel_init=uniform, name='inc')(x)
        skips = [x]
        for level, times in enumerate(self.levels):
            for i in range(self.blocks):
                attends = x.shape[1] in self.attention
                x = block(x, times * self.width, f'down{level}_{i}', attends=attends)
                skips.append(x)
            if level < halvings:
                x = self._half(x, f'down{level}')
                skips.append(x)
        x = block(x, x.shape[-1], 'middle0', attends=True)
        x = block(x, x.shape[-1], 'middle1', attends=False)
        for level, times in reversed([*enumerate(self.levels)]):
            for i in range(self.blocks + 1):
                attends = x.shape[1] in self.attention
                x = jnp.concatenate((x, skips.pop()), axis=-1)
                x = block(x, times * self.width, f'up{level}_{i}', attends=attends)
            if level:
                x = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
                x = Conv(x.shape[-1], (3, 3), kernel_init=uniform, name=f'up{level}')(x)
        x = nn.swish(nn.GroupNorm(self.groups, epsilon=EPSILON, name='norm')(x))
        return Conv(self.channels, (3, 3), kernel_init=zeros, name='out')(x)

    def _half(self, x: Array, name: str) -> Array:
        """A 3x3 convolution of stride 2; what it lacks at the edges is below and on the right."""
        edges = [(0, 1), (0, 1)]
        conv = Conv(x.shape[-1], (3, 3), (2, 2), padding=edges, kernel_init=uniform, name=name)
        return conv(x)
