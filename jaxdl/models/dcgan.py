"""DCGAN (Radford et al. 2016): up-convolutions make an image, strided convolutions judge it.

As in PyTorch's examples at 64x64, with width 64, 100 latents and 3 channels:

    generator                          output   parameters
    latents                           1x1x100
    4x4 up-convolution, BN, ReLU      4x4x512      820,224
    4x4 up-convolution /2, BN, ReLU   8x8x256    2,097,664
    4x4 up-convolution /2, BN, ReLU 16x16x128      524,544
    4x4 up-convolution /2, BN, ReLU  32x32x64      131,200
    4x4 up-convolution /2, tanh       64x64x3        3,072
    total                                        3,576,704

    discriminator                      output   parameters
    4x4 convolution /2, LeakyReLU    32x32x64        3,072
    4x4 conv. /2, BN, LeakyReLU     16x16x128      131,328
    4x4 conv. /2, BN, LeakyReLU       8x8x256      524,800
    4x4 conv. /2, BN, LeakyReLU       4x4x512    2,098,176
    4x4 convolution                         1        8,192
    total                                        2,765,568

Other sizes by `stages`, how often the side doubles, and by the side of the first maps: 32x32 is
``stages=3``, 28x28 ``stages=2`` from a side of 7, 16x16 ``stages=2``. The discriminator's output is
the logit of "real": the sigmoid is in the loss.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn import initializers

from jaxdl.models.gan import leaky_relu
from jaxdl.nn.layers import BatchNorm, Conv, ConvTranspose
from jaxdl.nn.spectral import Constraint, unconstrained

Array = jax.Array
Layer = Callable[..., Any]


def around_one(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """Normal with mean 1 and deviation 0.02: the scales of norms."""
    return 1 + 0.02 * jax.random.normal(key, shape, dtype)


# Kernels are normal with deviation 0.02 (section 4). No biases: a norm follows, or nothing does.
weights = initializers.normal(0.02)
convolution = partial(Conv, use_bias=False, kernel_init=weights)
up_convolution = partial(ConvTranspose, use_bias=False, kernel_init=weights)
batch_norm = partial(BatchNorm, scale_init=around_one)


class DCGANGenerator(nn.Module):
    """Latents -> an image of side `first` 2^stages, in -1..1.

    channels: of the image. width: maps of the last hidden layer; each before it has twice as many.
    """

    channels: int = 3
    width: int = 64
    stages: int = 4
    first: int = 4
    norm: Layer = batch_norm

    @nn.compact
    def __call__(self, z: Array, *, train: bool = False) -> Array:
        """[B, latents] -> [B, H, W, channels]."""
        x = z[:, None, None, :]
        for stage in range(self.stages):
            width = self.width << (self.stages - 1 - stage)
            if stage:
                x = up_convolution(width, (4, 4), strides=(2, 2), name=f'up{stage}')(x)
            else:
                # From one position: any stride gives the same, and this one tiles the output.
                side = (self.first, self.first)
                x = up_convolution(width, side, strides=side, padding='VALID', name='up0')(x)
            x = nn.relu(self.norm(use_running_average=not train, name=f'norm{stage}')(x))
        x = up_convolution(self.channels, (4, 4), strides=(2, 2), name=f'up{self.stages}')(x)
        return jnp.tanh(x)


class DCGANDiscriminator(nn.Module):
    """An image of side `last` 2^stages -> the logit of "real", or a critic's score.

    width: maps of the first layer; each after it has twice as many.
    conv: the convolutions; ``conv=Conv`` has biases and larger initial weights, for use without
        norms. The last one has no bias: Wasserstein's loss would not see it.
    norm: after each convolution but the first and the last. The gradient penalty asks for none, or
        for one that sees each row alone.
    constraint: on the weights of all convolutions: `jaxdl.nn.spectral.spectral`.
    """

    width: int = 64
    stages: int = 4
    last: int = 4
    conv: Layer = convolution
    norm: Layer = batch_norm
    constraint: Constraint = unconstrained

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, H, W, C] -> [B, 1]."""
        for stage in range(self.stages):
            down = self.conv(
                self.width << stage,
                (4, 4),
                strides=(2, 2),
                padding=((1, 1), (1, 1)),
                name=f'conv{stage}',
            )
            x = self.constraint(down, train=train)(x)
            if stage:
                x = self.norm(use_running_average=not train, name=f'norm{stage}')(x)
            x = leaky_relu(x)
        side = (self.last, self.last)
        score = self.conv(1, side, padding='VALID', use_bias=False, name=f'conv{self.stages}')
        x = self.constraint(score, train=train)(x)
        if x.shape[1:3] != (1, 1):
            least = self.last << self.stages
            raise ValueError(f'an image of side {least} is needed: the maps are {x.shape[1:3]}')
        return x.reshape(len(x), 1)
