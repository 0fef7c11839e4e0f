"""What the axes of parameters and activations are called, for layouts that lay them over devices.

The names are 'embed' (the width of a Transformer), 'heads', 'mlp' (hidden units), 'vocabulary' and
'rows'; what is laid where is the engine's (`jaxdl.engine.placement`). They change no number.
"""

from collections.abc import Callable
from typing import Any

import jax
from flax.linen.spmd import with_logical_constraint, with_logical_partitioning

Init = Callable[..., Any]


def named(init: Init, *names: str | None) -> Init:
    """An initialiser that gives the axes of its array names, one each; None for an axis without."""
    return with_logical_partitioning(init, names)


def over_rows(x: jax.Array) -> jax.Array:
    """Activations [rows, ...], laid over devices by their rows where a layout asks for it.

    Without it the compiler may put a whole batch together instead of a parameter's parts.
    """
    return with_logical_constraint(x, ('rows', *[None] * (x.ndim - 1)))
