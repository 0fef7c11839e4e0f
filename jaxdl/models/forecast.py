"""Forecasters: the next H steps of a series at once, x [B, T, C] -> [B, H, C].

All steps come from one product (a direct forecast), not one from another.
"""

from collections.abc import Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn import initializers

from jaxdl.models.rnn import hidden
from jaxdl.models.transformer import Block, LayerNorm, Perceptron, Residual, pre_norm
from jaxdl.nn.attention import Attention, sinusoids
from jaxdl.nn.recurrent import LSTM, Stacked

Array = jax.Array

# U(-1 / sqrt(T), 1 / sqrt(T)), as in the authors' code.
_over_time = initializers.variance_scaling(1 / 3, 'fan_in', 'uniform')


def moving_average(x: Array, width: int) -> Array:
    """Means over `width` steps around each, [B, T, C]; both ends are repeated beyond themselves."""
    before = (width - 1) // 2
    padded = jnp.pad(x, ((0, 0), (before, width - 1 - before), (0, 0)), mode='edge')
    sums = jnp.cumsum(jnp.pad(padded, ((0, 0), (1, 0), (0, 0))), axis=1)
    return (sums[:, width:] - sums[:, :-width]) / width


class Linear(nn.Module):
    """One product over time, the same for every feature: y_c = W x_c + b. H T + H parameters."""

    future: int

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, T, C] -> [B, H, C]."""
        dense = nn.Dense(self.future, kernel_init=_over_time, name='time')
        return dense(x.swapaxes(1, 2)).swapaxes(1, 2)


class DLinear(nn.Module):
    """Trend and remainder, one product over time each (Zeng et al. 2023, section 4).

    y = W_t m + W_s (x - m), m the moving average over `width` steps; the same W for every feature.
    2 (H T + H) parameters.
    """

    future: int
    width: int = 25

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, T, C] -> [B, H, C]."""
        trend = moving_average(x, self.width)
        seasonal = Linear(self.future, name='seasonal')(x - trend)
        return seasonal + Linear(self.future, name='trend')(trend)


class RNNForecaster(nn.Module):
    """Recurrent layers read the past; a dense layer on the last state makes the whole future."""

    future: int
    layers: Sequence[nn.Module] = (LSTM(64),)
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, T, C] -> [B, H, C]."""
        rows, _, features = x.shape
        _, states = Stacked(self.layers, self.dropout, name='rnn')(x, train=train)
        h = nn.Dropout(self.dropout)(hidden(states[-1]), deterministic=not train)
        y = nn.Dense(self.future * features, name='out')(h)
        return y.reshape(rows, self.future, features)


class TransformerForecaster(nn.Module):
    """Blocks of attention over the past; a dense layer on its last step makes the whole future.

    A step is a token: its features through a dense layer, and sinusoidal positions.
    """

    future: int
    width: int = 64
    depth: int = 2
    heads: int = 4
    mlp: int = 128
    dropout: float = 0.1
    residual: Residual = pre_norm

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, T, C] -> [B, H, C]."""
        rows, steps, features = x.shape
        z = nn.Dense(self.width, name='embed')(x) + sinusoids(steps, self.width)[None]
        z = nn.Dropout(self.dropout)(z, deterministic=not train)
        for i in range(self.depth):
            z = Block(
                partial(Attention, self.heads, self.width),
                partial(Perceptron, self.mlp, self.width),
                residual=self.residual,
                dropout=self.dropout,
                name=f'block{i}',
            )(z, train=train)
        last = LayerNorm(name='norm')(z[:, -1])
        y = nn.Dense(self.future * features, name='out')(last)
        return y.reshape(rows, self.future, features)


class FromLast(nn.Module):
    """A forecaster of changes: x and y are counted from the last value (NLinear, Zeng et al. 2023).

    A series that has moved since training is then as it was. ``FromLast(Linear(24))`` is NLinear.
    """

    inner: nn.Module

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, T, C] -> [B, H, C]."""
        last = x[:, -1:]
        return last + self.inner(x - last, train=train)
