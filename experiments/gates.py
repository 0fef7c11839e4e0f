"""Do gates cure the vanishing gradient?

Recurrent networks of about 20,000 parameters: tanh units with an orthogonal start and clipped
gradients, GRU (Cho et al. 2014) and LSTM (Hochreiter and Schmidhuber 1997), on two tasks that need
a memory. *Adding* (1997, section 5.4): the sum of two marked numbers among a hundred; whoever
always says 1 has a mean squared error of 1/6 = 0.167. *Pixels*: MNIST at 14x14, a pixel a step, 196
steps (Le et al. 2015 have 784). Of the trained adders the gradient of the last state to each
earlier input is drawn over the lag between them.

    jaxdl run gates        half an hour on two CPU cores
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxdl.claims import better, reaches
from jaxdl.data.sets.mnist import mnist
from jaxdl.data.stream import in_order, shuffled, synthetic
from jaxdl.game import Nets, supervised
from jaxdl.keys import Key
from jaxdl.metrics import Mean, Profile
from jaxdl.models.rnn import hidden
from jaxdl.nn.recurrent import GRU, LSTM, SimpleRNN, forget_ones
from jaxdl.objectives.classification import classifier
from jaxdl.study import BatchSize, Eval, Peak, Phase, Steps, Study, each
from jaxdl.task import Batch, Metrics, Task

Array = jax.Array
LENGTH = 100  # of the numbers to be added
LAGS = range(0, LENGTH, 10)
CELLS: dict[str, Callable[..., nn.Module]] = {  # of some 20,000 parameters each
    'tanh': partial(SimpleRNN, 140),
    'gru': partial(GRU, 80),
    'lstm': partial(LSTM, 70, bias_init=forget_ones),
}


class Reader(nn.Module):
    """A recurrent layer, and a dense one on its last state."""

    cell: str
    outputs: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, T, D] -> [B, outputs]."""
        _, state = CELLS[self.cell](name='rnn')(x)
        return nn.Dense(self.outputs, name='out')(hidden(state))


def addition(key: Key, *, batch: int) -> Batch:
    """x [batch, LENGTH, 2]: numbers in 0..1, and a mark in each half; y [batch]: their sum."""
    numbers, first, second = jax.random.split(key, 3)
    x = jax.random.uniform(numbers, (batch, LENGTH))
    half, row = LENGTH // 2, jnp.arange(batch)
    places = [jax.random.randint(k, (batch,), 0, half) for k in (first, second)]
    marks = jnp.zeros_like(x).at[row, places[0]].set(1).at[row, places[1] + half].set(1)
    return {'x': jnp.stack([x, marks], -1), 'y': (x * marks).sum(1)}


def adder(module: nn.Module, opt: optax.GradientTransformation) -> Task:
    """The sum, by squared error, on x [B, T, 2] and y [B]."""

    def loss(net: Any, batch: Batch, key: Key) -> tuple[Array, tuple[Any, Metrics]]:
        said, net = net(batch['x'], key=key, train=True)
        return jnp.square(said[:, 0] - batch['y']).mean(), (net, {})

    def measure(net: Any, batch: Batch, key: Key) -> Metrics:
        said, _ = net(batch['x'])
        errors = jnp.square(said[:, 0] - batch['y'])
        return {'loss': Mean.of(errors, batch['mask'], better='lower')}

    return supervised(module, loss, opt, measure)


def slopes(nets: Nets, batch: Batch, key: Key) -> Metrics:
    """The norm of the last state's gradient to the input so many steps before, by lag."""
    net = nets['net']

    def last(x: Array) -> Array:
        said, _ = net(x)
        return said.sum()

    norms = jnp.linalg.norm(jax.grad(last)(batch['x']), axis=-1)  # [B, T]
    at = LENGTH - 1 - jnp.array(LAGS)
    return {'gradient': Profile.of(norms[:, at], batch['mask'], entries=LAGS)}


def pixels(key: Key, batch: Batch) -> Batch:
    """Images uint8 [B, 14, 14, 1], a pixel a step: [B, 196, 1]."""
    x = batch['x'].astype(jnp.float32) / 255
    return {**batch, 'x': x.reshape(len(x), -1, 1)}


def trial(
    cell: Literal['tanh', 'gru', 'lstm'] = 'lstm',
    task: Literal['adding', 'pixels'] = 'adding',
    steps: Steps = 2000,
    batch: BatchSize = 32,
    lr: Peak = 1e-3,
) -> Phase:
    """One recurrent network on one task.

    Args:
        cell: of the recurrent layer.
        task: what is to be remembered.
    """
    opt = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(lr, steps))
    )
    if task == 'pixels':
        train, test = mnist(shrink=2)
        train, valid = train.split(valid=2000, seed=0, by='y')
        return Phase(
            classifier(Reader(cell, 10), opt, classes=10),
            train=shuffled(train, batch=batch, augment=pixels),
            valid=in_order(valid, batch=500, transform=pixels),
            tests={'test': in_order(test, batch=500, transform=pixels)},
            steps=steps,
        )
    draw = partial(addition, batch=batch)
    sums = partial(synthetic, partial(addition, batch=500), name='adding')
    return Phase(
        adder(Reader(cell, 1), opt),
        train=synthetic(draw, private=True, name='adding'),
        valid=sums(batches=2),
        tests={
            'test': sums(batches=4),
            'slope': Eval(sums(batches=1), measure=slopes, every=steps),
        },
        steps=steps,
    )


study = Study(
    question='Do gates cure the vanishing gradient?',
    trial=trial,
    seeds=5,
    arms=each(task=('adding', 'pixels'), cell=CELLS),
    tune={'lr': (1e-3, 3e-3)},
    tuned_by='valid/loss',
    tuning_seeds=1,
    tiny={'steps': 2, 'batch': 2},
    claims=[
        reaches('adding_lstm', 'test/loss', at_most=0.01).against(
            'Hochreiter and Schmidhuber 1997, section 5.4: LSTM solves the adding problem'
        ),
        reaches('adding_tanh', 'test/loss', at_least=0.1),
        better('adding_gru', 'adding_tanh', 'test/loss').against(
            'Cho et al. 2014, Hochreiter and Schmidhuber 1997: gates carry gradients over long lags'
        ),
        better('pixels_lstm', 'pixels_tanh', 'test/accuracy'),
        better('pixels_gru', 'pixels_tanh', 'test/accuracy'),
    ],
)
