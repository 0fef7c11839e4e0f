"""How often do GANs fail, and what lessens it: convolutions, Wasserstein's loss, or spectral norms?

Five GANs under four settings of Adam, two learning rates and two momenta, on MNIST at 16x16 (TFDS
`mnist`, halved and framed by a pixel): perceptrons, DCGAN (Radford et al. 2016), WGAN with clipped
weights (Arjovsky et al. 2017), with a gradient penalty (Gulrajani et al. 2017), and the hinge loss
with spectral norms (Miyato et al. 2018). All critics move equally often. A run has failed if fewer
than 9 of the 10 digits are at least 1 % each of what is generated, or if it is as far from the real
images as one image that is repeated.

What is generated is seen by a small classifier that is trained first, the same one for all arms of
a seed. It is no Inception network: its Fréchet distances compare these arms and nothing else.
Lucic et al. (2018) find that no loss is consistently better than the others once each has its best
settings; here nothing is tuned, and what differs is how much the settings matter.

    jaxdl run gan_images        an hour on two CPU cores
"""

from typing import Annotated, Literal, NamedTuple

import flax.linen as nn
import jax
import numpy as np
import optax
from annotated_types import Interval

from jaxdl.claims import better_over, in_seeds, steadier
from jaxdl.data.augment import standardise
from jaxdl.data.latents import beside_latents
from jaxdl.data.sets.mnist import framed_mnist
from jaxdl.data.stream import in_order, shuffled
from jaxdl.metrics.generators import Frechet
from jaxdl.models.dcgan import DCGANDiscriminator, DCGANGenerator
from jaxdl.models.gan import leaky_discriminator, leaky_generator
from jaxdl.models.judge import Judge
from jaxdl.models.unet import no_norm
from jaxdl.nn.layers import Conv
from jaxdl.nn.spectral import spectral
from jaxdl.objectives.adversarial import (
    HINGE,
    NON_SATURATING,
    WASSERSTEIN,
    Rules,
    adversarial,
    quality,
)
from jaxdl.optim import clip_weights
from jaxdl.phases import judge_phase, watching
from jaxdl.samples import Images, unit
from jaxdl.study import BatchSize, Count, Eval, Examples, Phase, Rate, Study
from jaxdl.transfer import graft

LATENTS = 32
ENOUGH, LEAST = 9, 0.01  # digits, and the share of each from which it counts
JUDGE = Judge()
GENERATOR = DCGANGenerator(channels=1, width=16, stages=2)
DISCRIMINATOR = DCGANDiscriminator(width=16, stages=2)
CRITIC = DISCRIMINATOR.clone(conv=Conv, norm=no_norm)


class Method(NamedTuple):
    """Two networks, what they descend, and what keeps the critic within bounds."""

    generator: nn.Module
    critic: nn.Module
    rules: Rules
    turns: int = 1
    penalty: float = 0.0
    clip: float = 0.0


METHODS = {
    'perceptron': Method(leaky_generator((16, 16, 1)), leaky_discriminator(), NON_SATURATING),
    'dcgan': Method(GENERATOR, DISCRIMINATOR, NON_SATURATING),
    'wgan_clip': Method(GENERATOR, CRITIC, WASSERSTEIN, turns=5, clip=0.05),
    'wgan_gp': Method(GENERATOR, CRITIC, WASSERSTEIN, turns=5, penalty=10.0),
    'hinge_sn': Method(GENERATOR, CRITIC.clone(constraint=spectral), HINGE),
}
SETTINGS = {
    'slow_light': {'lr': 1e-3, 'b1': 0.5},
    'slow_heavy': {'lr': 1e-3, 'b1': 0.9},
    'fast_light': {'lr': 4e-3, 'b1': 0.5},
    'fast_heavy': {'lr': 4e-3, 'b1': 0.9},
}


class Failed(Frechet):
    """Whether a run has failed: too few digits, or features no nearer than their mean would be.

    Of one image, repeated, whose features are the mean of the real ones, the Fréchet distance is
    the trace of their covariance.
    """

    counts: jax.Array

    def value(self) -> float:
        """1 or 0; NaN of no rows."""
        counts, (_, covariance) = np.asarray(self.counts), self.real.gathered()
        if not counts.sum():
            return float('nan')
        seen = (counts >= LEAST * counts.sum()).sum()
        return float(seen < ENOUGH or super().value() > np.trace(covariance))


def trial(
    method: Literal['perceptron', 'dcgan', 'wgan_clip', 'wgan_gp', 'hinge_sn'] = 'dcgan',
    lr: Rate = 1e-3,
    b1: Annotated[float, Interval(ge=0, lt=1)] = 0.5,
    updates: Count = 3000,
    batch: BatchSize = 64,
    examples: Examples = 60_000,
    rows: Count = 2000,
    judging: Count = 1000,
) -> tuple[Phase, Phase]:
    """A judge, and then two players.

    Args:
        method: networks, loss, and what is asked of the critic.
        lr: learning rate of Adam, of both players.
        b1: decay of its first moment: the momentum.
        updates: of the critic; the generator's are as many, or a fifth with Wasserstein's loss.
        batch: rows of a turn's batch.
        rows: test images, and as many generated ones, that are compared.
        judging: steps in which the judge is trained.
    """
    it = METHODS[method]
    train, test = framed_mnist(examples, size=16)
    scale = standardise(127.5, 127.5)
    judge = judge_phase(JUDGE, train, test, steps=judging, transform=scale)
    opt = optax.adam(lr, b1=b1, b2=0.99)
    eyes = quality(least=LEAST)

    def measure(nets, batch, key):
        found = eyes(nets, batch, key)
        distance, classes = found['frechet'], found['classes']
        return {**found, 'failed': Failed(distance.real, distance.fake, classes.counts)}

    def show(nets, batch, key):
        x, _ = nets['generator'](batch['noise'][:40])
        seen, _ = nets['judge'](x)
        return {'samples': Images(unit(x), labels=seen.argmax(-1), columns=10)}

    task = adversarial(
        it.generator,
        it.critic,
        measure,
        rules=it.rules,
        noise=LATENTS,
        generator_opt=opt,
        critic_opt=optax.chain(opt, clip_weights(it.clip)) if it.clip else opt,
        critic_turns=it.turns,
        penalty=it.penalty,
        judges={'judge': watching(JUDGE)},
    )
    steps = max(1, updates // it.turns)
    test = in_order(beside_latents(test, rows=rows, latents=LATENTS), batch=500, transform=scale)
    play = Phase(
        task,
        train=shuffled(train, batch=batch * it.turns, augment=scale),
        tests={'test': Eval(test, show=show)},
        steps=steps,
        every=max(1, steps // 4),
        start=graft(nets={'judge': 'net'}),
    )
    return judge, play


def arms_of(method: str) -> list[str]:
    """A method under each setting."""
    return [f'{method}_{setting}' for setting in SETTINGS]


study = Study(
    question='How often do GANs fail, and what lessens it?',
    trial=trial,
    seeds=5,
    arms={
        f'{method}_{name}': {'method': method, **setting}
        for method in METHODS
        for name, setting in SETTINGS.items()
    },
    tiny=dict(updates=4, judging=4, batch=8, examples=256, rows=60, lr=0.0003),
    claims=[
        in_seeds('wgan_gp_slow_light', 'test/classes', at_least=ENOUGH),
        *(
            better_over(
                arms_of(method),
                arms_of('dcgan'),
                'test/failed',
                text=f'{method} fails less often than dcgan over the settings',
            )
            for method in ('wgan_gp', 'hinge_sn')
        ),
        *(
            steadier(
                arms_of(method),
                arms_of('dcgan'),
                'test/frechet',
                text=f'test/frechet of {method} depends less on the settings than that of dcgan',
            )
            for method in ('wgan_gp', 'hinge_sn')
        ),
    ],
)
