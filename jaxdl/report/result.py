"""The answer of a study: result.json, report.md and report.html from the folders of its arms.

Nothing here depends on when it is run: the same run files give the same bytes.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jaxdl.claims import Counted, Lead, Paired, Reached, mean_ci
from jaxdl.errors import UsageError
from jaxdl.files import jsonable, write_json
from jaxdl.report.finished import Arm, directions, finished_arms, results_of, unfinished_arms
from jaxdl.report.numerals import DASH
from jaxdl.report.page import write_page
from jaxdl.report.rows import answers, arm_grid, is_training, remarks, twin
from jaxdl.report.tuned import chosen_lines, notes_of, refused_choices, tuning
from jaxdl.study import Claim, Verdict

WIDE = 110  # characters of a table that a terminal has room for
STYLES = {
    'supported': 'bold green',
    'refuted': 'bold red',
    'undecided': 'bold yellow',
    'not judged': 'bold magenta',
}
SIGNS = {
    'supported': '\N{CHECK MARK}',
    'refuted': '\N{BALLOT X}',
    'undecided': '?',
    'not judged': '!',
}

# What the effect of each kind of claim is.
EFFECTS = {
    Paired: 'mean difference',
    Lead: 'difference of mean differences',
    Reached: 'mean',
    Counted: 'share of seeds',
}


def write_report(
    folder: Path,
    *,
    study: str,
    question: str,
    claims: Sequence[Claim],
    command: str,
    order: Sequence[str] = (),
    defaults: Mapping[str, Any] | None = None,
    tuned: Sequence[str] = (),
) -> dict[str, Any]:
    """Judge the claims on the arms that are done, write the report, and return result.json's dict.

    See `judge` for claims that cannot be judged. Arms stand in the `order` of their names, others
    after them. `defaults` are the trial's parameters where no arm changes them: differences from
    them stand out in the report. Without them, differences between arms do. tuned: the parameters
    that the study tunes.
    Raises UsageError where no arm is done.
    """
    folder = Path(folder)
    arms = finished_arms(folder, first=order)
    if not arms:
        raise UsageError(f'{folder} has no finished arm; `jaxdl run {study}` runs them')
    unfinished = {**unfinished_arms(folder), **refused_choices(folder)}
    chosen = tuning(folder, arms)
    starts = [start for arm in arms for start in arm.starts]
    shown = _shown(arms, [claim.metric for claim in claims])
    result: dict[str, Any] = jsonable(
        {
            'study': study,
            'question': question,
            'command': command,
            'seeds': sorted({seed for arm in arms for seed in arm.seeds}),
            'commands': _together([start['command']] for start in starts),
            'devices': _together(start['devices'] for start in starts),
            'versions': _versions([start['versions'] for start in starts]),
            'seconds': sum(arm.done['seconds'] for arm in arms),
            # Of jaxdl; the experiment's own text is known by its digest.
            'commit': ', '.join(_together([it['commit']] for it in starts if it['commit'])) or None,
            'experiment': ', '.join(_together([arm.digests['experiment']] for arm in arms)),
            'better': _directions(arms),
            'shown': shown,
            'notes': _notes(arms, unfinished, tuned),
            'tuning': chosen,
            'arms': {arm.name: _arm(arm, shown, notes_of(chosen, arm, tuned)) for arm in arms},
            'claims': [judge(claim, arms, unfinished) for claim in claims],
        }
    )
    write_json(folder / 'result.json', result)
    write_page(folder, result, arms=arms, claims=claims, defaults=defaults)
    return result


def judge(
    claim: Claim, arms: Sequence[Arm], unfinished: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """What result.json says of a claim, judged over the seeds that its arms share.

    'not run' where an arm is not done, 'not judged' where the arms have no seed in common or the
    number is not there, 'undecided' where it is NaN: each with the reason. unfinished: why arms are
    not done, as `unfinished_arms` has it.
    """
    named = [arm for arm in arms if arm.name in claim.arms]
    found: dict[str, Any] = {
        'text': claim.text,
        'arms': list(claim.arms),
        'metric': claim.metric,
        'judge': repr(claim.judge),
        **{'verdict': 'not judged', 'effect': None, 'ci95': [None, None], 'p': None},
        'kind': EFFECTS.get(type(claim.judge), ''),
        'reason': '',
    }
    there = {arm.name for arm in named}
    if missing := [name for name in dict.fromkeys(claim.arms) if name not in there]:
        return found | {'verdict': 'not run', 'reason': _missing(missing, unfinished or {})}
    results, shared = results_of(named)
    if not shared:
        each = '; '.join(f'{arm.name} has {_seeds(arm.seeds)}' for arm in named)
        return found | {'reason': f'no seed in common: {each}'}
    try:
        verdict = claim.judge(results, directions(named))
    except UsageError as error:
        return found | {'reason': str(error)}
    return found | _reasoned(claim, verdict, named, shared)._asdict()


class _Reasoned(NamedTuple):
    verdict: str
    effect: float
    ci95: tuple[float, float]
    p: float
    reason: str


def _reasoned(
    claim: Claim, verdict: Verdict, arms: Sequence[Arm], shared: Sequence[int]
) -> _Reasoned:
    """A verdict with what its reader must know; where a number is NaN only a count may decide."""
    reasons = [
        lost for arm in arms if (lost := _lost(arm, claim.metric, shared, several=len(arms) > 1))
    ]
    word = verdict.verdict
    if reasons and not isinstance(claim.judge, Counted):
        word = 'undecided'
    if word == 'undecided' and not reasons and len(shared) == 1:
        reasons.append('one seed has no interval')
    if any(set(arm.seeds) - set(shared) for arm in arms):
        reasons.append(f'over {_seeds(shared)}, which all its arms have')
    return _Reasoned(word, verdict.effect, verdict.ci95, verdict.p, '; '.join(reasons))


def _lost(arm: Arm, metric: str, seeds: Sequence[int], *, several: bool) -> str:
    """'test/accuracy of seed 1 is NaN': which of some seeds have no finite value; '' if none."""
    values = arm.metrics.get(metric, np.zeros(0))
    bad = [s for s, x in zip(arm.seeds, values, strict=False) if s in seeds and not np.isfinite(x)]
    where = f' in {arm.name}' if several else ''
    return f'{metric} of {_seeds(bad)} is NaN{where}' if bad else ''


def _missing(names: Sequence[str], unfinished: Mapping[str, str]) -> str:
    """Which arms a claim lacks, and why."""
    said = []
    for name in names:
        why = f': {unfinished[name]}' if unfinished.get(name) else ''
        said.append(f'{name} is not finished{why}' if name in unfinished else f'{name} was not run')
    return '; '.join(said)


def _seeds(seeds: Sequence[int]) -> str:
    return ('seed ' if len(seeds) == 1 else 'seeds ') + ', '.join(map(str, seeds))


def verdict_lines(result: Mapping[str, Any], folder: Path) -> RenderableType:
    """The answer for a terminal: the arms, the verdicts, and where the report is."""
    grid = arm_grid(result)
    # A terminal has no room for everything: what was measured in training is in the report.
    head, rows, _ = arm_grid(result, training=False) if grid.width() > WIDE else grid
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, name in enumerate(head):
        table.add_column(name, justify='right' if i else 'left')
    for row in rows:
        table.add_row(*(Text(cell.text, 'bold' if cell.marked else '') for cell in row))
    lines: list[RenderableType] = [Text(result['question'], 'bold'), table]
    lines += [Text(text, 'dim') for text in chosen_lines(result)]
    lines += [Text(f'! {text}', 'yellow') for text in remarks(result)]
    for it in answers(result):
        line = Text(
            f'{SIGNS.get(it.verdict, "-")} {it.verdict:<10} ', STYLES.get(it.verdict, 'dim')
        )
        line.append(it.text, 'default not bold')
        if it.effect != DASH:
            found = f'  {it.effect} {it.interval}' + (f', p {it.p}' if it.p != DASH else '')
            found += f' (Holm {it.holm})' if it.holm != DASH else ''
            line.append(found, 'dim not bold')
        line.append(f'  ({it.reason})' if it.reason else '', 'default not bold')
        lines.append(line)
    return Group(*lines, Text(f'report: {folder / "report.html"}'))


def _notes(arms: Sequence[Arm], unfinished: Mapping[str, str], tuned: Sequence[str]) -> list[str]:
    """What is true of the run as a whole, and its reader must know."""
    notes = []
    if any(arm.config.get('smoke') for arm in arms):
        notes.append(
            'a smoke run: a few steps to see that everything works; its numbers say nothing'
            + ('; nothing is tuned in it' if tuned else '')
        )
    for name, why in unfinished.items():
        notes.append(f'{name} is not finished' + (f': {why}' if why else ''))
    return notes


def _directions(arms: Sequence[Arm]) -> Mapping[str, Any]:
    """Which values of each number are better; none of those in which arms disagree."""
    found: dict[str, set[str]] = {}
    for arm in arms:
        for name, better in arm.better.items():
            found.setdefault(name, set()).add(better)
    return {name: ways.pop() for name, ways in found.items() if len(ways) == 1}


def _shown(arms: Sequence[Arm], judged: Sequence[str]) -> list[str]:
    """The numbers a reader is after: those of the last phase's tests, and what claims judge.

    Each is followed by its twin in training. All of them where an experiment has neither.
    """
    every = list(dict.fromkeys(name for arm in arms for name in arm.metrics))
    other = ('train', 'valid', *(name for arm in arms for name in arm.ends))
    shown = [name for name in every if name in judged or name.split('/')[0] not in other]
    paired: dict[str, None] = {}
    for name in shown:
        paired |= {name: None} if name not in paired else {}
        own = None if is_training(name) else twin(name, every)
        paired |= {own: None} if own else {}
    return list(paired) or every


def _arm(arm: Arm, shown: Sequence[str], chosen: Sequence[str]) -> dict[str, Any]:
    metrics = {}
    for name, values in arm.metrics.items():
        mean, ci95 = mean_ci(values)
        metrics[name] = {'mean': mean, 'ci95': ci95, 'per_seed': values}
    notes = [
        f'no score of {_seeds(seeds)} was finite{f" in {prefix[:-1]}" if prefix else ""}: '
        'the last state is measured, not a best one'
        for prefix, seeds in arm.unscored.items()
    ]
    notes += [f'computes something else since it was begun: {each}' for each in arm.changed]
    lost = (_lost(arm, name, arm.seeds, several=False) for name in shown)
    done, params = arm.done, arm.config['params']
    return {name: done[name] for name in ('parameters', 'steps', 'seconds')} | {
        'params': params,
        'seeds': arm.seeds,
        'digests': arm.digests,
        'steps_done': arm.steps_done,
        'best_step': arm.best_step,
        'notes': [*notes, *chosen, *filter(None, lost)],
        'metrics': metrics,
    }


def _together(lists: Iterable[Sequence[str]]) -> list[str]:
    """The first list, and what later ones have that it does not: arms may run in several places."""
    together: list[str] = []
    for found in lists:
        together += [item for item in found if item not in together]
    return together


def _versions(found: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Every version an arm ran with."""
    names = dict.fromkeys(name for versions in found for name in versions)
    return {
        name: ', '.join(_together([versions[name]] for versions in found if name in versions))
        for name in names
    }
