"""Recurrent layers: a cell over time, several of them, both directions.

A layer is called ``ys, final = layer(x, lengths=..., initial=...)`` with x [B, T, D]: its outputs
[B, T, units], which are zero beyond a row's length, and the state after the row's last step. A
state is a tuple of arrays [B, units], the hidden one first, so a sequence may be cut anywhere and
gone on with.

The products with the inputs are one product before the scan, and the gradients of the recurrent
weights one product after it: inside there is only what has to wait for the step before.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn import initializers

Array = jax.Array
State = tuple[Array, ...]
Product = Callable[[Array], Array]
Init = Callable[..., Array]


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

    keep: bool [T, B]; where it is false the state stays, and the output is zero.
    reverse: from the last step to the first.
    """
    final, states = _unroll(cell, reverse, state, x, tuple(weights), keep)
    hidden = states[0]
    return hidden if keep is None else jnp.where(keep[..., None], hidden, 0), final


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


def lstm_cell(state: State, x: Array, product: Product) -> State:
    """Hochreiter and Schmidhuber 1997 with forget gates (Gers et al. 2000); gates i, f, g, o.

    c' = sigmoid(f) c + sigmoid(i) tanh(g),  h' = sigmoid(o) tanh(c').
    """
    h, c = state
    i, f, g, o = jnp.split(x + product(h), 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def gru_cell(state: State, x: Array, product: Product) -> State:
    """A gated unit whose reset comes after the product, as cuDNN has it; gates r, z, n.

    n = tanh(x_n + r (U_n h + b)),  h' = (1 - z) n + z h.
    """
    (h,) = state
    r_x, z_x, n_x = jnp.split(x, 3, axis=-1)
    r_h, z_h, n_h = jnp.split(product(h), 3, axis=-1)
    r, z = jax.nn.sigmoid(r_x + r_h), jax.nn.sigmoid(z_x + z_h)
    n = jnp.tanh(n_x + r * n_h)
    return (n + z * (h - n),)


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


# ---- layers -----------------------------------------------------------------------------------


class _Layer(nn.Module):
    """A cell over time, in one direction.

    units: size of the hidden state. reverse: from the last step of a row to its first.
    recurrent_bias: whether the product with the state has a bias of its own, as PyTorch's have.
    kernel_init, recurrent_init: of each gate's matrix, [D, units] and [units, units].
    """

    units: int
    reverse: bool = False
    recurrent_bias: bool = False
    kernel_init: Init = initializers.glorot_uniform()
    recurrent_init: Init = initializers.orthogonal()
    bias_init: Init = initializers.zeros

    @nn.compact
    def __call__(
        self, x: Array, *, lengths: Array | None = None, initial: State | None = None
    ) -> tuple[Array, State]:
        """[B, T, D] -> [B, T, units] and the state after the last step.

        lengths: int [B], how many steps of each row count; None: all. initial: None: zeros.
        """
        rows, steps, features = x.shape
        cell, gates, groups, states = self._kind()
        size = gates * self.units
        kernel = self.param('kernel', _gates(self.kernel_init, gates), (features, size))
        bias = self.param('bias', self.bias_init, (size,))
        recurrent = self.param(
            'recurrent_kernel', _gates(self.recurrent_init, gates), (self.units, size)
        )
        own = None
        if self.recurrent_bias:
            own = self.param('recurrent_bias', self.bias_init, (size,))
        weights, first = [], 0
        for group in groups:
            span = slice(first * self.units, (first + group) * self.units)
            weights.append(Recurrent(recurrent[:, span], None if own is None else own[span]))
            first += group
        if initial is None:
            initial = (jnp.zeros((rows, self.units), x.dtype),) * states
        projected = (x.reshape(-1, features) @ kernel + bias[None]).reshape(rows, steps, size)
        keep = None if lengths is None else jnp.arange(steps)[:, None] < lengths[None]
        ys, final = unroll(
            cell, initial, projected.swapaxes(0, 1), weights, keep=keep, reverse=self.reverse
        )
        return ys.swapaxes(0, 1), final

    def _kind(self) -> tuple[Cell, int, tuple[int, ...], int]:
        """The cell, its gates, how many of them each of its products makes, and its states."""
        raise NotImplementedError


class SimpleRNN(_Layer):
    """Elman's network: h_t = activation(W x_t + U h_t-1 + b) (Elman 1990).

    D units + units^2 + units parameters.
    """

    activation: Callable[[Array], Array] = jnp.tanh

    def _kind(self) -> tuple[Cell, int, tuple[int, ...], int]:
        return simple_cell(self.activation), 1, (1,), 1


class LSTM(_Layer):
    """Long short-term memory, see `lstm_cell`; a state is (h, c).

    4 (D units + units^2 + units) parameters. Jozefowicz et al. 2015 start the forget gate's bias
    at 1: ``LSTM(64, bias_init=forget_ones)``.
    """

    def _kind(self) -> tuple[Cell, int, tuple[int, ...], int]:
        return lstm_cell, 4, (4,), 2


class GRU(_Layer):
    """Gated recurrent units, the reset after the product, see `gru_cell`.

    3 (D units + units^2 + 2 units) parameters: the product has a bias of its own.
    """

    recurrent_bias: bool = True

    def _kind(self) -> tuple[Cell, int, tuple[int, ...], int]:
        return gru_cell, 3, (3,), 1


class GRUBefore(_Layer):
    """Gated recurrent units as published, the reset before the product, see `gru_before_cell`.

    3 (D units + units^2 + units) parameters.
    """

    def _kind(self) -> tuple[Cell, int, tuple[int, ...], int]:
        return gru_before_cell, 3, (2, 1), 1


def forget_ones(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """Initial biases of an LSTM: 1 for the forget gate, else 0."""
    return jnp.zeros(shape, dtype).at[shape[0] // 4 : shape[0] // 2].set(1)


def _gates(init: Init, gates: int) -> Init:
    """Initial values of several gates side by side, each drawn by itself."""

    def draw(key: Array, shape: tuple[int, int], dtype: Any = jnp.float32) -> Array:
        one = (shape[0], shape[1] // gates)
        keys = jax.random.split(key, gates)
        return jnp.concatenate([init(each, one, dtype) for each in keys], axis=1)

    return draw


class Bidirectional(nn.Module):
    """Two layers that read a row from both ends, side by side (Schuster and Paliwal 1997).

    make(reverse=, name=) -> layer: ``Bidirectional(partial(LSTM, 64))`` has outputs of 128. Its
    state is (that of the layer forward, that of the layer backward).
    """

    make: Callable[..., nn.Module]

    @nn.compact
    def __call__(
        self, x: Array, *, lengths: Array | None = None, initial: Any = (None, None)
    ) -> tuple[Array, Any]:
        """[B, T, D] -> [B, T, 2 units] and the states after the last step of each direction."""
        forward = self.make(reverse=False, name='forward')
        backward = self.make(reverse=True, name='backward')
        ahead, final = forward(x, lengths=lengths, initial=initial[0])
        behind, first = backward(x, lengths=lengths, initial=initial[1])
        return jnp.concatenate([ahead, behind], axis=-1), (final, first)


class Stacked(nn.Module):
    """Layers on top of each other, with dropout between them; its state is a tuple of theirs.

    ``Stacked([LSTM(64), LSTM(64)], dropout=0.5)``. dropout: of the outputs of every layer but the
    last, anew for each step (Zaremba et al. 2014); draws from the stream 'dropout'.
    """

    layers: Sequence[nn.Module]
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self,
        x: Array,
        *,
        lengths: Array | None = None,
        initial: Sequence[Any] | None = None,
        train: bool = False,
    ) -> tuple[Array, tuple[Any, ...]]:
        """[B, T, D] -> [B, T, units] of the last layer, and the states of all."""
        finals = []
        for i, layer in enumerate(self.layers):
            if i and self.dropout:
                x = nn.Dropout(self.dropout)(x, deterministic=not train)
            begin = {} if initial is None else {'initial': initial[i]}
            x, final = layer(x, lengths=lengths, **begin)
            finals.append(final)
        return x, tuple(finals)
