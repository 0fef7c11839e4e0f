"""Does StyleGAN2 make better digits than a DCGAN, for the same computation?

MNIST at 16x16 (TFDS `mnist`, halved and framed by a pixel). Both players of StyleGAN2 (Karras et
al. 2020) are its published ones with few maps: 8 layers of mapping, noise, mixed styles, R1 (gamma
1) every 16 turns, path lengths every 4. The DCGAN (Radford et al. 2016) is so wide that a step of
it takes as many operations, and takes as many steps. Each has the better one of two learning rates,
and is looked at through a slow copy of its generator: that helps, and is not what is asked about.

The Fréchet distance is that of a small classifier's features, which is trained first and the same
for both: no Inception network. It compares these two and nothing else. StyleGAN2 is measured with
constant noise and whole styles, untruncated.

    jaxdl run stylegan        about an hour on one CPU core, by its operations; not timed yet

Expected: not known. The paper improves on the network before it, with large images and long
training; whether any of that shows on small digits after 1,500 steps is the question.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl.claims import better
from jaxdl.data.augment import standardise
from jaxdl.data.latents import beside_latents
from jaxdl.data.sets.mnist import framed_mnist
from jaxdl.data.stream import in_order, shuffled
from jaxdl.game import ema
from jaxdl.models.dcgan import DCGANDiscriminator, DCGANGenerator
from jaxdl.models.judge import Judge
from jaxdl.models.stylegan2 import StyleGAN2, StyleGAN2Discriminator
from jaxdl.objectives.adversarial import NON_SATURATING, adversarial, quality
from jaxdl.objectives.stylegan2 import stylegan2
from jaxdl.phases import judge_phase, watching
from jaxdl.samples import Images, unit
from jaxdl.study import BatchSize, Count, Eval, Examples, Fraction, Phase, Rate, Study
from jaxdl.transfer import graft

LATENTS, COARSE = 32, 2  # styles of the layers at 4x4, one of colours included
JUDGE = Judge()


def paint(nets, *inputs, method=None):
    """Images by the generator's slow copy."""
    return nets['generator'].shadow(*inputs, method=method)[0]


def show(nets, batch, key):
    """What is generated; of StyleGAN2 also truncated, and with the styles of two images mixed."""
    z = batch['noise'][:40]
    seen, _ = nets['judge'](x := paint(nets, z))
    found = {'samples': Images(unit(x), labels=seen.argmax(-1), columns=10)}
    if isinstance(nets['generator'].module, StyleGAN2):
        found['truncated to 0.5'] = Images(unit(paint(nets, z, 0.5, method='still')), columns=10)
        found['coarse styles of the left, fine ones of the top'] = mixed(nets, z[:6], z[6:12])
    return found


def mixed(nets, left, top):
    """A table of images: the coarse styles are those of its row, the others of its column."""
    rows, columns = len(left), len(top)
    cross = jnp.full(rows * columns, COARSE)
    pairs = jnp.repeat(left, columns, 0), jnp.tile(top, (rows, 1))
    inside = paint(nets, *pairs, cross, method='still_mix')
    inside = inside.reshape(rows, columns, *inside.shape[1:])
    edge, head = paint(nets, left), paint(nets, top)
    corner = jnp.full_like(head[:1], -1)
    table = jnp.concatenate(
        (
            jnp.concatenate((corner, head))[None],
            jax.vmap(lambda one, row: jnp.concatenate((one[None], row)))(edge, inside),
        )
    )
    return Images(unit(table.reshape(-1, *inside.shape[2:])), columns=columns + 1)


def trial(
    network: Literal['stylegan2', 'dcgan'] = 'stylegan2',
    size: Literal[8, 16, 32] = 16,
    maps: Count = 32,
    lr: Rate = 2e-3,
    steps: Count = 1500,
    batch: BatchSize = 32,
    decay: Fraction = 0.995,
    examples: Examples = 60_000,
    rows: Count = 2000,
    judging: Count = 500,
    penalties: Count = 1,
) -> tuple[Phase, Phase]:
    """A judge, and then two players.

    Args:
        network: which two.
        size: height and width of the images.
        maps: of StyleGAN2, the most that a layer has, and of DCGAN at the image's side.
        lr: learning rate of Adam, of both players.
        steps: turns of each player.
        decay: of the generator's slow copy.
        rows: images of test and validation, and as many generated ones, that are compared.
        judging: steps in which the judge is trained.
        penalties: how many times as often as published StyleGAN2's are taken.
    """
    train, test = framed_mnist(examples, size=size)
    held = min(rows, len(train) // 2)
    everyone = np.arange(len(train))
    train, valid = train.take(everyone[held:]), train.take(everyone[:held])
    scale = standardise(127.5, 127.5)
    judge = judge_phase(JUDGE, train, test, steps=judging, transform=scale)
    slow, judges = ema(decay), {'judge': watching(JUDGE)}
    if network == 'stylegan2':
        base = 8 * maps
        task = stylegan2(
            StyleGAN2(size, 1, LATENTS, base=base, most=maps),
            StyleGAN2Discriminator(size, base=base, most=maps),
            quality(),
            lr=lr,
            r1=1.0,
            r1_every=max(1, 16 // penalties),
            path_every=max(1, 4 // penalties),
            judges=judges,
            shadow=slow,
        )
    else:
        stages = size.bit_length() - 3
        opt = optax.adam(lr, b1=0.5, b2=0.99)
        task = adversarial(
            DCGANGenerator(channels=1, width=maps, stages=stages),
            DCGANDiscriminator(width=maps, stages=stages),
            quality(),
            rules=NON_SATURATING,
            noise=LATENTS,
            generator_opt=opt,
            critic_opt=opt,
            judges=judges,
            shadow=slow,
        )
    looks = {
        name: in_order(
            beside_latents(table, rows=rows, latents=LATENTS), batch=500, transform=scale
        )
        for name, table in (('valid', valid), ('test', test))
    }
    play = Phase(
        task,
        train=shuffled(train, batch=batch, augment=scale),
        tests={'test': Eval(looks['test'], show=show)},
        valid=looks['valid'],
        steps=steps,
        every=max(1, steps // 5),
        start=graft(nets={'judge': 'net'}),
    )
    return judge, play


study = Study(
    question='Does StyleGAN2 make better digits than a DCGAN, for the same computation?',
    trial=trial,
    arms={'stylegan2': {}, 'dcgan': {'network': 'dcgan', 'maps': 56}},
    tiny=dict(
        size=8, maps=4, steps=4, judging=4, batch=8, examples=256, rows=60, lr=0.0003, penalties=4
    ),
    tune={'lr': (5e-4, 2e-3)},
    tuned_by='valid/frechet',
    seeds=5,
    claims=[better('stylegan2', 'dcgan', 'test/frechet', equal='flops')],
)
