"""Choosing hyperparameters: every candidate of an arm is a run, and the best one's values are kept.

Candidates see no test: their last phase measures, once at its end, what counts of it on the
validation split. They have seeds of their own, which no study reports.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxdl.cli.grid import combinations, folder_name, grid_of, in_words, tuning_seeds
from jaxdl.errors import DivergedError, UsageError, nearest
from jaxdl.files import read_json, write_json
from jaxdl.metrics import About
from jaxdl.report.finished import DIVERGED
from jaxdl.report.tuned import CHOICE, candidates_folder, chosen_words, read_choice
from jaxdl.run.comparison import is_believed, is_same_origin
from jaxdl.run.config import (
    Config,
    agree,
    as_json,
    changes,
    groups_of,
    read_config,
    share_seeds,
)
from jaxdl.run.record import read_done, read_metrics, spent
from jaxdl.study import Eval, Phase, Study

OUTCOME = 'tuning'  # the test that stands for those of the study: of the outcome, on validation


class Candidate(NamedTuple):
    """A run that tries one combination. params: those that are tuned. config: of the whole run."""

    params: dict[str, Any]
    folder: Path
    config: Config


def candidates(
    study: Study, folder: Path, config: Config, grid: Mapping[str, Sequence[Any]]
) -> list[Candidate]:
    """What an arm of the run in `folder` tries, in the order of its grid."""
    place = candidates_folder(folder, config.arm)
    return [
        Candidate(
            params,
            place / folder_name(params),
            config._replace(
                seeds=tuning_seeds(study), params={**config.params, **params}, tuned=[]
            ),
        )
        for params in combinations({name: tuple(values) for name, values in grid.items()})
    ]


def candidate_phases(phases: Sequence[Phase]) -> tuple[Phase, ...]:
    """The phases of a candidate: no tests, and the outcome of the last is measured on validation.

    Raises UsageError where the last phase has no validation split.
    """
    last = phases[-1]
    if last.valid is None:
        raise UsageError(
            'tune: the last phase has no validation split to choose by; give it one, '
            'Phase(..., valid=in_order(...)), or take the defaults with --no-tune'
        )
    valid = last.valid if isinstance(last.valid, Eval) else Eval(last.valid)
    tests = {OUTCOME: valid._replace(every=last.steps, show=None)}
    bare = [phase._replace(tests={}, best=None) for phase in phases]
    return (*bare[:-1], bare[-1]._replace(tests=tests))


def refuse_unknown(study: Study, about: Mapping[str, About]) -> None:
    """Raise UsageError where `tuned_by` is none of a candidate's numbers, or says no direction."""
    by = str(study.tuned_by)
    known = [name for name, it in about.items() if name.startswith('valid/') and not it.shape]
    if by not in known:
        what = ', which is an array' if by in about else ''
        raise UsageError(f'tuned_by: no number {by!r} is measured{what}{nearest(by, known)}')
    if not about[by].better:
        raise UsageError(
            f'tuned_by: nothing says which values of {by!r} are better; its metric does: '
            "better='higher'"
        )


def is_ended(candidate: Candidate, experiment: Path) -> bool:
    """Whether a candidate is done or has diverged, and all that it was made from is as it was.

    Of one that has diverged no other seed is needed: it has lost.
    """
    lots = share_seeds(candidate.folder, candidate.config)
    same = [place for place, lot in lots if _is_same(place, lot)]
    if any((at / DIVERGED).is_file() and is_same_origin(at, experiment) for at in same):
        return True
    return len(same) == len(lots) and all(is_believed(place, experiment) for place in same)


def _is_same(folder: Path, config: Config) -> bool:
    """Whether a folder holds a run of this configuration, whose phases are not known."""
    if not (folder / 'config.json').exists():
        return False
    return all(path.startswith('phases') for path in changes(folder, config))


def refuse_other_run(folder: Path, config: Config) -> None:
    """Raise UsageError where an arm was trained as no choice could have it, before tuning begins.

    Its values of what is tuned are not looked at.
    """
    for place, lot in share_seeds(folder, config):
        if (place / 'config.json').exists() and read_metrics(place):
            there = read_config(place)
            chosen = {name: there.params.get(name) for name in config.tuned}
            agree(
                place,
                lot._replace(params={**lot.params, **chosen}, phases=there.phases),
                trained=True,
            )


def tune(
    study: Study,
    folder: Path,
    config: Config,
    grid: Mapping[str, Sequence[Any]],
    *,
    experiment: Path,
    train: Callable[[Candidate], None],
    say: Callable[[str], None],
) -> Config:
    """Train what is missing of an arm's candidates and choose; the configuration that is reported.

    train: runs a candidate, or goes on with it. A candidate that diverges is said and loses.
    Raises DivergedError where none can be chosen, UsageError where another was chosen before, with
    which the arm was trained.
    """
    tried = candidates(study, folder, config, grid)
    for candidate in tried:
        if not is_ended(candidate, experiment):
            try:
                train(candidate)
            except DivergedError as error:
                say(f'{config.arm}, {in_words(candidate.params)}: {error}')
    choice = choose(study, tried, grid)
    path = candidates_folder(folder, config.arm) / CHOICE
    chosen = choice['chosen']
    if chosen is None:
        write_json(path, choice)
        raise DivergedError(
            f'{config.arm}: every candidate of its grid diverged, or its {study.tuned_by} is not '
            'finite; take another grid, or --no-tune'
        )
    found = with_choice(config, grid, choice)
    refuse_other_choice(folder / config.arm, found)
    if read_choice(folder, config.arm) != choice:
        write_json(path, choice)
        say(f'{config.arm}: {chosen_words(chosen, len(tried), str(study.tuned_by))}')
    return found


def with_choice(
    config: Config, grid: Mapping[str, Sequence[Any]], choice: Mapping[str, Any]
) -> Config:
    """An arm with the values that were chosen, as the trial takes them."""
    found = {
        name: next(value for value in grid[name] if as_json(value) == chosen)
        for name, chosen in choice['chosen'].items()
    }
    return config._replace(params={**config.params, **found})


def refuse_other_choice(folder: Path, config: Config) -> None:
    """Raise UsageError where an arm was trained with other values than those chosen now."""
    for place, lot in share_seeds(folder, config):
        if (place / 'config.json').exists() and read_metrics(place):
            agree(place, lot._replace(phases=read_config(place).phases), trained=True)


def choose(
    study: Study, tried: Sequence[Candidate], grid: Mapping[str, Sequence[Any]]
) -> dict[str, Any]:
    """What choice.json holds: what every candidate reached, and which is the best.

    The best mean over the tuning seeds, the first of equal ones; one that diverged, or whose mean
    is not finite, never.
    """
    by, seeds = str(study.tuned_by), tuning_seeds(study)
    metric = f'{OUTCOME}/{by.removeprefix("valid/")}'
    found = [_reached(candidate, seeds, metric, by) for candidate in tried]
    better = _better(tried[0].folder, metric)
    best = pick([it['mean'] for it in found], better)
    return {
        'by': by,
        'better': better,
        'seeds': seeds,
        'grid': {name: as_json(list(values)) for name, values in grid.items()},
        'candidates': found,
        'chosen': None if best is None else found[best]['params'],
        'edge': [] if best is None else edges(tried[best].params, grid),
    }


def pick(means: Sequence[float | None], better: Literal['higher', 'lower']) -> int | None:
    """The place of the best mean, the first of equal ones; None is never it, nor is NaN."""
    sign = 1 if better == 'higher' else -1
    scores = [
        -math.inf if mean is None or not math.isfinite(mean) else sign * mean for mean in means
    ]
    best = max(range(len(scores)), key=scores.__getitem__)
    return best if math.isfinite(scores[best]) else None


def edges(chosen: Mapping[str, Any], grid: Mapping[str, Sequence[Any]]) -> list[str]:
    """The parameters whose chosen value is the least or the greatest of several numbers tried."""
    return [
        name
        for name, values in grid.items()
        if len(values) > 1
        and all(isinstance(x, int | float) and not isinstance(x, bool) for x in values)
        and chosen[name] in (min(values), max(values))
    ]


def _reached(candidate: Candidate, seeds: Sequence[int], metric: str, by: str) -> dict[str, Any]:
    """What choice.json says of a candidate."""
    steps, seconds, note = 0, 0.0, ''
    found: dict[int, float | None] = {}
    for place in groups_of(candidate.folder):
        if (place / 'DONE').exists():
            done = read_done(place)
            steps, seconds = max(steps, done['steps']), seconds + done['seconds']
            found |= zip(read_config(place).seeds, done['metrics'][metric], strict=True)
        else:  # it has diverged: what it did until its last look, and for how long
            looks = read_metrics(place)
            steps, note = max(steps, looks[-1]['step'] if looks else 0), 'diverged'
            seconds += _until_diverged(place)
    values = [found.get(seed) for seed in seeds]
    known = [value for value in values if value is not None]
    if not note and len(known) < len(values):
        note = f'{by} is not finite'
    return {
        'params': as_json(candidate.params),
        'mean': float(np.mean(known)) if len(known) == len(values) else None,
        'per_seed': values,
        'steps': steps,
        'seconds': round(seconds, 1),
        **({'note': note} if note else {}),
    }


def _until_diverged(folder: Path) -> float:
    """Seconds that a run took which has diverged; another seed of it may be neither done nor so."""
    path = folder / DIVERGED
    told = read_json(path) if path.is_file() else {}
    return float(told.get('seconds', spent(folder)))


def _better(folder: Path, metric: str) -> Literal['higher', 'lower']:
    """Which values of a number are better, as a candidate's numbers.json has it."""
    better: Literal['higher', 'lower'] = read_json(folder / 'numbers.json')[metric]['better']
    return better


def known_choice(
    study: Study, folder: Path, config: Config, overrides: Mapping[str, Any]
) -> dict[str, Any] | None:
    """The choice that was made for an arm as the study stands; None where there is none yet."""
    choice, grid = read_choice(folder, config.arm), grid_of(study, config.arm, overrides)
    asked = {
        'by': study.tuned_by,
        'seeds': tuning_seeds(study),
        'grid': {name: as_json(list(values)) for name, values in grid.items()},
    }
    if choice is None or any(choice[name] != value for name, value in asked.items()):
        return None
    return choice
