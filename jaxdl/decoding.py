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
from jaxdl.net import Net

Array = jax.Array
State = Any
Step = Callable[[State, Array], tuple[Array, State]]
Choose = Callable[[Key, Array], Array]
Penalty = Callable[[Array], Array]


def by_token(net: Net) -> Step:
    """The step of a network that goes on by its method `extend`, a token at a time."""

    def step(state: State, token: Array) -> tuple[Array, State]:
        (logits, state), _ = net(token[:, None], state, method='extend')
        return logits[:, 0], state

    return step


class Decoded(NamedTuple):
    """Rows of tokens int [B, length], how long each is [B] with its end token, and its score [B].

    score: the sum of the log-probabilities of its tokens, by the model itself.
    """

    tokens: Array
    lengths: Array
    scores: Array


def greedy(step: Step, state: State, first: Array, *, length: int, end: int) -> Decoded:
    """The likeliest token at each step, from `first` int [B] on, which is not among them."""
    return decode(
        step, state, first, sampler(temperature=0), jax.random.key(0), length=length, end=end
    )


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


def no_penalty(length: Array) -> Array:
    """Scores as they are: the longer, the lower."""
    return jnp.ones_like(length)


def wu_penalty(alpha: float) -> Penalty:
    """((5 + length) / 6)^alpha (Wu et al. 2016, eq. 14)."""
    return lambda length: ((5.0 + length) / 6.0) ** alpha


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
    penalty: Penalty = no_penalty,
) -> Decoded:
    """The best of `width` rows kept at each step, for each of `first` int [B]; 1 is greedy.

    Of the candidates of a step those among the first `width` that end are finished; the best others
    live on. The search goes on for `length` steps, so that what one row finds does not depend on
    when another ends; a row that has not ended by then counts as it is. `scores` are divided by the
    penalty of the length.
    """
    rows = first.shape[0]
    state = jax.tree.map(lambda x: jnp.repeat(x, width, axis=0), state)
    row = jnp.arange(rows)[:, None]

    def one(carry: Any, i: Array) -> tuple[Any, None]:
        state, token, alive, live, done, best = carry
        logits, state = step(state, token.reshape(-1))
        words = logits.shape[-1]
        total = alive[..., None] + jax.nn.log_softmax(logits).reshape(rows, width, words)
        # At most `width` of them end, one of each row, so that as many are left to live.
        value, flat = jax.lax.top_k(total.reshape(rows, -1), 2 * width)
        parent, word = flat // words, (flat % words).astype(first.dtype)
        ends = word == end
        finished = jnp.where(ends[:, :width], value[:, :width], -jnp.inf) / penalty(i + 1.0)
        which, score = finished.argmax(-1), finished.max(-1)
        said = live[row[:, 0], parent[row[:, 0], which]].at[:, i].set(end)
        done = jnp.where((score > best)[:, None], said, done)
        best = jnp.maximum(best, score)
        alive, going = jax.lax.top_k(jnp.where(ends, -jnp.inf, value), width)
        parent, token = parent[row, going], word[row, going]
        live = live[row, parent].at[:, :, i].set(token)
        state = jax.tree.map(lambda x: x[(row * width + parent).reshape(-1)], state)
        return (state, token, alive, live, done, best), None

    # All rows are equal at first: one of them lives.
    alive = jnp.tile(jnp.where(jnp.arange(width) == 0, 0.0, -jnp.inf), (rows, 1))
    token = jnp.tile(first[:, None], (1, width))
    live = jnp.full((rows, width, length), end, first.dtype)
    done, best = live[:, 0], jnp.full(rows, -jnp.inf)
    carry = (state, token, alive, live, done, best)
    (_, _, alive, live, done, best), _ = jax.lax.scan(one, carry, jnp.arange(length))
    unfinished = alive[:, 0] / penalty(jnp.float32(length))
    better = unfinished > best
    tokens = jnp.where(better[:, None], live[:, 0], done)
    sizes = jnp.where(better, length, (done == end).argmax(-1) + 1)
    return Decoded(tokens, sizes, jnp.maximum(best, unfinished))
