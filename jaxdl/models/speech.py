"""Networks for speech: what was said in it, label by label, and which single word it was.

They take features x [B, T, n] (log-mel, MFCC: `jaxdl.audio.mel`) and lengths [B] in frames; what
stands beyond a row's length changes nothing.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.lengths import within
from jaxdl.nn.layers import convolution, max_pool
from jaxdl.nn.recurrent import LSTM, Bidirectional, Stacked

Array = jax.Array

BiLSTM = partial(Bidirectional, partial(LSTM, 64))


class Emissions(NamedTuple):
    """Logits [B, T', V] of a label or none at each step, and how many steps each row has, [B]."""

    logits: Array
    lengths: Array


def stacked_frames(x: Array, lengths: Array, count: int) -> tuple[Array, Array]:
    """`count` frames side by side as one: [B, T, n] -> [B, ceil(T / count), count n], and lengths.

    The last of a row is filled up with zeros.
    """
    rows, steps, features = x.shape
    x = jnp.where(within(lengths, steps)[..., None], x, 0)
    x = jnp.pad(x, ((0, 0), (0, -steps % count), (0, 0)))
    return x.reshape(rows, -1, count * features), -(-lengths // count)


class Recogniser(nn.Module):
    """Recurrent layers over frames, and a label or the blank at each (Graves et al. 2006, 5.1).

    classes: labels and the blank. layers: `Bidirectional` or one direction, which can follow a
    voice as it speaks. stack: frames side by side as one, which makes rows shorter.
    """

    classes: int
    layers: Sequence[nn.Module] = (BiLSTM(), BiLSTM())
    stack: int = 2
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Array, lengths: Array, *, train: bool = False) -> Emissions:
        """[B, T, n] and frames [B] -> logits [B, ceil(T / stack), classes]."""
        x, lengths = stacked_frames(x, lengths, self.stack)
        rnn = Stacked(self.layers, self.dropout, name='rnn')
        y, _ = rnn(x, lengths=lengths, train=train)
        y = nn.Dropout(self.dropout)(y, deterministic=not train)
        return Emissions(nn.Dense(self.classes, name='out')(y), lengths)


class WordRNN(nn.Module):
    """A class for a whole row: recurrent layers, the mean over its frames, a dense layer."""

    classes: int
    layers: Sequence[nn.Module] = (BiLSTM(),)
    stack: int = 2
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Array, lengths: Array, *, train: bool = False) -> Array:
        """[B, T, n] and frames [B] -> logits [B, classes]."""
        x, lengths = stacked_frames(x, lengths, self.stack)
        rnn = Stacked(self.layers, self.dropout, name='rnn')
        y, _ = rnn(x, lengths=lengths, train=train)
        mean = y.sum(1) / jnp.maximum(lengths, 1)[:, None]  # outputs are zero beyond the length
        mean = nn.Dropout(self.dropout)(mean, deterministic=not train)
        return nn.Dense(self.classes, name='out')(mean)


class WordCNN(nn.Module):
    """A class for a whole row: 3x3 convolutions over time and frequency, the mean over time.

    After each one ReLU and pooling by 2 both ways, so that a row's frames never see its padding.
    """

    classes: int
    features: Sequence[int] = (16, 32, 64)
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Array, lengths: Array, *, train: bool = False) -> Array:
        """[B, T, n] and frames [B] -> logits [B, classes]."""
        x = jnp.where(within(lengths, x.shape[1])[..., None], x, 0)[..., None]
        for i, width in enumerate(self.features):
            conv = nn.Conv(width, (3, 3), conv_general_dilated=convolution, name=f'conv{i}')
            x = nn.relu(conv(x))
            # The border of the row alone is zero, and zero is the least after a ReLU.
            x = jnp.where(within(lengths, x.shape[1])[..., None, None], x, 0)
            x = jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)))
            x = max_pool(x, (2, 2), strides=(2, 2))
            lengths = -(-lengths // 2)
        mean = x.sum(1).reshape(len(x), -1) / jnp.maximum(lengths, 1)[:, None]
        mean = nn.Dropout(self.dropout)(mean, deterministic=not train)
        return nn.Dense(self.classes, name='out')(mean)
