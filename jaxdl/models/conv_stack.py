"""The stack of convolutions with which few-shot learning embeds small images."""

from collections.abc import Callable, Sequence
from functools import partial

import flax.linen as nn
import jax

from jaxdl.nn.layers import BatchNorm, Conv, max_pool


class ConvStack(nn.Module):
    """3x3 convolution, BatchNorm, ReLU and 2x2 maximum pooling, a few times: an encoder.

    Vinyals et al. 2016 (section 4.1.1) stack four modules of 64 maps, known as Conv-4, which leaves
    64 features of a 28x28 digit: 111,680 parameters, the convolutions without the biases that their
    norms would take away again. A row or column beyond an even number is left out by the pooling.

    widths: maps of each module.
    norm(use_running_average=) -> module.
    """

    widths: Sequence[int] = (64, 64, 64, 64)
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """[B, H, W, C] -> features [B, F], F = widths[-1] for sides of 2^n to 2^(n+1) - 1."""
        norm = partial(self.norm, use_running_average=not train)
        for width in self.widths:
            x = Conv(width, (3, 3), padding='SAME', use_bias=False)(x)
            x = max_pool(nn.relu(norm()(x)), (2, 2), strides=(2, 2))
        return x.reshape(len(x), -1)
