"""The answer of a study: result.json, report.md and report.html from the folders of its arms.

Nothing here depends on when it is run: the same run files give the same bytes.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jaxdl.derived import derived, is_training, twin
from jaxdl.errors import UsageError
from jaxdl.files import jsonable, write_json
from jaxdl.report.finished import Arm, finished_arms, unfinished_arms
from jaxdl.report.numerals import DASH
from jaxdl.report.page import write_page
from jaxdl.report.rows import answers, arm_grid, remarks, still_moved
from jaxdl.report.trained import still_moving
from jaxdl.report.tuned import chosen_lines, notes_of, refused_choices, tuning
from jaxdl.report.verdicts import judged, lost, unreached
from jaxdl.run.config import seeds_said
from jaxdl.statistics import mean_ci
from jaxdl.study import Claim

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

    See `judged` for claims that cannot be judged. Arms stand in the `order` of their names, others
    after them. `defaults` are the trial's parameters where no arm changes them: differences from
    them stand out in the report. Without them, differences between arms do. tuned: the parameters
    that the study tunes.
    Raises UsageError where no arm is done.
    """
    folder = Path(folder)
    numbers = [claim.metric for claim in claims]
    arms = finished_arms(folder, first=order, derive=numbers)
    if not arms:
        raise UsageError(f'{folder} has no finished arm; `jaxdl run {study}` runs them')
    unfinished = {**unfinished_arms(folder), **refused_choices(folder)}
    chosen = tuning(folder, arms)
    starts = [start for arm in arms for start in arm.starts]
    shown = _shown(arms, numbers)
    told = {
        arm.name: _arm(arm, shown, _judged_of(arm, claims), notes_of(chosen, arm, tuned))
        for arm in arms
    }
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
            'arms': told,
            'claims': judged(claims, arms, unfinished=unfinished, told=told),
        }
    )
    write_json(folder / 'result.json', result)
    write_page(folder, result, arms=arms, claims=claims, defaults=defaults)
    return result


def verdict_lines(result: Mapping[str, Any], folder: Path | None = None) -> RenderableType:
    """The answer for a terminal: the arms, the verdicts, and where the report is, if it is."""
    # A terminal has no room for everything: what stands beside the tests is in the report, then
    # what training cost, and then what is derived, whose claims have its effects below.
    few = {**result, 'shown': [name for name in result['shown'] if derived(name) is None]}
    claimed = {claim['metric'] for claim in result['claims']}
    judged = {**few, 'shown': [name for name in few['shown'] if name in claimed]}
    asked = [(result, True, True), (result, False, True), (result, False, False)]
    asked += [(of, False, False) for of in (few, judged) if of['shown']]
    grids = [arm_grid(of, beside=b, cost=c) for of, b, c in asked]
    head, rows, _ = next((grid for grid in grids if grid.width() <= WIDE), grids[-1])
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, name in enumerate(head):
        table.add_column(name, justify='right' if i else 'left')
    for row in rows:
        table.add_row(*(Text(cell.text, 'bold' if cell.marked else '') for cell in row))
    lines: list[RenderableType] = [Text(result['question'], 'bold'), table]
    lines += [Text(text, 'dim') for text in chosen_lines(result)]
    lines += [Text(text, 'dim') for text in still_moved(result)]
    lines += [Text(f'! {text}', 'yellow') for text in remarks(result)]
    for it in answers(result):
        line = Text(
            f'{SIGNS.get(it.verdict, "-")} {it.verdict:<10} ', STYLES.get(it.verdict, 'dim')
        )
        line.append(it.text, 'default not bold')
        if it.effect != DASH:
            found = f'  {it.effect}' + (f' {it.interval}' if it.interval != DASH else '')
            found += f', over seeds and examples {it.examples}' if it.examples != DASH else ''
            found += f', p {it.p}' if it.p != DASH else ''
            found += f' (Holm {it.holm})' if it.holm != DASH else ''
            line.append(found, 'dim not bold')
        line.append(f'  ({it.reason})' if it.reason else '', 'default not bold')
        lines.append(line)
    if late := [it for it in answers(result) if it.when == 'exploratory']:
        of = f'{len(late)} of {len(result["claims"])} claims'
        lines.append(Text(f'exploratory, not there before the first seed ran: {of}', 'dim'))
    if folder:
        lines.append(Text(f'report: {folder / "report.html"}'))
    return Group(*lines)


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

    Each is followed by its twin in training and, if a claim judges it, by that of the validation
    split. All of them where an experiment has neither.
    """
    every = list(dict.fromkeys(name for arm in arms for name in arm.metrics))
    other = ('train', 'valid', *(name for arm in arms for name in arm.ends))
    shown = [name for name in every if name in judged or name.split('/')[0] not in other]
    paired: dict[str, None] = {}
    for name in shown:
        paired |= {name: None} if name not in paired else {}
        splits = ('train', 'valid') if name in judged else ('train',)
        twins = (twin(name, every, split) for split in splits)
        paired |= {it: None for it in twins if it and not is_training(name)}
    return list(paired) or every


def _judged_of(arm: Arm, claims: Sequence[Claim]) -> list[str]:
    """The numbers of an arm that claims judge."""
    return [claim.metric for claim in claims if arm.name in claim.arms]


def _arm(
    arm: Arm, shown: Sequence[str], judged: Sequence[str], chosen: Sequence[str]
) -> dict[str, Any]:
    metrics = {}
    for name, values in arm.metrics.items():
        mean, ci95 = mean_ci(values)
        metrics[name] = {'mean': mean, 'ci95': ci95, 'per_seed': values}
    notes = [
        f'no score of {seeds_said(seeds)} was finite{f" in {prefix[:-1]}" if prefix else ""}: '
        'the last state is measured, not a best one'
        for prefix, seeds in arm.unscored.items()
    ]
    notes += [f'computes something else since it was begun: {each}' for each in arm.changed]
    notes += [
        f'{name}: {said}' for name in arm.times if (said := unreached(name, [arm], arm.seeds))
    ]
    holes = (lost(arm, name, arm.seeds, several=False) for name in shown)
    done, params = arm.done, arm.config['params']
    costs = ('parameters', 'steps', 'flops', 'epochs', 'seconds')
    return {name: done[name] for name in costs} | {
        'params': params,
        'moving': still_moving(arm, judged),
        'seeds': arm.seeds,
        'digests': arm.digests,
        'steps_done': arm.steps_done,
        'best_step': arm.best_step,
        # Times are compared up to the length of the shorter run: their means alone do not do.
        **({'times': _times(arm), 'together': arm.together} if arm.times else {}),
        **({'lengths': arm.lengths} if arm.lengths else {}),
        'notes': [*notes, *chosen, *filter(None, holes)],
        'metrics': metrics,
    }


def _times(arm: Arm) -> dict[str, dict[str, Any]]:
    """When each seed got to a value, None where it never did, and the length of its run."""
    return {name: {'first': it.first, 'length': it.length} for name, it in arm.times.items()}


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
