"""What is measured of embeddings: whether they say anything at all."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.metrics.base import Metric


class Spread(Metric):
    """How far directions are spread: 1 - |mean of z / |z||^2.

    1 where they cancel out, 0 where all rows have the same: a network that has collapsed to a
    constant. It is the variance of the normalised rows, summed over their axes, whose square root
    Chen and He 2021 (figure 2) watch for collapse.
    """

    total: jax.Array
    weight: jax.Array

    @classmethod
    def of(cls, z: Any, mask: Any) -> 'Spread':
        """Rows z [B, D], of which those count whose `mask` [B] is true."""
        z = jnp.asarray(z, jnp.float32)
        z = z * jax.lax.rsqrt((z**2).sum(-1, keepdims=True) + 1e-12)
        kept = jnp.asarray(mask, bool)
        return cls(jnp.where(kept[:, None], z, 0).sum(0), kept.sum().astype(jnp.float32))

    def value(self) -> float:
        """1 - |total / weight|^2, on the host."""
        total, weight = np.asarray(self.total, np.float64), float(self.weight)
        return 1 - float(((total / weight) ** 2).sum()) if weight else float('nan')
