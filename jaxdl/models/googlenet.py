"""GoogLeNet, the first Inception: branches of several kernel sizes side by side."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn import initializers

from jaxdl.models.alexnet import local_response_norm
from jaxdl.nn.layers import BatchNorm, Conv, Dense, average_pool, max_pool
from jaxdl.nn.pooling import adaptive_average_pool, ceil_max_pool

Array = jax.Array
Layer = Callable[..., nn.Module]
Map = Callable[[Array], Array]


class Heads(NamedTuple):
    """Logits [B, classes] of a network, and of its auxiliary heads, lowest first.

    Auxiliary ones are computed in training alone; there are none in evaluation.
    """

    logits: Array
    auxiliary: tuple[Array, ...]


def auxiliary_loss(loss: Callable[[Array], Array], heads: Heads, *, weight: float) -> Array:
    """A loss with that of the auxiliary heads: l(logits) + weight sum_i l(auxiliary_i).

    loss(logits) -> the loss of one head, e.g. ``partial(cross_entropy, targets=y, weights=mask)``.
    """
    return loss(heads.logits) + weight * sum(loss(logits) for logits in heads.auxiliary)


# With the weight of Szegedy et al. 2015, section 5.
googlenet_loss = partial(auxiliary_loss, weight=0.3)


class ConvUnit(nn.Module):
    """A convolution and a ReLU, with a norm between them or with biases.

    norm: takes `name` alone, `use_running_average` is bound already; None for biases.
    """

    features: int
    kernel: tuple[int, int] = (1, 1)
    strides: int = 1
    padding: str | int = 'SAME'
    norm: Layer | None = None
    kernel_init: initializers.Initializer = initializers.he_normal()

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, C] -> [B, H', W', features]."""
        x = Conv(
            self.features,
            self.kernel,
            self.strides,
            self.padding,
            use_bias=self.norm is None,
            kernel_init=self.kernel_init,
            name='conv',
        )(x)
        return nn.relu(x if self.norm is None else self.norm(name='bn')(x))


class Inception(nn.Module):
    """Four branches side by side (figure 2b): 1x1; 1x1 to 3x3; 1x1 to 5x5; maximum to 1x1.

    features: #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool proj, as the columns of table 1.
    wide: the kernel of the third branch.
    """

    features: Sequence[int]
    conv: Layer
    wide: int = 5

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, C] -> [B, H, W, #1x1 + #3x3 + #5x5 + pool proj]."""
        n1, reduce3, n3, reduce5, n5, project = self.features
        wide = (self.wide, self.wide)
        a = self.conv(n1, name='conv1x1')(x)
        b = self.conv(reduce3, name='reduce3x3')(x)
        b = self.conv(n3, (3, 3), name='conv3x3')(b)
        c = self.conv(reduce5, name='reduce5x5')(x)
        c = self.conv(n5, wide, name='conv5x5')(c)
        d = max_pool(x, (3, 3), strides=(1, 1), padding='SAME')
        d = self.conv(project, name='project')(d)
        return jnp.concatenate((a, b, c, d), -1)


class AuxiliaryHead(nn.Module):
    """A classifier on a layer half-way (section 5): pooling, 1x1, dense with dropout, logits.

    pool(x) -> x: 5x5 averages at stride 3, so 14x14 maps become 4x4.
    """

    classes: int
    conv: Layer
    pool: Map = partial(average_pool, window=(5, 5), strides=(3, 3))
    dropout: float = 0.7

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, H, W, C], sides of 5 or more -> logits [B, classes]."""
        size = f'{x.shape[1]}x{x.shape[2]}'
        x = self.pool(x)
        if not x.size:
            raise ValueError(f'the auxiliary head cannot pool maps of {size}: give larger images')
        x = self.conv(128, name='conv')(x)
        x = nn.relu(Dense(1024, name='fc1')(x.reshape(len(x), -1)))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return Dense(self.classes, name='fc2')(x)


# Table 1, the rows called inception.
TABLE = {
    'inception3a': (64, 96, 128, 16, 32, 32),
    'inception3b': (128, 128, 192, 32, 96, 64),
    'inception4a': (192, 96, 208, 16, 48, 64),
    'inception4b': (160, 112, 224, 24, 64, 64),
    'inception4c': (128, 128, 256, 24, 64, 64),
    'inception4d': (112, 144, 288, 32, 64, 64),
    'inception4e': (256, 160, 320, 32, 128, 128),
    'inception5a': (256, 160, 320, 32, 128, 128),
    'inception5b': (384, 192, 384, 48, 128, 128),
}


class GoogLeNet(nn.Module):
    """GoogLeNet (Szegedy et al. 2015, table 1): 6,998,552 parameters and 6,379,728 of two heads.

        layer                               output on 224x224x3
        conv1  7x7/2, 3x3/2 maximum, LRN      56x56x64
        conv2  1x1                            56x56x64
        conv3  3x3, LRN, 3x3/2 maximum        28x28x192
        inception3a, 3b, 3x3/2 maximum        14x14x480
        inception4a ... 4e, 3x3/2 maximum     7x7x832       heads on 4a and 4d
        inception5a, 5b, average, dropout     1024
        fc                                    1000

    The paper does not say how it starts: He's normal values here.

    norm: of every convolution, or None, as published, for biases.
    wide: kernel of the third branch of each Inception module.
    response_norm(x) -> x: where figure 3 has it.
    last_pool: window of the pooling after 4e.
    auxiliary: makes the two heads, given `classes` and `conv`; None for a network without.
    """

    classes: int = 1000
    norm: Layer | None = None
    wide: int = 5
    response_norm: Map = local_response_norm
    last_pool: int = 3
    auxiliary: Layer | None = AuxiliaryHead
    dropout: float = 0.4

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Heads:
        """[B, H, W, 3] -> logits [B, classes]."""
        norm = self.norm and partial(self.norm, use_running_average=not train)
        conv = partial(ConvUnit, norm=norm)
        heads: list[Array] = []
        x = conv(64, (7, 7), strides=2, padding=3, name='conv1')(x)
        x = self.response_norm(ceil_max_pool(x, 3, stride=2))
        x = conv(64, name='conv2')(x)
        x = conv(192, (3, 3), name='conv3')(x)
        x = ceil_max_pool(self.response_norm(x), 3, stride=2)
        for name, features in TABLE.items():
            x = Inception(features, conv, self.wide, name=name)(x)
            # Parameters of heads exist from the start, though only training computes them.
            if name in ('inception4a', 'inception4d') and self.auxiliary is not None:
                if train or self.is_initializing():
                    head = self.auxiliary(self.classes, conv, name=f'aux{len(heads) + 1}')
                    heads.append(head(x, train=train))
            if name == 'inception3b':
                x = ceil_max_pool(x, 3, stride=2)
            if name == 'inception4e':
                x = ceil_max_pool(x, self.last_pool, stride=2)
        x = nn.Dropout(self.dropout, deterministic=not train)(x.mean((1, 2)))
        logits = Dense(self.classes, name='fc')(x)
        return Heads(logits, tuple(heads) if train else ())


# torchvision's: BatchNorm in place of biases and response normalisation, 3x3 kernels where the
# paper has 5x5 (known to its authors as a mistake), and other pooling; 13,004,888 parameters.
googlenet_bn = partial(
    GoogLeNet,
    norm=partial(BatchNorm, epsilon=1e-3),
    wide=3,
    response_norm=lambda x: x,
    last_pool=2,
    auxiliary=partial(AuxiliaryHead, pool=partial(adaptive_average_pool, size=(4, 4))),
    dropout=0.2,
)
