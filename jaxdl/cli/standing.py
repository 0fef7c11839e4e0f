"""Runs against what their experiment says now: its phases, and whether an arm is what it was."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jaxdl.cli.library import defaults, phases_of
from jaxdl.data.source import Source
from jaxdl.engine import identity
from jaxdl.errors import DataMissingError, UsageError
from jaxdl.run.baseline import numbers_of_baseline, stand_baseline
from jaxdl.run.comparison import is_believed, refuse_changes, stand
from jaxdl.run.config import Config, as_json, changes, groups_of, read_config
from jaxdl.run.origin import reading
from jaxdl.run.stage import Options, make_stages
from jaxdl.study import Eval, Phase, Study, cadence, evaluations, phase_names

SMOKE_STEPS = 4


def arms_in(folder: Path) -> Sequence[str]:
    """The arms of a run folder. Raises UsageError where it is no run folder."""
    if not folder.is_dir():
        raise UsageError(f'no run in {folder}: there is no such folder')
    arms = sorted(path.parent.name for path in folder.glob('*/config.json'))
    if not arms:
        raise UsageError(f'no run in {folder}: it holds no arm')
    return arms


def recall(study: Study, config: Config) -> dict[str, Any]:
    """The parameters that a config.json holds, as the trial takes them: tuples are tuples again."""
    known = {**defaults(study), **study.named().get(config.arm, {})}
    return {
        name: _recalled(value, [known.get(name), *(study.tune or {}).get(name, ())])
        for name, value in config.params.items()
    }


def _recalled(value: Any, known: Sequence[Any]) -> Any:
    """The value that a JSON file holds, of those that are known, or else what it must have been."""
    same = [each for each in known if as_json(each) == value]
    return same[0] if same else tuple(value) if isinstance(value, list) else value


def trial_phases(study: Study, config: Config) -> tuple[Phase, ...]:
    """The phases of an arm, a few steps of each for a smoke run; the files they read are noted."""
    with reading():
        phases = phases_of(study, config.params)
    return tuple(_shortened(phase) for phase in phases) if config.smoke else phases


def _shortened(phase: Phase) -> Phase:
    steps = min(phase.steps, SMOKE_STEPS)
    every = max(1, steps // 2)

    def often(test: Source | Eval | None) -> Any:
        return test._replace(every=None) if isinstance(test, Eval) else test

    tests = {name: often(test) for name, test in phase.tests.items()}
    return phase._replace(steps=steps, every=every, valid=often(phase.valid), tests=tests)


def lengths(phases: Sequence[Phase]) -> list[dict[str, Any]]:
    """What config.json says of phases: names, steps, and the steps between evaluations."""
    return [
        {
            'name': name,
            'steps': phase.steps,
            'every': {'': cadence(phase)} | {n: e.every for n, e in evaluations(phase).items()},
        }
        for name, phase in zip(phase_names(phases), phases, strict=True)
    ]


def is_done(folder: Path, config: Config, experiment: Path) -> bool:
    """Whether the folder holds the arm that is asked for, and done; its phases are not known."""
    if not (folder / 'config.json').exists():
        return False
    same = all(path.startswith('phases') for path in changes(folder, config))
    return same and is_believed(folder, experiment)


def check_arms(study: Study, folder: Path, experiment: Path, *, say: Callable[[str], None]) -> None:
    """Raise UsageError where a finished arm in `folder` is not what the experiment computes now.

    An arm whose data are not here cannot be checked, which is said.
    """
    for arm in arms_in(folder):
        for place in groups_of(folder / arm):
            if not (place / 'DONE').exists() or is_believed(place, experiment):
                continue
            config = read_config(place)
            if arm in study.baselines and not config.phases:
                numbers = numbers_of_baseline(
                    study.baselines[arm], config._replace(params=recall(study, config))
                )
                standing = stand_baseline(place, numbers, config, experiment=experiment)
                refuse_changes(standing, accept=False)
                standing.write(experiment)
                continue
            try:
                phases = trial_phases(study, config._replace(params=recall(study, config)))
            except DataMissingError as missing:
                say(f'{place}: not compared with what the experiment computes now: {missing}')
                continue
            stages = make_stages(phases, config.seeds, Options())
            standing = stand(place, stages, config, experiment=experiment)
            refuse_changes(standing, accept=False)
            standing.write(experiment)


def tell_changes(
    folder: Path,
    phases: Sequence[Phase],
    config: Config,
    *,
    experiment: Path,
    say: Callable[[str], None],
) -> None:
    """Say in what the run of an arm differs from what its experiment computes now, if it does."""
    if (folder / 'identity.json').exists() and not is_believed(folder, experiment):
        stages = make_stages(phases, config.seeds, Options())
        if changed := stand(folder, stages, config, experiment=experiment).changed:
            say(f'{folder} holds a run that computes something else: {identity.in_words(changed)}')
