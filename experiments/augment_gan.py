"""When labels are few, do samples of a conditional GAN help, and more than plain augmentation does?

MNIST at 14x14, framed by a pixel (TFDS `mnist`): each seed draws 1 or 10 labelled images of each
digit for itself, 10 or 100 in all, and nothing else is trained on. A classifier of three
convolutions sees these images alone; distorted (turned, sheared, scaled, moved); with half of each
batch replaced by samples of the same digits; or both. The samples are those of a conditional DCGAN
(Mirza and Osindero 2014; Radford et al. 2016) that was trained before, on the same few images; for
both it learned from them as they are distorted. All classifiers take as many steps on as many rows.
The 5,000 images of validation, which are more than there are labels, choose the learning rate
alone.

Antoniou et al. (2017) report that generated images lift a classifier's accuracy on Omniglot from
69 % to 82 %; their generator had learned from many images of other classes. Here it knows no more
than the classifier does.

    jaxdl run augment_gan       about twenty minutes on one CPU core

Expected: not known; that plain augmentation helps is. The baseline is the nearest labelled image.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from jaxdl.baselines import nearest_neighbour
from jaxdl.claims import better
from jaxdl.data.augment import affine, as_float, compose, standardise
from jaxdl.data.draws import balanced
from jaxdl.data.latents import beside_latents
from jaxdl.data.sets.mnist import framed_mnist
from jaxdl.data.source import Source
from jaxdl.data.stream import in_order, shuffled
from jaxdl.data.table import Table
from jaxdl.game import Nets, beside
from jaxdl.keys import Key, key_for
from jaxdl.metrics import Mean
from jaxdl.models.conditional_gan import ToldDiscriminator, ToldGenerator
from jaxdl.models.conv_stack import ConvStack
from jaxdl.models.dcgan import DCGANDiscriminator, DCGANGenerator
from jaxdl.models.heads import Headed
from jaxdl.models.mlp import MLP
from jaxdl.objectives.adversarial import NON_SATURATING, adversarial
from jaxdl.objectives.classification import classifier, show_mistakes
from jaxdl.phases import watching
from jaxdl.samples import Images, unit
from jaxdl.study import BatchSize, Count, Eval, Examples, Fraction, Peak, Phase, Steps, Study, each
from jaxdl.task import Batch, Metrics
from jaxdl.transfer import graft

METHODS = ('nothing', 'plain', 'samples', 'both')
LABELS = (1, 10)  # of each digit
CLASSES, LATENTS, SIZE, LOOKED_AT = 10, 32, 16, 500

unit_range, to_both_sides = as_float(), standardise(0.5, 0.5)  # 0..1, and then -1..1
warp = affine(degrees=15, scale=(0.85, 1.15), shear=10, translate=0.1)
as_it_is, distorted = compose(unit_range, to_both_sides), compose(unit_range, warp, to_both_sides)


def tables(examples: int) -> tuple[Table, Table, Table]:
    """Images that labels are drawn of, of validation, and of the test."""
    train, test = framed_mnist(examples, size=SIZE)
    return (*train.split(seed=0, by='y', valid=1 / 12), test)


def opinion(nets: Nets, batch: Batch, key: Key) -> Metrics:
    """What share of unseen images, and of its own, a GAN's critic takes for real.

    Where it takes few unseen ones for real it knows its few images by heart.
    """
    y, mask = batch['y'], batch['mask']
    fake, _ = nets['generator'](batch['noise'], y)
    seen = {'unseen': batch['x'], 'generated': fake}
    return {f'real/{n}': Mean.of(nets['critic'](x, y)[0][:, 0] > 0, mask) for n, x in seen.items()}


def latents(batch: Batch) -> tuple[jax.Array, jax.Array]:
    """What a generator sees at its initialisation: latents of some kind, and digits."""
    return jnp.zeros((len(batch['y']), LATENTS)), batch['y']


def show(nets: Nets, batch: Batch, key: Key) -> dict[str, Any]:
    """Samples, one digit in each column."""
    noise = batch['noise'][: 6 * CLASSES]
    x, _ = nets['generator'](noise, jnp.arange(len(noise)) % CLASSES)
    return {'samples': Images(unit(x), columns=CLASSES)}


def partly_made(share: float) -> Callable[[Nets, Batch, Key], Batch]:
    """A batch whose first rows are as they are; the images of the others are samples instead."""

    def make(nets: Nets, batch: Batch, key: Key) -> Batch:
        x, y = batch['x'], batch['y']
        noise = jax.random.normal(key_for(key, 'noise'), (len(x), LATENTS))
        made, _ = nets['generator'](noise, y)
        kept = jnp.arange(len(x)) < round((1 - share) * len(x))
        return {**batch, 'x': jnp.where(kept[:, None, None, None], x, made)}

    return make


def trial(
    method: Literal['nothing', 'plain', 'samples', 'both'] = 'both',
    labels: Count = 10,
    examples: Examples = 60_000,
    width: Count = 16,
    playing: Steps = 1000,
    steps: Steps = 1000,
    batch: BatchSize = 32,
    share: Fraction = 0.5,
    lr: Peak = 3e-3,
) -> tuple[Phase, ...]:
    """A conditional GAN, if samples are asked for, and a classifier.

    Args:
        method: what the classifier sees beside the labelled images.
        labels: labelled images of each digit.
        width: maps of the first convolution of the classifier, and of both players at the image.
        playing: turns of each player of the GAN.
        steps: of the classifier.
        batch: rows of a batch, of both.
        share: how much of a batch is made, where samples are.
        lr: learning rate of the classifier, at its peak.
    """
    train, valid, test = tables(examples)
    augment = distorted if method in ('plain', 'both') else as_it_is
    source = shuffled(balanced(train, each=labels), batch=batch, augment=augment)
    module = Headed(ConvStack((width, 2 * width, 4 * width)), MLP((CLASSES,)))
    opt = optax.adam(optax.cosine_decay_schedule(lr, steps))
    task, before = classifier(module, opt, classes=CLASSES), []
    if method in ('samples', 'both'):
        generator = ToldGenerator(DCGANGenerator(1, width, stages=2), CLASSES)
        critic = ToldDiscriminator(DCGANDiscriminator(width, stages=2), CLASSES)
        adam = optax.adam(1e-3, b1=0.5, b2=0.99)
        game = adversarial(
            *(generator, critic, opinion),
            rules=NON_SATURATING,
            noise=LATENTS,
            generator_opt=adam,
            critic_opt=adam,
            condition='y',
            classes=CLASSES,
        )
        unseen = beside_latents(valid, rows=LOOKED_AT, latents=LATENTS)
        looks = Eval(still(unseen), show=show)
        before = [Phase(game, source, {'test': looks}, playing, playing, name='gan')]
        players = {'generator': watching(generator, latents)}
        task = beside(task, players, make=partly_made(share))
    tests = {'test': Eval(still(test), show=show_mistakes)}
    start = graft(nets={'generator': 'generator'}) if before else None
    last = Phase(task, source, tests, steps, max(1, steps // 4), still(valid), start=start)
    return (*before, last)


def still(table: Table) -> Source:
    """One pass over images as they are."""
    return in_order(table, batch=500, transform=as_it_is)


def nearest(seed: int, *, labels: int) -> dict[str, Any]:
    """The label of the labelled image that is nearest, by its pixels."""
    train, _, test = tables(60_000)
    known = balanced(train, each=labels).of(seed)
    found = nearest_neighbour(known.column('x'), known.column('y'), test.column('x'))
    return {'test/accuracy': (found == test.column('y')).mean()}


study = Study(
    question='When labels are few, do samples of a GAN help, and more than augmentation does?',
    trial=trial,
    arms=each(method=METHODS, labels=LABELS),
    baselines={f'nearest_{n}': partial(nearest, labels=n) for n in LABELS},
    tune={'lr': (1e-3, 3e-3)},
    tuned_by='valid/accuracy',
    tuning_seeds=1,
    tiny=dict(examples=240, labels=2, width=2, playing=3, steps=4, batch=8, lr=0.0003),
    seeds=5,
    claims=[
        better(f'{one}_{n}', f'{other}_{n}', 'test/accuracy')
        for n in LABELS
        for one, other in (('samples', 'nothing'), ('both', 'plain'), ('plain', 'samples'))
    ],
)
