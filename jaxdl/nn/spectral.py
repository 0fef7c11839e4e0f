"""What a critic's weights are kept within: nothing, or a spectral norm of 1."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax

Map = Callable[[jax.Array], jax.Array]
Constraint = Callable[..., Map]  # (layer, *, train) -> what is called in its place


def unconstrained(layer: nn.Module, *, train: bool) -> Map:
    """The layer as it is."""
    return layer


def spectral(layer: nn.Module, *, train: bool) -> Map:
    """The layer with its kernel W divided by sigma(W) (Miyato et al. 2018, eq. 8).

    sigma(W) is the largest singular value of W, the kernel as a matrix [kh kw I, O]: v W u^T,
    with u and v by one step of power iteration in each call (algorithm 1). u [1, O] and sigma are
    memory, under 'batch_stats', which changes in training. A bias is left alone. Linen divides the
    initial kernel as well, by its first estimate.

    Give it to a network that has a `constraint`: ``Discriminator(constraint=spectral)``.
    """
    return partial(nn.SpectralNorm(layer, name=f'{layer.name}_spectral'), update_stats=train)
