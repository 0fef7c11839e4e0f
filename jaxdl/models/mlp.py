"""The multi-layer perceptron: dense layers with a non-linearity between them."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax

from jaxdl.nn.layers import Dense


class MLP(nn.Module):
    """A multi-layer perceptron on flattened inputs.

    LeCun et al. 1998 (section III.C.4) name theirs by the hidden layers: 300-100 on 28x28 digits is
    ``MLP((300, 100, 10))``, 266,610 parameters.

    features: units of each layer; the last one is the output and has no activation.
    dropout: probability that a hidden unit is zero in training.
    norm(use_running_average=) -> module: before the activation of each hidden layer, which then has
        no bias. With `BatchNorm` this is the projection head and the predictor of BYOL (Grill et
        al. 2020, section 3.3), ``MLP((4096, 256), norm=BatchNorm)``.
    """

    features: Sequence[int]
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    dropout: float = 0.0
    norm: Callable[..., nn.Module] | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """[B, ...] -> [B, features[-1]]."""
        x = x.reshape(len(x), -1)
        for width in self.features[:-1]:
            x = Dense(width, use_bias=self.norm is None)(x)
            if self.norm:
                x = self.norm(use_running_average=not train)(x)
            x = self.activation(x)
            if self.dropout:
                x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return Dense(self.features[-1])(x)
