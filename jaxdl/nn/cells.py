"""Any cell over time, its gradient traced: of recurrent layers that have none derived by hand.

Inside the scan there is only what has to wait for the step before: the gradients of the weights are
one product after it.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array
State = tuple[Array, ...]
Product = Callable[[Array], Array]


class Recurrent(NamedTuple):
    """What the previous state is multiplied with: a [B, n] -> a @ kernel + bias, [B, m]."""

    kernel: Array
    bias: Array | None = None


# A cell: (state, x, product) -> state. x is what it takes of the inputs, [B, gates * units] and
# multiplied already; its n-th call of product multiplies with the n-th of the layer's `Recurrent`s.
Cell = Callable[[State, Array, Product], State]


# ---- the scan ---------------------------------------------------------------------------------


def unroll(
    cell: Cell,
    state: State,
    x: Array,
    weights: Sequence[Recurrent],
    *,
    keep: Array | None = None,
    reverse: bool = False,
) -> tuple[Array, State]:
    """A cell over the steps of x [T, B, ...]: hidden states [T, B, units], and the last state.

    keep: bool [T, B]; where it is false the state stays.
    reverse: from the last step to the first.
    """
    final, states = _unroll(cell, reverse, state, x, tuple(weights), keep)
    return states[0], final


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _unroll(
    cell: Cell,
    reverse: bool,
    state: State,
    x: Array,
    weights: tuple[Recurrent, ...],
    keep: Array | None,
) -> tuple[State, State]:
    """The last state, and those after each step."""
    return _unroll_forward(cell, reverse, state, x, weights, keep)[0]


def _unroll_forward(
    cell: Cell,
    reverse: bool,
    state: State,
    x: Array,
    weights: tuple[Recurrent, ...],
    keep: Array | None,
) -> tuple[Any, Any]:
    """What `_unroll` returns, and what its gradient needs: states and products, step by step."""

    def step(state: State, inputs: tuple[Array, Array | None]) -> tuple[State, Any]:
        x, keep = inputs
        products: list[Array] = []

        def product(a: Array) -> Array:
            kernel, bias = weights[len(products)]
            products.append(a @ kernel if bias is None else a @ kernel + bias[None])
            return products[-1]

        after = _kept(keep, cell(state, x, product), state)
        return after, (state, after, tuple(products))

    final, (before, after, products) = jax.lax.scan(step, state, (x, keep), reverse=reverse)
    return (final, after), (before, x, weights, keep, products)


def _unroll_backward(cell: Cell, reverse: bool, saved: Any, errors: Any) -> Any:
    before, x, weights, keep, products = saved
    d_final, d_after = errors

    def step(d_state: State, inputs: Any) -> tuple[State, Any]:
        state, x, keep, known, d_after = inputs

        def once(state: State, x: Array, shifts: tuple[Array, ...]) -> tuple[State, list[Array]]:
            factors: list[Array] = []

            def product(a: Array) -> Array:
                i = len(factors)
                factors.append(a)
                return _known_product(a, weights[i].kernel, known[i]) + shifts[i]

            return _kept(keep, cell(state, x, product), state), factors

        none = jax.tree.map(jnp.zeros_like, known)
        _, back, factors = jax.vjp(once, state, x, none, has_aux=True)
        d_state, d_x, d_products = back(jax.tree.map(jnp.add, d_state, d_after))
        return d_state, (d_x, d_products, factors)

    steps = (before, x, keep, products, d_after)
    d_state, (d_x, d_products, factors) = jax.lax.scan(step, d_final, steps, reverse=not reverse)
    d_weights = tuple(
        Recurrent(jnp.einsum('tbi,tbj->ij', a, d), None if weight.bias is None else d.sum((0, 1)))
        for weight, a, d in zip(weights, factors, d_products, strict=True)
    )
    return d_state, d_x, d_weights, None


_unroll.defvjp(_unroll_forward, _unroll_backward)


@jax.custom_vjp
def _known_product(a: Array, kernel: Array, known: Array) -> Array:
    """a @ kernel that was computed before: only its gradient to `a` is taken."""
    return known


_known_product.defvjp(
    lambda a, kernel, known: (known, (kernel, known)),
    lambda saved, d: (d @ saved[0].T, jnp.zeros_like(saved[0]), jnp.zeros_like(saved[1])),
)


def _kept(keep: Array | None, new: State, old: State) -> State:
    if keep is None:
        return new
    return jax.tree.map(lambda x, y: jnp.where(keep[:, None], x, y), new, old)


# ---- cells ------------------------------------------------------------------------------------


def simple_cell(activation: Callable[[Array], Array]) -> Cell:
    """h' = activation(x + U h) (Elman 1990)."""

    def cell(state: State, x: Array, product: Product) -> State:
        (h,) = state
        return (activation(x + product(h)),)

    return cell


def gru_before_cell(state: State, x: Array, product: Product) -> State:
    """The gated unit as published, its reset before the product; gates r, z, n.

    n = tanh(x_n + U_n (r h)),  h' = (1 - z) n + z h (Cho et al. 2014, eq. 5 to 8).
    """
    (h,) = state
    r_x, z_x, n_x = jnp.split(x, 3, axis=-1)
    r_h, z_h = jnp.split(product(h), 2, axis=-1)
    r, z = jax.nn.sigmoid(r_x + r_h), jax.nn.sigmoid(z_x + z_h)
    n = jnp.tanh(n_x + product(r * h))
    return (n + z * (h - n),)
