"""Stochastic depth: residual branches that are left out at random in training."""

import flax.linen as nn
import jax

Array = jax.Array


class StochasticDepth(nn.Module):
    """A residual branch that examples skip in training (Huang et al. 2016, eq. 2).

    ``x + StochasticDepth(rate)(branch(x), train=train)``. Each example draws alone; a branch that
    is kept is scaled by 1 / (1 - rate), where the paper scales by 1 - rate in testing: the same
    network but for the scale of its weights. Draws from the stream 'dropout'.

    rate: the probability of leaving the branch out, 1 - p_l.
    """

    rate: float

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[B, ...] -> [B, ...]."""
        drop = nn.Dropout(self.rate, broadcast_dims=tuple(range(1, x.ndim)))
        return drop(x, deterministic=not train)
