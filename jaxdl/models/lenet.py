"""LeNet: the network of 1998 as it was, and the one that goes by its name today."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import initializers

from jaxdl.nn.layers import Conv, Dense, average_pool, convolution, max_pool

Array = jax.Array
Layer = Callable[..., nn.Module]
Map = Callable[[Array], Array]


def strided_conv(x: Array) -> Array:
    """No pooling: a learned 2x2 convolution of stride 2 (Springenberg et al. 2015, All-CNN)."""
    return Conv(x.shape[-1], (2, 2), strides=(2, 2), padding='VALID')(x)


class LeNet(nn.Module):
    """The convolutional network that is called LeNet today: ReLU, maximum pooling, dense layers.

    On 28x28 digits the default has 61,706 parameters; the network of Caffe's MNIST example,
    ``LeNet(features=(20, 50), dense=(500,), padding='VALID')``, has 431,080. For small images take
    smaller kernels: ``LeNet(kernel=(3, 3), padding='SAME')`` on 8x8.

    features: maps of each convolution.
    dense: units of each hidden dense layer.
    padding: of all convolutions, or one for each.
    pool(x) -> x: after each convolution: `max_pool`, `average_pool`, `strided_conv`, or any other;
        without any reduction but the convolutions' own stride,
        ``LeNet(conv=partial(Conv, strides=2), pool=lambda x: x)`` (Strided-CNN), which has the
        same number of parameters on 28x28.
    dropout: probability that a unit of a hidden dense layer is zero in training.
    """

    features: Sequence[int] = (6, 16)
    dense: Sequence[int] = (120, 84)
    classes: int = 10
    kernel: tuple[int, int] = (5, 5)
    padding: str | Sequence[str] = ('SAME', 'VALID')
    pool: Map = max_pool
    activation: Map = nn.relu
    conv: Layer = Conv
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, H, W, C] -> logits [B, classes]."""
        same = isinstance(self.padding, str)
        paddings = [self.padding] * len(self.features) if same else self.padding
        if len(paddings) != len(self.features):
            raise ValueError(f'{len(paddings)} paddings for {len(self.features)} convolutions')
        for width, padding in zip(self.features, paddings, strict=True):
            x = self.conv(width, self.kernel, padding=padding)(x)
            x = self.pool(self.activation(x))
        x = x.reshape(len(x), -1)
        for width in self.dense:
            x = self.activation(Dense(width)(x))
            if self.dropout:
                x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return Dense(self.classes)(x)


def squash(x: Array) -> Array:
    """The scaled hyperbolic tangent 1.7159 tanh(2x / 3): f(1) = 1 and f(-1) = -1 (appendix A)."""
    return 1.7159 * jnp.tanh(2 / 3 * x)


# Table I: the maps of S2 that each of the 16 maps of C3 sees.
TABLE = (
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
    (0, 1, 2, 3, 4, 5),
)

# Digits on bitmaps 7 wide and 12 high, 0 to 9 from left to right.
DIGITS = """
 .......  .......  .......  .......  .......  .......  .......  .......  .......  .......
 ..###..  ...#...  ..###..  .#####.  ....##.  .#####.  ..####.  .######  ..###..  ..###..
 .##.##.  ..##...  .##.##.  .....#.  ...###.  .#.....  .##....  .....##  .##.##.  .##.##.
 ##...##  .###...  ##...##  ....##.  ..##.#.  .#.....  ##.....  .....#.  ##...##  ##...##
 ##...##  ...#...  .....##  ...##..  ..#..#.  .#.....  ##.....  ....##.  .##.##.  ##...##
 ##...##  ...#...  ....##.  ..###..  .##..#.  .####..  ##.##..  ....#..  ..###..  .##..##
 ##...##  ...#...  ...##..  ....##.  .#...#.  ....##.  ###.##.  ...##..  .##.##.  ..###.#
 ##...##  ...#...  ..##...  .....##  #######  .....##  ##...##  ...#...  ##...##  .....##
 ##...##  ...#...  .##....  .....##  .....#.  .....##  ##...##  ..##...  ##...##  .....##
 .##.##.  ...#...  ##.....  #...##.  .....#.  #...##.  .##.##.  ..#....  .##.##.  ....##.
 ..###..  .#####.  #######  .####..  .....#.  .####..  ..###..  .##....  ..###..  .####..
 .......  .......  .......  .......  .......  .......  .......  .......  .......  .......
"""


def bitmap_codes(drawing: str = DIGITS) -> np.ndarray:
    """The codes [classes, pixels] of bitmaps drawn side by side: +1 for '#', -1 for '.'."""
    rows = [row.split() for row in drawing.strip().splitlines()]
    bitmaps = [''.join(parts) for parts in zip(*rows, strict=True)]
    return np.array([[1.0 if c == '#' else -1.0 for c in b] for b in bitmaps], np.float32)


class RadialBasis(nn.Module):
    """Negative squared distances to fixed codes: -sum_j (x_j - w_ij)^2 (eq. 7, with its sign).

    With the cross-entropy this is the paper's criterion (eq. 9) without its constant e^-j.

    codes() -> [classes, features]: +1 and -1. The digits here are drawn after the paper's idea, a
    stylised 7x12 image of each; they are not its own bitmaps bit for bit.
    """

    codes: Callable[[], np.ndarray] = bitmap_codes

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, features] -> logits [B, classes]."""
        return -((x[:, None] - self.codes()[None]) ** 2).sum(-1)


def _fan_in(n: int) -> Callable[..., Array]:
    """Uniform in +-2.4 / n, n the inputs of a unit (appendix A)."""

    def init(key: Array, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
        return jax.random.uniform(key, tuple(shape), dtype, -2.4 / n, 2.4 / n)

    return init


class Subsampling(nn.Module):
    """The sum of each 2x2 block times a coefficient plus a bias, both trained, one pair a map."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, C] -> [B, H/2, W/2, C]."""
        shape = x.shape[-1:]
        scale = self.param('scale', _fan_in(4), shape)
        bias = self.param('bias', initializers.zeros, shape)
        total = 4 * average_pool(x)
        return total * scale.reshape(1, 1, 1, -1) + bias.reshape(1, 1, 1, -1)


class TableConv(nn.Module):
    """A convolution in which map j sees only the input maps `table[j]`: a kernel a connection.

    The parameters are the connections' kernels alone, [*kernel, connections], sorted by output map.
    """

    table: Sequence[Sequence[int]]
    kernel: tuple[int, int]

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, C] -> [B, H - kh + 1, W - kw + 1, len(table)]."""
        taps = self.kernel[0] * self.kernel[1]

        def init(key: Array) -> Array:
            keys = jax.random.split(key, len(self.table))
            each = [
                _fan_in(taps * len(seen))(k, (*self.kernel, len(seen)), jnp.float32)
                for k, seen in zip(keys, self.table, strict=True)
            ]
            return jnp.concatenate(each, axis=-1)

        kernels = self.param('kernel', init)
        bias = self.param('bias', initializers.zeros, (len(self.table),))
        sources = np.array([i for seen in self.table for i in seen])
        targets = np.array([j for j, seen in enumerate(self.table) for _ in seen])
        whole = jnp.zeros((*self.kernel, x.shape[-1], len(self.table)), kernels.dtype)
        whole = whole.at[:, :, sources, targets].set(kernels)
        x = convolution(x, whole, (1, 1), 'VALID', dimension_numbers=('NHWC', 'HWIO', 'NHWC'))
        return x + bias.reshape(1, 1, 1, -1)


class LeNet5(nn.Module):
    """LeNet-5 as published (LeCun et al. 1998, section II.B, figure 2): 60,000 parameters.

    Trained subsampling, the partial connections of table I, the scaled tanh after every layer,
    initial weights uniform in +-2.4 / fan-in (biases start at 0) and radial basis units over 7x12
    codes. For a linear output, ``LeNet5(head=partial(nn.Dense, 10))``. It must be given images of
    32x32, or of 28x28, which it frames with two pixels of `background` (-0.1 in the paper's
    scaling, in which ink is 1.175).
    """

    head: Layer = RadialBasis
    background: float = 0.0

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, 32 or 28, 32 or 28, 1] -> logits [B, 10]."""
        if x.shape[1:3] == (28, 28):
            frame = ((0, 0), (2, 2), (2, 2), (0, 0))
            x = jnp.pad(x, frame, constant_values=self.background)
        if x.shape[1:3] != (32, 32):
            raise ValueError(f'LeNet5 sees images of 32x32 or 28x28, not {x.shape[1]}x{x.shape[2]}')
        conv = partial(Conv, kernel_size=(5, 5), padding='VALID')
        x = squash(conv(6, kernel_init=_fan_in(25 * x.shape[-1]), name='C1')(x))
        x = squash(Subsampling(name='S2')(x))
        x = squash(TableConv(TABLE, (5, 5), name='C3')(x))
        x = squash(Subsampling(name='S4')(x))
        x = squash(conv(120, kernel_init=_fan_in(25 * 16), name='C5')(x))
        x = squash(Dense(84, kernel_init=_fan_in(120), name='F6')(x.reshape(len(x), -1)))
        return self.head(name='output')(x)
