"""A GAN as a game of two players."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxdl import losses
from jaxdl.errors import UsageError
from jaxdl.game import Nets, Player, Shadow, game
from jaxdl.keys import Key, key_for
from jaxdl.metrics.generators import ClassesSeen, ClassScore, Frechet, Manifolds
from jaxdl.task import Batch, Labels, Metrics, Task


class Rules(NamedTuple):
    """What critic and generator descend: functions of the critic's scores [B] of real and fake."""

    critic: Callable[[jax.Array, jax.Array], jax.Array]
    generator: Callable[[jax.Array], jax.Array]


NON_SATURATING = Rules(losses.non_saturating_discriminator, losses.non_saturating_generator)
WASSERSTEIN = Rules(losses.wasserstein_critic, losses.wasserstein_generator)
HINGE = Rules(losses.hinge_discriminator, losses.wasserstein_generator)


def adversarial(
    generator: nn.Module,
    critic: nn.Module,
    measure: Callable[[Nets, Batch, Key], Metrics],
    *,
    rules: Rules,
    noise: int,
    generator_opt: optax.GradientTransformation,
    critic_opt: optax.GradientTransformation,
    critic_turns: int = 1,
    penalty: float = 0.0,
    r1: float = 0.0,
    condition: str | None = None,
    classes: int | Sequence[str] | None = None,
    judges: Mapping[str, Player] = MappingProxyType({}),
    shadow: Shadow | None = None,
) -> Task:
    """A GAN: generator(z [B, noise]) against critic(x [B, ...]) -> scores [B, 1].

    The players are 'critic', who moves first and `critic_turns` times a step, each time on its own
    part of the batch, and 'generator'. penalty: weight of the gradient penalty (Gulrajani et al.
    2017, eq. 3). r1: gamma, half of which is that of R1 (Mescheder et al. 2018, eq. 9). WGAN with
    clipping has `jaxdl.optim.clip_weights` in `critic_opt`, and a critic of spectral norms has them
    in its module. shadow: a slow copy of the generator.

    condition: a column of the batch that both are told (Mirza and Osindero 2014, eq. 2):
        generator(z, y) against critic(x, y). Real and generated rows have the same. classes: how
        many or their names, where it is class numbers, which are then checked.
    judges: players without a loss that evaluations see beside the two, such as the classifier of
        the phase before: see `quality`, and ``graft(nets={'judge': 'net'})``.
    """
    if classes is not None and condition is None:
        raise UsageError('adversarial: classes are those of a condition, and there is none')

    def told(batch: Batch) -> tuple[jax.Array, ...]:
        return () if condition is None else (batch[condition],)

    def score(nets: Nets, x: jax.Array, batch: Batch) -> jax.Array:
        return nets['critic'](x, *told(batch), train=True)[0][:, 0]

    def generate(nets: Nets, batch: Batch, key: Key) -> tuple[jax.Array, Nets]:
        z = jax.random.normal(key_for(key, 'noise'), (len(batch['x']), noise))
        made = key_for(key, 'generator')
        fake, net = nets['generator'](z, *told(batch), key=made, train=True)
        return fake, {**nets, 'generator': net}

    def critic_loss(nets: Nets, batch: Batch, key: Key) -> tuple[jax.Array, tuple[Nets, Metrics]]:
        real, fake = batch['x'], generate(nets, batch, key)[0]
        judged = key_for(key, 'critic')
        scores, net = nets['critic'](real, *told(batch), key=judged, train=True)
        nets = {**nets, 'critic': net}
        value = rules.critic(scores[:, 0], score(nets, fake, batch))
        if penalty:
            mix = key_for(key, 'mix')
            value += penalty * losses.gradient_penalty(
                lambda x: score(nets, x, batch), real, fake, mix
            )
        if r1:
            value += r1 / 2 * losses.r1_penalty(lambda x: score(nets, x, batch), real)
        return value, (nets, {})

    def generator_loss(
        nets: Nets, batch: Batch, key: Key
    ) -> tuple[jax.Array, tuple[Nets, Metrics]]:
        fake, nets = generate(nets, batch, key)
        return rules.generator(score(nets, fake, batch)), (nets, {})

    def latents(batch: Batch) -> tuple[jax.Array, ...]:
        return (jnp.zeros((len(batch['x']), noise)), *told(batch))

    def images(batch: Batch) -> tuple[jax.Array, ...]:
        return (batch['x'], *told(batch))

    players = {
        'critic': Player(critic, critic_loss, critic_opt, images, turns=critic_turns),
        'generator': Player(generator, generator_loss, generator_opt, latents, shadow=shadow),
        **judges,
    }
    task = game(players, measure)
    if condition is None or classes is None:
        return task
    return task._replace(labels={condition: Labels.of(classes)})


def quality(
    *,
    judge: str = 'judge',
    condition: str | None = None,
    neighbours: int = 3,
    least: float = 0.01,
) -> Callable[[Nets, Batch, Key], Metrics]:
    """How good the generator's images are beside the real ones x, for `measure` and `Eval.measure`.

    The batch has latents 'noise' [B, noise], so that images do not depend on how rows are batched.
    The player `judge` has `features` and `classify`, as `jaxdl.models.judge.Judge`. The generator's
    slow copy is looked at where there is one.

    Measures 'frechet', 'score', 'classes', 'precision' and 'recall': see
    `jaxdl.metrics.generators`. All are in the eyes of a judge that was trained here, which is no
    Inception network: they compare arms that have the same judge.

    condition: the column that generator and critic are told.
    """

    def measure(nets: Nets, batch: Batch, key: Key) -> Metrics:
        net = nets['generator']
        told = () if condition is None else (batch[condition],)
        fake, _ = (net.shadow or net)(batch['noise'], *told)
        eye, mask = nets[judge], batch['mask']
        real_features, _ = eye(batch['x'], method='features')
        fake_features, _ = eye(fake, method='features')
        logits, _ = eye(fake_features, method='classify')
        return {
            'frechet': Frechet.of(real_features, fake_features, mask),
            'score': ClassScore.of(logits, mask),
            'classes': ClassesSeen.of(logits, mask, least=least),
            '': Manifolds.of(real_features, fake_features, mask, neighbours=neighbours),
        }

    return measure
