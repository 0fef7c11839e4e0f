"""VGG: nothing but 3x3 convolutions, 2x2 pooling and three dense layers."""

from collections.abc import Callable, Sequence
from functools import partial

import flax.linen as nn
import jax
from jax.nn import initializers

from jaxdl.errors import UsageError, nearest
from jaxdl.nn.layers import BatchNorm, Conv, Dense, max_pool
from jaxdl.nn.pooling import adaptive_average_pool

Array = jax.Array
Layer = Callable[..., nn.Module]


class Trunk(nn.Module):
    """The fields and layers that `VGG` and `VGGFeatures` share: the blocks of convolutions.

    convolutions, features: of each block.
    norm: after each convolution, before its ReLU, or None. The convolutions keep their biases, as
        torchvision's do.
    """

    convolutions: Sequence[int]
    features: Sequence[int] = (64, 128, 256, 512, 512)
    norm: Layer | None = None

    def block(self, x: Array, number: int, *, train: bool, padding: int = 1) -> Array:
        """The convolutions of block 1, 2, ...; `padding` is of the first, others keep the size."""
        for j in range(1, self.convolutions[number - 1] + 1):
            x = self.layer(x, number, j, train=train, padding=padding if j == 1 else 1)
        return x

    def layer(self, x: Array, number: int, j: int, *, train: bool, padding: int = 1) -> Array:
        """Convolution j = 1, 2, ... of a block, with its norm and its ReLU."""
        x = Conv(
            self.features[number - 1],
            (3, 3),
            padding=padding,
            kernel_init=initializers.variance_scaling(2.0, 'fan_out', 'normal'),
            name=f'block{number}_conv{j}',
        )(x)
        if self.norm is not None:
            x = self.norm(use_running_average=not train, name=f'block{number}_norm{j}')(x)
        return nn.relu(x)

    def numbers(self) -> range:
        """Of the blocks: 1, 2, ..."""
        if len(self.convolutions) != len(self.features):
            raise ValueError(f'{len(self.features)} widths for {len(self.convolutions)} blocks')
        return range(1, len(self.convolutions) + 1)

    def outputs(self, x: Array, *, train: bool) -> Array:
        """The output of the last block before its pooling."""
        for i in self.numbers():
            x = self.block(x if i == 1 else max_pool(x), i, train=train)
        return x


class VGGFeatures(Trunk):
    """VGG up to its last convolution, a backbone: the last pooling is left out."""

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, H, W, 3] -> [B, H/16, W/16, 512]."""
        return self.outputs(x, train=train)


class VGGLayers(Trunk):
    """VGG up to the last of some of its layers, each of which it returns: a judge of style.

    layers: names as 'conv4_2', the second convolution of block 4, after its ReLU.
    pool: between blocks; Gatys et al. (2016) prefer `average_pool`.
    """

    layers: Sequence[str] = ('conv1_1', 'conv2_1', 'conv3_1', 'conv4_1', 'conv5_1')
    pool: Callable[[Array], Array] = max_pool

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> dict[str, Array]:
        """[B, H, W, 3] -> {'conv1_1': [B, H, W, 64], ...}, in the order of the network."""
        found: dict[str, Array] = {}
        known = [f'conv{i}_{j}' for i in self.numbers() for j in self._each(i)]
        for name in self.layers:
            if name not in known:
                raise UsageError(f'VGGLayers: there is no layer {name!r}{nearest(name, known)}')
        for i in self.numbers():
            for j in self._each(i):
                if len(found) == len(set(self.layers)):
                    return found
                x = self.layer(self.pool(x) if i > 1 and j == 1 else x, i, j, train=train)
                if f'conv{i}_{j}' in self.layers:
                    found[f'conv{i}_{j}'] = x
        return found

    def _each(self, number: int) -> range:
        return range(1, self.convolutions[number - 1] + 1)


class VGG(Trunk):
    """VGG (Simonyan and Zisserman 2015, table 1): five blocks of convolutions, each then pooled.

        column       A   B   D   E
        layers      11  13  16  19       output on 224x224x3
        block1       1   2   2   2       112x112x64
        block2       1   2   2   2       56x56x128
        block3       2   2   3   4       28x28x256
        block4       2   2   3   4       14x14x512
        block5       2   2   3   4       7x7x512
        fc1, fc2     1   1   1   1       4096, with dropout
        predictions  1   1   1   1       1000
        parameters 133 133 138 144       million

    Images of another size are averaged to 7x7 before fc1, as torchvision does. Initial kernels are
    normal of variance 2 / fan-out, those of dense layers of deviation 0.01, as torchvision's: with
    the paper's 0.01 everywhere the deep columns need the weights of column A to start from.

    convolutions, features, norm: see `Trunk`.
    hidden: units of fc1 and fc2.
    """

    hidden: Sequence[int] = (4096, 4096)
    classes: int = 1000
    dropout: float = 0.5

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, H, W, 3], sides of 32 or more -> logits [B, classes]."""
        least = 2 ** len(self.features)
        if min(x.shape[1:3]) < least:
            size = f'{x.shape[1]}x{x.shape[2]}'
            raise ValueError(f'VGG sees images of {least}x{least} or more, not {size}')
        x = max_pool(self.outputs(x, train=train))
        x = adaptive_average_pool(x, (7, 7)).reshape(len(x), -1)
        dense = partial(Dense, kernel_init=initializers.normal(0.01))
        for i, width in enumerate(self.hidden, 1):
            x = nn.relu(dense(width, name=f'fc{i}')(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return dense(self.classes, name='predictions')(x)


vgg11 = partial(VGG, (1, 1, 2, 2, 2))
vgg13 = partial(VGG, (2, 2, 2, 2, 2))
vgg16 = partial(VGG, (2, 2, 3, 3, 3))
vgg19 = partial(VGG, (2, 2, 4, 4, 4))
vgg11_bn = partial(vgg11, norm=BatchNorm)
vgg13_bn = partial(vgg13, norm=BatchNorm)
vgg16_bn = partial(vgg16, norm=BatchNorm)
vgg19_bn = partial(vgg19, norm=BatchNorm)
