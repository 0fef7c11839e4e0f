"""What a language model writes of its own, from the first token to the last."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl.decoding import decode as decode_rows
from jaxdl.decoding import sampler
from jaxdl.game import Nets
from jaxdl.keys import Key
from jaxdl.metrics.invention import Canonical, Invented
from jaxdl.net import Net
from jaxdl.objectives.language import started
from jaxdl.samples import Decode, Molecules
from jaxdl.task import Batch, Metrics

Array = jax.Array


def written(
    net: Net,
    rows: int,
    key: Key,
    *,
    length: int,
    temperature: float = 1.0,
    start: int = 2,
    end: int = 3,
) -> Array:
    """Texts that a language model draws after the token `start`: int [rows, length].

    What comes after a row's `end` is `end` again. temperature: as in `jaxdl.decoding.sampler`.
    """
    first = jnp.full((rows, 1), start, jnp.int32)
    step, state = started(net, first, room=length)
    choose = sampler(temperature=temperature)
    return decode_rows(step, state, first[:, 0], choose, key, length=length, end=end).tokens


def invented(
    *,
    length: int,
    decode: Decode,
    canonical: Canonical,
    known: Iterable[str],
    temperature: float = 1.0,
    start: int = 2,
    end: int = 3,
) -> Callable[[Nets, Batch, Key], Metrics]:
    """A measure, for `Eval`, of what a language model writes: as many texts as a batch has rows.

    Of the batch it looks at `mask` alone. Its numbers are those of `Invented`, which see for
    decode, canonical and known; the rest is as in `written`.
    """
    forms = frozenset(known)

    def measure(nets: Nets, batch: Batch, key: Key) -> Metrics:
        net = nets['net'].shadow or nets['net']
        mask = batch['mask']
        options: dict[str, Any] = {'temperature': temperature, 'start': start, 'end': end}
        tokens = written(net, len(mask), key, length=length, **options)
        return {'': Invented.of(tokens, mask, decode=decode, canonical=canonical, known=forms)}

    return measure


def show_molecules(
    nets: Nets,
    batch: Batch,
    key: Key,
    *,
    decode: Decode,
    length: int,
    count: int = 18,
    temperature: float = 1.0,
) -> dict[str, Any]:
    """For `Eval.show`: molecules that a language model writes, drawn.

    decode(ids) -> SMILES. length: how many tokens it writes at most.
    """
    net = nets['net'].shadow or nets['net']
    tokens = written(net, count, key, length=length, temperature=temperature)
    return {'molecules': Molecules(tokens, decode=decode)}
