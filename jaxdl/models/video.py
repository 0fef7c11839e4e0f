"""Networks for videos x [B, T, H, W, C]: one trunk sees every frame, and something joins them.

The trunk is a module: images [N, H, W, C] -> features [N, n], called with `train`. What joins them
is all in which these networks differ.
"""

import flax.linen as nn
import jax

from jaxdl.models.lenet import LeNet
from jaxdl.models.rnn import hidden
from jaxdl.nn.recurrent import LSTM

Array = jax.Array


class FrameCNN(nn.Module):
    """A small trunk: 3x3 convolutions with pooling, then `width` features, all above zero."""

    features: tuple[int, ...] = (16, 32)
    width: int = 64

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[N, H, W, C] -> [N, width]."""
        cnn = LeNet(
            classes=self.width,
            features=self.features,
            dense=(),
            kernel=(3, 3),
            padding='SAME',
            name='cnn',
        )
        return nn.relu(cnn(x, train=train))


class FrameRNN(nn.Module):
    """A recurrent layer over the features of the frames, and a class from its last state.

    As LRCN for activities (Donahue et al. 2015, section 4), which averages over all states. With
    `lengths` only the first frames of a row count.
    """

    trunk: nn.Module
    classes: int
    rnn: nn.Module = LSTM(64)

    @nn.compact
    def __call__(self, x: Array, lengths: Array | None = None, *, train: bool = False) -> Array:
        """[B, T, H, W, C] -> logits [B, classes]."""
        _, state = self.rnn(each_frame(self.trunk, x, train=train), lengths=lengths)
        return nn.Dense(self.classes, name='out')(hidden(state))


class FrameMean(nn.Module):
    """A class from the mean of the features of all frames, whose order it cannot see."""

    trunk: nn.Module
    classes: int

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, T, H, W, C] -> logits [B, classes]."""
        z = each_frame(self.trunk, x, train=train).mean(1)
        return nn.Dense(self.classes, name='out')(z)


class OneFrame(nn.Module):
    """A class from one frame alone, the `index`-th."""

    trunk: nn.Module
    classes: int
    index: int = 0

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, T, H, W, C] -> logits [B, classes]."""
        z = self.trunk(x[:, self.index], train=train)
        return nn.Dense(self.classes, name='out')(z)


def each_frame(trunk: nn.Module, x: Array, *, train: bool) -> Array:
    """The features [B, T, n] of every frame of x [B, T, H, W, C], as one batch of images."""
    rows, steps = x.shape[:2]
    z = trunk(x.reshape(rows * steps, *x.shape[2:]), train=train)
    return z.reshape(rows, steps, -1)
