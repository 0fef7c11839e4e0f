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

from jaxdl.claims import mean_ci
from jaxdl.errors import UsageError
from jaxdl.files import jsonable, write_json
from jaxdl.report.finished import Arm, directions, finished_arms, results_of
from jaxdl.report.numerals import duration, estimate, interval, p_value, plus_minus
from jaxdl.report.page import best, holm_adjusted, write_page
from jaxdl.study import Claim, Verdict

STYLES = {'supported': 'bold green', 'refuted': 'bold red', 'undecided': 'bold yellow'}
SIGNS = {'supported': '\N{CHECK MARK}', 'refuted': '\N{BALLOT X}', 'undecided': '?'}


def write_report(
    folder: Path,
    *,
    study: str,
    question: str,
    claims: Sequence[Claim],
    command: str,
    order: Sequence[str] = (),
    defaults: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Judge the claims on the arms that are done, write the report, and return result.json's dict.

    A claim whose arms are not all there is 'not run'. Arms stand in the `order` of their names,
    others after them. `defaults` are the trial's parameters where
    no arm changes them: differences from them stand out in the report. Without them, differences
    between arms do.
    Raises UsageError where no arm is done, or a claim names a metric that was not measured.
    """
    folder = Path(folder)
    arms = finished_arms(folder, first=order)
    if not arms:
        raise UsageError(f'{folder} has no finished arm; `jaxdl run {study}` runs them')
    judged = [judge(claim, arms) for claim in claims]
    result: dict[str, Any] = jsonable(
        {
            'study': study,
            'question': question,
            'command': command,
            'seeds': sorted({seed for arm in arms for seed in arm.seeds}),
            'devices': _together(arm.env['devices'] for arm in arms),
            'versions': _versions([arm.env['versions'] for arm in arms]),
            'seconds': sum(arm.done['seconds'] for arm in arms),
            'commit': ', '.join(_together([arm.env['commit']] for arm in arms if arm.env['commit']))
            or None,
            'better': directions(arms),
            'shown': _shown(arms, [claim.metric for claim in claims]),
            'arms': {arm.name: _arm(arm) for arm in arms},
            'claims': [
                {'text': claim.text, **_verdict(verdict)}
                for claim, verdict in zip(claims, judged, strict=True)
            ],
        }
    )
    write_json(folder / 'result.json', result)
    write_page(folder, result, arms=arms, claims=claims, defaults=defaults)
    return result


def judge(claim: Claim, arms: Sequence[Arm]) -> Verdict | None:
    """The verdict on a claim over the seeds its arms share; None where an arm is missing."""
    named = [arm for arm in arms if arm.name in claim.arms]
    if len(named) < len(set(claim.arms)):
        return None
    results, shared = results_of(named)
    if not shared:
        raise UsageError(f'the arms {", ".join(claim.arms)} have no seed in common')
    return claim.judge(results, directions(named))


def verdict_lines(result: Mapping[str, Any], folder: Path) -> RenderableType:
    """The answer for a terminal: the arms, the verdicts, and where the report is."""
    metrics = result['shown']
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column('arm')
    for name in ('parameters', *metrics, 'seeds', 'time'):
        table.add_column(name, justify='right')
    for arm, found in result['arms'].items():
        cells = []
        for metric in metrics:
            values = found['metrics'].get(metric)
            text = plus_minus(values['mean'], values['ci95']) if values else ''
            cells.append(Text(text, 'bold' if arm in best(result, metric) else ''))
        seeds = str(len(next(iter(found['metrics'].values()))['per_seed']))
        time = duration(found['seconds'])
        table.add_row(Text(arm), f'{found["parameters"]:,}', *cells, seeds, time)
    lines: list[RenderableType] = [Text(result['question'], 'bold'), table]
    for claim, adjusted in zip(result['claims'], holm_adjusted(result), strict=True):
        verdict = claim['verdict']
        line = Text(f'{SIGNS.get(verdict, "-")} {verdict:<10} ', STYLES.get(verdict, 'dim'))
        line.append(claim['text'], 'default not bold')
        if claim['effect'] is not None:
            found = f'  {estimate(claim["effect"], claim["ci95"])} {interval(claim["ci95"])}'
            found += f', p {p_value(claim["p"])}' if claim['p'] is not None else ''
            found += f' (Holm {p_value(adjusted)})' if adjusted is not None else ''
            line.append(found, 'dim not bold')
        lines.append(line)
    return Group(*lines, Text(f'report: {folder / "report.html"}'))


def _shown(arms: Sequence[Arm], judged: Sequence[str]) -> list[str]:
    """The numbers a reader is after: those of the last phase's tests, and what claims judge.

    All of them where an experiment has neither.
    """
    every = list(dict.fromkeys(name for arm in arms for name in arm.metrics))
    other = ('train', 'valid', *(name for arm in arms for name in arm.ends))
    shown = [name for name in every if name in judged or name.split('/')[0] not in other]
    return shown or every


def _arm(arm: Arm) -> dict[str, Any]:
    metrics = {}
    for name, values in arm.metrics.items():
        mean, ci95 = mean_ci(values)
        metrics[name] = {'mean': mean, 'ci95': ci95, 'per_seed': values}
    done, params = arm.done, arm.config['params']
    return {name: done[name] for name in ('parameters', 'steps', 'seconds')} | {
        'params': params,
        'metrics': metrics,
    }


def _verdict(verdict: Verdict | None) -> dict[str, Any]:
    if verdict is None:
        return {'verdict': 'not run', 'effect': None, 'ci95': [None, None], 'p': None}
    return verdict._asdict()


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
