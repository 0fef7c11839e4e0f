"""Answers that are parts of a text: where they start and where they end."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxdl import losses
from jaxdl.game import Shadow, supervised
from jaxdl.keys import Key
from jaxdl.metrics import Mean
from jaxdl.metrics.answers import Answered
from jaxdl.net import Net
from jaxdl.task import Batch, Metrics, Task

Array = jax.Array


def span_answers(
    module: nn.Module,
    opt: optax.GradientTransformation,
    *,
    longest: int = 30,
    accumulate: int = 1,
    shadow: Shadow | None = None,
) -> Task:
    """The first and the last token of an answer, each by cross-entropy (Devlin et al. 2019, 4.2).

    L is the mean of both over questions whose answer is `there`. module(tokens, lengths, sentences)
    -> `Span`, logits `start` and `end` [B, T]. A batch is rows of `jaxdl.data.text.answer_table`.

    Measures 'loss', of those that are there, and of all questions 'exact_match' and 'f1', 0..100,
    of the likeliest span (see `best_span`). With a `shadow` (an EMA) it is the shadow that is
    measured.

    longest: how many tokens an answer has at most.
    """

    def loss(net: Net, batch: Batch, key: Key) -> tuple[Array, tuple[Net, Metrics]]:
        span, net = net(*_inputs(batch), key=key, train=True)
        weights = batch['there'] & batch['mask']
        start = losses.cross_entropy(span.start, batch['start'], weights=weights)
        end = losses.cross_entropy(span.end, batch['end'], weights=weights)
        return (start + end) / 2, (net, {})

    def measure(net: Net, batch: Batch, key: Key) -> Metrics:
        span, _ = (net.shadow or net)(*_inputs(batch))
        cross_entropy = optax.softmax_cross_entropy_with_integer_labels
        start = cross_entropy(span.start, batch['start'])
        end = cross_entropy(span.end, batch['end'])
        first, last = best_span(span.start, span.end, batch['bytes'][..., 1] > 0, longest=longest)
        texts = batch['bytes'], batch['context'], batch['answers'], batch['mask']
        return {
            'loss': Mean.of((start + end) / 2, batch['there'] & batch['mask'], better='lower'),
            '': Answered.of(first, last, *texts),
        }

    return supervised(
        module, loss, opt, measure, inputs=_inputs, accumulate=accumulate, shadow=shadow
    )


def best_span(start: Array, end: Array, allowed: Array, *, longest: int) -> tuple[Array, Array]:
    """The first and the last token [B] of the span (i, j) with the largest start_i + end_j.

    Of those with i <= j < i + longest and both allowed, bool [B, T]; start, end: [B, T].
    """
    steps = start.shape[1]
    i, j = jnp.arange(steps)[:, None], jnp.arange(steps)[None]
    can = allowed[:, :, None] & allowed[:, None] & ((i <= j) & (j < i + longest))[None]
    scores = jnp.where(can, start[:, :, None] + end[:, None], -jnp.inf)
    best = scores.reshape(len(scores), -1).argmax(-1)
    return best // steps, best % steps


def _inputs(batch: Batch) -> tuple[Any, ...]:
    return batch['tokens'], batch['lengths'], batch['sentences']
