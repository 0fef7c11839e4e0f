"""Decoding: rows of tokens from any function that goes on from a state.

step(state, tokens int [B]) -> (logits [B, V], state). A state is a pytree whose arrays have a
leading axis of rows: a recurrent state, or caches of keys and values. Everything is a pure scan of
`length` steps: it compiles once, and rows that have ended write the end token.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.keys import Key

Array = jax.Array
State = Any
Step = Callable[[State, Array], tuple[Array, State]]
Choose = Callable[[Key, Array], Array]


class Decoded(NamedTuple):
    """Rows of tokens int [B, length], how long each is [B] with its end token, and its score [B].

    score: the sum of the log-probabilities of its tokens, by the model itself.
    """

    tokens: Array
    lengths: Array
    scores: Array


def greedy(step: Step, state: State, first: Array, *, length: int, end: int) -> Decoded:
    """The likeliest token at each step, from `first` int [B] on, which is not among them."""
    choose = lambda key, logits: logits.argmax(-1)  # noqa: E731
    return decode(step, state, first, choose, jax.random.key(0), length=length, end=end)


def sampler(*, temperature: float = 1.0, top_k: int | None = None, top_p: float = 1.0) -> Choose:
    """choose(key, logits [B, V]) -> tokens [B], drawn.

    temperature: logits are divided by it; 0 takes the likeliest. top_k: only the k likeliest (Fan
    et al. 2018). top_p: only the fewest likeliest whose probabilities reach p (Holtzman et al.
    2020). Ties at the border of top_k are all kept.
    """
    if temperature < 0 or not 0 < top_p <= 1 or (top_k is not None and top_k < 1):
        raise ValueError(
            f'temperature {temperature}, top_k {top_k}, top_p {top_p}: at least 0, at least 1, '
            'and above 0 to 1'
        )

    def choose(key: Key, logits: Array) -> Array:
        if temperature == 0:
            return logits.argmax(-1)
        z = logits / temperature
        if top_k is not None and top_k < z.shape[-1]:
            z = jnp.where(z < jax.lax.top_k(z, top_k)[0][..., -1:], -jnp.inf, z)
        if top_p < 1:
            ordered = -jnp.sort(-z, axis=-1)
            p = jax.nn.softmax(ordered, axis=-1)
            before = jnp.cumsum(p, axis=-1) - p  # of those that are likelier
            least = jnp.where(before < top_p, ordered, jnp.inf).min(-1, keepdims=True)
            z = jnp.where(z < least, -jnp.inf, z)
        return jax.random.categorical(key, z)

    return choose


def decode(
    step: Step, state: State, first: Array, choose: Choose, key: Key, *, length: int, end: int
) -> Decoded:
    """One row of `length` tokens at most from each of `first` int [B], by `choose`."""

    def one(carry: Any, i: Array) -> tuple[Any, Any]:
        state, token, ended, score, size = carry
        logits, state = step(state, token)
        chosen = choose(jax.random.fold_in(key, i), logits).astype(first.dtype)
        token = jnp.where(ended, end, chosen)
        said = jnp.take_along_axis(jax.nn.log_softmax(logits), token[:, None], axis=-1)[:, 0]
        score, size = score + jnp.where(ended, 0, said), size + ~ended
        return (state, token, ended | (token == end), score, size), token

    rows = first.shape[0]
    none = (jnp.zeros(rows, bool), jnp.zeros(rows), jnp.zeros(rows, jnp.int32))
    (_, _, _, score, size), tokens = jax.lax.scan(one, (state, first, *none), jnp.arange(length))
    return Decoded(tokens.T, size, score)


def beam(
    step: Step,
    state: State,
    first: Array,
    *,
    length: int,
    end: int,
    width: int = 4,
    length_penalty: float = 0.0,
) -> Decoded:
    """The best of `width` rows kept at each step, for each of `first` int [B].

    A finished row's score is its log-probability divided by ((5 + its length) / 6)^length_penalty
    (Wu et al. 2016, eq. 14); `scores` are these. The search goes on for `length` steps, so that the
    result does not depend on when a row of another batch ends; a row that has not ended by then
    counts as it is.
    """
    rows = first.shape[0]
    grown = jax.tree.map(lambda x: jnp.repeat(x, width, axis=0), state)
    alive = jnp.tile(jnp.where(jnp.arange(width) == 0, 0.0, -jnp.inf), (rows, 1))

    def penalty(size: Array) -> Array:
        return ((5.0 + size) / 6.0) ** length_penalty

    def one(carry: Any, i: Array) -> tuple[Any, None]:
        state, token, alive, live, done, best = carry
        logits, state = step(state, token.reshape(-1))
        logs = jax.nn.log_softmax(logits).reshape(rows, width, -1)
        words = logs.shape[-1]
        total = alive[..., None] + logs
        # What ends now competes with what has ended before, and lives no longer.
        ending = (total[..., end] / penalty(i + 1.0)).max(-1)
        which = (total[..., end] / penalty(i + 1.0)).argmax(-1)
        row = jnp.take_along_axis(live, which[:, None, None], axis=1)[:, 0].at[:, i].set(end)
        better = ending > best
        done = jnp.where(better[:, None], row, done)
        best = jnp.maximum(best, ending)
        going = total.at[..., end].set(-jnp.inf).reshape(rows, -1)
        alive, flat = jax.lax.top_k(going, width)
        parent, token = flat // words, (flat % words).astype(first.dtype)
        live = jnp.take_along_axis(live, parent[..., None], axis=1).at[:, :, i].set(token)
        places = (jnp.arange(rows)[:, None] * width + parent).reshape(-1)
        state = jax.tree.map(lambda x: x[places], state)
        return (state, token, alive, live, done, best), None

    token = jnp.tile(first[:, None], (1, width))
    live = jnp.full((rows, width, length), end, first.dtype)
    done, best = jnp.full((rows, length), end, first.dtype), jnp.full(rows, -jnp.inf)
    carry = (grown, token, alive, live, done, best)
    (_, _, alive, live, done, best), _ = jax.lax.scan(one, carry, jnp.arange(length))
    unfinished = alive[:, 0] / penalty(jnp.float32(length))
    better = unfinished > best
    tokens = jnp.where(better[:, None], live[:, 0], done)
    sizes = jnp.where(better, length, (tokens == end).argmax(-1) + 1)
    return Decoded(tokens, sizes, jnp.maximum(best, unfinished))
