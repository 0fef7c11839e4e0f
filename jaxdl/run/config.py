"""What an arm computes, as its config.json says it, and whether a folder still holds that."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from jaxdl.errors import UsageError
from jaxdl.files import jsonable, read_json, write_json


class Config(NamedTuple):
    """What an arm computes: two runs of equal configs are equal to the bit.

    study, arm: their names. seeds: their numbers. params: of the trial. phases: the name of each,
    how many steps it has, and how many between evaluations. init_from: the folder whose weights it
    starts from. smoke: whether it is a few steps of everything only.
    """

    study: str
    arm: str
    seeds: list[int]
    params: dict[str, Any]
    phases: list[dict[str, Any]]
    init_from: str | None = None
    smoke: bool = False


def as_json(value: Any) -> Any:
    """`value` as it comes back from a JSON file: lists for tuples, text for what JSON has not."""
    return json.loads(json.dumps(jsonable(value), default=str))


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
    if not trained or not path.exists():
        write_json(path, as_json(config._asdict()))
    elif changed := changes(folder, config):
        raise UsageError(
            f'{folder} holds a run of another configuration: {"; ".join(changed.values())}; '
            'take another --workdir, or remove the folder'
        )


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
