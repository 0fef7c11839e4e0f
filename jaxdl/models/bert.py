"""BERT: an encoder that reads text from both sides, and its heads (Devlin et al. 2019).

BERT base has 109,482,240 parameters, large 335,141,888, the pooler included.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn import initializers

from jaxdl.blocks import in_turn
from jaxdl.lengths import within
from jaxdl.models.transformer import Block, Perceptron, post_norm
from jaxdl.models.vit import gelu
from jaxdl.nn import layers
from jaxdl.nn.attention import Attention, padding_mask
from jaxdl.nn.axes import named

Array = jax.Array
Layer = Callable[..., nn.Module]

LayerNorm = partial(layers.LayerNorm, epsilon=1e-12)
NORMAL = initializers.normal(0.02)
Dense = partial(nn.Dense, kernel_init=NORMAL)


class Encoded(NamedTuple):
    """What BERT makes of text: hidden [B, T, width], and the first token's, pooled [B, width]."""

    hidden: Array
    pooled: Array


class BERT(nn.Module):
    """Words, positions and sentences embedded, then blocks as published, norms last.

    vocabulary, context, sentences: how many words, positions and kinds of sentence there are.
    dropout: everywhere in training, as in the paper. norm(name=) -> module.
    remat: whether a block's inside is computed again for its gradient, which saves memory.
    scan: whether blocks are one layer that is scanned, see `jaxdl.blocks`.
    """

    vocabulary: int = 30_522
    context: int = 512
    sentences: int = 2
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp: int = 3072
    dropout: float = 0.1
    activation: Callable[[Array], Array] = gelu
    norm: Layer = LayerNorm
    remat: bool = False
    scan: bool = False

    def setup(self) -> None:
        """Embeddings, blocks and pooler."""
        words = named(NORMAL, 'vocabulary', 'embed')
        self.word = nn.Embed(self.vocabulary, self.width, embedding_init=words)
        embed = partial(nn.Embed, features=self.width, embedding_init=named(NORMAL, None, 'embed'))
        self.position = embed(self.context)
        self.sentence = embed(self.sentences)
        self.embedding_norm = self.norm()
        attention = partial(
            Attention,
            self.heads,
            self.width,
            dropout=self.dropout,
            kernel_init=NORMAL,
            out_init=NORMAL,
        )
        mlp = partial(
            Perceptron,
            self.mlp,
            self.width,
            activation=self.activation,
            kernel_init=NORMAL,
            out_init=NORMAL,
        )
        block = partial(
            Block, attention, mlp, norm=self.norm, residual=post_norm, dropout=self.dropout
        )
        self.layer = block() if self.scan else [block() for _ in range(self.depth)]
        self.pooler = Dense(self.width)
        self.drop = nn.Dropout(self.dropout)

    def __call__(
        self,
        tokens: Array,
        lengths: Array | None = None,
        sentences: Array | None = None,
        *,
        train: bool = False,
    ) -> Encoded:
        """Tokens int [B, T], the first `lengths` [B] of each row; sentences int [B, T], 0 or 1."""
        x = self.encode(tokens, lengths, sentences, train=train)
        return Encoded(x, jnp.tanh(self.pooler(x[:, 0])))

    def encode(
        self,
        tokens: Array,
        lengths: Array | None = None,
        sentences: Array | None = None,
        *,
        train: bool = False,
    ) -> Array:
        """The hidden states [B, T, width] alone: what needs no pooler has none."""
        batch, steps = tokens.shape
        if steps > self.context:
            raise ValueError(f'{steps} tokens, and a context of {self.context}')
        kinds = jnp.zeros_like(tokens) if sentences is None else sentences
        x = self.word(tokens) + self.position(jnp.arange(steps)[None]) + self.sentence(kinds)
        x = self.drop(self.embedding_norm(x), deterministic=not train)
        mask = None if lengths is None else padding_mask(lengths, steps)

        def through(block: Any, x: Array, _: None) -> tuple[Array, None]:
            return block(x, mask, train=train), None

        return in_turn(self.layer, through, x, [None] * self.depth, remat=self.remat)[0]

    def words(self, x: Array) -> Array:
        """x [..., width] against every word's embedding: [..., vocabulary]."""
        return self.word.attend(x)


class Predictions(NamedTuple):
    """Logits of pre-training: words [B, T, vocabulary], and whether a sentence follows, [B, 2].

    Where places [B, P] are asked for words are [B, P, vocabulary].
    """

    words: Array
    follows: Array


class PreTraining(nn.Module):
    """BERT with both heads of its pre-training (section 3.1, tasks 1 and 2).

    Class 0 of `follows` is that the second sentence follows the first.
    """

    bert: BERT = BERT()

    @nn.compact
    def __call__(
        self,
        tokens: Array,
        lengths: Array | None = None,
        sentences: Array | None = None,
        places: Array | None = None,
        *,
        train: bool = False,
    ) -> Predictions:
        """Tokens int [B, T] -> logits.

        places: int [B, P], of the words that are asked for; None is all. The vocabulary is the
        largest product of a small BERT, and six of seven words are never asked for.
        """
        hidden, pooled = self.bert(tokens, lengths, sentences, train=train)
        if places is not None:
            hidden = jnp.take_along_axis(hidden, places[..., None], axis=1)
        x = self.bert.activation(Dense(self.bert.width, name='transform')(hidden))
        x = self.bert.words(self.bert.norm(name='transform_norm')(x))
        bias = self.param('bias', initializers.zeros, (self.bert.vocabulary,))
        return Predictions(x + bias[None, None], Dense(2, name='follows')(pooled))


class SequenceClassifier(nn.Module):
    """BERT that classifies a text by its first token, pooled (section 4.1)."""

    classes: int
    bert: BERT = BERT()
    dropout: float = 0.1

    @nn.compact
    def __call__(
        self,
        tokens: Array,
        lengths: Array | None = None,
        sentences: Array | None = None,
        *,
        train: bool = False,
    ) -> Array:
        """Tokens int [B, T] -> logits [B, classes]."""
        _, pooled = self.bert(tokens, lengths, sentences, train=train)
        x = nn.Dropout(self.dropout)(pooled, deterministic=not train)
        return Dense(self.classes, name='classifier')(x)


class TokenClassifier(nn.Module):
    """BERT that classifies every token: entities, parts of speech (section 5.3)."""

    classes: int
    bert: BERT = BERT()
    dropout: float = 0.1

    @nn.compact
    def __call__(
        self,
        tokens: Array,
        lengths: Array | None = None,
        sentences: Array | None = None,
        *,
        train: bool = False,
    ) -> Array:
        """Tokens int [B, T] -> logits [B, T, classes]."""
        hidden = self.bert.encode(tokens, lengths, sentences, train=train)
        x = nn.Dropout(self.dropout)(hidden, deterministic=not train)
        return Dense(self.classes, name='classifier')(x)


class Span(NamedTuple):
    """Logits [B, T] of where an answer starts and of where it ends; -inf beyond a row's length."""

    start: Array
    end: Array


class SpanAnswers(nn.Module):
    """BERT that marks the answer to a question in a text (section 4.2)."""

    bert: BERT = BERT()

    @nn.compact
    def __call__(
        self,
        tokens: Array,
        lengths: Array | None = None,
        sentences: Array | None = None,
        *,
        train: bool = False,
    ) -> Span:
        """Tokens int [B, T], the question and then the text -> a span."""
        hidden = self.bert.encode(tokens, lengths, sentences, train=train)
        x = Dense(2, name='outputs')(hidden)
        if lengths is not None:
            x = jnp.where(within(lengths, x.shape[1])[..., None], x, -jnp.inf)
        return Span(x[..., 0], x[..., 1])


bert_base = partial(BERT, width=768, depth=12, heads=12, mlp=3072)
bert_large = partial(BERT, width=1024, depth=24, heads=16, mlp=4096)
