"""Networks of action values in other implementations."""

import re
from collections.abc import Mapping

from jaxdl.interop.reference import TORCH, Reference, Rule, Shape, flattened, layered
from jaxdl.models.dqn import nature_dqn, nature_dueling

# A plain sequence counts ReLUs and the flattening too.
NATURE_NAMES = {
    **{f'trunk/conv{i}': f'network.{n}' for i, n in enumerate((0, 2, 4), 1)},
    **{f'head/Dense_{i}': f'network.{n}' for i, n in enumerate((7, 9))},
}


def _screens(actions: int = 6) -> tuple[Shape, ...]:
    return ((1, 84, 84, 4),)


def _nature(actions: int = 6) -> Rule:
    lie = {'head/Dense_0/kernel': flattened(64, 7, 7)}
    return layered(TORCH, NATURE_NAMES.__getitem__, axes=lie)


def _dueling_name(path: str) -> str:
    """'head/value/Dense_0' -> 'value.0': ReLUs count there."""
    if found := re.fullmatch(r'head/(value|advantage)/Dense_(\d)', path):
        return f'{found[1]}.{2 * int(found[2])}'
    return f'trunk.{2 * (int(path.removeprefix("trunk/conv")) - 1)}'


def _dueling(actions: int = 6) -> Rule:
    return layered(TORCH, _dueling_name, axes={'head/.*/Dense_0/kernel': flattened(64, 7, 7)})


REFERENCES: Mapping[tuple[str, str], Reference] = {
    ('nature_dqn', 'cleanrl'): Reference(lambda actions=6: nature_dqn(actions), _screens, _nature),
    ('nature_dueling', 'torch'): Reference(
        lambda actions=6: nature_dueling(actions), _screens, _dueling
    ),
}
