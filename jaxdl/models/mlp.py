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
    """

    features: Sequence[int]
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """[B, ...] -> [B, features[-1]]."""
        x = x.reshape(len(x), -1)
        for width in self.features[:-1]:
            x = self.activation(Dense(width)(x))
            if self.dropout:
                x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return Dense(self.features[-1])(x)
