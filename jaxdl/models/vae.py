"""A variational autoencoder's two networks, as perceptrons (Kingma and Welling 2014, appendix C).

    x -> encoder -> mean, log variance of q(z | x)         z -> decoder -> logits of p(x | z)

Any encoder that gives `Gaussian` and any decoder from codes fit into `VAE`.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.keys import Key
from jaxdl.nn.layers import Dense

Array = jax.Array


class Gaussian(NamedTuple):
    """A normal distribution with a diagonal covariance: mean and log variance, [B, n] each."""

    mean: Array
    log_variance: Array

    def sample(self, key: Key) -> Array:
        """A draw [B, n] that gradients pass: mean + deviation * noise (section 2.4)."""
        noise = jax.random.normal(key, self.mean.shape, self.mean.dtype)
        return self.mean + jnp.exp(self.log_variance / 2) * noise

    def divergence(self) -> Array:
        """KL(q || N(0, 1)) in nats [B] (appendix B)."""
        terms = jnp.exp(self.log_variance) + self.mean**2 - 1 - self.log_variance
        return terms.sum(-1) / 2


class Encoder(nn.Module):
    """Rows to a Gaussian of codes: hidden layers with tanh, then two linear ones."""

    codes: int = 20
    hidden: Sequence[int] = (400,)

    @nn.compact
    def __call__(self, x: Array) -> Gaussian:
        """[B, ...] -> Gaussian of [B, codes]."""
        h = x.reshape(len(x), -1)
        for i, units in enumerate(self.hidden):
            h = nn.tanh(Dense(units, name=f'fc{i}')(h))
        return Gaussian(
            Dense(self.codes, name='mean')(h), Dense(self.codes, name='log_variance')(h)
        )


class Decoder(nn.Module):
    """Codes to logits of rows: hidden layers with tanh, then a linear one."""

    shape: Sequence[int]
    hidden: Sequence[int] = (400,)

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """[B, codes] -> logits [B, *shape]."""
        for i, units in enumerate(self.hidden):
            z = nn.tanh(Dense(units, name=f'fc{i}')(z))
        return Dense(math.prod(self.shape), name='out')(z).reshape(len(z), *self.shape)


class VAE(nn.Module):
    """Encoder and decoder, with a draw between them from the stream 'noise'."""

    encoder: nn.Module
    decoder: nn.Module

    def __call__(self, x: Array) -> tuple[Array, Gaussian]:
        """[B, ...] -> logits of x [B, ...] given a draw of the code, and the code's Gaussian."""
        code = self.encode(x)
        return self.decode(code.sample(self.make_rng('noise'))), code

    def encode(self, x: Array) -> Gaussian:
        """[B, ...] -> q(z | x)."""
        return self.encoder(x)

    def decode(self, z: Array) -> Array:
        """[B, codes] -> logits [B, ...]."""
        return self.decoder(z)
