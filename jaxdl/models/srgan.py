"""The two networks of SRGAN (Ledig et al. 2017, figure 4): the generator SRResNet, and its critic.

Images are 0..1 or -1..1, as the study has them; nothing here depends on it.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax

from jaxdl.errors import UsageError
from jaxdl.nn.layers import BatchNorm, Conv, Dense
from jaxdl.nn.pooling import adaptive_average_pool
from jaxdl.nn.resize import pixel_shuffle

Array = jax.Array
Layer = Callable[..., Any]
Function = Callable[[Array], Array]

prelu = partial(nn.PReLU, negative_slope_init=0.25)


def linear(x: Array) -> Array:
    """x itself."""
    return x


class SRBlock(nn.Module):
    """Two 3x3 convolutions with norms, a PReLU between them, and what came in added."""

    width: int
    conv: Layer = Conv
    norm: Layer = BatchNorm

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, H, W, width] -> the same."""
        norm = partial(self.norm, use_running_average=not train)
        y = self.conv(self.width, (3, 3), name='conv1')(x)
        y = prelu(name='act1')(norm(name='norm1')(y))
        y = self.conv(self.width, (3, 3), name='conv2')(y)
        return x + norm(name='norm2')(y)


class SRResNet(nn.Module):
    """SRResNet: residual blocks on the small image, then sub-pixel convolutions.

        layer                                        output on HxWx3   parameters
        9x9 convolution, PReLU                       HxWx64            15,617
        16 blocks                                    HxWx64            1,185,808
        3x3 convolution, norm, + the first output    HxWx64            37,056
        2 times 3x3 convolution, shuffle, PReLU      4Hx4Wx64          295,426
        9x9 convolution                              4Hx4Wx3           15,555
        total                                                          1,549,462

    PReLUs have one slope each, as in PyTorch.

    blocks, width: how many residual blocks, and maps.
    factor: how many times larger the result is, a power of 2.
    conv: the convolutions that a norm follows; with biases, as in the usual PyTorch form.
    norm: after them.
    final: of the last convolution's output; the paper has nothing there, others a tanh.
    """

    blocks: int = 16
    width: int = 64
    factor: int = 4
    channels: int = 3
    conv: Layer = Conv
    norm: Layer = BatchNorm
    final: Function = linear

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, H, W, C] -> [B, factor H, factor W, channels]."""
        doublings = round(math.log2(self.factor)) if self.factor > 0 else -1
        if self.factor != 2**doublings:
            raise UsageError(f'SRResNet: factor={self.factor}; it is a power of 2, such as 4')
        first = x = prelu(name='act1')(Conv(self.width, (9, 9), name='conv1')(x))
        for i in range(1, self.blocks + 1):
            block = SRBlock(self.width, conv=self.conv, norm=self.norm, name=f'block{i}')
            x = block(x, train=train)
        x = self.conv(self.width, (3, 3), name='conv2')(x)
        x = first + self.norm(use_running_average=not train, name='norm2')(x)
        for i in range(1, doublings + 1):
            x = pixel_shuffle(Conv(4 * self.width, (3, 3), name=f'up{i}')(x), 2)
            x = prelu(name=f'up{i}_act')(x)
        return self.final(Conv(self.channels, (9, 9), name='conv3')(x))


class SRDiscriminator(nn.Module):
    """SRGAN's discriminator: eight 3x3 convolutions, every other with stride 2, and two dense ones.

    LeakyReLU with a slope of 0.2 throughout, a norm after every convolution but the first. Images
    of other sizes than 96x96 are averaged to what those have before the dense layers. It returns
    logits; the paper's sigmoid is in the loss.

    features: maps of each pair of convolutions, of strides 1 and 2.
    hidden: units of the first dense layer.
    pool: the size of the maps before it.
    """

    features: Sequence[int] = (64, 128, 256, 512)
    hidden: int = 1024
    pool: tuple[int, int] = (6, 6)
    conv: Layer = Conv
    norm: Layer = BatchNorm

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, H, W, C] -> logits [B, 1]."""
        act = partial(nn.leaky_relu, negative_slope=0.2)
        # Padding of 1 on all sides: 'SAME' pads strides on even sizes on one side only.
        options: dict[str, Any] = {'kernel_size': (3, 3), 'padding': 1}
        for i, width in enumerate(width for width in self.features for _ in range(2)):
            conv = Conv if i == 0 else self.conv
            x = conv(width, **options, strides=1 + i % 2, name=f'conv{i + 1}')(x)
            if i:
                x = self.norm(use_running_average=not train, name=f'norm{i + 1}')(x)
            x = act(x)
        x = adaptive_average_pool(x, self.pool).reshape(len(x), -1)
        return Dense(1, name='fc2')(act(Dense(self.hidden, name='fc1')(x)))
