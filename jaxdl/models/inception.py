"""Inception v3: large kernels taken apart into smaller and into one-dimensional ones."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn import initializers

from jaxdl.models.googlenet import ConvUnit, Heads, auxiliary_loss
from jaxdl.nn.layers import BatchNorm, Dense, average_pool, max_pool

Array = jax.Array
Layer = Callable[..., nn.Module]

# The paper gives no weight. This one is of the code its authors published, and of torchvision.
inception_v3_loss = partial(auxiliary_loss, weight=0.4)

# Averages that keep the size (the zeros of the frame count) and maxima that halve it.
smooth = partial(average_pool, window=(3, 3), strides=(1, 1), padding=((1, 1), (1, 1)))
halve = partial(max_pool, window=(3, 3), strides=(2, 2))


def chain(conv: Layer, x: Array, name: str, *layers: tuple[int, tuple[int, int]]) -> Array:
    """Convolutions of these (features, kernel), one after another, called name_1, name_2, ..."""
    for i, (features, kernel) in enumerate(layers, 1):
        x = conv(features, kernel, name=f'{name}_{i}')(x)
    return x


class InceptionA(nn.Module):
    """Figure 5: two 3x3 in place of a 5x5; the other branch keeps its 5x5."""

    project: int
    conv: Layer

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, C] -> [B, H, W, 64 + 64 + 96 + project]."""
        a = self.conv(64, name='branch1x1')(x)
        b = chain(self.conv, x, 'branch5x5', (48, (1, 1)), (64, (5, 5)))
        c = chain(self.conv, x, 'branch3x3dbl', (64, (1, 1)), (96, (3, 3)), (96, (3, 3)))
        d = self.conv(self.project, name='branch_pool')(smooth(x))
        return jnp.concatenate((a, b, c, d), -1)


class ReductionA(nn.Module):
    """Figure 10: strides and pooling side by side, so that no bottleneck precedes the pooling."""

    conv: Layer

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, C] -> [B, (H - 1) / 2, (W - 1) / 2, 384 + 96 + C]."""
        half = partial(self.conv, kernel=(3, 3), strides=2, padding='VALID')
        a = half(384, name='branch3x3')(x)
        b = chain(self.conv, x, 'branch3x3dbl', (64, (1, 1)), (96, (3, 3)))
        b = half(96, name='branch3x3dbl_3')(b)
        return jnp.concatenate((a, b, halve(x)), -1)


class InceptionB(nn.Module):
    """Figure 6 with n = 7: 1x7 and 7x1 in place of 7x7."""

    inner: int
    conv: Layer

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, C] -> [B, H, W, 4 * 192]."""
        n = self.inner
        one, row, column = (1, 1), (1, 7), (7, 1)
        a = self.conv(192, name='branch1x1')(x)
        b = chain(self.conv, x, 'branch7x7', (n, one), (n, row), (192, column))
        twice = ((n, one), (n, column), (n, row), (n, column), (192, row))
        c = chain(self.conv, x, 'branch7x7dbl', *twice)
        d = self.conv(192, name='branch_pool')(smooth(x))
        return jnp.concatenate((a, b, c, d), -1)


class ReductionB(nn.Module):
    """Figure 10 again, with 7x7 taken apart before one of its strides."""

    conv: Layer

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, C] -> [B, (H - 1) / 2, (W - 1) / 2, 320 + 192 + C]."""
        half = partial(self.conv, kernel=(3, 3), strides=2, padding='VALID')
        a = half(320, name='branch3x3_2')(self.conv(192, name='branch3x3_1')(x))
        b = chain(self.conv, x, 'branch7x7x3', (192, (1, 1)), (192, (1, 7)), (192, (7, 1)))
        b = half(192, name='branch7x7x3_4')(b)
        return jnp.concatenate((a, b, halve(x)), -1)


class InceptionC(nn.Module):
    """Figure 7: branches that end in 1x3 and 3x1 side by side, for many maps of small size."""

    conv: Layer

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, C] -> [B, H, W, 320 + 2 * 384 + 2 * 384 + 192]."""
        a = self.conv(320, name='branch1x1')(x)
        b = self.conv(384, name='branch3x3_1')(x)
        c = chain(self.conv, x, 'branch3x3dbl', (448, (1, 1)), (384, (3, 3)))
        ends = [
            self.conv(384, kernel, name=f'{name}{side}')(y)
            for y, name in ((b, 'branch3x3_2'), (c, 'branch3x3dbl_3'))
            for kernel, side in (((1, 3), 'a'), ((3, 1), 'b'))
        ]
        d = self.conv(192, name='branch_pool')(smooth(x))
        return jnp.concatenate((a, *ends, d), -1)


class AuxiliaryHead(nn.Module):
    """The classifier on the last 17x17 maps (figure 8), whose dense layer is a 5x5 convolution."""

    classes: int
    conv: Layer

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, C], sides of 17 or more -> logits [B, classes]."""
        if min(x.shape[1:3]) < 17:
            size = f'{x.shape[1]}x{x.shape[2]}'
            raise ValueError(f'the auxiliary head sees maps of 17x17 or more, not {size}')
        normal = initializers.normal
        x = self.conv(128, name='conv0')(average_pool(x, (5, 5), strides=(3, 3)))
        conv1 = self.conv(768, (5, 5), padding='VALID', kernel_init=normal(0.01), name='conv1')
        return Dense(self.classes, kernel_init=normal(0.001), name='fc')(conv1(x).mean((1, 2)))


class InceptionV3(nn.Module):
    """Inception v3 (Szegedy et al. 2016, table 1): 27,161,264 parameters, 3,326,696 of the head.

        layer                            output on 299x299x3
        Conv2d_1a_3x3, stride 2            149x149x32
        Conv2d_2a_3x3                      147x147x32
        Conv2d_2b_3x3, pooling              73x73x64
        Conv2d_3b_1x1                       73x73x80
        Conv2d_4a_3x3, pooling              35x35x192
        Mixed_5b, 5c, 5d (figure 5)         35x35x288
        Mixed_6a, reduction                 17x17x768
        Mixed_6b, 6c, 6d, 6e (figure 6)     17x17x768    auxiliary head
        Mixed_7a, reduction                   8x8x1280
        Mixed_7b, 7c (figure 7)               8x8x2048
        average, dropout, fc                  1000

    as its authors' code and torchvision have it, whose names these are; the text's table differs
    in the stem. No convolution has a bias, each has BatchNorm. Images may be of 75x75 and more,
    without an auxiliary head; for one they must give maps of 17x17 to it.

    auxiliary: makes the head, given `classes` and `conv`; None for a network without.
    """

    classes: int = 1000
    norm: Layer = partial(BatchNorm, epsilon=1e-3)
    auxiliary: Layer | None = AuxiliaryHead
    dropout: float = 0.5

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Heads:
        """[B, H, W, 3] -> logits [B, classes]."""
        if min(x.shape[1:3]) < 75:
            size = f'{x.shape[1]}x{x.shape[2]}'
            raise ValueError(f'InceptionV3 sees images of 75x75 or more, not {size}')
        init = initializers.normal(0.1)
        norm = partial(self.norm, use_running_average=not train)
        conv = partial(ConvUnit, norm=norm, kernel_init=init)
        valid = partial(conv, kernel=(3, 3), padding='VALID')
        x = valid(32, strides=2, name='Conv2d_1a_3x3')(x)
        x = valid(32, name='Conv2d_2a_3x3')(x)
        x = halve(conv(64, (3, 3), name='Conv2d_2b_3x3')(x))
        x = conv(80, name='Conv2d_3b_1x1')(x)
        x = halve(valid(192, name='Conv2d_4a_3x3')(x))
        for side, project in zip('bcd', (32, 64, 64), strict=True):
            x = InceptionA(project, conv, name=f'Mixed_5{side}')(x)
        x = ReductionA(conv, name='Mixed_6a')(x)
        for side, inner in zip('bcde', (128, 160, 160, 192), strict=True):
            x = InceptionB(inner, conv, name=f'Mixed_6{side}')(x)
        heads: tuple[Array, ...] = ()
        # Its parameters exist from the start, though only training computes it.
        if self.auxiliary is not None and (train or self.is_initializing()):
            heads = (self.auxiliary(self.classes, conv, name='AuxLogits')(x),)
        x = ReductionB(conv, name='Mixed_7a')(x)
        for side in 'bc':
            x = InceptionC(conv, name=f'Mixed_7{side}')(x)
        x = nn.Dropout(self.dropout, deterministic=not train)(x.mean((1, 2)))
        logits = Dense(self.classes, kernel_init=init, name='fc')(x)
        return Heads(logits, heads if train else ())
