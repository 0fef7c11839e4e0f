"""The Transformer: encoder, decoder, and both (Vaswani et al. 2017).

Sizes of the paper, table 3: base has 6 + 6 blocks of width 512, 8 heads, 2048 hidden units; big has
width 1024, 16 heads, 4096.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn import initializers

from jaxdl.blocks import Blocks, in_turn
from jaxdl.nn import layers
from jaxdl.nn.attention import Attention, Cache, padding_mask, sinusoids
from jaxdl.nn.axes import named, over_rows

Array = jax.Array
Layer = Callable[..., nn.Module]
Branch = Callable[[Array], Array]
Residual = Callable[[Array, Branch, Branch], Array]
LayerNorm = partial(layers.LayerNorm, epsilon=1e-5)


def post_norm(x: Array, branch: Branch, norm: Branch) -> Array:
    """norm(x + branch(x)), as published."""
    return norm(x + branch(x))


def pre_norm(x: Array, branch: Branch, norm: Branch) -> Array:
    """x + branch(norm(x)) (Xiong et al. 2020): trains without warming up."""
    return x + branch(norm(x))


class Perceptron(nn.Module):
    """Two dense layers on each token: activation(x W1 + b1) W2 + b2 (eq. 2)."""

    hidden: int
    width: int
    activation: Callable[[Array], Array] = nn.relu
    dropout: float = 0.0
    kernel_init: Callable[..., Array] = initializers.xavier_uniform()
    out_init: Callable[..., Array] = initializers.xavier_uniform()

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, T, width] -> [B, T, width]."""
        up = named(self.kernel_init, 'embed', 'mlp')
        x = self.activation(nn.Dense(self.hidden, kernel_init=up, name='fc1')(x))
        x = nn.Dropout(self.dropout)(x, deterministic=not train)
        down = named(self.out_init, 'mlp', 'embed')
        return nn.Dense(self.width, kernel_init=down, name='fc2')(x)


class Block(nn.Module):
    """Attention to oneself, then a perceptron; each with a residual connection and a norm.

    attention(name=) and mlp(name=) -> modules, norm(name=) -> module.
    residual: `post_norm` or `pre_norm`. dropout: of each branch before it is added.
    """

    attention: Layer
    mlp: Layer
    norm: Layer = LayerNorm
    residual: Residual = pre_norm
    dropout: float = 0.0

    def setup(self) -> None:
        """The branches and their norms."""
        self.self_attention = self.attention()
        self.feed_forward = self.mlp()
        self.norm1, self.norm2 = self.norm(), self.norm()
        self.drop = nn.Dropout(self.dropout)

    def __call__(
        self, x: Array, mask: Array | None = None, causal: bool = False, train: bool = False
    ) -> Array:
        """[B, T, width] -> [B, T, width]."""

        def attend(x: Array) -> Array:
            y = self.self_attention(x, mask=mask, causal=causal, train=train)
            return self.drop(y, deterministic=not train)

        return self._perceptron(self.residual(x, attend, self.norm1), train)

    def _perceptron(self, x: Array, train: bool) -> Array:
        def branch(x: Array) -> Array:
            return self.drop(self.feed_forward(x, train=train), deterministic=not train)

        return over_rows(self.residual(x, branch, self.norm2))

    def empty(self, batch: int, steps: int) -> Cache:
        """A cache for so many steps."""
        return self.self_attention.empty(batch, steps)

    def extend(self, x: Array, cache: Cache, *, count: Array | None = None) -> tuple[Array, Cache]:
        """The next steps x [B, T, width] after those in the cache."""
        grown = [cache]

        def attend(x: Array) -> Array:
            y, grown[0] = self.self_attention.extend(x, cache, count=count)
            return y

        x = self.residual(x, attend, self.norm1)
        return self._perceptron(x, train=False), grown[0]


class CrossBlock(Block):
    """A block of a decoder: between attention to itself and perceptron it attends to a memory."""

    def setup(self) -> None:
        """The branches and their norms."""
        super().setup()
        self.cross_attention = self.attention()
        self.norm_cross = self.norm()

    def __call__(  # type: ignore[override]
        self,
        x: Array,
        memory: Array,
        memory_mask: Array | None = None,
        mask: Array | None = None,
        *,
        train: bool = False,
    ) -> Array:
        """x [B, T, width] with what came before it, and memory [B, S, width]: [B, T, width]."""

        def attend(x: Array) -> Array:
            y = self.self_attention(x, mask=mask, causal=True, train=train)
            return self.drop(y, deterministic=not train)

        def look(x: Array) -> Array:
            y = self.cross_attention(x, memory, mask=memory_mask, train=train)
            return self.drop(y, deterministic=not train)

        x = self.residual(x, attend, self.norm1)
        x = self.residual(x, look, self.norm_cross)
        return self._perceptron(x, train)

    def read(self, memory: Array, lengths: Array | None = None) -> Cache:
        """The memory's keys and values, for `extend`."""
        return self.cross_attention.read(memory, lengths)

    def extend(  # type: ignore[override]
        self, x: Array, caches: tuple[Cache, Cache], *, count: Array | None = None
    ) -> tuple[Array, tuple[Cache, Cache]]:
        """The next steps after those in the first cache, looking at what the second has read."""
        own, memory = caches
        grown = [own]

        def attend(x: Array) -> Array:
            y, grown[0] = self.self_attention.extend(x, own, count=count)
            return y

        x = self.residual(x, attend, self.norm1)
        x = self.residual(x, lambda x: self.cross_attention.look(x, memory), self.norm_cross)
        return self._perceptron(x, train=False), (grown[0], memory)


def decode(
    blocks: Blocks,
    depth: int,
    x: Array,
    memory: Array,
    mask: Array | None = None,
    *,
    train: bool = False,
    remat: bool = False,
) -> Array:
    """x [B, T, width] after a decoder's blocks (`CrossBlock`), which look at memory [B, S, width].

    mask: of the memory. remat: see `jaxdl.blocks.in_turn`.
    """

    def through(block: Any, x: Array, _: None) -> tuple[Array, None]:
        return block(x, memory, mask, train=train), None

    return in_turn(blocks, through, x, [None] * depth, remat=remat)[0]


def empty_caches(
    blocks: Blocks, depth: int, memory: Array, lengths: Array | None, steps: int
) -> list[tuple[Cache, Cache]]:
    """The caches of a decoder's blocks before anything was said: of its words, and of the memory.

    memory: [B, S, width], of which `lengths` [B] count, or all. steps: words there is room for.
    """
    batch = memory.shape[0]

    def empty(block: Any, x: tuple[()], _: None) -> tuple[tuple[()], tuple[Cache, Cache]]:
        return x, (block.empty(batch, steps), block.read(memory, lengths))

    return in_turn(blocks, empty, (), [None] * depth)[1]


def next_positions(caches: list[tuple[Cache, Cache]], steps: int) -> Array:
    """Where the next steps stand, int [B, steps]: after those in the caches."""
    return caches[0][0].used[:, None] + jnp.arange(steps)[None]


def extend_caches(
    blocks: Blocks, x: Array, caches: list[tuple[Cache, Cache]], *, count: Array | None = None
) -> tuple[Array, list[tuple[Cache, Cache]]]:
    """The next steps x [B, T, width] after a decoder's blocks, and its caches with them.

    count: how many of the T are said, int [B]; all if it is None.
    """

    def extend(block: Any, x: Array, caches: Any) -> tuple[Array, Any]:
        return block.extend(x, caches, count=count)

    return in_turn(blocks, extend, x, caches)


class Transformer(nn.Module):
    """Sequence to sequence: an encoder, a decoder, one embedding for both and the output.

    vocabulary: of both languages together (section 5.1). The embeddings are the output's weights
    too, and are scaled by sqrt(width) (section 3.4). Base has 44,138,496 parameters and those of
    the embeddings, 512 for each word.

    norm_last: a norm after the last block, which `pre_norm` needs and `post_norm` has already.
    positions(steps, width) -> [steps, width]: what is added to the embeddings.
    bias: whether each word's logit has a bias of its own, as Marian's have.
    remat: whether a block's inside is computed again for its gradient, which saves memory.
    scan: whether blocks are one layer that is scanned, see `jaxdl.blocks`.
    """

    vocabulary: int
    width: int = 512
    depth: int = 6
    heads: int = 8
    mlp: int = 2048
    dropout: float = 0.1
    residual: Residual = post_norm
    norm_last: bool = False
    activation: Callable[[Array], Array] = nn.relu
    positions: Callable[[int, int], Array] = sinusoids
    bias: bool = False
    longest: int = 1024
    remat: bool = False
    scan: bool = False

    def setup(self) -> None:
        """Embedding and blocks."""
        words = named(initializers.normal(self.width**-0.5), 'vocabulary', 'embed')
        self.embedding = nn.Embed(self.vocabulary, self.width, embedding_init=words)
        parts: dict[str, Any] = {
            'attention': partial(Attention, self.heads, self.width),
            'mlp': partial(Perceptron, self.mlp, self.width, activation=self.activation),
            'residual': self.residual,
            'dropout': self.dropout,
        }
        count = range(self.depth)
        self.encoder = Block(**parts) if self.scan else [Block(**parts) for _ in count]
        self.decoder = CrossBlock(**parts) if self.scan else [CrossBlock(**parts) for _ in count]
        if self.norm_last:
            self.encoder_norm, self.decoder_norm = LayerNorm(), LayerNorm()
        if self.bias:
            self.word_bias = self.param('word_bias', initializers.zeros, (self.vocabulary,))
        self.drop = nn.Dropout(self.dropout)

    def __call__(
        self,
        source: Array,
        target: Array,
        source_lengths: Array | None = None,
        *,
        train: bool = False,
    ) -> Array:
        """Source int [B, S] and what was said so far, int [B, T]: logits [B, T, vocabulary]."""
        memory = self.encode(source, source_lengths, train=train)
        mask = None if source_lengths is None else padding_mask(source_lengths, source.shape[1])
        x = self._embedded(target, jnp.arange(target.shape[1])[None], train=train)
        options = {'train': train, 'remat': self.remat}
        return self._logits(decode(self.decoder, self.depth, x, memory, mask, **options))

    def encode(self, source: Array, lengths: Array | None = None, *, train: bool = False) -> Array:
        """The memory [B, S, width] of source int [B, S]."""
        mask = None if lengths is None else padding_mask(lengths, source.shape[1])
        x = self._embedded(source, jnp.arange(source.shape[1])[None], train=train)

        def through(block: Any, x: Array, _: None) -> tuple[Array, None]:
            return block(x, mask, train=train), None

        x, _ = in_turn(self.encoder, through, x, [None] * self.depth, remat=self.remat)
        return self.encoder_norm(x) if self.norm_last else x

    def empty(self, memory: Array, lengths: Array | None, steps: int) -> Any:
        """The state of a decoder that has said nothing, for so many steps."""
        return empty_caches(self.decoder, self.depth, memory, lengths, steps)

    def extend(self, tokens: Array, state: Any, count: Array | None = None) -> tuple[Array, Any]:
        """The next tokens int [B, T]: logits [B, T, vocabulary], and the state after them."""
        x = self._embedded(tokens, next_positions(state, tokens.shape[1]), train=False)
        x, grown = extend_caches(self.decoder, x, state, count=count)
        return self._logits(x), grown

    def _embedded(self, tokens: Array, positions: Array, *, train: bool) -> Array:
        waves = self.positions(self.longest, self.width)[positions]
        x = self.embedding(tokens) * math.sqrt(self.width) + waves
        return self.drop(x, deterministic=not train)

    def _logits(self, x: Array) -> Array:
        logits = self.embedding.attend(self.decoder_norm(x) if self.norm_last else x)
        return logits + self.word_bias[None, None] if self.bias else logits


transformer_base = partial(Transformer, width=512, depth=6, heads=8, mlp=2048)
transformer_big = partial(Transformer, width=1024, depth=6, heads=16, mlp=4096, dropout=0.3)
