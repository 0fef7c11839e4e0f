"""The perceptron GANs that tutorials start with; a discriminator is an `MLP` with one output.

    generator, on digits          output   parameters   discriminator        output   parameters
    latents                          100                digit                   784
    dense, ReLU                      128       12,928   dense, ReLU             128      100,480
    dense, sigmoid                   784      101,136   dense                     1          129
    total                                     114,064                                    100,609

The larger pair has 256 and 512 hidden units with LeakyReLU of slope 0.2 and pixels in -1..1 by
tanh, 559,632 parameters, against 512 and 256 hidden units, 533,505. A discriminator's output is the
logit of "real" (Goodfellow et al. 2014): the sigmoid is in the loss.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.models.mlp import MLP

Map = Callable[[jax.Array], jax.Array]

leaky_relu = partial(nn.leaky_relu, negative_slope=0.2)


class PerceptronGenerator(nn.Module):
    """A perceptron from latents to an image.

    image: [H, W, C] of what it makes.
    hidden: units of each hidden layer.
    output: the non-linearity of pixels: `nn.sigmoid` for 0..1, `jnp.tanh` for -1..1.
    """

    image: Sequence[int] = (28, 28, 1)
    hidden: Sequence[int] = (128,)
    activation: Map = nn.relu
    output: Map = nn.sigmoid

    @nn.compact
    def __call__(self, z: jax.Array, *, train: bool = False) -> jax.Array:
        """[B, latents] -> [B, *image]."""
        widths = (*self.hidden, math.prod(self.image))
        x = MLP(widths, activation=self.activation, name='mlp')(z, train=train)
        return self.output(x).reshape(len(z), *self.image)


perceptron_discriminator = partial(MLP, (128, 1))
leaky_generator = partial(
    PerceptronGenerator, hidden=(256, 512), activation=leaky_relu, output=jnp.tanh
)
leaky_discriminator = partial(MLP, (512, 256, 1), activation=leaky_relu)
