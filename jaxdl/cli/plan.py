"""From a question to its answer: every arm of a study, then the report."""

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax

from jaxdl.claims import unequal
from jaxdl.cli.grid import combinations, grid_of, in_words, refuse_reported, tuning_seeds
from jaxdl.cli.library import chosen, defaults, refuse_sameness, resolve
from jaxdl.cli.standing import is_done, lengths, trial_phases
from jaxdl.cli.tuning import (
    Candidate,
    candidate_phases,
    candidates,
    choose,
    is_ended,
    known_choice,
    refuse_other_run,
    refuse_unknown,
    tune,
    with_choice,
)
from jaxdl.errors import DivergedError, UsageError
from jaxdl.files import write_json
from jaxdl.judges import Lead, Paired, Pooled
from jaxdl.report.finished import DIVERGED, finished_names
from jaxdl.report.result import write_report
from jaxdl.run import machine, registered
from jaxdl.run.arm import run_arm
from jaxdl.run.baseline import run_baseline
from jaxdl.run.config import Config, as_json, groups_of, share_seeds
from jaxdl.run.origin import layers
from jaxdl.run.record import read_done, spent
from jaxdl.run.stage import Options, make_stages, numbers_of, refuse_unmeasured
from jaxdl.study import Phase, Study

SMOKE_SEEDS = 2


class Plan(NamedTuple):
    """What a command asks for.

    name: of the study. word: its name or file, as it was typed. arms: which; () is all but 'tiny'.
    seeds: how many; None is the study's. first_seed: the number of the first. overrides: trial
    parameters for every arm. workdir: None is runs/NAME. init_from: a run whose weights every arm
    starts from. smoke: a few steps of everything, in a folder of its own. accept: go on with runs
    that would compute something else now. tune: whether what the study tunes is chosen first;
    without it the defaults are taken.
    """

    name: str
    word: str
    arms: tuple[str, ...] = ()
    seeds: int | None = None
    overrides: Mapping[str, Any] = {}
    workdir: Path | None = None
    init_from: Path | None = None
    smoke: bool = False
    first_seed: int = 0
    accept: bool = False
    tune: bool = True


class _Start(NamedTuple):
    """One start of a run. here: the working directory of the command, which a trial may leave."""

    study: Study
    plan: Plan
    experiment: Path
    env: Mapping[str, Any]
    options: Options
    here: Path


def plan_arms(study: Study, plan: Plan) -> dict[str, Config]:
    """The configuration of each arm that would run, its phases not yet known.

    Of an arm that is to be tuned the values of that are the first of its grid; so are they in a
    smoke run, which tunes nothing. Raises UsageError for what cannot be.
    """
    arms = chosen(study, plan.arms)
    refuse_sameness(study, arms, plan.overrides)
    count = study.seeds if plan.seeds is None else plan.seeds
    if plan.smoke:
        count = min(count, SMOKE_SEEDS)
    seeds = list(range(plan.first_seed, plan.first_seed + count))
    refuse_reported(study, seeds)
    configs = {}
    for arm in arms:
        grid = _grid(study, plan, arm)
        first = combinations(grid)[0]
        for name, values in grid.items():
            _stable(f'tune, {name}', {'a value': list(values)})
        configs[arm] = Config(
            study=plan.name,
            arm=arm,
            seeds=seeds,
            params=_stable(f'arm {arm!r}', resolve(study, arm, {**plan.overrides, **first})),
            phases=[],
            init_from=str(plan.init_from) if plan.init_from and _trains(study, arm) else None,
            smoke=plan.smoke,
            tuned=[] if plan.smoke else list(grid),
        )
    return configs


def described(study: Study, plan: Plan) -> dict[str, Any]:
    """What --print-config shows: each arm as it would run, and the grid, if one is tuned.

    Where the values of that are not chosen yet they are None.
    """
    arms: dict[str, Any] = {}
    for arm, config in plan_arms(study, plan).items():
        more: dict[str, Any] = {}
        if config.tuned:
            choice = known_choice(study, workdir(plan), config, plan.overrides)
            more['chosen'] = choice['chosen'] if choice else None
            config = config._replace(params={**config.params, **dict.fromkeys(config.tuned)})
            config = config._replace(params={**config.params, **(more['chosen'] or {})})
        arms[arm] = {'seeds': config.seeds, 'params': config.params, 'init_from': config.init_from}
        arms[arm] |= more
    what: dict[str, Any] = {'study': plan.name, 'workdir': str(workdir(plan))}
    if any('chosen' in it for it in arms.values()):
        grid = {n: values for n, values in (study.tune or {}).items() if n not in plan.overrides}
        what['tuning'] = {'by': study.tuned_by, 'seeds': tuning_seeds(study), 'grid': grid}
    return {**what, 'arms': arms}


def _grid(study: Study, plan: Plan, arm: str) -> dict[str, tuple[Any, ...]]:
    """What would be tuned of an arm, or, in a smoke run, takes its first values."""
    return grid_of(study, arm, plan.overrides) if plan.tune else {}


def _trains(study: Study, arm: str) -> bool:
    return arm not in study.baselines


def workdir(plan: Plan) -> Path:
    """The folder of a run: --workdir, or runs/NAME."""
    name = f'{plan.name}-smoke' if plan.smoke else plan.name
    return plan.workdir or Path('runs') / name


def run_study(
    study: Study,
    plan: Plan,
    *,
    experiment: Path,
    command: str,
    options: Options,
    show: Callable[[dict[str, Any]], None] = lambda result: None,
) -> dict[str, Any]:
    """Run what `plan` asks for and write the report; returns what result.json holds.

    experiment: the file of the study.
    All arms are traced before the first is trained: a mistake in the last one is not found after a
    night. An arm that diverges does not keep the others from running: it is said in its folder and
    in the report, which is shown before the DivergedError is raised. Of many processes the first
    one writes the report; the others return nothing.
    """
    folder, here = workdir(plan), Path.cwd()
    configs = plan_arms(study, plan)
    _writable(folder)
    machine.tune_memory()  # before anything asks jax for its devices
    env = {**surroundings(), 'command': command, 'experiment': plan.word}
    env['claims'] = registered.digests(study.claims)
    start = _Start(study, plan, experiment, env, options, here)
    # First: a baseline costs little, and a mistake in one is found before anything is trained.
    for arm in [arm for arm in configs if not _trains(study, arm)]:
        _run_baseline(start, folder / arm, configs.pop(arm))
    _check_trials(start, _from(here, folder), configs)
    diverged: list[DivergedError] = []
    for arm, config in configs.items():
        try:
            config = _tuned(start, folder, config)
            _run_arm(start, folder / arm, config, needed=_judged(study, arm))
        except DivergedError as error:
            diverged.append(error)
    folder = _from(here, folder)
    if diverged and not any(_trains(study, arm) for arm in finished_names(folder)):
        raise _together(diverged)
    result: dict[str, Any] = {}
    if jax.process_index() == 0:
        result = write_answer(study, plan.name, folder, command=command)
        show(result)
    if diverged:
        raise _together(diverged)
    return result


def _run_arm(
    start: _Start,
    folder: Path,
    config: Config,
    *,
    of: Callable[[Sequence[Phase]], Sequence[Phase]] = tuple,
    title: str | None = None,
    needed: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> None:
    """Train an arm, or what is missing of it; its lots of seeds one after another.

    of: what is run of the trial's phases. title: see `run_arm`. needed: see `_judged`.
    """
    study, plan, experiment, env, options, here = start
    phases: Sequence[Phase] = ()
    tuned = machine.tune_memory()
    experiment = _from(here, experiment)
    for place, lot in share_seeds(_from(here, folder), config):
        if is_done(place, lot, experiment):
            continue
        if (place / DIVERGED).is_file():  # of a run before this one
            (place / DIVERGED).unlink()
        phases = phases or of(trial_phases(study, lot))
        place, experiment = _from(here, place), _from(here, experiment)
        if lot.init_from and _from(here, Path(lot.init_from)) != Path(lot.init_from):
            raise UsageError(
                f'--init-from {lot.init_from}: the trial leaves the working directory; say the '
                'whole path'
            )
        began = time.perf_counter() - spent(place)
        try:
            run_arm(
                place,
                phases,
                lot._replace(phases=lengths(phases)),
                env=env,
                options=options,
                experiment=experiment,
                accept=plan.accept,
                title=title,
                notes=[tuned] if tuned else [],
                judged=needed.get('judged', ()),
                compared=needed.get('compared', ()),
            )
        except DivergedError as error:
            why = str(error).removeprefix(f'{place}: ')
            seconds = round(time.perf_counter() - began, 1)
            write_json(place / DIVERGED, {'why': why, 'seconds': seconds})
            raise


def _run_baseline(start: _Start, folder: Path, config: Config) -> None:
    """Compute a baseline, or what is missing of it; its lots of seeds one after another."""
    study, plan, experiment, env, _, here = start
    for place, lot in share_seeds(_from(here, folder), config):
        experiment = _from(here, experiment)
        if not is_done(place, lot, experiment):
            run_baseline(
                place,
                study.baselines[lot.arm],
                lot,
                env=env,
                experiment=experiment,
                accept=plan.accept,
                judged=_judged(study, lot.arm)['judged'],
            )


def _tuned(start: _Start, folder: Path, config: Config) -> Config:
    """An arm with the values that its candidates choose; each is trained first, if it is not."""
    study, plan, experiment, *_, here = start
    if not config.tuned:
        return config

    def train(candidate: Candidate) -> None:
        place = candidate.folder
        _run_arm(
            start,
            place.relative_to(here) if place.is_relative_to(here) else place,
            candidate.config,
            of=candidate_phases,
            title=f'{config.study} {config.arm}, tuning {in_words(candidate.params)}',
        )

    return tune(
        study,
        here / folder,  # whole: it is looked into again after a trial has gone elsewhere
        config,
        _grid(study, plan, config.arm),
        experiment=here / experiment,
        train=train,
        say=logging.getLogger(__name__).info,
    )


def _check_trials(start: _Start, folder: Path, configs: Mapping[str, Config]) -> None:
    """Trace every arm that is to be trained, unless there is only one, which is traced anyway.

    Nothing is compiled. So are all candidates of an arm. Raises UsageError for the first mistake,
    naming the arm, and where arms that a claim compares at equal parameters have other numbers of
    them.
    """
    study, plan, experiment = start.study, start.plan, _from(start.here, start.experiment)
    equals = [claim for claim in study.claims if claim.equal == 'parameters']
    checks: list[tuple[str, Callable[[], None]]] = []
    sizes: dict[str, dict[str, int]] = {
        arm: {'parameters': read_done(lot)['parameters']}
        for arm in finished_names(folder)
        for lot in groups_of(folder / arm)[:1]
        if any(arm in claim.arms for claim in equals)
    }
    for arm, config in configs.items():
        grid = _grid(study, plan, arm)
        tried = candidates(study, folder, config, grid) if grid else []
        pending = [each for each in tried if not is_ended(each, experiment)]
        if not config.tuned:
            pending = pending[:1]  # of a smoke run, which trains none
        elif pending:
            refuse_other_run(folder / arm, config)
        elif (choice := choose(study, tried, grid))['chosen']:
            config = with_choice(config, grid, choice)
        for each in pending:
            name = f'arm {arm!r}, {in_words(each.params)}'
            checks.append((name, partial(_trace_candidate, start, each.config)))
        if not all(is_done(*it, experiment) for it in share_seeds(folder / arm, config)):
            checks.append((f'arm {arm!r}', partial(_trace, start, config, sizes)))
    for what, check in checks if len(checks) > 1 or equals else []:
        try:
            check()
        except UsageError as error:
            raise type(error)(f'{what}: {error}') from error
    for claim in equals:
        if all(arm in sizes for arm in claim.arms) and (why := unequal(claim, sizes)):
            raise UsageError(f'the claim {claim.text!r}: {why}, which is within 5 %')


def _trace(start: _Start, config: Config, sizes: dict[str, dict[str, int]]) -> None:
    """Trace an arm, and note how many parameters it has."""
    stages = make_stages(trial_phases(start.study, config), config.seeds, start.options)
    refuse_unmeasured(config.arm, numbers_of(stages), **_judged(start.study, config.arm))
    sizes[config.arm] = {'parameters': stages[-1].engine.parameters()}


def _trace_candidate(start: _Start, config: Config) -> None:
    phases = candidate_phases(trial_phases(start.study, config))
    stages = make_stages(phases, config.seeds, start.options)
    refuse_unknown(start.study, stages[-1].about)


def _judged(study: Study, arm: str) -> dict[str, list[str]]:
    """The numbers that claims need of an arm, and those that they compare."""
    claims = [claim for claim in study.claims if arm in claim.arms]
    compared = [claim.metric for claim in claims if isinstance(claim.judge, Paired | Lead | Pooled)]
    return {'judged': [claim.metric for claim in claims], 'compared': compared}


def _from(here: Path, path: Path) -> Path:
    """A path as it was meant in the folder `here`, whatever the working directory is now."""
    return path if Path.cwd() == here else here / path


def _together(errors: Sequence[DivergedError]) -> DivergedError:
    """One line for all arms that diverged."""
    return DivergedError('; '.join(map(str, errors)))


def _stable(what: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """The same parameters. Raises UsageError for one that has no text to be known by."""
    for name, value in params.items():
        as_json(value, f'{what}, {name}')
    return dict(params)


def write_answer(study: Study, name: str, folder: Path, *, command: str) -> dict[str, Any]:
    """Judge the claims over the finished arms in `folder` and write result.json and the report."""
    return write_report(
        folder,
        study=name,
        question=study.question,
        claims=study.claims,
        command=command,
        order=list(study.named()),
        defaults=defaults(study),
        tuned=list(study.tune or ()),
    )


def surroundings() -> dict[str, Any]:
    """What env.json says of the machine and the versions a run's numbers were made with."""
    found = machine.describe()
    processes = found['devices']['processes']
    devices, cpu, git = found.pop('devices'), found.pop('cpu'), found.pop('git')
    kind = devices['kind']
    if kind == 'cpu':
        kind = f'{cpu["model"]}, {cpu["cores"]} core' + 's' * (cpu['cores'] != 1)
    commit = git['commit'] + ('-dirty' if git['dirty'] else '') if git else None
    return {
        'versions': found['versions'],
        'devices': [kind] * devices['count'],
        'platform': found['os'],
        'memory': found['memory'],
        'commit': commit,
        'layers': layers(),
        **({'processes': processes} if processes > 1 else {}),
    }


def _writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f'--workdir: cannot make {folder}: {error.strerror}') from error
    if not os.access(folder, os.W_OK):
        raise UsageError(f'--workdir: {folder} is not writable')
