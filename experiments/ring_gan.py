"""What lets a GAN cover all modes: Wasserstein's loss, its penalty, or more critic turns?

Eight Gaussians (standard deviation 0.02) on a ring of radius 2 are the classic trap for GANs, which
drop modes (Metz et al. 2017, section 3.1). Wasserstein's loss with a gradient penalty of weight 0.1
and five critic turns to one of the generator (Gulrajani et al. 2017, on such toys) loses one of the
three at a time; the other loss is the non-saturating one (Goodfellow et al. 2014).

    jaxdl run ring_gan        about two minutes on two CPU cores

Expected: all 8 modes with the penalty and five turns, whichever loss; with one turn about 5, late;
without the penalty about 4.
"""

from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from annotated_types import Ge

from jaxdl import losses
from jaxdl.data.stream import in_order, synthetic
from jaxdl.data.table import from_arrays
from jaxdl.game import Player, game
from jaxdl.keys import key_for
from jaxdl.metrics import Mean, Metric
from jaxdl.models.mlp import MLP
from jaxdl.samples import Points
from jaxdl.stats import better, in_seeds, no_worse
from jaxdl.study import Count, Phase, Rate, Study

ANGLES = 2 * np.pi * np.arange(8) / 8
CENTRES = 2 * np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1).astype(np.float32)
STD = 0.02
LOSSES = {
    'wasserstein': (losses.wasserstein_critic, losses.wasserstein_generator),
    'non_saturating': (losses.non_saturating_discriminator, losses.non_saturating_generator),
}


class Modes(Metric):
    """How many modes have at least 1 % of all samples within 3 standard deviations."""

    counts: Any
    total: Any

    def value(self) -> float:
        """A number from 0 to 8."""
        return float((self.counts >= 0.01 * self.total).sum())


def ring(key, rows):
    """Real points [rows, 2]."""
    mode = jax.random.randint(key_for(key, 'mode'), (rows,), 0, 8)
    return jnp.asarray(CENTRES)[mode] + STD * jax.random.normal(key_for(key, 'spread'), (rows, 2))


def coverage(points, mask):
    """Which modes the points [rows, 2] cover, and how far they are from the nearest centre."""
    distances = jnp.linalg.norm(points[:, None] - CENTRES[None], axis=-1)
    near = (distances < 3 * STD) & mask[:, None]
    nearest, hit = Mean.of(distances.min(-1), mask), Mean.of(near.any(-1), mask)
    return {'modes': Modes(near.sum(0), mask.sum()), 'distance': nearest, 'within_3_std': hit}


def trial(
    loss: Literal['wasserstein', 'non_saturating'] = 'wasserstein',
    critic_turns: Count = 5,
    penalty: Annotated[float, Ge(0)] = 0.1,
    lr: Rate = 2e-3,
    batch: Count = 64,
    steps: Count = 1200,
) -> Phase:
    """A generator and a critic, both perceptrons 128-128-128.

    Args:
        loss: what the two disagree about
        critic_turns: turns of the critic for each turn of the generator
        penalty: weight of the critic's gradient penalty; 0 for none
        lr: learning rate of Adam at first; it falls to 0 along a cosine
        batch: real points for each turn
        steps: turns of the generator
    """
    critic_rule, generator_rule = LOSSES[loss]

    def score(nets, points):
        return nets['critic'](points)[0][:, 0]

    def generate(nets, batch, key):
        return nets['generator'](jax.random.normal(key_for(key, 'noise'), batch['x'].shape))[0]

    def critic_loss(nets, batch, key):
        real, fake = batch['x'], generate(nets, batch, key)
        value = critic_rule(score(nets, real), score(nets, fake))
        if penalty:
            mix = key_for(key, 'mix')
            value += penalty * losses.gradient_penalty(lambda x: score(nets, x), real, fake, mix)
        return value, (nets, {})

    def generator_loss(nets, batch, key):
        return generator_rule(score(nets, generate(nets, batch, key))), (nets, {})

    def measure(nets, batch, key):
        return coverage(nets['generator'](batch['noise'])[0], batch['mask'])

    def show(key, state, batch):
        points, _ = state['generator'].net(batch['noise'])
        return {'samples': Points(points, jnp.asarray(CENTRES))}

    def player(outputs, loss, turns):
        schedule = optax.cosine_decay_schedule(lr, steps * turns)
        # Wasserstein's loss does not see a constant, so some true gradients are 0. With its usual
        # eps of 1e-8 Adam would make full steps of their rounding.
        opt = optax.adam(schedule, b1=0.5, b2=0.9, eps=1e-4)
        # Noise has two dimensions, as points have, so both nets see such rows.
        return Player(MLP((128, 128, 128, outputs)), loss, opt, lambda b: (b['x'],), turns=turns)

    critic, generator = player(1, critic_loss, critic_turns), player(2, generator_loss, 1)
    train = synthetic(lambda key: {'x': ring(key, batch * critic_turns)}, name='ring')
    noise = np.random.default_rng(0).normal(size=(2000, 2)).astype(np.float32)
    tests = {'test': in_order(from_arrays({'noise': noise}, name='noise'), batch=1000)}
    task = game({'critic': critic, 'generator': generator}, measure)
    return Phase(task, train, tests, steps, max(1, steps // 10), show=show)


study = Study(
    question="What lets a GAN cover all modes: Wasserstein's loss, its penalty, or critic turns?",
    trial=trial,
    arms={
        'wgan_gp': {},
        'one_critic_turn': {'critic_turns': 1},
        'non_saturating_gp': {'loss': 'non_saturating'},
        'non_saturating': {'loss': 'non_saturating', 'penalty': 0.0},
        'tiny': {'steps': 20, 'batch': 16},
    },
    claims=[
        in_seeds('wgan_gp', 'test/modes', at_least=8),
        better('wgan_gp', 'one_critic_turn', 'test/modes'),
        no_worse('non_saturating_gp', 'wgan_gp', 'test/modes', margin=1),
        better('non_saturating_gp', 'non_saturating', 'test/modes'),
    ],
)

if __name__ == '__main__':
    from jaxdl.cli import run_study

    run_study(study)
