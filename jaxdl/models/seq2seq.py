"""Sequence to sequence by recurrent networks, with attention or without."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.models.rnn import hidden
from jaxdl.nn.attention import LOWEST, padding_mask
from jaxdl.nn.layers import softmax
from jaxdl.nn.recurrent import GRU, Bidirectional

Array = jax.Array
Layer = Callable[..., nn.Module]


class Memory(NamedTuple):
    """What an encoder has read: outputs [B, S, n], their lengths [B], and its summary [B, n]."""

    outputs: Array
    lengths: Array
    summary: Array


class NoAttention(nn.Module):
    """The summary alone, at every step (Cho et al. 2014; Sutskever et al. 2014)."""

    @nn.compact
    def __call__(self, query: Array, memory: Memory) -> Array:
        """query [B, T, m] -> the summary [B, T, n]."""
        shape = (*query.shape[:2], memory.summary.shape[-1])
        return jnp.broadcast_to(memory.summary[:, None], shape)


class Additive(nn.Module):
    """Bahdanau et al. 2015, section 3.1 and A.1.2: e = v tanh(W q + U h), weights softmax(e)."""

    units: int = 128

    @nn.compact
    def weights(self, query: Array, memory: Memory) -> Array:
        """query [B, T, m] -> how much of each output is looked at, [B, T, S]."""
        q = nn.Dense(self.units, use_bias=False, name='query')(query)
        k = nn.Dense(self.units, use_bias=False, name='key')(memory.outputs)
        v = self.param('v', nn.initializers.lecun_normal(), (self.units, 1))[:, 0]
        return _softmax(jnp.tanh(q[:, :, None] + k[:, None]) @ v, memory)

    def __call__(self, query: Array, memory: Memory) -> Array:
        """query [B, T, m] -> what is attended to, [B, T, n]."""
        return self.weights(query, memory) @ memory.outputs


class Multiplicative(nn.Module):
    """Luong et al. 2015, eq. 8, "general": e = q W h, weights softmax(e)."""

    @nn.compact
    def weights(self, query: Array, memory: Memory) -> Array:
        """query [B, T, m] -> how much of each output is looked at, [B, T, S]."""
        k = nn.Dense(query.shape[-1], use_bias=False, name='key')(memory.outputs)
        return _softmax(query @ k.swapaxes(1, 2), memory)

    def __call__(self, query: Array, memory: Memory) -> Array:
        """query [B, T, m] -> what is attended to, [B, T, n]."""
        return self.weights(query, memory) @ memory.outputs


def _softmax(scores: Array, memory: Memory) -> Array:
    """scores [B, T, S] -> their softmax over what counts of the memory."""
    mask = padding_mask(memory.lengths, scores.shape[-1])[:, 0]
    return softmax(jnp.where(mask, scores, LOWEST))


class Seq2Seq(nn.Module):
    """A bidirectional encoder, and a decoder that looks at it before it says a word.

    The decoder's layer reads the words so far; its output asks the memory, and both make the
    next word (Luong et al. 2015, eq. 5 and 6). Training gives it the true words so far.

    source_words, target_words: sizes of the vocabularies. layer(units) -> a recurrent layer with
    one state, `GRU`. attention(name=) -> `Additive`, `Multiplicative` or `NoAttention`.
    """

    source_words: int
    target_words: int
    embedding: int = 128
    units: int = 256
    layer: Layer = GRU
    attention: Layer = Additive
    dropout: float = 0.0

    def setup(self) -> None:
        """Encoder, decoder and what is between them."""
        self.source_embed = nn.Embed(self.source_words, self.embedding)
        self.target_embed = nn.Embed(self.target_words, self.embedding)
        self.encoder = Bidirectional(partial(self.layer, self.units))
        self.bridge = nn.Dense(self.units)
        self.decoder = self.layer(self.units)
        self.look = self.attention()
        self.combine = nn.Dense(self.units)
        self.out = nn.Dense(self.target_words)
        self.drop = nn.Dropout(self.dropout)

    def __call__(
        self,
        source: Array,
        target: Array,
        source_lengths: Array | None = None,
        *,
        train: bool = False,
    ) -> Array:
        """Source int [B, S] and the words so far, int [B, T]: logits [B, T, target_words]."""
        memory = self.encode(source, source_lengths, train=train)
        logits, _ = self._said(target, (self._begin(memory), memory), None, train=train)
        return logits

    def encode(self, source: Array, lengths: Array | None = None, *, train: bool = False) -> Memory:
        """What was read of source int [B, S]."""
        if lengths is None:
            lengths = jnp.full(source.shape[0], source.shape[1], jnp.int32)
        x = self.drop(self.source_embed(source), deterministic=not train)
        outputs, states = self.encoder(x, lengths=lengths)
        return Memory(outputs, lengths, hidden(states))

    def empty(self, memory: Memory, lengths: Array | None = None, steps: int = 0) -> Any:
        """The state of a decoder that has said nothing; it has room for any number of steps."""
        return self._begin(memory), memory

    def extend(self, tokens: Array, state: Any, count: Array | None = None) -> tuple[Array, Any]:
        """The next tokens int [B, T]: logits [B, T, target_words], and the state after them."""
        return self._said(tokens, state, count, train=False)

    def _begin(self, memory: Memory) -> Any:
        first = jnp.tanh(self.bridge(memory.summary))
        empty = self.decoder(jnp.zeros((first.shape[0], 1, self.embedding)))[1]
        return (first, *(jnp.zeros_like(part) for part in empty[1:]))

    def _said(
        self, tokens: Array, state: Any, count: Array | None, *, train: bool
    ) -> tuple[Array, Any]:
        before, memory = state
        x = self.drop(self.target_embed(tokens), deterministic=not train)
        ys, after = self.decoder(x, lengths=count, initial=before)
        context = self.look(ys, memory)
        z = jnp.tanh(self.combine(jnp.concatenate([ys, context], axis=-1)))
        return self.out(self.drop(z, deterministic=not train)), (after, memory)
