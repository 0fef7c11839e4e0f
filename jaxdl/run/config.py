"""What an arm is asked to compute, as its config.json says it, in one folder or several."""

import dataclasses
import enum
import functools
import math
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxdl.errors import UsageError
from jaxdl.files import jsonable, read_json, write_json


class Config(NamedTuple):
    """What an arm computes: two runs of equal configs are equal to the bit.

    study, arm: their names. seeds: their numbers. params: of the trial. phases: the name of each,
    how many steps it has, and how many between evaluations; a baseline has none. init_from: the
    folder whose weights it starts from. smoke: whether it is a few steps of everything only.
    tuned: the parameters whose values were chosen on the validation split.
    """

    study: str
    arm: str
    seeds: list[int]
    params: dict[str, Any]
    phases: list[dict[str, Any]]
    init_from: str | None = None
    smoke: bool = False
    tuned: list[str] = []


def seeds_said(seeds: Sequence[int]) -> str:
    """'seed 3' or 'seeds 0, 1, 2'."""
    return ('seed ' if len(seeds) == 1 else 'seeds ') + ', '.join(map(str, seeds))


def as_json(value: Any, what: str = 'the value') -> Any:
    """`value` as it comes back from a JSON file, the same at every start.

    Lists for tuples, text for infinity and NaN, 'module:name' for what a module defines, and the
    fields of dataclasses. Raises UsageError for what has no such text: a lambda, any other object.
    """
    match value:
        case None | bool() | int() | str() | Path():
            return jsonable(value)
        case float() if not math.isfinite(value):
            return str(value)
        case enum.Enum():
            return f'{_defined(type(value))}.{value.name}'
        case np.dtype():
            return str(value)
        case np.generic() | np.ndarray() | jax.Array():
            return as_json(value.tolist(), what)
        case Mapping():
            return {str(key): as_json(item, what) for key, item in value.items()}
        case list() | tuple():
            return [as_json(item, what) for item in value]
        case set() | frozenset():
            return sorted((as_json(item, what) for item in value), key=repr)
        case functools.partial():
            parts = [value.func, *value.args, dict(value.keywords)]
            return ['partial', *(as_json(part, what) for part in parts)]
        case float():
            return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
        return {'': _defined(type(value)), **as_json(fields, what)}
    if name := _defined(value):
        return name
    raise UsageError(
        f'{what}: {value!r:.80} has no text by which a later start could know it; take a number, '
        'a text, or a function or class that a module defines'
    )


def _defined(value: Any) -> str:
    """'module:name' of a function, a class or a type that a module has by that name, or nothing."""
    module, name = getattr(value, '__module__', None), getattr(value, '__qualname__', None)
    if not isinstance(name, str):
        name = getattr(value, '__name__', None)
    found: Any = sys.modules.get(module) if isinstance(module, str) else None
    for part in name.split('.') if isinstance(name, str) else ['']:
        found = getattr(found, part, None)
    return f'{module}:{name}' if found is value else ''


def read_config(folder: Path) -> Config:
    """The configuration of the arm in `folder`."""
    return Config(**read_json(folder / 'config.json'))


def changes(folder: Path, config: Config) -> dict[str, str]:
    """What differs between the configuration in `folder` and `config`: {dotted path: in words}."""
    there = {**as_json(Config._field_defaults), **read_json(folder / 'config.json')}
    return dict(_differences(there, as_json(config._asdict())))


def agree(folder: Path, config: Config, *, trained: bool) -> None:
    """Write config.json, or compare with the one there. Raises UsageError with the differences.

    Where nothing was trained yet there is nothing to lose: the new configuration takes its place.
    """
    path = folder / 'config.json'
    if not trained:
        write_json(path, as_json(config._asdict()))
    elif not path.exists():
        raise UsageError(
            f'{folder} has been trained, and nothing says how: config.json is gone; '
            'take another --workdir, or remove the folder'
        )
    elif changed := changes(folder, config):
        ways = 'take another --workdir, or remove the folder'
        if any(re.fullmatch(r'phases\.\d+\.steps', name) for name in changed):
            ways = (
                'schedules depend on the number of steps, so a run cannot be made longer; '
                f'start another one from its weights: --init-from {folder} and another --workdir'
            )
        raise UsageError(
            f'{folder} holds a run of another configuration: {"; ".join(changed.values())}; {ways}'
        )


def groups_of(folder: Path) -> list[Path]:
    """The folders of an arm: its own, and one for each lot of seeds that were added later."""
    configs = [folder / 'config.json', *sorted(folder.glob('seeds/*/config.json'))]
    return [path.parent for path in configs if path.is_file()]


def folder_of_seed(folder: Path, seed: int) -> Path:
    """The folder of an arm that holds a seed. Raises UsageError where none does."""
    found = {each: group for group in groups_of(folder) for each in read_config(group).seeds}
    if seed not in found:
        raise UsageError(f'{folder} has no seed {seed}; it has {sorted(found)}')
    return found[seed]


def share_seeds(folder: Path, config: Config) -> list[tuple[Path, Config]]:
    """The folders over which the seeds of an arm are shared, those of them that are missing last.

    More seeds than before are added in a folder of their own: what is there is not trained again.
    A run of other seeds that is not finished is left to `agree`, which refuses it.
    """
    shared, missing = [], list(config.seeds)
    for group in groups_of(folder):
        seeds = read_config(group).seeds
        if not (group / 'DONE').exists() and not set(seeds) <= set(config.seeds):
            return [(folder, config)]  # which says what differs, if anything was trained
        shared.append((group, config._replace(seeds=seeds)))
        missing = [seed for seed in missing if seed not in seeds]
    if missing:
        where = folder / 'seeds' / f'{missing[0]}-{missing[-1]}' if shared else folder
        shared.append((where, config._replace(seeds=missing)))
    return shared


def note_start(folder: Path, env: Mapping[str, Any], **more: Any) -> None:
    """Add to env.json what one start of a run has found: the machine, versions, the command."""
    starts = read_starts(folder) if (folder / 'env.json').exists() else []
    start = {'time': time.strftime('%Y-%m-%d %H:%M:%S'), **env, **more}
    write_json(folder / 'env.json', {'starts': [*starts, start]})


def read_starts(folder: Path) -> list[dict[str, Any]]:
    """What env.json says of each start of the run in `folder`, the first one first."""
    starts: list[dict[str, Any]] = read_json(folder / 'env.json')['starts']
    return starts


def _differences(old: Any, new: Any, name: str = '') -> Iterator[tuple[str, str]]:
    """The leaves of two JSON values that differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        pairs = [(key, old.get(key), new.get(key)) for key in sorted(old.keys() | new.keys())]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = [(str(i), *both) for i, both in enumerate(zip(old, new, strict=True))]
    else:
        if old != new:
            yield name, f'{name}: {old!r} there, {new!r} now'
        return
    for key, was, now in pairs:
        yield from _differences(was, now, f'{name}.{key}' if name else key)
