"""Attention over channels and positions, as blocks that plug into convolutional networks.

``resnet50(attention=SqueezeExcitation)`` is SE-ResNet-50, ``resnet50(attention=CBAM)`` has CBAM:
both stand where the papers put them, on the residual branch after its last norm and before the
addition.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn import initializers

from jaxdl.nn.layers import BatchNorm, Conv, Dense
from jaxdl.nn.pooling import maximum

Array = jax.Array
Layer = Callable[..., nn.Module]

HE = initializers.variance_scaling(2.0, 'fan_in', 'normal')
# The authors' norm of the spatial map: slow statistics, and a scale that starts at zero, so that
# every position starts with the same weight.
SpatialNorm = partial(BatchNorm, momentum=0.99, scale_init=initializers.zeros)


class SqueezeExcitation(nn.Module):
    """Each channel times a number in (0, 1) that a small perceptron gives (Hu et al. 2018).

    s = sigmoid(W2 relu(W1 mean(x))), eq. 2 and 3. Both dense layers have biases, as in the authors'
    code: SE-ResNet-50 has 28,088,024 parameters, 28.1 M in the paper's table 2.

    reduction: hidden units are 1/reduction of the channels, at least one.
    """

    reduction: int = 16

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, H, W, C] -> [B, H, W, C]."""
        channels = x.shape[-1]
        s = Dense(max(channels // self.reduction, 1), kernel_init=HE, name='fc1')(x.mean((1, 2)))
        s = nn.sigmoid(Dense(channels, name='fc2')(nn.relu(s)))
        return x * s[:, None, None]


class ChannelAttention(nn.Module):
    """As squeeze and excitation, of the means and of the maxima (Woo et al. 2018, eq. 2).

    M = sigmoid(MLP(mean(x)) + MLP(max(x))), one perceptron for both.
    """

    reduction: int = 16

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, C] -> [B, H, W, C]."""
        channels = x.shape[-1]
        first = Dense(max(channels // self.reduction, 1), kernel_init=HE, name='fc1')
        second = Dense(channels, name='fc2')
        largest = maximum(x.reshape(len(x), -1, channels), 1)
        s = sum(second(nn.relu(first(pooled))) for pooled in (x.mean((1, 2)), largest))
        return x * nn.sigmoid(s)[:, None, None]


class SpatialAttention(nn.Module):
    """Each position times a number in (0, 1) that a convolution gives (Woo et al. 2018, eq. 3).

    M = sigmoid(norm(conv7x7([max(x), mean(x)]))), maximum and mean over channels. The norm, and
    no bias, is what the authors' code has; the equation does not show it.

    norm(use_running_average=, name=) -> module.
    """

    kernel: int = 7
    norm: Layer = SpatialNorm

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, H, W, C] -> [B, H, W, C]."""
        pooled = jnp.stack([maximum(x, -1), x.mean(-1)], axis=-1)
        side = (self.kernel, self.kernel)
        s = Conv(1, side, padding=self.kernel // 2, use_bias=False, name='conv')(pooled)
        return x * nn.sigmoid(self.norm(use_running_average=not train, name='bn')(s))


class CBAM(nn.Module):
    """Convolutional block attention: over channels, then over positions (Woo et al. 2018, eq. 1).

    ResNet-50 with it has 28,089,624 parameters, 28.09 M in table 4.
    """

    reduction: int = 16
    kernel: int = 7
    norm: Layer = SpatialNorm

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, H, W, C] -> [B, H, W, C]."""
        x = ChannelAttention(self.reduction, name='channel')(x)
        return SpatialAttention(self.kernel, self.norm, name='spatial')(x, train=train)
