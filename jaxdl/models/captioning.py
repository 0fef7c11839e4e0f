"""Captioning: a convolutional network looks at an image, and a Transformer's decoder describes it.

Xu et al. 2015, *Show, attend and tell*: words are chosen while attending to positions of the image;
Vinyals et al. 2015, *Show and tell*: from one vector of the whole. Here the decoder is that of
Vaswani et al. 2017 with its norms first, and what it may look at is injected.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn import initializers

from jaxdl.models.transformer import (
    CrossBlock,
    LayerNorm,
    Perceptron,
    decode,
    empty_caches,
    extend_caches,
    next_positions,
    pre_norm,
)
from jaxdl.nn.attention import Attention, sinusoids
from jaxdl.nn.axes import named
from jaxdl.nn.layers import BatchNorm, Conv, Dense, max_pool

Array = jax.Array
Layer = Callable[..., nn.Module]


class ConvMaps(nn.Module):
    """Maps of an image by stages of a 3x3 convolution, BatchNorm, ReLU and pooling to half."""

    features: Sequence[int] = (16, 32, 64)

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, H, W, C] -> [B, H / 2^stages, W / 2^stages, features]."""
        for i, width in enumerate(self.features):
            x = Conv(width, (3, 3), use_bias=False, name=f'conv_{i}')(x)
            x = BatchNorm(use_running_average=not train, name=f'norm_{i}')(x)
            x = max_pool(nn.relu(x))
        return x


class Positions(nn.Module):
    """All positions of the maps, to be attended to, each told where it stands."""

    @nn.compact
    def __call__(self, maps: Array, width: int) -> Array:
        """[B, h, w, c] -> [B, h w, width]."""
        batch, rows, columns, _ = maps.shape
        x = Dense(width, name='project')(maps).reshape(batch, rows * columns, width)
        places = named(initializers.normal(0.02), None, 'embed')
        return x + self.param('place', places, (rows * columns, width))[None]


class MeanFeature(nn.Module):
    """No attention: the mean of the maps over all positions, one vector (Vinyals et al. 2015)."""

    @nn.compact
    def __call__(self, maps: Array, width: int) -> Array:
        """[B, h, w, c] -> [B, 1, width]."""
        return Dense(width, name='project')(maps.mean((1, 2)))[:, None]


class OneVector(nn.Module):
    """No attention: a dense layer on all positions of the maps at once, one vector."""

    @nn.compact
    def __call__(self, maps: Array, width: int) -> Array:
        """[B, h, w, c] -> [B, 1, width]."""
        return Dense(width, name='project')(maps.reshape(len(maps), -1))[:, None]


class Captioner(nn.Module):
    """Images to words: the decoder's blocks attend to what was read of the image.

    It has the methods of `Transformer`, so that `jaxdl.objectives.seq2seq` trains it and lets it
    speak: its source is an image.

    vocabulary: words. encoder() -> module (x, train=) -> maps [B, h, w, c]. read() -> module (maps,
        width) -> memory [B, S, width]: `Positions`, `MeanFeature`, `OneVector`.
    width, depth, heads, mlp: of the decoder. dropout: of its branches. longest: most words.
    """

    vocabulary: int
    encoder: Layer = ConvMaps
    read: Layer = Positions
    width: int = 64
    depth: int = 2
    heads: int = 4
    mlp: int = 128
    dropout: float = 0.0
    longest: int = 64

    def setup(self) -> None:
        """Encoder, embedding and blocks."""
        self.maps, self.reading = self.encoder(), self.read()
        words = named(initializers.normal(self.width**-0.5), 'vocabulary', 'embed')
        self.embedding = nn.Embed(self.vocabulary, self.width, embedding_init=words)
        block = partial(
            CrossBlock,
            partial(Attention, self.heads, self.width),
            partial(Perceptron, self.mlp, self.width),
            residual=pre_norm,
            dropout=self.dropout,
        )
        self.decoder = [block() for _ in range(self.depth)]
        self.norm_memory, self.norm_last = LayerNorm(), LayerNorm()

    def __call__(self, source: Array, target: Array, *, train: bool = False) -> Array:
        """Images [B, H, W, C] and what was said so far, int [B, T]: logits [B, T, vocabulary]."""
        memory = self.encode(source, train=train)
        x = self._embedded(target, jnp.arange(target.shape[1])[None])
        return self._logits(decode(self.decoder, self.depth, x, memory, train=train))

    def encode(self, source: Array, lengths: Array | None = None, *, train: bool = False) -> Array:
        """The memory [B, S, width] of images; all of it counts, whatever the lengths."""
        return self.norm_memory(self.reading(self.maps(source, train=train), self.width))

    def empty(self, memory: Array, lengths: Array | None, steps: int) -> Any:
        """The state of a decoder that has said nothing, for so many steps."""
        return empty_caches(self.decoder, self.depth, memory, lengths, steps)

    def extend(self, tokens: Array, state: Any, count: Array | None = None) -> tuple[Array, Any]:
        """The next tokens int [B, T]: logits [B, T, vocabulary], and the state after them."""
        x = self._embedded(tokens, next_positions(state, tokens.shape[1]))
        x, grown = extend_caches(self.decoder, x, state, count=count)
        return self._logits(x), grown

    def _embedded(self, tokens: Array, positions: Array) -> Array:
        waves = sinusoids(self.longest, self.width)[positions]
        return self.embedding(tokens) * math.sqrt(self.width) + waves

    def _logits(self, x: Array) -> Array:
        return self.embedding.attend(self.norm_last(x))
