"""The arrays of a pytree by the path on which they stand, 'encoder/Dense_0/kernel'."""

import fnmatch
from collections.abc import Sequence
from typing import Any

import jax


def path_name(path: tuple[Any, ...]) -> str:
    """The name of a leaf, 'encoder/Dense_0/kernel', from its path in a pytree."""
    return jax.tree_util.keystr(path, simple=True, separator='/')


def paths(tree: Any) -> list[str]:
    """The names of all leaves of a pytree."""
    return [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]


def matching(patterns: Sequence[str], name: str) -> bool:
    """Whether the name of a leaf matches one of the patterns, shell globs over the whole path."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
