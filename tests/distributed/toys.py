"""Toy studies that several processes run: an arm for each way in which data reach the devices,
one that compiles at once, and one that breaks."""

import os
from pathlib import Path
from typing import Literal

import flax.linen as nn
import jax
import numpy as np
import optax
from asked import Asked

from jaxdl.data.stream import in_order, shuffled
from jaxdl.data.table import Table, from_arrays
from jaxdl.game import ema
from jaxdl.models.mlp import MLP
from jaxdl.objectives.classification import classifier
from jaxdl.study import Count, Phase, Study, each

RNG = np.random.default_rng(0)
X = RNG.normal(size=(96, 5)).astype(np.float32)
Y = (X[:, 0] + X[:, 1] > 0).astype(np.int32)


SENT = ('streamed', 'private')  # kinds whose rows are read for each step


class Logged(Asked):
    """A table's rows, read when asked; how many at a time stands in a file of the process's own."""

    def read(self, indices, names):
        if folder := os.environ.get('READS'):
            with (Path(folder) / os.environ.get('JAXDL_PROCESS', 'alone')).open('a') as file:
                file.write(f'{len(indices)}\n')
        return super().read(indices, names)


class Small(nn.Module):
    """Dense, BatchNorm, dropout, dense."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        x = nn.Dense(64, use_bias=False)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
        return nn.Dense(2)(nn.Dropout(0.1, deterministic=not train)(nn.Dense(32)(x)))


def trial(
    kind: Literal['resident', 'streamed', 'private', 'plain', 'broken'] = 'resident',
    steps: Count = 12,
    every: Count = 4,
) -> tuple[Phase, ...]:
    """A network with BatchNorm, dropout and a shadow, on rows that lie there or are sent."""
    rest, test = from_arrays({'x': X, 'y': Y}, name='toy').split(seed=0, test=1 / 3)
    if kind == 'streamed':
        rest, test = (Table(Logged(each), name=each.name) for each in (rest, test))
    known = {} if kind not in SENT else {'resident': False, 'private': kind == 'private'}
    rank = os.environ.get('JAXDL_PROCESS', '0')

    def noisy(key, batch):
        return {**batch, 'x': batch['x'] + 0.1 * jax.random.normal(key, batch['x'].shape)}

    if kind == 'broken' and rank == os.environ.get('BROKEN_RANK'):
        raise RuntimeError(f'this is rank {rank}')
    task = classifier(Small(), optax.adam(1e-2), classes=2, shadow=ema(0.9))
    if kind == 'plain':
        task = classifier(MLP((4, 2)), optax.sgd(1e-2), classes=2)
    train = shuffled(rest, batch=8, augment=noisy, **known)
    test = in_order(test, batch=10, resident=False if kind == 'streamed' else None)
    return (Phase(task, train, {'test': test}, steps=steps, every=every),)


arms = each(kind=('resident', 'streamed', 'private', 'plain', 'broken'))
study = Study('Is it the same?', trial, arms=arms, seeds=2)
