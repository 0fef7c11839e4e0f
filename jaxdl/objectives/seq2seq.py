"""Sequence to sequence: trained with the true words so far, measured by what it says itself.

A batch has `source` int [B, S] and `target` int [B, T] that starts and ends with the tokens for it,
their `_lengths` [B], and `reference`, the true text as bytes, where texts are compared; see
`jaxdl.data.text.pair_table`. A source that has no `source_lengths` counts as a whole, and may be
anything that a network can `encode`: images are described as sentences are translated, see
`jaxdl.models.captioning`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxdl import losses
from jaxdl.decoding import Decoded, Penalty, Step, beam, by_token, greedy, no_penalty
from jaxdl.game import Nets, Shadow, supervised
from jaxdl.keys import Key
from jaxdl.lengths import within
from jaxdl.metrics import Mean, Metric
from jaxdl.metrics.text import (
    Perplexity,
    TextScore,
    Written,
    from_utf8,
    sequence_accuracy,
    token_accuracy,
)
from jaxdl.net import Net
from jaxdl.samples import Decode, Images, Texts, unit
from jaxdl.task import Batch, Metrics, Task

Array = jax.Array
Measure = Callable[[Nets, Batch, Key], Metrics]


def seq2seq(
    module: nn.Module,
    opt: optax.GradientTransformation,
    *,
    label_smoothing: float = 0.0,
    accumulate: int = 1,
    shadow: Shadow | None = None,
) -> Task:
    """The next target token from the source and the true ones before it (teacher forcing).

    L = mean over target tokens of -log p(y_t | y_1 .. y_(t-1), x), the end token among them and the
    start token not.

    module(source [B, S], target [B, T - 1], source_lengths [B]) -> logits [B, T - 1, V]; the last
        is left out where a batch has none.
    label_smoothing: as in `jaxdl.losses.cross_entropy` (Vaswani et al. 2017, 5.4: 0.1).
    Measures 'loss' (without smoothing, nats a token), 'perplexity', and the 'accuracy' of tokens,
    all with the true words before. For what it says by itself, see `decoded`. With a `shadow` (an
    EMA) it is the shadow that is measured.
    """

    def loss(net: Net, batch: Batch, key: Key) -> tuple[Array, tuple[Net, Metrics]]:
        targets, weights = _targets(batch)
        logits, net = net(*_inputs(batch), key=key, train=True)
        value = losses.cross_entropy(
            logits, targets, weights=weights, label_smoothing=label_smoothing
        )
        return value, (net, {})

    def measure(net: Net, batch: Batch, key: Key) -> Metrics:
        targets, weights = _targets(batch)
        logits, _ = (net.shadow or net)(*_inputs(batch))
        each = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
        return {
            'loss': Mean.of(each, weights, better='lower'),
            'perplexity': Perplexity.of(each, weights),
            'accuracy': token_accuracy(logits, targets, weights),
        }

    return supervised(
        module, loss, opt, measure, inputs=_inputs, accumulate=accumulate, shadow=shadow
    )


def heard(net: Net, source: Array, lengths: Array | None, *, room: int) -> tuple[Step, Any]:
    """How a network speaks of source int [B, S], as `jaxdl.decoding` wants it; None: all of it.

    Returns step(state, tokens) and the state in which it has said nothing, which has room for so
    many tokens.
    """
    memory, _ = net(source, lengths, method='encode')
    state, _ = net(memory, lengths, room, method='empty')
    return by_token(net), state


def say(
    net: Net,
    source: Array,
    lengths: Array | None,
    *,
    length: int,
    width: int = 1,
    penalty: Penalty = no_penalty,
    start: int = 2,
    end: int = 3,
) -> Decoded:
    """What a network says to source int [B, S], `length` tokens at most, its end token among them.

    width: of the beam (see `jaxdl.decoding.beam`); 1 takes the likeliest token at each step.
    """
    step, state = heard(net, source, lengths, room=length)
    first = jnp.full(source.shape[0], start, jnp.int32)
    if width == 1:
        return greedy(step, state, first, length=length, end=end)
    return beam(step, state, first, length=length, end=end, width=width, penalty=penalty)


def decoded(
    *,
    length: int,
    decode: Decode | None = None,
    scores: Mapping[str, TextScore] | None = None,
    width: int = 1,
    penalty: Penalty = no_penalty,
    start: int = 2,
    end: int = 3,
) -> Measure:
    """A measure, for `Eval`, of what a network says by itself.

    'sequence_accuracy': the part of rows that are the target from the first token to the last. And
    the `scores` of texts, such as `jaxdl.metrics.text.TRANSLATION`, if there are some; they need
    `decode`, the target's `Tokenizer.decode`, and the batch's `reference`.

    The rest is as in `say`.
    """
    if (decode is None) != (scores is None):
        raise ValueError('decoded: scores of texts need decode=, and it needs scores')

    def measure(nets: Nets, batch: Batch, key: Key) -> Metrics:
        net = nets['net']
        said = say(
            net.shadow or net,
            batch['source'],
            batch.get('source_lengths'),
            length=length,
            width=width,
            penalty=penalty,
            start=start,
            end=end,
        )
        truth, lengths = batch['target'][:, 1:], batch['target_lengths'] - 1
        right = sequence_accuracy(said.tokens, said.lengths, truth, lengths, batch['mask'])
        numbers: dict[str, Metric] = {'sequence_accuracy': right}
        if decode is not None and scores is not None:
            texts = batch['reference']
            numbers[''] = Written.of(
                said.tokens, texts, batch['mask'], decode=decode, scores=scores
            )
        return numbers

    return measure


def show_said(
    nets: Nets,
    batch: Batch,
    key: Key,
    *,
    decode: Decode,
    decode_source: Decode,
    length: int,
    count: int = 8,
    start: int = 2,
    end: int = 3,
) -> dict[str, Any]:
    """For `Eval.show`: sources, what the network says to them, greedily, and the references.

    decode, decode_source: `Tokenizer.decode` of targets and of sources.
    """
    net = nets['net']
    first = jax.tree.map(lambda x: x[:count], batch)
    source, lengths = first['source'], first['source_lengths']
    said = say(net.shadow or net, source, lengths, length=length, start=start, end=end)
    shown = Texts(
        said.tokens,
        target=first['reference'],
        source=source,
        decode=decode,
        decode_target=from_utf8,
        decode_source=decode_source,
    )
    return {'said': shown}


def show_captions(
    nets: Nets,
    batch: Batch,
    key: Key,
    *,
    decode: Decode,
    length: int,
    count: int = 8,
    start: int = 2,
    end: int = 3,
) -> dict[str, Any]:
    """For `Eval.show`: images, one below the other, and in their order what is said of them.

    decode: `Tokenizer.decode` of the targets.
    """
    net = nets['net'].shadow or nets['net']
    images, truth = batch['source'][:count], batch['target'][:count]
    said = say(net, images, None, length=length, start=start, end=end)
    return {
        'images': Images(unit(images), columns=1),
        'captions': Texts(said.tokens, target=truth, decode=decode, decode_target=decode),
    }


def _inputs(batch: Batch) -> tuple[Any, ...]:
    read = (batch['source'], batch['target'][:, :-1])
    return (*read, batch['source_lengths']) if 'source_lengths' in batch else read


def _targets(batch: Batch) -> tuple[Array, Array]:
    """All target tokens but the first, [B, T - 1], and which of them are real."""
    targets = batch['target'][:, 1:]
    real = within(batch['target_lengths'] - 1, targets.shape[1])
    return targets, real & batch['mask'][:, None]
