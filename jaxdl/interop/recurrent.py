"""Recurrent layers in other implementations: several of them, in one direction or both.

Each network here is a `Stacked` of layers. PyTorch's layers add two biases, so ours do that have
its layout. Keras keeps the gates of a GRU in the order z, r, n.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.interop.reference import DENSE, ROW, SAME, Array, Axes, Place, Reference, Rule, Shape
from jaxdl.nn.recurrent import GRU, LSTM, Bidirectional, GRUBefore, SimpleRNN, Stacked

Layer = Callable[..., nn.Module]


def stacked(layer: Layer, *, units: int, layers: int, bidirectional: bool) -> Stacked:
    """So many equal layers on top of each other."""
    make = partial(layer, units)
    return Stacked([Bidirectional(make) if bidirectional else make() for _ in range(layers)])


def _parts(path: str) -> tuple[int, str, str]:
    """'layers_1/backward/kernel' -> (1, 'backward', 'kernel'); '' for a layer of one direction."""
    found = re.fullmatch(r'layers_(\d+)/(?:(forward|backward)/)?(\w+)', path)
    if not found:
        raise KeyError(f'{path} needs a place of its own')
    return int(found[1]), found[2] or '', found[3]


# ---- PyTorch ------------------------------------------------------------------------------------

TORCH_NAMES = {
    'kernel': 'weight_ih',
    'recurrent_kernel': 'weight_hh',
    'bias': 'bias_ih',
    'recurrent_bias': 'bias_hh',
}


def torch_rule(path: str, shape: Shape) -> Place:
    """'layers_1/backward/kernel' -> 'weight_ih_l1_reverse'."""
    layer, direction, leaf = _parts(path)
    end = '_reverse' if direction == 'backward' else ''
    return Place(f'{TORCH_NAMES[leaf]}_l{layer}{end}', DENSE if len(shape) > 1 else SAME)


# ---- Keras --------------------------------------------------------------------------------------


def _gates(order: tuple[int, ...]) -> Axes:
    """Our gates, side by side on the last axis, are theirs in this order; an order of two swaps."""

    def moved(x: Array) -> Array:
        parts = np.split(x, len(order), axis=-1)
        return np.concatenate([parts[i] for i in order], axis=-1)

    return Axes(moved, moved)


SWAPPED = _gates((1, 0, 2))


def keras_rule(kind: str, *, two_biases: bool, axes: Axes) -> Rule:
    """'layers_1/backward/kernel' -> 'bidirectional_1/backward_lstm_1/lstm_cell/kernel'.

    kind: the snake-case name of Keras' class; its layers are numbered from the second on.
    two_biases: whether they are rows of one tensor, those of the inputs first.
    """

    def rule(path: str, shape: Shape) -> Place:
        layer, direction, leaf = _parts(path)
        number = f'_{layer}' if layer else ''
        name = f'{kind}{number}'
        if direction:
            name = f'bidirectional{number}/{direction}_{name}'
        name = f'{name}/{kind}_cell'
        if 'bias' in leaf and two_biases:
            row = Axes(lambda x: axes.ours(ROW.ours(x)), lambda x: ROW.theirs(axes.theirs(x)))
            return Place(f'{name}/bias', row, int(leaf == 'recurrent_bias'), 2)
        return Place(f'{name}/{leaf}', axes)

    return rule


# ---- both ---------------------------------------------------------------------------------------


def _reference(layer: Layer, rule: Rule) -> Reference:
    def build(
        features: int = 1, units: int = 1, layers: int = 1, bidirectional: bool = False
    ) -> Stacked:
        return stacked(layer, units=units, layers=layers, bidirectional=bidirectional)

    return Reference(build, _steps, lambda **_: rule)


def _simple(rule: Rule, **more: Any) -> Reference:
    def build(
        features: int = 1,
        units: int = 1,
        layers: int = 1,
        bidirectional: bool = False,
        nonlinearity: Literal['tanh', 'relu'] = 'tanh',
    ) -> Stacked:
        activation = {'tanh': jnp.tanh, 'relu': jax.nn.relu}[nonlinearity]
        layer = partial(SimpleRNN, activation=activation, **more)
        return stacked(layer, units=units, layers=layers, bidirectional=bidirectional)

    return Reference(build, _steps, lambda **_: rule)


def _steps(features: int = 1, **_: Any) -> tuple[Shape, ...]:
    return ((1, 2, features),)


REFERENCES: Mapping[tuple[str, str], Reference] = {
    ('simple_rnn', 'torch'): _simple(torch_rule, recurrent_bias=True),
    ('lstm', 'torch'): _reference(partial(LSTM, recurrent_bias=True), torch_rule),
    ('gru', 'torch'): _reference(GRU, torch_rule),
    ('simple_rnn', 'keras'): _simple(keras_rule('simple_rnn', two_biases=False, axes=SAME)),
    ('lstm', 'keras'): _reference(LSTM, keras_rule('lstm', two_biases=False, axes=SAME)),
    ('gru', 'keras'): _reference(GRU, keras_rule('gru', two_biases=True, axes=SWAPPED)),
    ('gru_before', 'keras'): _reference(
        GRUBefore, keras_rule('gru', two_biases=False, axes=SWAPPED)
    ),
}
