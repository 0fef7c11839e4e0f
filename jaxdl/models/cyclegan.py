"""The networks of CycleGAN (Zhu et al. 2017, appendix 7.2): ResNet generators and PatchGANs.

As in the authors' PyTorch implementation: instance norm without parameters, kernels drawn from
N(0, 0.02), biases in all convolutions.
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

normal = initializers.normal(0.02)
conv = partial(Conv, kernel_init=normal)


def instance_norm(*, name: str, train: bool) -> nn.Module:
    """Instance norm without parameters (Ulyanov et al. 2016), the same in training and after."""
    return nn.InstanceNorm(
        epsilon=1e-5, use_bias=False, use_scale=False, use_fast_variance=False, name=name
    )


def batch_norm(*, name: str, train: bool) -> nn.Module:
    """BatchNorm, in the form that these networks take their norms."""
    return BatchNorm(use_running_average=not train, name=name)


def reflected(x: Array, pixels: int) -> Array:
    """Images [B, H, W, C] mirrored beyond their edges, the edge pixels once."""
    return jnp.pad(x, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)), mode='reflect')


class TranslationBlock(nn.Module):
    """Two 3x3 convolutions of the mirrored image with norms, a ReLU between, and a sum."""

    width: int
    conv: Layer = conv
    norm: Layer = instance_norm

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, H, W, width] -> the same."""
        valid = partial(self.conv, self.width, (3, 3), padding='VALID')
        y = self.norm(name='norm1', train=train)(valid(name='conv1')(reflected(x, 1)))
        y = valid(name='conv2')(reflected(nn.relu(y), 1))
        return x + self.norm(name='norm2', train=train)(y)


class ResNetGenerator(nn.Module):
    """An image into another of the same size, through residual blocks on a smaller one.

        layer                                        output on 256x256x3
        7x7 convolution of the mirrored image        256x256x64
        3x3 convolution of stride 2, twice           64x64x256
        9 blocks                                     64x64x256
        3x3 transposed convolution, twice            256x256x64
        7x7 convolution of the mirrored one, tanh    256x256x3

    A norm and a ReLU follow each convolution but the last. 11,378,179 parameters with 9 blocks (for
    256x256), 7,837,699 with 6 (for 128x128).

    base: maps of the first convolution. downs: convolutions of stride 2, each of which has twice
    the maps; sides must be multiples of 2^downs. channels: of the result.
    conv: those that a norm follows; their biases do nothing, and the authors' have them.
    norm: norm(name=, train=) -> a layer.
    """

    blocks: int = 9
    base: int = 64
    downs: int = 2
    channels: int = 3
    conv: Layer = conv
    norm: Layer = instance_norm

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, H, W, C], -1..1 -> [B, H, W, channels], -1..1."""
        high, wide = x.shape[1:3]
        if high % 2**self.downs or wide % 2**self.downs:
            raise ValueError(f'{high}x{wide}: sides must be multiples of {2**self.downs}')

        def act(x: Array, name: str) -> Array:
            return nn.relu(self.norm(name=name, train=train)(x))

        x = act(
            self.conv(self.base, (7, 7), padding='VALID', name='first')(reflected(x, 3)),
            'first_norm',
        )
        for i in range(1, self.downs + 1):
            width = self.base << i
            x = self.conv(width, (3, 3), strides=2, padding=1, name=f'down{i}')(x)
            x = act(x, f'down{i}_norm')
        for i in range(1, self.blocks + 1):
            block = TranslationBlock(self.base << self.downs, conv=self.conv, norm=self.norm)
            x = block.copy(name=f'block{i}')(x, train=train)
        for i in range(1, self.downs + 1):
            # PyTorch's padding of 1 and output padding of 1: the result is twice as large.
            up = ConvTranspose(
                self.base << (self.downs - i),
                (3, 3),
                strides=(2, 2),
                padding=((1, 2), (1, 2)),
                kernel_init=normal,
                name=f'up{i}',
            )
            x = act(up(x), f'up{i}_norm')
        last = conv(self.channels, (7, 7), padding='VALID', name='last')
        return jnp.tanh(last(reflected(x, 3)))


class PatchGAN(nn.Module):
    """A discriminator of patches: logits, each of which sees 70x70 pixels (Isola et al. 2017).

    4x4 convolutions with padding 1 and LeakyReLU (slope 0.2): `layers` of stride 2, with twice the
    maps each up to 8 `base`, one of stride 1, and one to a single map. 2,764,737 parameters.

    layers: 3 for patches of 70x70, 2 for 34x34, 1 for 16x16.
    conv: those that a norm follows; the first and the last have none.
    norm: norm(name=, train=) -> a layer.
    """

    base: int = 64
    layers: int = 3
    conv: Layer = conv
    norm: Layer = instance_norm

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, H, W, C] -> logits [B, H', W', 1], about an eighth of H and W."""
        act = partial(nn.leaky_relu, negative_slope=0.2)
        x = act(conv(self.base, (4, 4), strides=2, padding=1, name='conv1')(x))
        for i in range(2, self.layers + 2):
            width, stride = self.base * min(2 ** (i - 1), 8), 2 if i <= self.layers else 1
            x = self.conv(width, (4, 4), strides=stride, padding=1, name=f'conv{i}')(x)
            x = act(self.norm(name=f'norm{i}', train=train)(x))
        return conv(1, (4, 4), padding=1, name='score')(x)
