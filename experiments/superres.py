"""Does an adversarial loss make enlarged pictures sharper, or nearer to the truth?

Ledig et al. (2017): four times larger pictures by SRResNet have the higher PSNR where it is trained
on squared errors alone, and look washed out; against a discriminator (SRGAN) textures come back, at
other places than they were. Here both in small, trained on patches of Set14's pictures, without the
one that is in Set5 too, and measured on Set5: PSNR and SSIM of the luma, and how far apart the
power spectra and the textures are. SRGAN goes on from a network that was trained on squared errors,
as theirs did, and has as many steps in all; its content loss is the squared error of pixels (their
SRGAN-MSE), for a VGG that has seen ImageNet there is none here. What looks better only people could
say, and none were asked.

    jaxdl run superres        about an hour on one CPU core

Bicubic interpolation has 28.42 dB there, which shows that PSNR is the field's.
"""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl.claims import better
from jaxdl.data.augment import Transform, as_float, compose
from jaxdl.data.sets.sr_sets import sr_patches, sr_pictures
from jaxdl.data.stream import in_order, shuffled
from jaxdl.keys import Key, key_for
from jaxdl.models.srgan import SRDiscriminator, SRResNet
from jaxdl.nn.layers import Conv
from jaxdl.nn.resize import resize_bicubic
from jaxdl.objectives.superresolution import scores, show_resolved, srgan, super_resolver
from jaxdl.study import BatchSize, Count, Eval, Peak, Phase, Rate, Steps, Study, Trial
from jaxdl.task import Batch
from jaxdl.transfer import graft

FLOATS = compose(as_float(), as_float(column='y'))
without_bias = partial(Conv, use_bias=False)


def turned() -> Transform:
    """Each pair of patches upright or on its side, and mirrored or not, both equally likely."""

    def transform(key: Key, batch: Batch) -> Batch:
        rows = len(batch['x'])
        side, mirrored = (
            jax.random.bernoulli(key_for(key, name), shape=(rows, 1, 1, 1))
            for name in ('side', 'mirrored')
        )

        def both(x: jax.Array) -> jax.Array:
            x = jnp.where(side, x.swapaxes(1, 2), x)
            return jnp.where(mirrored, x[:, :, ::-1], x)

        return {**batch, 'x': both(batch['x']), 'y': both(batch['y'])}

    return transform


def trial(
    objective: Literal['mse', 'srgan'] = 'mse',
    blocks: Count = 4,
    width: Count = 32,
    weight: Rate = 1e-3,
    side: Count = 16,
    batch: BatchSize = 8,
    lr: Peak = 1e-3,
    adversarial_lr: Rate = 1e-4,
    steps: Steps = 3000,
) -> Trial:
    """A generator of four times larger pictures.

    Args:
        objective: squared errors alone, or half of the steps against a discriminator
        blocks: residual blocks of the generator
        width: its maps
        weight: of the adversarial loss, beside squared errors of values 0..1
        side: height and width of small patches
        adversarial_lr: learning rate of both players, constant
        steps: updates of the generator in all
    """
    generator = SRResNet(blocks, width, conv=without_bias)
    train = shuffled(
        sr_patches('set14_train', side=side), batch=batch, augment=compose(FLOATS, turned())
    )
    test = in_order(sr_pictures('set5'), batch=5, transform=FLOATS)
    tests = {'test': Eval(test, show=show_resolved)}
    first = steps if objective == 'mse' else max(1, steps // 2)
    opt = optax.adam(optax.cosine_decay_schedule(lr, first))
    alone = Phase(super_resolver(generator, opt), train, tests, first, every=max(1, first // 2))
    if objective == 'mse':
        return alone
    adversarial = optax.adam(adversarial_lr, b1=0.9)
    discriminator = SRDiscriminator((width // 2, width, 2 * width), hidden=64, pool=(4, 4))
    task = srgan(
        generator,
        discriminator.clone(conv=without_bias),
        generator_opt=adversarial,
        discriminator_opt=adversarial,
        weight=weight,
    )
    start, more = graft(nets={'generator': 'generator'}), max(1, steps - first)
    against = Phase(task, train, tests, more, every=max(1, more // 2), start=start)
    return alone._replace(name='alone'), against


def bicubic(seed: int) -> dict[str, np.ndarray]:
    """Interpolation, which learns nothing."""
    pictures = sr_pictures('set5')
    batch = FLOATS(jax.random.key(0), {k: jnp.asarray(v) for k, v in pictures.arrays.items()})
    up = resize_bicubic(batch['x'], batch['y'].shape[1:3])
    found = {name: np.asarray(x, np.float64) for name, x in scores(up, batch).items()}
    each = {f'test/{name}/each': x for name, x in found.items()}
    return {f'test/{name}': x.mean() for name, x in found.items()} | each


study = Study(
    question='Does an adversarial loss make enlarged pictures sharper, or nearer to the truth?',
    trial=trial,
    seeds=3,
    arms={'mse': {}, 'srgan': {'objective': 'srgan'}},
    baselines={'bicubic': bicubic},
    tiny=dict(objective='srgan', blocks=1, width=4, side=8, batch=2, steps=2),
    claims=[
        better('mse', 'bicubic', 'test/psnr'),
        better('mse', 'srgan', 'test/psnr'),
        better('srgan', 'mse', 'test/spectrum'),
        better('srgan', 'mse', 'test/patches'),
    ],
)
