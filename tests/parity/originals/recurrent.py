"""Recurrent layers, called on steps, lengths and the states of all layers in a row."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


def packed(make: type[nn.RNNBase]) -> Callable[..., nn.Module]:
    """A function of the options of a case to PyTorch's layers."""

    class Packed(make):  # type: ignore[misc, valid-type]
        """Layers on a packed sequence."""

        def forward(self, x: Any, lengths: Any, *states: Any) -> Any:
            """[B, T, D] -> [B, T, units], and the states in the order in which they came."""
            kinds = 2 if isinstance(self, nn.LSTM) else 1
            first = [torch.stack(states[i::kinds]) for i in range(kinds)]
            rows = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            ys, last = super().forward(rows, tuple(first) if kinds > 1 else first[0])
            last = last if kinds > 1 else (last,)
            ys, _ = pad_packed_sequence(ys, batch_first=True, total_length=x.shape[1])
            return ys, [one for layer in zip(*last, strict=True) for one in layer]

    def build(
        features: int, units: int, layers: int, bidirectional: bool = False, **options: Any
    ) -> nn.Module:
        return Packed(
            features, units, layers, batch_first=True, bidirectional=bidirectional, **options
        )

    return build


def keras_layers(kind: str, **more: Any) -> Callable[..., Any]:
    """A function of the options of a case to a model of Keras' layers, named as Keras does."""

    def build(features: int, units: int, layers: int, bidirectional: bool = False) -> Any:
        import keras
        from keras import ops

        word = {'simple_rnn': 'SimpleRNN', 'lstm': 'LSTM', 'gru': 'GRU'}[kind]
        states = 2 if kind == 'lstm' else 1
        x = first = keras.Input((None, features))
        lengths = keras.Input((), dtype='int32')
        steps = ops.cumsum(ops.ones_like(x[..., 0]), axis=1)
        mask = steps <= ops.cast(lengths, 'float32')[:, None]
        inputs, finals = [first, lengths], []
        for i in range(layers):
            number = f'_{i}' if i else ''
            layer = getattr(keras.layers, word)(
                units, return_sequences=True, return_state=True, name=f'{kind}{number}', **more
            )
            if bidirectional:
                layer = keras.layers.Bidirectional(layer, name=f'bidirectional{number}')
            given = [keras.Input((units,)) for _ in range(states * (1 + bidirectional))]
            x, *after = layer(x, mask=mask, initial_state=given)
            inputs, finals = inputs + given, finals + after
        ys = ops.where(mask[..., None], x, 0.0)  # Keras repeats the last output
        return keras.Model(inputs, [ys, *finals])

    return build


ORIGINALS: dict[tuple[str, str], Callable[..., Any]] = {
    ('simple_rnn', 'torch'): packed(nn.RNN),
    ('lstm', 'torch'): packed(nn.LSTM),
    ('gru', 'torch'): packed(nn.GRU),
    ('simple_rnn', 'keras'): keras_layers('simple_rnn'),
    ('lstm', 'keras'): keras_layers('lstm'),
    ('gru', 'keras'): keras_layers('gru'),
    ('gru_before', 'keras'): keras_layers('gru', reset_after=False),
}
