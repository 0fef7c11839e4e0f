"""Whether a recorded result is still that of its study: its arms, options, programs and data."""

from collections.abc import Iterator, Mapping
from typing import Any

from jaxdl.cli.grid import grid_of
from jaxdl.cli.library import own_parameters, phases_of
from jaxdl.cli.plan import recall
from jaxdl.errors import DataMissingError, UsageError
from jaxdl.run.comparison import backend, digests, identities
from jaxdl.run.config import Config, as_json
from jaxdl.run.stage import Options, make_stages
from jaxdl.study import Study

UNKNOWN = 'it was recorded before digests were kept, so that what has changed since is not known'


def changes_since(study: Study, result: Mapping[str, Any]) -> list[str]:
    """What has changed of a study since a result of it was recorded, in words.

    Every arm is traced as it stands now, with its recorded options; nothing is compiled. Programs
    are compared on the kind of device and with the version of jax that they were recorded on alone.
    """
    arms = [*study.arms, *study.baselines]
    found = [f'the arm {name} is new' for name in arms if name not in result['arms']]
    found += [f'the arm {name} is gone' for name in result['arms'] if name not in arms]
    there = [name for name in arms if name in result['arms']]
    for name in there:
        found += _options(study, name, result['arms'][name]['params'])
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
