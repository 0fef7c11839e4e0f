"""Decoding of connectionist temporal classification: labels from a class at each step.

An alignment is a row of T classes; it becomes labels when repetitions are joined and then blanks
left out (Graves et al. 2006, section 3.1).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.errors import UsageError
from jaxdl.lengths import within

Array = jax.Array


class Labelling(NamedTuple):
    """Labels int [B, T], blank beyond their lengths [B], and their scores [B].

    score: a log-probability, of what is said at each decoder.
    """

    labels: Array
    lengths: Array
    scores: Array


def collapse(alignment: Array, lengths: Array, *, blank: int = 0) -> tuple[Array, Array]:
    """Labels int [B, T], blank at the end, and how many there are, of alignments int [B, T]."""
    steps = alignment.shape[1]
    before = jnp.pad(alignment[:, :-1], ((0, 0), (1, 0)), constant_values=blank)
    inside = within(lengths, steps)
    said = (alignment != before) & (alignment != blank) & inside
    place = jnp.where(said, jnp.cumsum(said, axis=1) - 1, steps)
    row = jnp.arange(len(alignment))[:, None]
    labels = jnp.full(alignment.shape, blank, alignment.dtype)
    return labels.at[row, place].set(alignment, mode='drop'), said.sum(1)


def best_path(logits: Array, lengths: Array, *, blank: int = 0) -> Labelling:
    """The labels of the likeliest alignment: the likeliest class at each step (section 3.2).

    logits: [B, T, V], of which `lengths` [B] steps count. The score is the alignment's.
    """
    logs = jax.nn.log_softmax(jnp.asarray(logits))
    inside = within(lengths, logits.shape[1])
    score = jnp.where(inside, logs.max(-1), 0).sum(1)
    labels, count = collapse(logs.argmax(-1), lengths, blank=blank)
    return Labelling(labels, count, score)


def prefix_beam(logits: Array, lengths: Array, *, width: int = 8, blank: int = 0) -> Labelling:
    """The likeliest labels among the `width` prefixes that are kept (Hannun et al. 2014, alg. 1).

    A prefix is kept with the probability of all alignments found so far that become it, those that
    end in a blank apart, because only after one of them a label may follow itself. No language
    model. The score is the log of that probability: at most, and with a wide beam, log p(labels).
    """
    if width < 1:
        raise UsageError(f'prefix_beam: width={width}; 1 or more')
    rows, steps, classes = logits.shape
    # -inf only where nothing is: its gradient is never taken.
    none = jnp.full((rows, width), -jnp.inf)
    first = none.at[:, 0].set(0.0)
    beam = _Beam(
        jnp.full((rows, width, steps), blank, jnp.int32),
        jnp.zeros((rows, width), jnp.int32),
        first,
        none,
    )
    logs = jax.nn.log_softmax(jnp.asarray(logits)).swapaxes(0, 1)

    def step(beam: '_Beam', inputs: tuple[Array, Array]) -> tuple['_Beam', None]:
        log, t = inputs
        after = jax.vmap(lambda beam, log: _grown(beam, log, blank))(beam, log)
        going = t < lengths

        def kept(new: Array, old: Array) -> Array:
            return jnp.where(going.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

        return jax.tree.map(kept, after, beam), None

    beam, _ = jax.lax.scan(step, beam, (logs, jnp.arange(steps)))
    total = jnp.logaddexp(beam.ended, beam.open)
    best = total.argmax(1)[:, None]
    labels = jnp.take_along_axis(beam.labels, best[..., None], axis=1)[:, 0]
    picked: Any = [jnp.take_along_axis(x, best, axis=1)[:, 0] for x in (beam.lengths, total)]
    return Labelling(labels, *picked)


class _Beam(NamedTuple):
    """Prefixes [W, T], their lengths [W], and log-probabilities [W] of the alignments so far.

    ended: of those that end in a blank. open: of those that end in the prefix's last label.
    """

    labels: Array
    lengths: Array
    ended: Array
    open: Array


def _grown(beam: _Beam, log: Array, blank: int) -> _Beam:
    """The best prefixes after one more step, of one row; log [V] of the step's classes."""
    labels, lengths, ended, opened = beam
    width, steps = labels.shape
    classes = log.shape[0]
    total = jnp.logaddexp(ended, opened)
    at = jnp.maximum(lengths - 1, 0)[:, None]
    last = jnp.where(lengths > 0, jnp.take_along_axis(labels, at, axis=1)[:, 0], blank)
    stay_ended = total + log[blank]
    stay_open = jnp.where(lengths > 0, opened + log[last], -jnp.inf)
    # A label that repeats the last one is a new one only after a blank.
    repeats = jnp.arange(classes)[None] == last[:, None]
    longer = jnp.where(repeats, ended[:, None], total[:, None]) + log[None]
    longer = longer.at[:, blank].set(-jnp.inf)
    # Where prefix i and a label are prefix j, which is in the beam, the two are one.
    place = jnp.arange(steps)[None, None]
    alike = (labels[:, None] == labels[None]) | (place >= lengths[None, :, None])
    child = alike.all(-1) & (lengths[:, None] == lengths[None] + 1)  # [j, i]
    gained = jnp.where(child, longer[:, last].T, -jnp.inf)
    stay_open = jnp.logaddexp(stay_open, jax.nn.logsumexp(gained, axis=1))
    taken = (child[..., None] & repeats[:, None]).any(0)  # [i, V]: by some j with that last label
    longer = jnp.where(taken | (total == -jnp.inf)[:, None], -jnp.inf, longer)

    scores = jnp.concatenate([jnp.logaddexp(stay_ended, stay_open), longer.reshape(-1)])
    best, which = jax.lax.top_k(scores, width)
    grows = which >= width
    parent = jnp.where(grows, (which - width) // classes, which)
    label = (which - width) % classes
    # What has no probability is no prefix of its own: it must not look like one that has.
    alive = best > -jnp.inf
    end = jnp.where(grows, lengths[parent], steps)
    grown = labels[parent].at[jnp.arange(width), end].set(label.astype(labels.dtype), mode='drop')
    return _Beam(
        grown,
        jnp.where(alive, lengths[parent] + grows, -2),
        jnp.where(grows | ~alive, -jnp.inf, stay_ended[parent]),
        jnp.where(~alive, -jnp.inf, jnp.where(grows, best, stay_open[parent])),
    )
