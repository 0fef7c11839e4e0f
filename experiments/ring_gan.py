"""What lets a GAN cover all modes: Wasserstein's loss, its penalty, or more critic turns?

Eight Gaussians (standard deviation 0.02) on a ring of radius 2 are the classic trap for GANs, which
drop modes (Metz et al. 2017, section 3.1). Wasserstein's loss with a gradient penalty of weight 0.1
and five critic turns to one of the generator (Gulrajani et al. 2017, on such toys) loses one of the
three at a time; the other loss is the non-saturating one (Goodfellow et al. 2014). All critics are
updated as often: who turns once to each turn of the generator is given five times as many of those,
or it would be the fewer updates that are judged. Each arm's rate is chosen by other noise.

    jaxdl run ring_gan        ten minutes on one CPU core
"""

from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import optax
from annotated_types import Ge

from jaxdl.claims import better, in_seeds, no_worse
from jaxdl.data.sets.rings import CENTRES, coverage, ring
from jaxdl.data.stream import synthetic
from jaxdl.models.mlp import MLP
from jaxdl.objectives.adversarial import NON_SATURATING, WASSERSTEIN, adversarial
from jaxdl.samples import Points
from jaxdl.study import Count, Eval, Phase, Rate, Study

RULES = {'wasserstein': WASSERSTEIN, 'non_saturating': NON_SATURATING}


def trial(
    loss: Literal['wasserstein', 'non_saturating'] = 'wasserstein',
    critic_turns: Count = 5,
    penalty: Annotated[float, Ge(0)] = 0.1,
    lr: Rate = 2e-3,
    batch: Count = 64,
    updates: Count = 6000,
) -> Phase:
    """A generator and a critic, both perceptrons 128-128-128.

    Args:
        loss: what the two disagree about
        critic_turns: turns of the critic for each turn of the generator
        penalty: weight of the critic's gradient penalty; 0 for none
        lr: learning rate of Adam at first; it falls to 0 along a cosine
        batch: real points for each turn
        updates: of the critic
    """
    steps = max(1, updates // critic_turns)

    def opt(turns):
        schedule = optax.cosine_decay_schedule(lr, steps * turns)
        # Wasserstein's loss does not see a constant, so some true gradients are 0. With its usual
        # eps of 1e-8 Adam would make full steps of their rounding.
        return optax.adam(schedule, b1=0.5, b2=0.9, eps=1e-4)

    def measure(nets, batch, key):
        return coverage(nets['generator'](batch['noise'])[0], batch['mask'])

    def show(nets, batch, key):
        points, _ = nets['generator'](batch['noise'])
        return {'samples': Points(points, jnp.asarray(CENTRES))}

    task = adversarial(
        MLP((128, 128, 128, 2)),
        MLP((128, 128, 128, 1)),
        measure,
        rules=RULES[loss],
        noise=2,
        generator_opt=opt(1),
        critic_opt=opt(critic_turns),
        critic_turns=critic_turns,
        penalty=penalty,
    )
    train = synthetic(lambda key: {'x': ring(key, batch * critic_turns)}, name='ring')

    def draws(name: str):
        return synthetic(
            lambda key: {'noise': jax.random.normal(key, (1000, 2))}, batches=2, name=name
        )

    return Phase(
        task, train, {'test': Eval(draws('noise'), show=show)}, steps, valid=draws('other')
    )


study = Study(
    question="What lets a GAN cover all modes: Wasserstein's loss, its penalty, or critic turns?",
    trial=trial,
    arms={
        'wgan_gp': {},
        'one_critic_turn': {'critic_turns': 1},
        'non_saturating_gp': {'loss': 'non_saturating'},
        'non_saturating': {'loss': 'non_saturating', 'penalty': 0.0},
    },
    tune={'lr': (5e-4, 1e-3, 2e-3)},
    tuned_by='valid/modes',
    tiny=dict(critic_turns=2, updates=40, batch=16),
    seeds=10,
    claims=[
        in_seeds('wgan_gp', 'test/modes', at_least=8).against(
            'Gulrajani et al. 2017: WGAN with a penalty covers such toys'
        ),
        better('wgan_gp', 'one_critic_turn', 'test/modes'),
        no_worse('non_saturating_gp', 'wgan_gp', 'test/modes', margin=1),
        better('non_saturating_gp', 'non_saturating', 'test/modes').against(
            'Metz et al. 2017: GANs drop modes of the ring'
        ),
    ],
)
