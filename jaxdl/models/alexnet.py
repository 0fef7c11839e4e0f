"""AlexNet: the network of 2012 in two towers, and its one-tower successor of 2014."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
from jax import lax
from jax.nn import initializers

from jaxdl.nn.layers import Conv, Dense, max_pool
from jaxdl.nn.pooling import adaptive_average_pool

Array = jax.Array
Map = Callable[[Array], Array]


def local_response_norm(
    x: Array, *, k: float = 2.0, n: int = 5, alpha: float = 1e-4, beta: float = 0.75
) -> Array:
    """Each map over a power of the energy of its neighbours (Krizhevsky et al. 2012, section 3.3).

    b_i = a_i / (k + alpha sum_j a_j^2)^beta, j from max(0, i - n/2) to min(N - 1, i + n/2), n odd
    and N all maps of the layer: neighbours may be in the other tower. [..., N] -> [..., N].

    PyTorch and Caffe divide alpha by n: theirs must be n times ours to be the same.
    """
    ones = (1,) * (x.ndim - 1)
    edges = ((0, 0),) * (x.ndim - 1) + ((n // 2, n // 2),)
    energy = lax.reduce_window(x**2, 0.0, lax.add, (*ones, n), (*ones, 1), edges)
    return x * (k + alpha * energy) ** -beta


class Trunk(nn.Module):
    """The fields and layers that `AlexNet` and `AlexNetFeatures` share: the convolutions.

    features, groups: of the five convolutions.
    padding: of conv1.
    normalise: after the ReLU of conv1 and conv2.
    """

    features: Sequence[int] = (96, 256, 384, 384, 256)
    groups: Sequence[int] = (1, 2, 1, 2, 2)
    padding: int = 0
    normalise: Map = local_response_norm
    kernel_init: initializers.Initializer = initializers.normal(0.01)

    def pool5(self, x: Array) -> Array:
        """The output of the last pooling."""
        if min(x.shape[1:3]) < 63:
            raise ValueError(f'AlexNet sees images of 63x63 or more, not {x.shape[1]}x{x.shape[2]}')
        one = initializers.ones

        def conv(i: int, x: Array, size: int, **options: Any) -> Array:
            layer = Conv(
                self.features[i - 1],
                (size, size),
                feature_group_count=self.groups[i - 1],
                kernel_init=self.kernel_init,
                name=f'conv{i}',
                **options,
            )
            return nn.relu(layer(x))

        pool = partial(max_pool, window=(3, 3), strides=(2, 2))
        x = pool(self.normalise(conv(1, x, 11, strides=4, padding=self.padding)))
        x = pool(self.normalise(conv(2, x, 5, padding=2, bias_init=one)))
        x = conv(3, x, 3, padding=1)
        x = conv(4, x, 3, padding=1, bias_init=one)
        return pool(conv(5, x, 3, padding=1, bias_init=one))


class AlexNetFeatures(Trunk):
    """AlexNet up to its last pooling, a backbone."""

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, 227, 227, 3] -> [B, 6, 6, 256]."""
        return self.pool5(x)


class AlexNet(Trunk):
    """AlexNet (Krizhevsky, Sutskever and Hinton 2012, section 3.5), 60,965,224 parameters.

        layer                                    output     parameters
        conv1  11x11/4, LRN, 3x3/2 maximum      27x27x96        34,944
        conv2  5x5, LRN, 3x3/2 maximum         13x13x256       307,456
        conv3  3x3                             13x13x384       885,120
        conv4  3x3                             13x13x384       663,936
        conv5  3x3, 3x3/2 maximum                6x6x256       442,624
        fc6, fc7 with dropout, fc8          4096, 4096, 1000  58,631,144

    on 227x227x3: the 224x224 of the text does not give the 55x55 of its conv1 without padding. The
    two towers are convolutions in two groups: conv2, conv4 and conv5 see the maps of their own
    tower, conv3 and the dense layers see all. Pooling overlaps (3x3 windows, stride 2). Initial
    weights are normal of deviation 0.01, biases 1 in conv2, conv4, conv5, fc6 and fc7 and else 0
    (section 5), meant for pixels of 0 to 255 less their mean.

    Images of another size are averaged to 6x6 before fc6, as torchvision does.

    features, groups, padding, normalise: see `Trunk`.
    hidden: units of fc6 and fc7.
    """

    hidden: Sequence[int] = (4096, 4096)
    classes: int = 1000
    dropout: float = 0.5

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, H, W, 3] -> logits [B, classes]."""
        x = adaptive_average_pool(self.pool5(x), (6, 6)).reshape(len(x), -1)
        one, dense = initializers.ones, partial(Dense, kernel_init=self.kernel_init)
        for i, width in enumerate(self.hidden, 6):
            x = nn.relu(dense(width, bias_init=one, name=f'fc{i}')(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return dense(self.classes, name='fc8')(x)


# The successor (Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks")
# is the same sequence with other numbers: one tower of fewer maps, no normalisation, and images of
# 224x224 framed by two pixels; 61,100,840 parameters. It is torchvision's `alexnet`, which has the
# dropout before fc6 and fc7 instead of after them.
alexnet2014 = partial(
    AlexNet,
    features=(64, 192, 384, 256, 256),
    groups=(1, 1, 1, 1, 1),
    padding=2,
    normalise=lambda x: x,
)
