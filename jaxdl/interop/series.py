"""Forecasters, and the network of videos, in PyTorch.

DLinear and NLinear have the names of their authors' code; the others are PyTorch's own layers by
our names, `rnn`, `encoder` and `out`.
"""

import re
from collections.abc import Mapping
from functools import partial

import flax.linen as nn

from jaxdl.interop.attention import headed, side_by_side
from jaxdl.interop.recurrent import torch_rule
from jaxdl.interop.reference import TORCH, Place, Reference, Rule, Shape, flattened, layered
from jaxdl.models.forecast import (
    DLinear,
    FromLast,
    Linear,
    RNNForecaster,
    TransformerForecaster,
)
from jaxdl.models.video import FrameCNN, FrameRNN
from jaxdl.nn.recurrent import GRU, LSTM

# PyTorch's layers have a bias of the inputs' product and one of the state's.
TwoBiases = partial(LSTM, recurrent_bias=True)


# ---- one product over time ----------------------------------------------------------------------

LINEAR_NAMES = {
    'seasonal/time': 'Linear_Seasonal',
    'trend/time': 'Linear_Trend',
    'inner/time': 'Linear',
}


def _dlinear(past: int = 336, future: int = 96, average: int = 25) -> DLinear:
    return DLinear(future, average)


def _nlinear(past: int = 336, future: int = 96) -> FromLast:
    return FromLast(Linear(future))


def _one_feature(past: int = 336, **_: int) -> tuple[Shape, ...]:
    return ((1, past, 1),)


def _linear_rule(**_: int) -> Rule:
    return layered(TORCH, LINEAR_NAMES.__getitem__)


# ---- recurrent layers ---------------------------------------------------------------------------


def _lstm(future: int = 96, features: int = 7, units: int = 64, layers: int = 1) -> RNNForecaster:
    return RNNForecaster(future, [TwoBiases(units) for _ in range(layers)])


def _gru(future: int = 96, features: int = 7, units: int = 64, layers: int = 1) -> RNNForecaster:
    return RNNForecaster(future, [GRU(units) for _ in range(layers)])


def _steps(features: int = 7, **_: int) -> tuple[Shape, ...]:
    return ((1, 2, features),)


def _with_rnn(rest: Rule) -> Rule:
    """The rule of a network whose recurrent layers are PyTorch's under the name `rnn`.

    Ours are `layers_0`, `layers_1`, ..., or `rnn` alone.
    """

    def rule(path: str, shape: Shape) -> Place:
        path = re.sub('^rnn/', 'layers_0/', path)
        if not path.startswith('layers_'):
            return rest(path, shape)
        place = torch_rule(path, shape)
        return place._replace(name=f'rnn.{place.name}')

    return rule


def _rnn_rule(**_: int) -> Rule:
    return _with_rnn(layered(TORCH, str))


# ---- attention ----------------------------------------------------------------------------------

TRANSFORMER_NAMES = {
    r'^block(\d+)\b': r'encoder.layers.\1',
    r'^norm$': 'encoder.norm',
    r'/self_attention\b': '/self_attn',
    r'/out$': '/out_proj',
    r'/feed_forward/fc': '/linear',
}


def _transformer(
    future: int = 96,
    features: int = 7,
    width: int = 64,
    depth: int = 2,
    heads: int = 4,
    mlp: int = 128,
) -> TransformerForecaster:
    return TransformerForecaster(future, width, depth, heads, mlp)


def _transformer_rule(width: int = 64, heads: int = 4, **_: int) -> Rule:
    def rename(path: str) -> str:
        for ours, theirs in TRANSFORMER_NAMES.items():
            path = re.sub(ours, theirs, path)
        return path.replace('/', '.')

    # The last layer is called `out` too, and is no projection of attention.
    inside = side_by_side(rename, headed(width, heads))
    places = {pattern.replace('((?:.*/)?out)', '(.*/out)'): it for pattern, it in inside.items()}
    return layered(TORCH, rename, places=places)


# ---- frames -------------------------------------------------------------------------------------

TRUNK = {'Conv_0': 'conv1', 'Conv_1': 'conv2', 'Dense_0': 'fc'}


def _frames(
    classes: int = 10,
    rows: int = 16,
    columns: int = 16,
    features: int = 32,
    width: int = 64,
    units: int = 64,
) -> nn.Module:
    """features: maps of the second convolution; the first has half as many."""
    trunk = FrameCNN((features // 2, features), width)
    return FrameRNN(trunk, classes, TwoBiases(units))


def _frames_rule(rows: int = 16, columns: int = 16, features: int = 32, **_: int) -> Rule:
    def rename(path: str) -> str:
        *outer, last = path.split('/')
        return f'trunk.{TRUNK[last]}' if outer else last

    flat = flattened(features, rows // 4, columns // 4)
    return _with_rnn(layered(TORCH, rename, axes={'trunk/cnn/Dense_0/kernel': flat}))


def _two_frames(rows: int = 16, columns: int = 16, **_: int) -> tuple[Shape, ...]:
    return ((1, 2, rows, columns, 1),)


REFERENCES: Mapping[tuple[str, str], Reference] = {
    ('dlinear', 'torch'): Reference(_dlinear, _one_feature, _linear_rule),
    ('nlinear', 'torch'): Reference(_nlinear, _one_feature, _linear_rule),
    ('lstm_forecaster', 'torch'): Reference(_lstm, _steps, _rnn_rule),
    ('gru_forecaster', 'torch'): Reference(_gru, _steps, _rnn_rule),
    ('transformer_forecaster', 'torch'): Reference(_transformer, _steps, _transformer_rule),
    ('frame_lstm', 'torch'): Reference(_frames, _two_frames, _frames_rule),
}
