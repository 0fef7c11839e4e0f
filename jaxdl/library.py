"""The experiments that are here: finding them by name, loading them, resolving their arms."""

import importlib.util
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jaxdl
from jaxdl.errors import UsageError, nearest
from jaxdl.study import Phase, Study


def folders() -> list[Path]:
    """Where experiments are looked for: the working directory's, then the checkout's."""
    checkout = Path(jaxdl.__file__).resolve().parent.parent / 'experiments'
    here = Path.cwd() / 'experiments'
    return [f for f in dict.fromkeys((here.resolve(), checkout)) if f.is_dir()]


def names() -> dict[str, Path]:
    """Experiments by name."""
    found: dict[str, Path] = {}
    for folder in folders():
        for path in sorted(folder.glob('*.py')):
            if not path.name.startswith('_'):
                found.setdefault(path.stem, path)
    return found


def load(name: str) -> tuple[str, Study]:
    """The study called `name`, or in the file `name`, with its name.

    Raises UsageError where there is none, with the nearest name.
    """
    path = Path(name)
    if path.suffix == '.py':
        if not path.is_file():
            raise UsageError(f'no file {name!r}')
    elif name in (known := names()):
        path = known[name]
    else:
        raise UsageError(f'unknown experiment {name!r}{nearest(name, known)}')
    module_name = f'experiments.{path.stem}'
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    study = getattr(module, 'study', None)
    if not isinstance(study, Study):
        raise UsageError(f'{path.name} defines no Study called `study`')
    return path.stem, study


def defaults(study: Study) -> dict[str, Any]:
    """The trial's parameters where no arm says otherwise; `Parameter.empty` has no default."""
    parameters = inspect.signature(study.trial).parameters
    return {name: p.default for name, p in parameters.items()}


def resolve(study: Study, arm: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of an arm: the trial's defaults, then the arm's, then the overrides.

    Raises UsageError for an unknown arm, or an arm that sets an unknown parameter.
    """
    if arm not in study.arms:
        raise UsageError(f'--arm: unknown arm {arm!r}{nearest(arm, study.arms)}')
    params = defaults(study)
    for name, value in {**study.arms[arm], **overrides}.items():
        if name not in params:
            raise UsageError(f'arm {arm!r} sets {name!r}{nearest(name, params)}')
        params[name] = value
    missing = [name for name, value in params.items() if value is inspect.Parameter.empty]
    if missing:
        raise UsageError(f'arm {arm!r} leaves {missing[0]!r} without a value')
    return params


def phases_of(study: Study, params: Mapping[str, Any]) -> tuple[Phase, ...]:
    """The phases of a trial with these parameters. Raises UsageError where they make no sense."""
    try:
        trial = study.trial(**params)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return (trial,) if isinstance(trial, Phase) else tuple(trial)
