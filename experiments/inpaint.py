"""Does an adversarial loss fill holes sharper, or nearer to the truth?

Pathak et al. (2016): a context encoder that is trained on squared errors alone fills the hole of an
image with a blur; against a discriminator (0.999 of the squared error, 0.001 of the adversarial
loss) what it paints is sharp. Here the middle 16x16 pixels of CIFAR-10's images of 32x32, with
networks an eighth as wide. Measured on test images are PSNR, and how far apart the power spectra of
what is painted and of what was there are, in decibels, and the textures.

    jaxdl run inpaint                           twenty-five minutes on one CPU core
    jaxdl run inpaint --data cifar10_q75        its images as a public mirror has them, as JPEG

The mean of the pixels around the hole is the baseline.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl.claims import better
from jaxdl.data.stream import in_order, shuffled
from jaxdl.data.table import Table
from jaxdl.data.tfds import tfds
from jaxdl.game import Nets
from jaxdl.keys import Key
from jaxdl.metrics import Each, Mean
from jaxdl.metrics.images import patch_distance, psnr, spectral_distance
from jaxdl.models.context_encoder import ContextCritic, ContextEncoder
from jaxdl.objectives.reconstruction import adversarial_reconstructor, make, reconstructor
from jaxdl.samples import Images
from jaxdl.study import BatchSize, Count, Eval, Examples, Fraction, Phase, Rate, Steps, Study
from jaxdl.task import Batch, Metrics

Data = Literal['cifar10', 'cifar10_q75']
SIDE = 32
HOLE = slice(SIDE // 4, 3 * SIDE // 4)
BETTER = {'psnr': 'higher', 'spectrum': 'lower', 'patches': 'lower'}


def images(split: str, data: Data) -> Table:
    """x uint8 [32, 32, 3]."""
    return tfds(data, split, columns={'x': 'image'})


def holed(key: Key, batch: Batch) -> Batch:
    """x with its middle empty, y the middle, both floats -1..1."""
    x = batch['x'].astype(jnp.float32) / 127.5 - 1
    return {**batch, 'x': x.at[:, HOLE, HOLE].set(0.0), 'y': x[:, HOLE, HOLE]}


def scores(made: jax.Array, real: jax.Array) -> dict[str, jax.Array]:
    """What is measured of middles -1..1, by name, one number each."""
    made, real = (jnp.clip(x, -1, 1) / 2 + 0.5 for x in (made, real))
    return {
        'psnr': psnr(made, real),
        'spectrum': spectral_distance(made, real, side=16),
        'patches': 255 * patch_distance(made, real, side=5, step=1),
    }


def measure(nets: Nets, batch: Batch, key: Key) -> Metrics:
    """Means over test images, and each image's own."""
    found, mask = scores(make(nets, batch), batch['y']), batch['mask']
    means: dict[str, Any] = {n: Mean.of(x, mask, better=BETTER[n]) for n, x in found.items()}
    return means | {f'{n}/each': Each.of(x, mask) for n, x in found.items()}


def show(nets: Nets, batch: Batch, key: Key) -> dict[str, Images]:
    """Rows of images with their hole, filled, and whole."""
    few = {name: batch[name][:8] for name in ('x', 'y')}
    filled, whole = (
        few['x'].at[:, HOLE, HOLE].set(middle) for middle in (make(nets, few), few['y'])
    )
    pixels = jnp.concatenate((few['x'], filled, whole)) / 2 + 0.5
    return {'filled': Images(pixels, columns=8)}


def trial(
    adversarial: Fraction = 0.0,
    data: Data = 'cifar10',
    base: Count = 16,
    bottleneck: Count = 256,
    examples: Examples = 50_000,
    batch: BatchSize = 32,
    lr: Rate = 1e-3,
    steps: Steps = 3000,
) -> Phase:
    """A context encoder of the middle of images.

    Args:
        adversarial: its part of the loss; 0 for squared errors alone, the paper's is 0.001
        data: what the images are read from
        base: maps of the first layer of both networks
        bottleneck: units between encoder and decoder
        lr: learning rate of Adam, of both players; the critic's is a tenth of it, as in the paper
    """
    encoder = ContextEncoder(base, bottleneck, depth=3)
    train = shuffled(images(f'train[:{examples}]', data), batch=batch, augment=holed)
    test = in_order(images('test[:2000]', data), batch=250, transform=holed)
    tests = {'test': Eval(test, show=show)}
    opt = optax.adam(lr, b1=0.5)
    if not adversarial:
        task = reconstructor(encoder, opt, measure)
    else:
        task = adversarial_reconstructor(
            encoder,
            ContextCritic(base, depth=2),
            measure,
            generator_opt=opt,
            critic_opt=optax.adam(lr / 10, b1=0.5),
            # The squared error keeps its weight of 1: what counts is the relation of the two.
            weight=adversarial / (1 - adversarial),
        )
    return Phase(task, train, tests, steps, every=max(1, steps // 3))


def mean_around(seed: int, *, data: Data) -> dict[str, Any]:
    """The hole filled with the mean colour of what is around it."""
    x = images('test[:2000]', data).column('x').astype(np.float32) / 127.5 - 1
    real = x[:, HOLE, HOLE]
    around = (x.sum((1, 2)) - real.sum((1, 2))) / (SIDE**2 - (SIDE // 2) ** 2)
    made = np.broadcast_to(around[:, None, None], real.shape)
    parts = [scores(jnp.asarray(made[i::8]), jnp.asarray(real[i::8])) for i in range(8)]
    found: dict[str, Any] = {}
    for name in BETTER:
        each = np.empty(len(x))
        for i, part in enumerate(parts):
            each[i::8] = part[name]
        found |= {f'test/{name}': each.mean(), f'test/{name}/each': each}
    return found


study = Study(
    question='Does an adversarial loss fill holes sharper, or nearer to the truth?',
    trial=trial,
    seeds=3,
    arms={'reconstruction': {}, 'adversarial': {'adversarial': 0.001}},
    baselines={'mean_around': mean_around},
    tiny=dict(
        data='cifar10_q75',
        **dict(base=2, bottleneck=4, examples=20, batch=4, steps=2, adversarial=0.001),
    ),
    claims=[
        better('reconstruction', 'mean_around', 'test/psnr'),
        better('reconstruction', 'adversarial', 'test/psnr'),
        better('adversarial', 'reconstruction', 'test/spectrum'),
        better('adversarial', 'reconstruction', 'test/patches'),
    ],
)
