"""A small task with everything the engine must carry: BatchNorm, dropout, a shadow, ragged data."""

from collections.abc import Iterator

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl.data.source import Source
from jaxdl.game import ema
from jaxdl.net import Net
from jaxdl.objectives.classification import classifier
from jaxdl.task import Batch, Task

RNG = np.random.default_rng(0)
X = RNG.normal(size=(100, 5)).astype(np.float32)
Y = (X[:, 0] + X[:, 1] > 0).astype(np.int32)


class Small(nn.Module):
    """Dense, BatchNorm, dropout, dense."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        x = nn.Dense(8, use_bias=False)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
        return nn.Dense(2)(nn.Dropout(0.1, deterministic=not train)(x))


def task() -> Task:
    return classifier(Small(), optax.adam(1e-2), classes=2, shadow=ema(0.9))


def train_source(*, batch: int = 8, private: bool = False) -> Source:
    """Random rows; what is sent for a step depends on (seed, step) alone."""

    def send(seed: int, step: int) -> Iterator[np.ndarray]:
        while True:
            yield np.random.default_rng((seed, step)).integers(0, len(X), batch).astype(np.int32)
            step += 1

    def make(key: jax.Array, resident: Batch, rows: jax.Array) -> Batch:
        noise = 0.1 * jax.random.normal(key, (batch, 5))
        mask = jnp.ones(batch, bool)
        return {'x': resident['x'][rows] + noise, 'y': resident['y'][rows], 'mask': mask}

    return Source(send, make, {'x': X, 'y': Y}, private=private, name='toy')


def test_source(*, batch: int = 32) -> Source:
    """One pass, the last batch padded."""

    def send(seed: int, step: int) -> Iterator[np.ndarray]:
        for first in range(step * batch, len(X), batch):
            rows = np.arange(first, first + batch, dtype=np.int32)
            yield np.where(rows < len(X), rows, -1)

    def make(key: jax.Array, resident: Batch, rows: jax.Array) -> Batch:
        at = jnp.maximum(rows, 0)
        return {'x': resident['x'][at], 'y': resident['y'][at], 'mask': rows >= 0}

    return Source(send, make, {'x': X, 'y': Y}, batches=-(-len(X) // batch), name='toy test')


def nets(state: object) -> list[Net]:
    leaves = jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, Net))
    return [leaf for leaf in leaves if isinstance(leaf, Net)]
