"""Recurrent networks for text: a language model, a tagger, and two classifiers.

Each starts with an embedding and is made of the layers of `jaxdl.nn.recurrent`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn import initializers

from jaxdl.lengths import within
from jaxdl.nn.recurrent import LSTM, Bidirectional, SimpleRNN, Stacked

Array = jax.Array
Layer = Callable[..., nn.Module]


class LanguageModel(nn.Module):
    """The next token from those before it, by recurrent layers (Mikolov et al. 2010).

    layer(units) -> layer: `LSTM`, `GRU`, `SimpleRNN`. units: of each layer, one after another.
    dropout: of what goes into a layer, but into the first, and out of the last (Zaremba et al.
        2014); of the embeddings too.
    """

    vocabulary: int
    units: Sequence[int] = (256, 256)
    embedding: int = 128
    layer: Layer = LSTM
    dropout: float = 0.0

    def setup(self) -> None:
        """Embedding, layers, output."""
        self.embed = nn.Embed(self.vocabulary, self.embedding)
        self.rnn = Stacked([self.layer(units) for units in self.units], self.dropout)
        self.drop = nn.Dropout(self.dropout)
        self.out = nn.Dense(self.vocabulary)

    def __call__(
        self, tokens: Array, lengths: Array | None = None, *, train: bool = False
    ) -> Array:
        """Tokens int [B, T] -> logits [B, T, vocabulary] of the token after each."""
        x = self.drop(self.embed(tokens), deterministic=not train)
        x, _ = self.rnn(x, lengths=lengths, train=train)
        return self.out(self.drop(x, deterministic=not train))

    def empty(self, batch: int, steps: int) -> Any:
        """The state of a text of which nothing was read; it has room for any number of steps."""
        x = jnp.zeros((batch, 1, self.embedding))
        return self.rnn(x, lengths=jnp.zeros(batch, jnp.int32))[1]

    def extend(self, tokens: Array, state: Any, count: Array | None = None) -> tuple[Array, Any]:
        """The next tokens int [B, T]: logits [B, T, vocabulary], and the state after them."""
        x, state = self.rnn(self.embed(tokens), lengths=count, initial=state)
        return self.out(x), state


class Tagger(nn.Module):
    """A class for every token, by recurrent layers on its embedding.

    make(name=) -> layer: ``partial(Bidirectional, partial(LSTM, 64))`` reads from both ends.
    ahead: how many tokens further a layer may have read when it decides: a delayed output.
    """

    vocabulary: int
    classes: int
    embedding: int = 64
    make: Layer = partial(Bidirectional, partial(LSTM, 64))
    ahead: int = 0
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self, tokens: Array, lengths: Array | None = None, *, train: bool = False
    ) -> Array:
        """Tokens int [B, T] -> logits [B, T, classes]."""
        steps = tokens.shape[1]
        drop = nn.Dropout(self.dropout, deterministic=not train)
        x = drop(nn.Embed(self.vocabulary, self.embedding, name='embed')(tokens))
        if lengths is not None:  # what is read ahead of a row's end is nothing, not padding
            x = jnp.where(within(lengths, steps)[..., None], x, 0)
            lengths = lengths + self.ahead
        x = jnp.pad(x, ((0, 0), (0, self.ahead), (0, 0)))
        x, _ = self.make(name='rnn')(x, lengths=lengths)
        return nn.Dense(self.classes, name='out')(drop(x[:, self.ahead : self.ahead + steps]))


class RNNClassifier(nn.Module):
    """A class for a text: embedding, recurrent layers, and a dense layer on their last state.

    The tutorial's is ``RNNClassifier(vocabulary, classes)``: Embedding 64, SimpleRNN 128, SimpleRNN
    64, Dense.
    """

    vocabulary: int
    classes: int
    embedding: int = 64
    layers: Sequence[nn.Module] = (SimpleRNN(128), SimpleRNN(64))
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self, tokens: Array, lengths: Array | None = None, *, train: bool = False
    ) -> Array:
        """Tokens int [B, T] -> logits [B, classes]."""
        drop = nn.Dropout(self.dropout, deterministic=not train)
        x = drop(nn.Embed(self.vocabulary, self.embedding, name='embed')(tokens))
        _, states = Stacked(self.layers, self.dropout, name='rnn')(x, lengths=lengths, train=train)
        return nn.Dense(self.classes, name='out')(drop(hidden(states[-1])))


class Generator(nn.Module):
    """The tutorial's text generator: one-hot characters, LSTM 128, and a dense layer on its end.

    It reads `steps` characters and names the next one.
    """

    vocabulary: int
    units: int = 128

    @nn.compact
    def __call__(
        self, tokens: Array, lengths: Array | None = None, *, train: bool = False
    ) -> Array:
        """Tokens int [B, T] -> logits [B, vocabulary] of the one that comes next."""
        x = jax.nn.one_hot(tokens, self.vocabulary)
        _, (h, _) = LSTM(self.units, name='lstm')(x, lengths=lengths)
        return nn.Dense(self.vocabulary, name='out')(h)


class TextCNN(nn.Module):
    """Convolutions over words, and the maximum of each over time (Kim 2014, section 2).

    widths: of the convolutions, in words; features: of each. dropout: before the output.
    """

    vocabulary: int
    classes: int
    embedding: int = 300
    widths: Sequence[int] = (3, 4, 5)
    features: int = 100
    dropout: float = 0.5

    @nn.compact
    def __call__(
        self, tokens: Array, lengths: Array | None = None, *, train: bool = False
    ) -> Array:
        """Tokens int [B, T] -> logits [B, classes]."""
        uniform = initializers.uniform(0.5)

        def around_zero(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
            return uniform(key, shape, dtype) - 0.25  # U(-0.25, 0.25), section 3.1

        x = nn.Embed(self.vocabulary, self.embedding, embedding_init=around_zero, name='embed')(
            tokens
        )
        steps = tokens.shape[1]
        if lengths is not None:  # what is padding is as if it were not there
            x = jnp.where(within(lengths, steps)[..., None], x, 0)
        found = []
        for width in self.widths:
            # A text shorter than the window has one place: it is filled up with zeros.
            padded = jnp.pad(x, ((0, 0), (0, max(0, width - steps)), (0, 0)))
            y = nn.relu(
                nn.Conv(self.features, (width,), padding='VALID', name=f'conv{width}')(padded)
            )
            if lengths is not None:
                places = jnp.maximum(lengths - width + 1, 1)[:, None]
                y = jnp.where((jnp.arange(y.shape[1])[None] < places)[..., None], y, 0)
            found.append(y.max(1))
        z = nn.Dropout(self.dropout)(jnp.concatenate(found, -1), deterministic=not train)
        return nn.Dense(self.classes, name='out')(z)


def hidden(state: Any) -> Array:
    """The hidden part [B, units] of a layer's state; of both directions side by side."""
    if isinstance(state[0], tuple):
        return jnp.concatenate([hidden(part) for part in state], axis=-1)
    return state[0]
