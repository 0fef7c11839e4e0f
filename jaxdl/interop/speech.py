"""Networks for speech beside the same of PyTorch's own layers: recognisers and Tacotron.

Layout `torch`: recurrent layers are nn.LSTM and nn.GRU, whose names end in the layer and the
direction; all others have our names.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from jaxdl.interop.recurrent import TORCH_NAMES
from jaxdl.interop.reference import (
    DENSE,
    SAME,
    TORCH,
    Place,
    Reference,
    Rule,
    layered,
    tokens,
    transposed,
)
from jaxdl.models.seq2seq import Additive
from jaxdl.models.speech import Recogniser, WordCNN, WordRNN
from jaxdl.models.tacotron import Tacotron
from jaxdl.nn.recurrent import LSTM, Bidirectional

ALONG = transposed(2, 1, 0)  # the kernel of a convolution over time, OIW -> WIO
END = {'': '', 'forward/': '', 'backward/': '_reverse'}


def _recurrent(name: str, layer: str) -> Callable[..., Place]:
    """Where the array of a layer stands in the module `name`, of the direction and the array."""

    def place(direction: str | None, leaf: str) -> Place:
        axes = DENSE if 'kernel' in leaf else SAME
        return Place(f'{name}.{TORCH_NAMES[leaf]}{layer}{END[direction or ""]}', axes)

    return place


# ---- recognisers --------------------------------------------------------------------------------


def _both(units: int) -> Bidirectional:
    return Bidirectional(partial(LSTM, units, recurrent_bias=True))  # PyTorch adds two biases


def recogniser(
    classes: int = 29, features: int = 20, units: int = 64, layers: int = 2, stack: int = 2
) -> Recogniser:
    """A recogniser of so many bidirectional layers."""
    return Recogniser(classes, [_both(units) for _ in range(layers)], stack)


def word_rnn(
    classes: int = 10, features: int = 20, units: int = 64, layers: int = 2, stack: int = 2
) -> WordRNN:
    """A classifier of words of so many bidirectional layers."""
    return WordRNN(classes, [_both(units) for _ in range(layers)], stack)


def word_cnn(
    classes: int = 10, features: int = 20, widths: tuple[int, ...] = (16, 32, 64)
) -> WordCNN:
    """A classifier of words of convolutions."""
    return WordCNN(classes, widths)


def _spoken(features: int = 20, **_: Any) -> tuple[Any, ...]:
    return (1, 4, features), tokens(1)


def _recogniser_rule(layers: int = 2, **_: Any) -> Rule:
    places = {
        rf'layers_{i}/(forward/|backward/)(\w+)': _recurrent('rnn', f'_l{i}') for i in range(layers)
    }
    return layered(TORCH, lambda path: path, places=places)


# ---- Tacotron -----------------------------------------------------------------------------------


def tacotron(
    vocabulary: int = 149,
    mels: int = 80,
    bins: int = 1025,
    voices: int = 1,
    embedding: int = 256,
    units: int = 128,
    decoder: int = 256,
    reduction: int = 2,
    banks: tuple[int, int] = (16, 8),
) -> Tacotron:
    """Tacotron of any size; as many units in the attention as in the decoder."""
    sizes = (vocabulary, mels, bins, voices, embedding, units, decoder, reduction, banks)
    return Tacotron(*sizes, attention=partial(Additive, decoder))


def _said(mels: int = 80, **_: Any) -> tuple[Any, ...]:
    return tokens(1, 3), tokens(1), tokens(1), (1, 4, mels), tokens(1)


def _tacotron_rule(**_: Any) -> Rule:
    part = r'(forward/|backward/)?(\w+)'

    def decoder(layer: str, leaf: str) -> Place:
        return _recurrent(f'rnn.{layer}', '_l0')('', leaf)

    def filters(net: str, layer: str, width: str) -> Place:
        return Place(f'{net}.{layer}.conv{width}.weight', ALONG)

    return layered(
        TORCH,
        lambda path: path.replace('/', '.'),
        places={
            r'(encoder|postnet)/(\w+)/kernel(\d+)': filters,
            rf'encoder/rnn/{part}': _recurrent('encoder.rnn', '_l0'),
            rf'postnet/rnn/{part}': _recurrent('postnet.rnn', '_l0'),
            rf'look/rnn/{part}': _recurrent('look.rnn', ''),
            r'rnn_(\d)/(\w+)': decoder,
            r'look/attention/v': lambda: Place('look.attention.v.weight', DENSE),
        },
    )


REFERENCES: Mapping[tuple[str, str], Reference] = {
    ('recogniser', 'torch'): Reference(recogniser, _spoken, _recogniser_rule),
    ('word_rnn', 'torch'): Reference(word_rnn, _spoken, _recogniser_rule),
    ('word_cnn', 'torch'): Reference(word_cnn, _spoken, _recogniser_rule),
    ('tacotron', 'torch'): Reference(tacotron, _said, _tacotron_rule),
}
