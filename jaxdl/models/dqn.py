"""Networks of action values: the CNN of DQN, and dueling networks."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl.models.mlp import MLP
from jaxdl.nn.layers import Conv, Dense

Array = jax.Array


class NatureTrunk(nn.Module):
    """The convolutions of DQN, on screens of 84x84 in four frames (Mnih et al. 2015, methods).

        8x8 convolution of stride 4, ReLU    20x20x32      8,224 parameters
        4x4 convolution of stride 2, ReLU      9x9x64     32,832
        3x3 convolution, ReLU                  7x7x64     36,928

    Frames are 0..255, uint8 or float, and are divided by 255.
    """

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, 84, 84, 4] -> [B, 3136]; other sides give other lengths."""
        x = x.astype(jnp.float32) / 255
        for i, (width, kernel, stride) in enumerate(((32, 8, 4), (64, 4, 2), (64, 3, 1)), 1):
            conv = Conv(width, (kernel, kernel), strides=stride, padding='VALID', name=f'conv{i}')
            x = nn.relu(conv(x))
        return x.reshape(len(x), -1)


class QNetwork(nn.Module):
    """Action values: a trunk that sees, and a head that values what it has seen.

    trunk: [B, ...] -> features [B, d]. head: features -> action values [B, actions].
    """

    trunk: nn.Module
    head: nn.Module

    def __call__(self, x: Array) -> Array:
        """[B, ...] -> [B, actions]."""
        return self.head(self.trunk(x))


class Dueling(nn.Module):
    """The head of a dueling network: the value of a state and the advantages of actions, apart.

        Q(s, a) = V(s) + A(s, a) - mean over a' of A(s, a')          (Wang et al. 2016, equation 9)

    Each of the two is a perceptron with hidden layers of its own.

    hidden: units of the hidden layers of each, none for a linear one.
    """

    actions: int
    hidden: Sequence[int] = (512,)

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Features [B, d] -> action values [B, actions]."""
        value = MLP((*self.hidden, 1), name='value')(x)
        advantage = MLP((*self.hidden, self.actions), name='advantage')(x)
        return value + advantage - advantage.mean(-1, keepdims=True)


class Hidden(nn.Module):
    """A trunk of dense layers, each with its activation: for observations that are few numbers."""

    features: Sequence[int]

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, ...] -> [B, features[-1]]."""
        x = x.reshape(len(x), -1)
        for width in self.features:
            x = nn.relu(Dense(width)(x))
        return x


def nature_dqn(actions: int) -> QNetwork:
    """The network of DQN (Mnih et al. 2015): 1,687,206 parameters for 6 actions."""
    return QNetwork(NatureTrunk(), MLP((512, actions)))


def nature_dueling(actions: int) -> QNetwork:
    """The dueling network for screens (Wang et al. 2016): 3,293,863 parameters for 6 actions.

    Without what it is trained with there, gradients into the trunk scaled by 1 / sqrt(2) and
    clipped to a norm of 10: the second is an optimizer's.
    """
    return QNetwork(NatureTrunk(), Dueling(actions))


def perceptron_dueling(hidden: Sequence[int], actions: int) -> QNetwork:
    """A dueling network for observations that are few numbers.

    hidden: units of the hidden layers; the two streams share all but the last, of which each has
        one of its own.
    """
    *shared, own = hidden
    return QNetwork(Hidden(tuple(shared)), Dueling(actions, hidden=(own,)))
