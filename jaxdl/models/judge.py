"""A small classifier whose last hidden layer is looked at: the judge of what a generator makes."""

from collections.abc import Sequence

import flax.linen as nn
import jax

from jaxdl.nn.layers import Conv, Dense, max_pool


class Judge(nn.Module):
    """3x3 convolutions with 2x2 pooling, a hidden layer that is its `features`, and a head.

    Trained here, as a player without a loss it says of generated images what an Inception network
    says elsewhere: of which class they are, and how far their features are from those of real ones.
    Its numbers are not comparable with those of Inception, nor with those of another judge.
    """

    maps: Sequence[int] = (16, 32)
    width: int = 32
    classes: int = 10

    def setup(self) -> None:
        """Its layers, which two methods share."""
        self.convolutions = [Conv(maps, (3, 3)) for maps in self.maps]
        self.hidden = Dense(self.width)
        self.head = Dense(self.classes)

    def features(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, width], before the non-linearity: none is dead."""
        for convolution in self.convolutions:
            x = max_pool(nn.relu(convolution(x)))
        return self.hidden(x.reshape(len(x), -1))

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> logits [B, classes]."""
        return self.classify(self.features(x))

    def classify(self, features: jax.Array) -> jax.Array:
        """[B, width] -> logits [B, classes]."""
        return self.head(nn.relu(features))
