"""Encoders with something on them: a head, a frozen encoder's probe, projector and predictor.

What is on the encoder is a module of its own, an `MLP` for example. The encoder stands under the
same name in each, so that a phase takes it from the phase before: ``graft(parts={'encoder/*':
'encoder/*'})``.
"""

import flax.linen as nn
import jax

from jaxdl.errors import UsageError

Array = jax.Array


class Headed(nn.Module):
    """A head on an encoder, both trained: a classifier, or the two networks of SimCLR.

    With a perceptron of one hidden layer it is g(f(x)) of Chen et al. 2020 (section 2.1).

    encoder(x, train=) -> features [B, F]. head(features, train=) -> [B, ...].
    """

    encoder: nn.Module
    head: nn.Module

    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, ...] -> what the head makes of the features."""
        return self.head(self.encoder(x, train=train), train=train)


class Probe(nn.Module):
    """A head on an encoder that is as it is: it never trains, and no gradient reaches it.

    With one linear layer it is the linear evaluation of Zhang et al. 2016 and Chen et al. 2020.

    encoder(x) -> features [B, F]. head(features, train=) -> [B, ...].
    """

    encoder: nn.Module
    head: nn.Module

    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, ...] -> what the head makes of the features."""
        # Not in training: BatchNorm uses, and keeps, what it has learned before.
        return self.head(jax.lax.stop_gradient(self.encoder(x)), train=train)


class Online(nn.Module):
    """The online network of BYOL, q(g(f(x))) (Grill et al. 2020, figure 2).

    encoder(x, train=) -> features [B, F]. projector(features, train=) -> z [B, D].
    predictor(z, train=) -> [B, D]. Raises UsageError where the last two are one object, which would
    have one set of weights for both.
    """

    encoder: nn.Module
    projector: nn.Module
    predictor: nn.Module

    def __post_init__(self) -> None:
        if self.projector is self.predictor:
            raise UsageError('Online: projector and predictor are one module; make one for each')
        super().__post_init__()

    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, ...] -> the prediction q(z) [B, D]."""
        return self.predictor(self.project(x, train=train), train=train)

    def project(self, x: Array, *, train: bool = False) -> Array:
        """[B, ...] -> the projection z [B, D]: what a target network is asked for."""
        return self.projector(self.encoder(x, train=train), train=train)
