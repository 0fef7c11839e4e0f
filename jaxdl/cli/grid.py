"""The grid of a study: what every arm tries before its reported seeds, and whether it can be."""

import hashlib
import inspect
import itertools
import re
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from jaxdl.cli.options import check
from jaxdl.errors import UsageError, nearest
from jaxdl.study import Study

FIRST_SEED = 1_000_000  # of tuning: no study has so many that they would be reported
LONGEST = 80  # characters of a folder's name

Grid = Mapping[str, tuple[Any, ...]]


def check_grid(study: Study) -> Study:
    """The same study, the values of its grid as tuples.

    Raises UsageError for an unknown parameter, for values of another type than the trial's, for
    what no arm can be tuned in, and where it is not said by what to choose and with how many seeds.
    """
    given: Any = study.tune  # whatever it is
    if given is None:
        if study.tuned_by is not None:
            raise UsageError(
                f"tuned_by: {study.tuned_by!r}, and there is nothing to choose: tune={{'lr': ...}}"
            )
        return study
    if not isinstance(given, Mapping):
        raise UsageError(
            f'tune: {given!r:.80} is not allowed; it must be a mapping from parameters of the '
            "trial to the values to try: tune={'lr': (1e-3, 1e-2)}"
        )
    known = inspect.signature(study.trial).parameters
    kinds = typing.get_type_hints(study.trial, include_extras=True)
    tune = {}
    for name, values in given.items():
        if name not in known:
            raise UsageError(f'tune: unknown parameter {name!r}{nearest(str(name), known)}')
        tune[name] = _values(name, values)
        for value in tune[name]:
            check(f'tune, {name}', value, kinds.get(name, Any))
    for arm, settings in study.arms.items():
        for name in settings:
            if name in tune:
                raise UsageError(
                    f'arm {arm!r} sets {name!r}, which the study tunes; take it out of the arm, '
                    'or out of `tune`'
                )
    if not isinstance(study.tuned_by, str) or not re.fullmatch(r'valid/.+', study.tuned_by):
        raise UsageError(
            f'tuned_by: {study.tuned_by!r} is not allowed; it must name the number of the '
            "validation split that chooses: tuned_by='valid/accuracy'"
        )
    count: Any = study.tuning_seeds
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise UsageError(
            f'tuning_seeds: {count!r} is not allowed; it must be how many, a whole number, at '
            'least 1'
        )
    return study._replace(tune=tune)


def _values(name: str, values: Any) -> tuple[Any, ...]:
    """The values of a parameter, an array's too. Raises UsageError where there are none."""
    if hasattr(values, 'tolist'):
        values = values.tolist()
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise UsageError(
            f'tune, {name}: {values!r:.80} is not allowed; it must be the values to try: '
            '(1e-3, 1e-2)'
        )
    if not values:
        raise UsageError(f'tune, {name}: there are no values to try')
    for index, value in enumerate(values):
        if value in values[:index]:
            raise UsageError(f'tune, {name}: {value!r} is there twice')
    return tuple(values)


def tuning_seeds(study: Study) -> list[int]:
    """The numbers of the seeds with which every combination is trained."""
    return list(range(FIRST_SEED, FIRST_SEED + study.tuning_seeds))


def refuse_reported(study: Study, seeds: Sequence[int]) -> None:
    """Raise UsageError where a seed of tuning would be reported."""
    if study.tune and (both := sorted({*seeds} & {*tuning_seeds(study)})):
        raise UsageError(
            f'--first-seed: seed {both[0]:,} is one that hyperparameters are chosen with, and '
            f'those are not reported; take seeds below {FIRST_SEED:,}'
        )


def grid_of(study: Study, arm: str, overrides: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """What an arm tries: not what was typed for it; {} of an arm that is not tuned."""
    if arm == 'tiny' or arm in study.baselines:
        return {}
    return {name: tuple(x) for name, x in (study.tune or {}).items() if name not in overrides}


def combinations(grid: Grid) -> list[dict[str, Any]]:
    """Every combination of a grid's values, in its order: the last parameter changes fastest."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def in_words(params: Mapping[str, Any]) -> str:
    """Parameters as they are told, 'lr 0.003, width 64'."""
    return ', '.join(f'{name} {value}' for name, value in params.items())


def folder_name(params: Mapping[str, Any]) -> str:
    """Parameters as the name of a folder, 'lr=0.003,width=64'; others have another one."""
    whole = ','.join(f'{name}={value}' for name, value in params.items())
    name = re.sub(r'[^\w.,=+-]', '_', whole)
    # Two texts may become one name, and some disks take upper case for lower.
    texts = ''.join(value for value in params.values() if isinstance(value, str))
    if name == whole and texts == texts.lower() and len(name) <= LONGEST:
        return name
    return f'{name[:LONGEST]}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}'
