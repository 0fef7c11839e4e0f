"""What keeps an image's content in CycleGAN: does the way back matter?

Zhu et al. (2017, tables 4 and 5) leave the cycle out and the translation falls apart: a
discriminator only asks that the results look right. Here small digits of MNIST become digits that
are turned and inverted, learned from different digits, so that no pair is seen; and yet the pair of
each test digit is known, which is what is measured: the mean absolute error of pixels 0..1. A
generator that is shown pairs bounds what the others can reach. An image left as it is has an error
of 0.86, and one that is inverted and not turned, 0.09.

    jaxdl run cyclegan_digits        half an hour on one CPU core
"""

from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from annotated_types import Ge

from jaxdl import losses
from jaxdl.claims import better
from jaxdl.data.sets.turned import apart, as_signed, turned_digits
from jaxdl.data.stream import in_order, shuffled
from jaxdl.game import Nets, Player, game
from jaxdl.keys import Key
from jaxdl.metrics import Each, Mean
from jaxdl.models.cyclegan import PatchGAN, ResNetGenerator, conv
from jaxdl.objectives.cyclegan import cyclegan
from jaxdl.samples import Images
from jaxdl.study import BatchSize, Count, Eval, Examples, Natural, Phase, Rate, Steps, Study
from jaxdl.task import Batch, Metrics

without_bias = partial(conv, use_bias=False)  # before an instance norm a bias does nothing


def measure(nets: Nets, batch: Batch, key: Key) -> Metrics:
    """The mean absolute error against the hidden pairs, there and, if there is a way, back."""
    found: dict[str, Any] = {}
    for name, source, target in (('ab', 'a', 'b'), ('ba', 'b', 'a')):
        if name in nets:
            made, _ = nets[name](batch[source])
            each = jnp.abs(made - batch[target]).mean((1, 2, 3)) / 2
            kind = 'error' if name == 'ab' else 'error_back'
            found[kind] = Mean.of(each, batch['mask'], better='lower')
            found[f'{kind}/each'] = Each.of(each, batch['mask'])
    return found


def show(nets: Nets, batch: Batch, key: Key) -> dict[str, Images]:
    """Rows of digits, what is made of them, and what should have been."""
    few = {name: batch[name][:8] for name in ('a', 'b')}
    made, _ = nets['ab'](few['a'])
    pixels = jnp.concatenate((few['a'], made, few['b'])) / 2 + 0.5
    return {'translated': Images(pixels, columns=8)}


def trial(
    cycle: Annotated[float, Ge(0)] = 10.0,
    identity: Annotated[float, Ge(0)] = 0.0,
    paired: bool = False,
    pool: Natural = 50,
    degrees: float = 30.0,
    base: Count = 16,
    blocks: Count = 3,
    examples: Examples = 60_000,
    batch: BatchSize = 16,
    lr: Rate = 1e-3,
    steps: Steps = 2000,
) -> Phase:
    """Generators there and back and a critic for each kind; or one generator that is shown pairs.

    Args:
        cycle: weight of the way there and back
        identity: weight of leaving alone what is of the right kind already, as a part of `cycle`
        paired: one generator, absolute errors against the pairs
        pool: made images that are kept for the critics
        degrees: by how much digits are turned
        base: maps of a generator's first layer, and of a critic's
        blocks: residual blocks of a generator
        lr: learning rate of Adam at first; constant for a half of the steps, then it falls to 0
    """
    train, test = turned_digits(examples, degrees=degrees)
    half = steps // 2
    falling = optax.linear_schedule(lr, 0.0, max(1, steps - half), half)
    # A norm hides the bias of what enlarges a map: its gradient is rounding alone, of which Adam's
    # usual eps of 1e-8 would make full steps.
    opt = optax.adam(falling, b1=0.5, eps=1e-4)
    generator = ResNetGenerator(blocks, base, downs=1, channels=1, conv=without_bias)
    tests = {'test': Eval(in_order(test, batch=500, transform=as_signed), show=show)}
    if paired:

        def loss(nets: Nets, batch: Batch, key: Key) -> tuple[jax.Array, tuple[Nets, Metrics]]:
            made, net = nets['ab'](batch['a'], train=True)
            value = losses.mean_absolute_error(made, batch['b'], weights=batch['mask'])
            return value, ({'ab': net}, {})

        task = game({'ab': Player(generator, loss, opt, lambda batch: (batch['a'],))}, measure)
        pairs = train.take(slice(0, max(1, len(train) // 2)))
        source = shuffled(pairs, batch=batch, augment=as_signed)
        return Phase(task, source, tests, steps, every=max(1, steps // 2))
    critic = PatchGAN(base, layers=2, conv=without_bias)
    task = cyclegan(
        {'ab': generator, 'ba': generator},
        {'a': critic, 'b': critic},
        measure,
        generator_opt=opt,
        critic_opt=opt,
        cycle=cycle,
        identity=identity,
        pool=pool,
    )
    return Phase(task, apart(train, batch=batch), tests, steps, every=max(1, steps // 2))


def unchanged(seed: int, *, degrees: float) -> dict[str, Any]:
    """Digits left as they are."""
    _, test = turned_digits(degrees=degrees)
    a, b = (test.column(name).astype(np.float64) / 255 for name in ('a', 'b'))
    each = np.abs(a - b).mean((1, 2, 3))
    return {'test/error': each.mean(), 'test/error/each': each}


def inverted(seed: int, *, degrees: float) -> dict[str, Any]:
    """Digits inverted and not turned: half of what is to be done."""
    _, test = turned_digits(degrees=degrees)
    a, b = (test.column(name).astype(np.float64) / 255 for name in ('a', 'b'))
    each = np.abs(1 - a - b).mean((1, 2, 3))
    return {'test/error': each.mean(), 'test/error/each': each}


study = Study(
    question="What keeps an image's content in CycleGAN: does the way back matter?",
    trial=trial,
    seeds=3,
    arms={
        'gan': {'cycle': 0.0},
        'cycle': {},
        'identity': {'identity': 0.5},
        'paired': {'paired': True},
    },
    baselines={'unchanged': unchanged, 'inverted': inverted},
    tiny=dict(base=2, blocks=1, examples=40, batch=2, pool=3, steps=2, lr=1e-4),
    claims=[
        better('cycle', 'gan', 'test/error'),
        better('cycle', 'unchanged', 'test/error'),
        better('cycle', 'inverted', 'test/error'),
        better('identity', 'cycle', 'test/error'),
        better('paired', 'cycle', 'test/error'),
    ],
)
