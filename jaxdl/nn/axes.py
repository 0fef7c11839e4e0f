"""What the axes of parameters and activations are called, for layouts that lay them over devices.

The names are 'embed' (the width of a Transformer), 'heads', 'mlp' (hidden units), 'vocabulary' and
'rows'; what is laid where is the engine's (`jaxdl.engine.placement`). They change no number.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import jax
from flax.linen.spmd import LogicallyPartitioned, with_logical_constraint

Init = Callable[..., Any]


class Named(LogicallyPartitioned):
    """Linen's box for an array whose axes have names; who opens it lays nothing anywhere.

    Linen's own puts what it holds on a mesh when it is opened, also while a kernel of several axes
    is drawn as a matrix, which has fewer of them.
    """

    def unbox(self, apply_constraint: bool = True) -> Any:
        """The array."""
        return self.value


def named(init: Init, *names: str | None) -> Init:
    """An initialiser that gives the axes of its array names, one each; None for an axis without."""

    @wraps(init)
    def boxed(*args: Any, **options: Any) -> Named:
        return Named(init(*args, **options), names)

    return boxed


def over_rows(x: jax.Array) -> jax.Array:
    """Activations [rows, ...], laid over devices by their rows where a layout asks for it.

    Without it the compiler may put a whole batch together instead of a parameter's parts.
    """
    return with_logical_constraint(x, ('rows', *[None] * (x.ndim - 1)))
