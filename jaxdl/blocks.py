"""Equal blocks one after another, as layers of their own or as one layer that is scanned.

Apart, blocks are modules `h_0`, `h_1`, ... and a program holds all of them. Stacked, there is one
module `h` whose arrays have a leading axis of blocks, and a program holds its body once: it
compiles in the time of one block. Numbers are equal but for rounding; initial values and what
dropout draws are others, as each block takes its key from its row instead of from its name.

Measured on CPU with jax 0.10.2: to trace and compile the initialisation and the training step of a
GPT takes 5.5 s instead of 10.0 for 12 layers, 6.6 instead of 51.4 for 48; a step takes 1.2 times as
long.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

Blocks = nn.Module | Sequence[nn.Module]
Call = Callable[[nn.Module, Any, Any], tuple[Any, Any]]
Path = tuple[str, ...]


def in_turn(
    blocks: Blocks, call: Call, x: Any, rows: Sequence[Any], *, remat: bool = False
) -> tuple[Any, list[Any]]:
    """x after all blocks, and what each put out: x, out = call(block, x, row) for each in turn.

    blocks: modules, or one whose arrays are stacked, which is then scanned over.
    rows: what each block is given of its own, pytrees of one structure; ``[None] * depth``.
    remat: whether a block's inside is computed again for its gradient, which saves memory.
    """
    if isinstance(blocks, nn.Module):
        # A loop's body is compiled alone: nothing there could be shared with the pass before.
        body = nn.remat(call, prevent_cse=False) if remat else call
        every: dict[Any, Any] = {'variable_axes': {True: 0}, 'split_rngs': {True: True}}
        # Where its arrays have names for their axes, the first one is that of the blocks.
        called = {nn.PARTITION_NAME: 'blocks'}
        scan = nn.scan(body, length=len(rows), metadata_params=called, **every)
        x, outs = scan(blocks, x, jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows))
        return x, [jax.tree.map(lambda leaf, i=i: leaf[i], outs) for i in range(len(rows))]
    found = []
    for block, row in zip(blocks, rows, strict=True):
        x, out = (nn.remat(call) if remat else call)(block, x, row)
        found.append(out)
    return x, found


# ---- how they are stored ------------------------------------------------------------------------


def stack_blocks(variables: Mapping[str, Any], *names: str, axis: int = 0) -> dict[str, Any]:
    """Variables whose blocks `name_0`, `name_1`, ..., on any level, are one, `name`, for each name.

    axis: where its arrays have the blocks; 1 for the variables of several seeds.
    Raises ValueError where the blocks are not equal or one is missing.
    """
    blocks: dict[Path, dict[int, Any]] = {}
    found: dict[Path, Any] = {}
    numbered = re.compile(rf'({"|".join(map(re.escape, names))})_(\d+)')
    for path, array in flatten_dict(dict(variables)).items():
        numbers = (numbered.fullmatch(part) for part in path)
        at, number = next(((i, it) for i, it in enumerate(numbers) if it), (0, None))
        if number is None:
            found[path] = array
        else:
            place = (*path[:at], number[1], *path[at + 1 :])
            blocks.setdefault(place, {})[int(number[2])] = array
    for place, rows in blocks.items():
        if sorted(rows) != [*range(len(rows))] or len({np.shape(x) for x in rows.values()}) > 1:
            raise ValueError(f'{"/".join(place)} of the blocks {sorted(rows)} cannot be stacked')
        arrays = [rows[i] for i in range(len(rows))]
        plain = isinstance(arrays[0], np.ndarray)
        found[place] = (np if plain else jnp).stack(arrays, axis)
    return unflatten_dict(found)


def split_blocks(variables: Mapping[str, Any], *names: str, axis: int = 0) -> dict[str, Any]:
    """The inverse of `stack_blocks`: what stands under a name, as `name_0`, `name_1`, ..."""
    found: dict[Path, Any] = {}
    for path, array in flatten_dict(dict(variables)).items():
        at = next((i for i, part in enumerate(path) if part in names), None)
        if at is None:
            found[path] = array
            continue
        for i in range(np.shape(array)[axis]):
            part = array[(slice(None),) * axis + (i,)]
            found[*path[:at], f'{path[at]}_{i}', *path[at + 1 :]] = part
    return unflatten_dict(found)


def stored_as(
    variables: Mapping[str, Any], like: Mapping[str, Any], *, axis: int = 0
) -> dict[str, Any]:
    """The variables with their blocks stacked or apart as those of `like` are, by their names.

    What differs in other ways, or cannot be stacked, stays as it is. axis: see `stack_blocks`.
    """
    here, there = _places(like), _places(variables)
    found = dict(variables)
    apart = [place for place in here - there if _first(place) in there - here]
    stacked = [place for place in there - here if _first(place) in here - there]
    if apart:
        with suppress(ValueError):
            found = stack_blocks(found, *{place[-1] for place in apart}, axis=axis)
    if stacked:
        found = split_blocks(found, *{place[-1] for place in stacked}, axis=axis)
    return found


def arrays_as(arrays: Mapping[str, Any], like: Iterable[str], *, axis: int = 0) -> dict[str, Any]:
    """`stored_as` of arrays by their paths, 'params/h/norm1/scale'."""
    there = unflatten_dict(dict(arrays), sep='/')
    here = unflatten_dict(dict.fromkeys(like), sep='/')
    return flatten_dict(stored_as(there, here, axis=axis), sep='/')


def _places(variables: Mapping[str, Any]) -> set[Path]:
    """Where modules stand: the beginnings of all paths."""
    paths: Iterable[Path] = flatten_dict(dict(variables))
    return {path[:i] for path in paths for i in range(1, len(path))}


def _first(place: Path) -> Path:
    return (*place[:-1], f'{place[-1]}_0')
