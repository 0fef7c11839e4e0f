"""GPT: a decoder that continues text (Radford et al. 2018, 2019). Names and layout are GPT-2's.

GPT-2 has 124,439,808 parameters, medium 354,823,168, large 774,030,080, XL 1,557,611,200.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn import initializers

from jaxdl.blocks import in_turn
from jaxdl.models.transformer import Block, LayerNorm, Perceptron
from jaxdl.nn.attention import Attention, Cache, Rotation
from jaxdl.nn.axes import named

Array = jax.Array
Layer = Callable[..., nn.Module]

gelu_tanh = partial(jax.nn.gelu, approximate=True)  # as GPT-2 was trained


class GPT(nn.Module):
    """Blocks with their norms first, learned positions, and the embeddings as output weights.

    vocabulary, context: how many tokens there are, and how many are read at most.
    groups: of keys and values, see `Attention`. rotate: `rotary`, instead of learned positions.
    dropout: of embeddings, of attention's weights and of each branch.
    remat: whether a block's inside is computed again for its gradient, which saves memory.
    scan: whether blocks are one layer that is scanned, see `jaxdl.blocks`.
    """

    vocabulary: int = 50_257
    context: int = 1024
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp: int | None = None  # 4 width
    groups: int | None = None
    rotate: Rotation | None = None
    dropout: float = 0.0
    activation: Callable[[Array], Array] = gelu_tanh
    norm: Layer = LayerNorm
    remat: bool = False
    scan: bool = False

    def setup(self) -> None:
        """Embeddings and blocks; initial values as in Radford et al. 2019, section 2.3."""
        normal = initializers.normal(0.02)
        words = named(normal, 'vocabulary', 'embed')
        self.wte = nn.Embed(self.vocabulary, self.width, embedding_init=words)
        if self.rotate is None:
            places = named(normal, None, 'embed')
            self.wpe = nn.Embed(self.context, self.width, embedding_init=places)
        out = initializers.normal(0.02 / math.sqrt(2 * self.depth))  # of each branch
        attention = partial(
            Attention,
            self.heads,
            self.width,
            groups=self.groups,
            rotate=self.rotate,
            dropout=self.dropout,
            kernel_init=normal,
            out_init=out,
        )
        mlp = partial(
            Perceptron,
            self.mlp or 4 * self.width,
            self.width,
            activation=self.activation,
            kernel_init=normal,
            out_init=out,
        )
        block = partial(Block, attention, mlp, norm=self.norm, dropout=self.dropout)
        self.h = block() if self.scan else [block() for _ in range(self.depth)]
        self.ln_f = self.norm()
        self.drop = nn.Dropout(self.dropout)

    def __call__(
        self, tokens: Array, lengths: Array | None = None, *, train: bool = False
    ) -> Array:
        """Tokens int [B, T] -> logits [B, T, vocabulary] of the token after each.

        lengths [B] need not be known: no token sees what comes after it.
        """
        x = self._embedded(tokens, jnp.arange(tokens.shape[1])[None], train=train)

        def through(block: Any, x: Array, _: None) -> tuple[Array, None]:
            return block(x, causal=True, train=train), None

        x, _ = in_turn(self.h, through, x, [None] * self.depth, remat=self.remat)
        return self.wte.attend(self.ln_f(x))

    def empty(self, batch: int, steps: int) -> list[Cache]:
        """The state of a text of which nothing was read, for so many tokens.

        Raises ValueError for more than the context, of which there are no positions.
        """
        if self.rotate is None and steps > self.context:
            raise ValueError(f'{steps} tokens, and a context of {self.context}')

        def empty(block: Any, x: tuple[()], _: None) -> tuple[tuple[()], Cache]:
            return x, block.empty(batch, steps)

        return in_turn(self.h, empty, (), [None] * self.depth)[1]

    def extend(
        self, tokens: Array, state: Sequence[Cache], count: Array | None = None
    ) -> tuple[Array, list[Cache]]:
        """The next tokens int [B, T]: logits [B, T, vocabulary], and the state after them.

        count: int [B], how many of the T each row has; None: all.
        """
        x = self._embedded(tokens, state[0].used[:, None] + jnp.arange(tokens.shape[1])[None])

        def extend(block: Any, x: Array, cache: Cache) -> tuple[Array, Cache]:
            return block.extend(x, cache, count=count)

        x, grown = in_turn(self.h, extend, x, state)
        return self.wte.attend(self.ln_f(x)), grown

    def _embedded(self, tokens: Array, positions: Array, *, train: bool = False) -> Array:
        if tokens.shape[1] > self.context:
            raise ValueError(f'{tokens.shape[1]} tokens, and a context of {self.context}')
        x = self.wte(tokens)
        if self.rotate is None:
            x = x + self.wpe(positions)
        return self.drop(x, deterministic=not train)


gpt2 = partial(GPT, width=768, depth=12, heads=12)
gpt2_medium = partial(GPT, width=1024, depth=24, heads=16)
gpt2_large = partial(GPT, width=1280, depth=36, heads=20)
gpt2_xl = partial(GPT, width=1600, depth=48, heads=25)
