"""Images made from images: beside a generator's x a batch has the y [B, H, W, C] it should make.

The generator descends a content loss, alone or with a discriminator against it, as SRGAN (Ledig et
al. 2017), the context encoder (Pathak et al. 2016) and pix2pix (Isola et al. 2017) do.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxdl import losses
from jaxdl.game import Nets, Player, Shadow, game
from jaxdl.keys import Key, key_for
from jaxdl.objectives.adversarial import NON_SATURATING, Rules
from jaxdl.task import Batch, Metrics, Task

Array = jax.Array
Measure = Callable[[Nets, Batch, Key], Metrics]


class Content(NamedTuple):
    """How far an image is from what it should be.

    loss(nets, made, real, weights) -> scalar: of images [B, H, W, C] and rows' weights [B].
    judges: frozen networks that it looks through, which become players under these names. Their
        weights come from a phase before (`Phase.start`), or from a file (``--init-from``).
    """

    loss: Callable[[Nets, Array, Array, Array], Array]
    judges: Mapping[str, nn.Module] = MappingProxyType({})


def _squared(nets: Nets, made: Array, real: Array, weights: Array) -> Array:
    return losses.mean_squared_error(made, real, weights=weights)


def _absolute(nets: Nets, made: Array, real: Array, weights: Array) -> Array:
    return losses.mean_absolute_error(made, real, weights=weights)


SQUARED = Content(_squared)  # Ledig et al. 2017, eq. 4
ABSOLUTE = Content(_absolute)  # Isola et al. 2017, eq. 3


def features(
    judge: nn.Module,
    *,
    prepare: Callable[[Array], Array] = lambda x: x,
    scale: float = 1 / 12.75,
    name: str = 'judge',
) -> Content:
    """The mean squared error between features (Ledig et al. 2017, eq. 5), with a given network.

    judge: images [B, H, W, C] -> features [B, H', W', D]: for the paper's VGG 5,4
        ``VGGFeatures((2, 2, 4, 4, 4))``, for VGG 2,2 ``VGGFeatures((2, 2), (64, 128))``.
    prepare: of images, what that network was trained on (its mean and deviation).
    scale: of features, the paper's.
    """

    def loss(nets: Nets, made: Array, real: Array, weights: Array) -> Array:
        seen, wanted = (scale * nets[name](prepare(x))[0] for x in (made, real))
        return losses.mean_squared_error(seen, wanted, weights=weights)

    return Content(loss, {name: judge})


def reconstructor(
    generator: nn.Module,
    opt: optax.GradientTransformation,
    measure: Measure,
    *,
    content: Content = SQUARED,
    shadow: Shadow | None = None,
) -> Task:
    """The player 'generator' (x [B, ...]) -> y [B, H, W, C], by its content loss alone.

    A batch has `x`, `y` and `mask`.
    """

    def loss(nets: Nets, batch: Batch, key: Key) -> tuple[Array, tuple[Nets, Metrics]]:
        made, net = nets['generator'](batch['x'], key=key, train=True)
        return content.loss(nets, made, batch['y'], batch['mask']), ({'generator': net}, {})

    player = Player(generator, loss, opt, _inputs, shadow=shadow)
    return game({'generator': player, **_judges(content)}, measure)


def adversarial_reconstructor(
    generator: nn.Module,
    critic: nn.Module,
    measure: Measure,
    *,
    generator_opt: optax.GradientTransformation,
    critic_opt: optax.GradientTransformation,
    weight: float,
    content: Content = SQUARED,
    rules: Rules = NON_SATURATING,
    shadow: Shadow | None = None,
) -> Task:
    """The player 'generator' against 'critic' (images [B, H, W, C]) -> logits [B, ...].

    The generator descends content + weight x adversarial loss (Ledig et al. 2017, eq. 3; Pathak et
    al. 2016, eq. 3), the critic tells its images from those of the batch, and moves first. A batch
    has `x`, `y` and `mask`; rows that do not count still meet the critic.
    """

    def score(nets: Nets, x: Array) -> Array:
        return nets['critic'](x, train=True)[0]

    def critic_loss(nets: Nets, batch: Batch, key: Key) -> tuple[Array, tuple[Nets, Metrics]]:
        made, _ = nets['generator'](batch['x'], key=key_for(key, 'generator'), train=True)
        scores, net = nets['critic'](batch['y'], key=key_for(key, 'critic'), train=True)
        value = rules.critic(scores, score({'critic': net}, made))
        return value, ({'critic': net}, {})

    def generator_loss(nets: Nets, batch: Batch, key: Key) -> tuple[Array, tuple[Nets, Metrics]]:
        made, net = nets['generator'](batch['x'], key=key, train=True)
        value = content.loss(nets, made, batch['y'], batch['mask'])
        return value + weight * rules.generator(score(nets, made)), ({'generator': net}, {})

    players = {
        'critic': Player(critic, critic_loss, critic_opt, lambda batch: (batch['y'],)),
        'generator': Player(generator, generator_loss, generator_opt, _inputs, shadow=shadow),
    }
    return game({**players, **_judges(content)}, measure)


def make(nets: Nets, batch: Batch) -> Array:
    """What the generator, or its slow copy, makes of a batch's x, as it is measured."""
    net = nets['generator']
    made, _ = (net.shadow or net)(batch['x'])
    return made


def _inputs(batch: Batch) -> tuple[Array, ...]:
    return (batch['x'],)


def _judges(content: Content) -> dict[str, Player]:
    def images(batch: Batch) -> tuple[Array, ...]:
        return (jnp.asarray(batch['y']),)

    return {name: Player(judge, None, None, images) for name, judge in content.judges.items()}
