"""Micro-batches: a batch in equal parts, one after another, and what the whole of it weighs.

A loss is a sum over rows divided by the sum of their weights (`jaxdl.losses`). Where rows are
masked, parts weigh differently, and the mean of their losses is not the loss of the whole:

    sum_k S_k / sum_k W_k  =  mean_k S_k / (sum_k W_k / n)

So each part divides by the mean of what all n weigh. That is found first, with all that it does not
need left out: of a mask that comes with the batch, the network is.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Var, get_opaque_trace_state, jaxpr_as_fun

from jaxdl.errors import UsageError, closest

Array = jax.Array


@dataclass
class Weighing:
    """One pass through a loss: what it divides by, in the order in which it does.

    known: the means over all `parts`; None while they are being found. level: jax's state where the
    loss is called, which is another inside a transformation.
    """

    known: tuple[Array, ...] | None
    parts: int
    seen: list[Array] = field(default_factory=list)
    level: Any = None


@dataclass
class Asked:
    """What a run asks of every gradient that is taken. heard: whether one was, in so many parts."""

    parts: int
    heard: bool = False


# While a step is traced: neither is there when it runs.
_weighing: ContextVar[Weighing | None] = ContextVar('weighing', default=None)
_asked: ContextVar[Asked | None] = ContextVar('asked', default=None)

INSIDE = (
    'micro-batches: the loss weighs rows inside a jit, vmap or scan of its own, where it is not '
    'known what the other micro-batches weigh; call it outside'
)


def whole(weight: Array, *, least: int | None = None) -> Array:
    """What a loss divides a sum over rows by, the sum of their weights, made that of the batch.

    In a micro-batch it is the mean over all of them; elsewhere it is what is given. A loss that is
    no quotient of such sums is averaged as it is. What a loss is multiplied with again, as a share
    of rows, has to come from here, too. least: the sum over the batch counts as this at least.
    """
    now = _weighing.get()
    if now is None:
        return weight if least is None else jnp.maximum(weight, least)
    if get_opaque_trace_state() != now.level:
        raise UsageError(INSIDE)
    now.seen.append(weight)
    found = weight if now.known is None else now.known[len(now.seen) - 1]
    return found if least is None else jnp.maximum(found, least / now.parts)


@contextmanager
def dividing_by(known: tuple[Array, ...] | None, parts: int) -> Iterator[list[Array]]:
    """Where a loss divides by these means of all `parts`; None: what it divides by is only seen."""
    now = Weighing(known, parts, level=get_opaque_trace_state())
    token = _weighing.set(now)
    try:
        yield now.seen
    finally:
        _weighing.reset(token)


def wholes(loss: Callable[..., Any], *stacked: Any) -> tuple[Array, ...]:
    """What `loss(*one of each stacked)` divides by, each the mean over all micro-batches.

    stacked: trees of arrays [parts, ...].
    """

    parts = len(jax.tree.leaves(stacked)[0])

    def seen(*part: Any) -> tuple[Array, ...]:
        with dividing_by(None, parts) as found:
            loss(*part)
        return tuple(jnp.asarray(each, jnp.float32) for each in found)

    first = jax.tree.map(lambda x: x[0], stacked)
    lean = jaxpr_as_fun(_needed(jax.make_jaxpr(seen)(*first)))
    sums = jax.lax.map(lambda part: tuple(lean(*jax.tree.leaves(part))), stacked)
    return tuple(each.mean(0) for each in sums)


def _needed(closed: ClosedJaxpr) -> ClosedJaxpr:
    """The same program without what its results do not need."""
    jaxpr, kept = closed.jaxpr, []
    needed = {var for var in jaxpr.outvars if isinstance(var, Var)}
    for eqn in reversed(jaxpr.eqns):
        if needed.intersection(eqn.outvars):
            kept.append(eqn)
            needed.update(var for var in eqn.invars if isinstance(var, Var))
    return closed.replace(jaxpr=jaxpr.replace(eqns=kept[::-1]))


def cut(batch: Any, parts: int, *, what: str) -> Any:
    """Every array [rows, ...] of a batch as [parts, rows / parts, ...]: row i is in part i % parts.

    So what lies on several devices, as many rows on each, does so in every part. what: who asks
    for it. Raises UsageError where there are no rows, or parts do not divide them.
    """

    def apart(x: Any) -> Array:
        if not jnp.ndim(x):
            raise UsageError(f'{what}: a batch has a single number in it, and cannot be cut')
        rows = len(x)
        if rows % parts:
            near = closest(parts, rows)
            raise UsageError(
                f'{what}: {parts} micro-batches do not divide a batch of {rows} rows; '
                f'{near} {"does" if near == 1 else "do"}'
            )
        return jnp.moveaxis(jnp.reshape(x, (rows // parts, parts, *x.shape[1:])), 1, 0)

    if not jax.tree.leaves(batch):
        raise UsageError(f'{what}: a batch has no rows in it, and cannot be cut')
    return jax.tree.map(apart, batch)


def joined_again(x: Any, rows: int) -> Array:
    """What `cut` parts of so many rows each were made, [parts, n, ...], in the rows' order.

    n is a multiple of `rows`, of which each has as many entries; otherwise part stands after part.
    """
    parts, n, *rest = x.shape
    if rows and n % rows == 0:
        x = jnp.moveaxis(x.reshape(parts, rows, n // rows, *rest), 0, 1)
    return x.reshape(parts * n, *rest)


@contextmanager
def asking(parts: int) -> Iterator[Asked]:
    """Where every gradient is to be taken in so many parts."""
    now = Asked(parts)
    token = _asked.set(now)
    try:
        yield now
    finally:
        _asked.reset(token)


def asked(own: int) -> tuple[int, str]:
    """In how many parts a gradient is to be taken, and who says so: the run, or a player."""
    now = _asked.get()
    if now is None:
        return own, f'accumulate={own}'
    now.heard = True
    return now.parts, f'--accumulate {now.parts}'
