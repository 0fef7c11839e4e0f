"""Image GANs in other implementations.

DCGAN's layout `public` has the names of PyTorch's examples, one list of all layers: main.0.weight.
The perceptrons' layout `torch` is an `nn.Sequential` of `Linear` and activations: 0.weight,
2.weight. A discriminator's last sigmoid has no weights; ours gives the logit before it.
"""

from collections.abc import Mapping

from jaxdl.interop.reference import TORCH, UPWARDS, Reference, Rule, Shape, layered
from jaxdl.models.dcgan import DCGANDiscriminator, DCGANGenerator
from jaxdl.models.gan import PerceptronGenerator, leaky_discriminator, leaky_generator
from jaxdl.models.mlp import MLP


def _generator(
    latents: int = 100, channels: int = 3, width: int = 64, stages: int = 4, first: int = 4
) -> DCGANGenerator:
    return DCGANGenerator(channels, width, stages, first)


def _discriminator(
    channels: int = 3, width: int = 64, stages: int = 4, last: int = 4
) -> DCGANDiscriminator:
    return DCGANDiscriminator(width, stages, last)


def _image(channels: int = 3, stages: int = 4, last: int = 4) -> tuple[Shape, ...]:
    side = last << stages
    return ((1, side, side, channels),)


def _up_rule() -> Rule:
    """Convolution, norm, ReLU, ... from 0 on."""

    def rename(path: str) -> str:
        kind, stage = path[:-1], int(path[-1])
        return f'main.{3 * stage + (kind == "norm")}'

    return layered(TORCH, rename, axes={r'up\d/kernel': UPWARDS})


def _down_rule() -> Rule:
    """Convolution, LeakyReLU; convolution, norm, LeakyReLU, ..."""

    def rename(path: str) -> str:
        kind, stage = path[:-1], int(path[-1])
        return f'main.{max(0, 3 * stage - 1) + (kind == "norm")}'

    return layered(TORCH, rename)


def _perceptron_generator(latents: int = 100, side: int = 28) -> PerceptronGenerator:
    return PerceptronGenerator((side, side, 1))


def _leaky_generator(latents: int = 100, side: int = 28) -> PerceptronGenerator:
    return leaky_generator((side, side, 1))


def _perceptron_discriminator(side: int = 28) -> MLP:
    return MLP((128, 1))


def _leaky_discriminator(side: int = 28) -> MLP:
    return leaky_discriminator()


def _latents(latents: int = 100) -> tuple[Shape, ...]:
    return ((1, latents),)


def _digit(side: int = 28) -> tuple[Shape, ...]:
    # One channel: flattened, it is the same in both orders of axes.
    return ((1, side, side, 1),)


# An activation stands after each layer.
DENSE = layered(TORCH, lambda path: str(2 * int(path.rpartition('_')[2])))

REFERENCES: Mapping[tuple[str, str], Reference] = {
    ('dcgan_generator', 'public'): Reference(
        _generator, lambda latents=100, **_: _latents(latents), lambda **_: _up_rule()
    ),
    ('dcgan_discriminator', 'public'): Reference(
        _discriminator,
        lambda channels=3, stages=4, last=4, **_: _image(channels, stages, last),
        lambda **_: _down_rule(),
    ),
    ('perceptron_generator', 'torch'): Reference(
        _perceptron_generator, lambda latents=100, **_: _latents(latents), lambda **_: DENSE
    ),
    ('perceptron_discriminator', 'torch'): Reference(
        _perceptron_discriminator, lambda side=28, **_: _digit(side), lambda **_: DENSE
    ),
    ('leaky_generator', 'torch'): Reference(
        _leaky_generator, lambda latents=100, **_: _latents(latents), lambda **_: DENSE
    ),
    ('leaky_discriminator', 'torch'): Reference(
        _leaky_discriminator, lambda side=28, **_: _digit(side), lambda **_: DENSE
    ),
}
