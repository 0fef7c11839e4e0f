"""Recurrent layers: a cell over time, several of them, both directions.

A layer is called ``ys, final = layer(x, lengths=..., initial=...)`` with x [B, T, D]: its outputs
[B, T, units], which are zero beyond a row's length, and the state after the row's last step. A
state is a tuple of arrays [B, units], the hidden one first, so a sequence may be cut anywhere and
gone on with.

The products with the inputs are one product before the scan, and the gradients of the recurrent
weights one product after it: inside there is only what has to wait for the step before. LSTM and
GRU have gradients derived by hand (`jaxdl.nn.gates`), those of any other cell are traced
(`jaxdl.nn.cells`).
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn import initializers

from jaxdl.nn.cells import Cell, Recurrent, State, gru_before_cell, simple_cell, unroll
from jaxdl.nn.gates import Gated, Weights, gru, lstm, unroll_gated

Array = jax.Array
Init = Callable[..., Array]


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
        gates, states = self._sizes()
        size = gates * self.units
        kernel = self.param('kernel', _gates(self.kernel_init, gates), (features, size))
        bias = self.param('bias', self.bias_init, (size,))
        recurrent = self.param(
            'recurrent_kernel', _gates(self.recurrent_init, gates), (self.units, size)
        )
        own = None
        if self.recurrent_bias:
            own = self.param('recurrent_bias', self.bias_init, (size,))
        if initial is None:
            initial = (jnp.zeros((rows, self.units), x.dtype),) * states
        keep = None if lengths is None else jnp.arange(steps)[:, None] < lengths[None]
        # The steps come first from here on: a layer above takes them as they are.
        projected = x.swapaxes(0, 1).reshape(-1, features) @ kernel
        ys, final = self._over_time(
            initial, projected.reshape(steps, rows, size), Weights(bias, recurrent, own), keep
        )
        if keep is not None:
            ys = jnp.where(keep[..., None], ys, 0)
        return ys.swapaxes(0, 1), final

    def _sizes(self) -> tuple[int, int]:
        """How many gates it has, and how many arrays are its state."""
        raise NotImplementedError

    def _over_time(
        self, state: State, x: Array, weights: Weights, keep: Array | None
    ) -> tuple[Array, State]:
        """The hidden states [T, B, units] and the last state; x [T, B, gates units] is products."""
        raise NotImplementedError


class _Gated(_Layer):
    """A layer whose cell brings its gradient."""

    def _cell(self) -> Gated:
        raise NotImplementedError

    def _over_time(
        self, state: State, x: Array, weights: Weights, keep: Array | None
    ) -> tuple[Array, State]:
        return unroll_gated(self._cell(), self.reverse, state, x, weights, keep)


class _Traced(_Layer):
    """A layer of any cell."""

    def _cell(self) -> Cell:
        raise NotImplementedError

    def _groups(self) -> tuple[int, ...]:
        """How many gates each of the cell's products makes."""
        raise NotImplementedError

    def _over_time(
        self, state: State, x: Array, weights: Weights, keep: Array | None
    ) -> tuple[Array, State]:
        parts, first = [], 0
        for group in self._groups():
            span = slice(first * self.units, (first + group) * self.units)
            own = None if weights.bias is None else weights.bias[span]
            parts.append(Recurrent(weights.kernel[:, span], own))
            first += group
        x = x + weights.shift[None, None]
        return unroll(self._cell(), state, x, parts, keep=keep, reverse=self.reverse)


class SimpleRNN(_Traced):
    """Elman's network: h_t = activation(W x_t + U h_t-1 + b) (Elman 1990).

    D units + units^2 + units parameters.
    """

    activation: Callable[[Array], Array] = jnp.tanh

    def _sizes(self) -> tuple[int, int]:
        return 1, 1

    def _groups(self) -> tuple[int, ...]:
        return (1,)

    def _cell(self) -> Cell:
        return simple_cell(self.activation)


class LSTM(_Gated):
    """Long short-term memory with forget gates (Gers et al. 2000); a state is (h, c).

    c' = sigmoid(f) c + sigmoid(i) tanh(g),  h' = sigmoid(o) tanh(c')  (Hochreiter and Schmidhuber
    1997), gates i, f, g, o.

    4 (D units + units^2 + units) parameters. Jozefowicz et al. 2015 start the forget gate's bias
    at 1: ``LSTM(64, bias_init=forget_ones)``.
    """

    def _sizes(self) -> tuple[int, int]:
        return 4, 2

    def _cell(self) -> Gated:
        return lstm


class GRU(_Gated):
    """Gated recurrent units whose reset comes after the product, as cuDNN has it; gates r, z, n.

    n = tanh(x_n + r (U_n h + b)),  h' = (1 - z) n + z h.

    3 (D units + units^2 + 2 units) parameters: the product has a bias of its own.
    """

    recurrent_bias: bool = True

    def _sizes(self) -> tuple[int, int]:
        return 3, 1

    def _cell(self) -> Gated:
        return gru


class GRUBefore(_Traced):
    """Gated recurrent units as published, the reset before the product, see `gru_before_cell`.

    3 (D units + units^2 + units) parameters.
    """

    def _sizes(self) -> tuple[int, int]:
        return 3, 1

    def _groups(self) -> tuple[int, ...]:
        return (2, 1)

    def _cell(self) -> Cell:
        return gru_before_cell


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
