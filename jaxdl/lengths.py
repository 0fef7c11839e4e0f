"""Rows of unlike lengths: which of their steps count."""

import jax
import jax.numpy as jnp


def within(lengths: jax.Array, steps: int) -> jax.Array:
    """Bool [B, steps]: the first `lengths` [B] steps of each row."""
    return jnp.arange(steps)[None] < lengths[:, None]
