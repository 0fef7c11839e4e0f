"""Whether a recorded result is still that of its study: arms, options, tuning, programs, data."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from jaxdl.cli.grid import grid_of, tuning_seeds
from jaxdl.cli.library import own_parameters, phases_of
from jaxdl.cli.standing import recall
from jaxdl.derived import derived
from jaxdl.errors import DataMissingError, UsageError
from jaxdl.report.tuned import ASKED
from jaxdl.run.baseline import numbers_of_baseline
from jaxdl.run.comparison import backend, digests, identities
from jaxdl.run.config import Config, as_json
from jaxdl.run.stage import Options, make_stages
from jaxdl.study import Study

UNKNOWN = 'it was recorded before digests were kept, so that what has changed since is not known'


def changes_since(study: Study, result: Mapping[str, Any]) -> list[str]:
    """What has changed of a study since a result of it was recorded, in words.

    Every arm is traced as it stands now, with its recorded options; nothing is compiled. Baselines
    are computed. Programs
    are compared on the kind of device and with the version of jax that they were recorded on alone.
    """
    arms = [*study.arms, *study.baselines]
    found = [f'the arm {name} is new' for name in arms if name not in result['arms']]
    found += [f'the arm {name} is gone' for name in result['arms'] if name not in arms]
    there = [name for name in arms if name in result['arms']]
    for name in there:
        found += _options(study, name, result['arms'][name]['params'])
        found += _asked(study, name, result)
    for name in there:
        if name in study.baselines:
            found += _returned(study, name, result)
    if not all(result['arms'][name].get('digests') for name in there):
        return [*found, UNKNOWN]
    for name in there:
        if name in study.arms:
            found += _computed(study, name, result)
    return found


def _options(study: Study, name: str, params: Mapping[str, Any]) -> Iterator[str]:
    """Options of an arm that the study has otherwise, but for those that it tunes."""
    own, grid = as_json(own_parameters(study, name)), grid_of(study, name, {})
    for option in dict.fromkeys([*own, *params]):
        was, now = (x.get(option, 'not there') for x in (params, own))
        if was != now and option not in grid:
            yield f'{option} of {name} is {now} now, and was {was}'


def _asked(study: Study, name: str, result: Mapping[str, Any]) -> Iterator[str]:
    """Fewer seeds than the study has, and another choice of what it tunes."""
    if (count := len(result['arms'][name].get('seeds') or result['seeds'])) < study.seeds:
        yield f'{name} has {count} of {study.seeds} seeds'
    recorded = result.get('tuning') or {'arms': {}}
    grid = as_json({option: list(x) for option, x in grid_of(study, name, {}).items()})
    if name not in recorded['arms']:
        if grid:
            yield f'{name} is tuned now ({", ".join(grid)}), and was not'
        return
    if not grid:
        yield f'{name} was tuned, and is not now'
        return
    was = {key: {**recorded, **recorded['arms'][name]}[key] for key in ASKED}
    if was != {'by': study.tuned_by, 'seeds': tuning_seeds(study), 'grid': grid}:
        yield f'{name} is tuned over another grid now, or otherwise'


def _returned(study: Study, name: str, result: Mapping[str, Any]) -> Iterator[str]:
    """Whether a baseline returns other numbers, beyond what rounding does."""
    arm = result['arms'][name]
    config = Config(result['study'], name, arm.get('seeds') or result['seeds'], arm['params'], [])
    try:
        params = recall(study, config)
        now = numbers_of_baseline(study.baselines[name], config._replace(params=params))
    except DataMissingError as missing:
        yield f'{name} is not compared: {missing}'
        return
    except (UsageError, TypeError) as error:  # it takes other parameters now
        yield f'{name} cannot be computed any more: {error}'
        return
    was = {n: it['per_seed'] for n, it in arm['metrics'].items() if derived(n) is None}
    scalars = {n: x.tolist() for n, x in now.items() if x.ndim == 1}
    if was.keys() != scalars.keys() or not all(np.allclose(was[n], scalars[n]) for n in was):
        yield f'{name} returns other numbers'


def _computed(study: Study, name: str, result: Mapping[str, Any]) -> Iterator[str]:
    """Whether an arm computes something else, from something else."""
    arm = result['arms'][name]
    config = Config(result['study'], name, arm['seeds'], arm['params'], [])
    try:
        phases = phases_of(study, recall(study, config))
        stages = make_stages(phases, config.seeds, Options())
        now = digests({'origin': None, 'phases': identities(stages)})
    except DataMissingError as missing:
        yield f'{name} is not compared: {missing}'
        return
    except (UsageError, TypeError) as error:  # the trial takes other parameters now
        yield f'{name} cannot be traced any more: {error}'
        return
    was = arm['digests']
    if now['data'] != was['data']:
        yield f'{name} has other data'
    elif was.get('backend') != backend() or _jax() not in result['versions']['jax'].split(', '):
        yield f'{name}: its programs are not compared, which were recorded on another backend'
    elif now['programs'] != was['programs']:
        yield f'{name} computes something else'


def _jax() -> str:
    import jax

    return str(jax.__version__)
