"""Functions as one program each: called as they are, every operation compiles one of its own."""

import functools
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import numpy as np


class Jitted:
    """A module whose functions are compiled whole."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._module, name)
        return jitted(found) if inspect.isfunction(found) else found


def jitted(fn: Callable[..., Any]) -> Callable[..., Any]:
    """`fn` as one program for each choice of options; as it is where not all args are arrays."""

    @functools.wraps(fn)
    def call(*args: Any, **options: Any) -> Any:
        if not all(map(_is_array, jax.tree.leaves(args))):
            return fn(*args, **options)
        arrays = {k: v for k, v in options.items() if any(map(_is_array, jax.tree.leaves(v)))}
        told = tuple((k, v) for k, v in options.items() if k not in arrays)
        return _program(fn, told)(*args, **arrays)

    return call


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, np.ndarray | np.generic | jax.Array)


@functools.cache
def _program(fn: Callable[..., Any], told: tuple[tuple[str, Any], ...]) -> Callable[..., Any]:
    return jax.jit(functools.partial(fn, **dict(told)))
