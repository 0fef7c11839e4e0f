"""Eight Gaussians on a ring, and which of them a sample covers: the classic trap for GANs.

Metz et al. 2017, section 3.1: standard deviation 0.02 on a ring of radius 2. A generator that drops
modes is seen by counting them.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.keys import Key, key_for
from jaxdl.metrics import Better, Mean, Metric

ANGLES = 2 * np.pi * np.arange(8) / 8
CENTRES = 2 * np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1).astype(np.float32)
STD = 0.02


def ring(key: Key, rows: int) -> jax.Array:
    """Real points [rows, 2]."""
    mode = jax.random.randint(key_for(key, 'mode'), (rows,), 0, len(CENTRES))
    return jnp.asarray(CENTRES)[mode] + STD * jax.random.normal(key_for(key, 'spread'), (rows, 2))


class Modes(Metric):
    """How many modes have at least 1 % of all samples within 3 standard deviations.

    counts: samples near each mode [8]. total: samples.
    """

    counts: jax.Array
    total: jax.Array

    def value(self) -> float:
        """A number from 0 to 8; 8 of no samples."""
        return float((self.counts >= 0.01 * self.total).sum())

    def directions(self) -> Mapping[str, Better]:
        """More are better."""
        return {'': 'higher'}


def coverage(points: jax.Array, mask: jax.Array) -> dict[str, Metric]:
    """Which modes the points [rows, 2] cover, and how far they are from the nearest centre."""
    distances = jnp.linalg.norm(points[:, None] - CENTRES[None], axis=-1)
    near = (distances < 3 * STD) & mask[:, None]
    nearest = Mean.of(distances.min(-1), mask, better='lower')
    hit = Mean.of(near.any(-1), mask, better='higher')
    return {'modes': Modes(near.sum(0), mask.sum()), 'distance': nearest, 'within_3_std': hit}
