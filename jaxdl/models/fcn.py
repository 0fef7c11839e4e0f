"""Fully convolutional networks: FCN-32s, 16s and 8s on VGG16, and FCN on a dilated ResNet-50.

Long, Shelhamer and Darrell 2015: a classifier whose dense layers have become convolutions scores
the classes at every position, and transposed convolutions bring the scores to the resolution of the
image. The second network is torchvision's: its trunk stays at 1/8 of the resolution, after Chen et
al. 2017 (DeepLab), and the scores are interpolated.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import initializers

from jaxdl.models.googlenet import Heads
from jaxdl.models.resnet import LINEAR, Bottleneck, Stages
from jaxdl.models.vgg import Trunk
from jaxdl.nn.layers import BatchNorm, Conv, ConvTranspose
from jaxdl.nn.pooling import ceil_max_pool

Array = jax.Array
Layer = Callable[..., Any]


def bilinear(key: Array, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
    """The kernel [2s, 2s, C, C] of a transposed convolution of stride s that interpolates maps."""
    rows, columns = (1 - abs(np.arange(k) - (k - 1) / 2) / (k / 2) for k in shape[:2])
    same = np.eye(shape[2], shape[3])
    return jnp.asarray(rows[:, None, None, None] * columns[:, None, None] * same, dtype)


class FCN(Trunk):
    """FCN on VGG's five blocks of convolutions (Long et al. 2015, figure 3).

        FCN-32s   the scores of the last layer, 32 times enlarged          136,152,917 parameters
        FCN-16s   twice enlarged, added to those of pool4, 16 times        134,815,994
        FCN-8s    twice enlarged, added to those of pool3, 8 times         134,489,759

    The convolutions of the blocks have the names and shapes of `VGG`'s; fc6 and fc7 are its fc1
    and fc2. Scores start at zero and enlargements as interpolations, as published, where the rest
    has been trained as a classifier; the paper keeps the last enlargement so
    (``freeze(opt, 'upscore8/*')``).

    skips: how many pooled maps are scored besides the last layer: 0, 1 and 2.
    convolutions, features, norm: see `jaxdl.models.vgg.Trunk`.
    hidden: maps of fc6 (7x7) and fc7 (1x1).
    margin: zeros around the image. With 100, as published, images of any size give a score; what
        is then beyond the image is cropped. Where the sides of the image are not small 1 is enough
        and cheaper, with `padding` 3.
    padding: of fc6.
    """

    convolutions: Sequence[int] = (2, 2, 3, 3, 3)
    skips: int = 0
    hidden: Sequence[int] = (4096, 4096)
    classes: int = 21
    margin: int = 100
    padding: int = 0
    dropout: float = 0.5

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, H, W, C] -> logits [B, H, W, classes]."""
        image = x.shape[1:3]
        he = initializers.variance_scaling(2.0, 'fan_out', 'normal')
        pooled = []
        for i in self.numbers():
            x = self.block(x, i, train=train, padding=self.margin if i == 1 else 1)
            x = ceil_max_pool(x, 2, stride=2)
            pooled.append(x)
        for name, width, kernel, padding in zip(
            ('fc6', 'fc7'), self.hidden, (7, 1), (self.padding, 0), strict=True
        ):
            shape = (kernel, kernel)
            x = nn.relu(Conv(width, shape, padding=padding, kernel_init=he, name=name)(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        scored, score = 'fr', self.score(x, 'score_fr')
        # Position i of the scores is position i + shift of the maps they were made from.
        level, shift = len(pooled), 3 - self.padding
        for _ in range(self.skips):
            level, shift = level - 1, 2 * shift - 1
            score = self.enlarged(score, 2, f'upscore_{scored}')
            scored = f'pool{level}'
            score = added(score, self.score(pooled[level - 1], f'score_{scored}'), shift)
            shift = max(shift, 0)
        stride = 2**level
        score = self.enlarged(score, stride, f'upscore{stride}')
        first = self.margin - 1 - stride * shift + stride // 2
        high, wide = (first + side for side in image)
        if first < 0 or score.shape[1] < high or score.shape[2] < wide:
            raise ValueError(f'the scores do not cover an image of {image}: give a larger margin')
        return score[:, first:high, first:wide]

    def score(self, x: Array, name: str) -> Array:
        """[B, H, W, C] -> [B, H, W, classes], by a 1x1 convolution that starts at zero."""
        return Conv(self.classes, (1, 1), kernel_init=initializers.zeros, name=name)(x)

    def enlarged(self, x: Array, stride: int, name: str) -> Array:
        """[B, H, W, classes] -> [B, (H + 1) stride, (W + 1) stride, classes]."""
        return ConvTranspose(
            self.classes,
            (2 * stride, 2 * stride),
            strides=(stride, stride),
            padding='VALID',
            use_bias=False,
            kernel_init=bilinear,
            name=name,
        )(x)


def added(score: Array, skip: Array, shift: int) -> Array:
    """The sum of two maps where both are known: position i of `score` is i + shift of `skip`."""
    i, j = max(-shift, 0), max(shift, 0)
    score, skip = score[:, i:, i:], skip[:, j:, j:]
    high, wide = (min(a, b) for a, b in zip(score.shape[1:3], skip.shape[1:3], strict=True))
    return score[:, :high, :wide] + skip[:, :high, :wide]


fcn32s = partial(FCN, skips=0)
fcn16s = partial(FCN, skips=1)
fcn8s = partial(FCN, skips=2)


class FCNHead(nn.Module):
    """3x3 convolution to a quarter of the maps, norm, ReLU, dropout, 1x1 convolution to scores."""

    classes: int
    norm: Layer = BatchNorm
    dropout: float = 0.1

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, H, W, C] -> [B, H, W, classes]."""
        conv = partial(Conv, kernel_init=LINEAR)
        x = conv(x.shape[-1] // 4, (3, 3), padding=1, use_bias=False, name='conv')(x)
        x = nn.relu(self.norm(use_running_average=not train, name='norm')(x))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return conv(self.classes, (1, 1), name='score')(x)


class DilatedFCN(nn.Module):
    """FCN on a residual network whose last stages are dilated, as torchvision has it.

    With ResNet-50 and 21 classes 32,957,013 parameters; 35,322,218 with the auxiliary head.

    backbone: makes the trunk, images -> the outputs of its stages.
    head: makes the head on the last stage's output, given `classes`.
    auxiliary: makes a head on the output of the stage before, or None for a network without. It is
        for training alone: see `auxiliary_loss`.
    """

    classes: int = 21
    backbone: Layer = partial(Stages, (3, 4, 6, 3), Bottleneck, dilated=(False, True, True))
    head: Layer = FCNHead
    auxiliary: Layer | None = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Heads:
        """[B, H, W, C] -> logits [B, H, W, classes].

        They are interpolated bilinearly from the resolution of the trunk.
        """
        image = x.shape[1:3]

        def resized(scores: Array) -> Array:
            return jax.image.resize(scores, (len(x), *image, self.classes), 'linear')

        *_, before, last = self.backbone(name='backbone')(x, train=train)
        logits = resized(self.head(self.classes, name='classifier')(last, train=train))
        # Parameters of heads exist from the start, though only training computes them.
        if self.auxiliary is not None and (train or self.is_initializing()):
            head = self.auxiliary(self.classes, name='aux_classifier')
            auxiliary = resized(head(before, train=train))
            if train:
                return Heads(logits, (auxiliary,))
        return Heads(logits, ())


fcn_resnet50 = DilatedFCN
