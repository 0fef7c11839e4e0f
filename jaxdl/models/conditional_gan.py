"""Conditional GANs (Mirza and Osindero 2014): both networks are told the class y of what they see.

The perceptrons of the paper (section 4.1) on digits, and two wrappers that tell any generator and
any convolutional discriminator.
"""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.nn.layers import Dense

Array = jax.Array


class Maxout(nn.Module):
    """max over pieces k of x W_k + b_k, for each unit (Goodfellow et al. 2013, section 3)."""

    units: int
    pieces: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, D] -> [B, units]."""
        x = Dense(self.units * self.pieces, name='dense')(x)
        return x.reshape(len(x), self.units, self.pieces).max(-1)


class ConditionalGenerator(nn.Module):
    """Latents and a class to 200 and 1000 units, both to 1200, and to pixels in 0..1.

    2,413,984 parameters with 100 latents and 10 classes. The paper draws latents uniformly from the
    unit hypercube, and drops half of all hidden units in training.
    """

    classes: int = 10
    image: Sequence[int] = (28, 28, 1)
    hidden: tuple[int, int] = (200, 1000)
    joint: int = 1200
    dropout: float = 0.5

    @nn.compact
    def __call__(self, z: Array, y: Array, *, train: bool = False) -> Array:
        """[B, latents], int [B] -> [B, *image]."""
        drop = nn.Dropout(self.dropout, deterministic=not train)
        told = jax.nn.one_hot(y, self.classes)
        parts = [Dense(self.hidden[0], name='z')(z), Dense(self.hidden[1], name='y')(told)]
        x = drop(nn.relu(jnp.concatenate(parts, axis=-1)))
        x = drop(nn.relu(Dense(self.joint, name='joint')(x)))
        x = Dense(math.prod(self.image), name='output')(x)
        return nn.sigmoid(x).reshape(len(z), *self.image)


class ConditionalDiscriminator(nn.Module):
    """Maxout layers: an image to 240 units of 5 pieces, a class to 50 of 5, both to 240 of 4.

    1,224,351 parameters on 28x28 digits. Its output is the logit of "real".
    """

    classes: int = 10
    hidden: tuple[int, int] = (240, 50)
    joint: int = 240
    dropout: float = 0.5

    @nn.compact
    def __call__(self, x: Array, y: Array, *, train: bool = False) -> Array:
        """[B, ...], int [B] -> [B, 1]."""
        drop = nn.Dropout(self.dropout, deterministic=not train)
        told = jax.nn.one_hot(y, self.classes)
        seen = Maxout(self.hidden[0], 5, name='x')(x.reshape(len(x), -1))
        x = drop(jnp.concatenate([seen, Maxout(self.hidden[1], 5, name='y')(told)], axis=-1))
        return Dense(1, name='output')(drop(Maxout(self.joint, 4, name='joint')(x)))


class ToldGenerator(nn.Module):
    """Any generator(z, train), whose latents the class is put beside as 0 and 1."""

    generator: nn.Module
    classes: int

    @nn.compact
    def __call__(self, z: Array, y: Array, *, train: bool = False) -> Array:
        """[B, latents], int [B] -> [B, H, W, C]."""
        z = jnp.concatenate([z, jax.nn.one_hot(y, self.classes)], axis=-1)
        return self.generator(z, train=train)


class ToldDiscriminator(nn.Module):
    """Any discriminator(x, train) of images, which have a map of 0 or 1 more for each class."""

    discriminator: nn.Module
    classes: int

    @nn.compact
    def __call__(self, x: Array, y: Array, *, train: bool = False) -> Array:
        """[B, H, W, C], int [B] -> [B, 1]."""
        told = jax.nn.one_hot(y, self.classes)[:, None, None]
        maps = jnp.broadcast_to(told, (*x.shape[:3], self.classes))
        x = jnp.concatenate([x, maps], axis=-1)
        return self.discriminator(x, train=train)
