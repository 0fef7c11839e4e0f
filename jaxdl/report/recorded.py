"""The record of results: finished runs as committed JSON, and the table made from it.

A recorded result carries command, seeds, device, versions, time and commit, and nothing that is
true of one machine only: no absolute path. What a run missed is recorded as it is.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxdl.errors import UsageError, nearest
from jaxdl.files import read_json, write_bytes, write_json
from jaxdl.report.finished import finished_names, unfinished_arms
from jaxdl.report.numerals import commit, duration, estimate, interval, p_value, plus_minus
from jaxdl.report.page import best

BEGIN, END = '<!-- results: written by `jaxdl record` -->', '<!-- end of results -->'

# An absolute path: at the start of a word, or after what sets off an option's value.
_ABSOLUTE = re.compile(r"""(?<![^\s'"=:,(\[])/[^\s'"=:,)\]]+""")


def record_run(run_folder: Path, results_folder: Path) -> Path:
    """Copy a finished run's result.json to NAME.json, and return where it is.

    Raises UsageError where the run, one of its arms or one of its claims is not finished.
    """
    run_folder = Path(run_folder)
    path = run_folder / 'result.json'
    if not path.exists():
        raise UsageError(f'{run_folder} is not finished: it has no result.json')
    result = read_json(path, remedy='`jaxdl report` writes it again')
    name, again = Path(result['study']).stem, f'`jaxdl run {result["study"]}` goes on with it'
    if missing := unfinished_arms(run_folder):
        raise UsageError(f'{run_folder} is not finished: {", ".join(missing)} is; {again}')
    if not_run := [claim['text'] for claim in result['claims'] if claim['verdict'] == 'not run']:
        raise UsageError(f'{run_folder} is not finished: not run is {not_run[0]!r}; {again}')
    if set(finished_names(run_folder)) != set(result['arms']):
        raise UsageError(f'{path} is older than the arms; `jaxdl report {name}` writes it again')
    recorded = results_folder / f'{name}.json'
    # Not sealed: a person may read and mend what is committed, and its history says so.
    portable = {key: _portable(value) for key, value in result.items()}
    write_json(recorded, portable, sealed=False)
    return recorded


def remark(results_folder: Path, name: str, text: str) -> Path:
    """Say of a recorded result what its reader must know, until the study is recorded anew.

    Returns where the result is. Raises UsageError where there is none.
    """
    path = results_folder / f'{name}.json'
    if not path.exists():
        known = [each.stem for each in results_folder.glob('*.json')]
        raise UsageError(f'no result of {name!r} is recorded{nearest(name, known)}')
    content = {**read_json(path, sealed=False), 'remark': _portable(text)}
    write_json(path, content, sealed=False)
    return path


def write_table(results_folder: Path, readme: Path) -> None:
    """Rewrite the part of a Markdown file between the markers from the recorded results.

    Raises UsageError where the file is missing or has not the two markers, in order.
    """
    results = [read_json(path, sealed=False) for path in sorted(results_folder.glob('*.json'))]
    table = results_table(results) if results else 'Nothing is recorded yet.\n'
    write_between(readme, BEGIN, END, table)


def write_between(path: Path, begin: str, end: str, text: str) -> None:
    """Rewrite what stands between two lines of a Markdown file.

    Raises UsageError where the file is missing or has not the two lines, in order.
    """
    whole = path.read_text() if path.exists() else ''
    first, last = whole.find(begin), whole.find(end)
    if not 0 <= first < last:
        raise UsageError(f'{path} must have the lines {begin!r} and {end!r}')
    write_bytes(path, f'{whole[: first + len(begin)]}\n\n{text}\n{whole[last:]}'.encode())


def results_table(results: list[dict[str, Any]]) -> str:
    """Every study in one table, then its arms, claims and command."""
    head = ('study', 'question', 'answer', 'seeds', 'device', 'time', 'commit')
    rows = [
        (
            f'[{result["study"]}](#{_anchor(result["study"])})',
            result['question'],
            _answer(result),
            str(len(result['seeds'])),
            ', '.join(dict.fromkeys(result['devices'])),
            duration(result['seconds']),
            commit(result['commit']),
        )
        for result in results
    ]
    lines = markdown_table(head, rows, words=len(head))
    for result in results:
        lines += ['', f'### {result["study"]}', '', f'`{result["command"]}`', '']
        lines += [f'**{result["remark"]}**', ''] if result.get('remark') else []
        lines += _arms(result)
        lines += ['', *_claims(result)] if result['claims'] else []
    return '\n'.join(lines) + '\n'


def _arms(result: Mapping[str, Any]) -> list[str]:
    metrics = result['shown']
    rows = []
    for name, arm in result['arms'].items():
        cells = []
        for metric in metrics:
            found = arm['metrics'].get(metric)
            text = plus_minus(found['mean'], found['ci95']) if found else ''
            cells.append(f'**{text}**' if name in best(result, metric) else text)
        seeds = len(next(iter(arm['metrics'].values()))['per_seed'])
        time = duration(arm['seconds'])
        rows.append((name, f'{arm["parameters"]:,}', *cells, str(seeds), time))
    return markdown_table(('arm', 'parameters', *metrics, 'seeds', 'time'), rows)


def _claims(result: Mapping[str, Any]) -> list[str]:
    head = ('claim', 'verdict', 'effect', '95 % interval', 'p')
    rows = [
        (
            claim['text'],
            f'**{claim["verdict"]}**',
            estimate(claim['effect'], claim['ci95']),
            interval(claim['ci95']),
            p_value(claim['p']),
        )
        for claim in result['claims']
    ]
    return markdown_table(head, rows, words=2)


def _answer(result: Mapping[str, Any]) -> str:
    """How many claims got which verdict, ``2 supported, 1 refuted``."""
    verdicts = [claim['verdict'] for claim in result['claims']]
    found = ', '.join(f'{verdicts.count(verdict)} {verdict}' for verdict in dict.fromkeys(verdicts))
    return f'{found} (**see the remark**)' if result.get('remark') else found


def markdown_table(
    head: Sequence[str], rows: Iterable[Sequence[str]], *, words: int = 1
) -> list[str]:
    """The lines of a Markdown table; the columns after the first `words` hold numbers."""
    rule = '|' + '---|' * words + '---:|' * (len(head) - words)
    return [_row(head), rule, *map(_row, rows)]


def _row(cells: Sequence[str]) -> str:
    return '| ' + ' | '.join(cell.replace('|', '\\|').replace('\n', ' ') for cell in cells) + ' |'


def _anchor(heading: str) -> str:
    """The link GitHub gives a heading."""
    return re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-')


def _portable(value: Any) -> Any:
    """The value without absolute paths: relative to the working folder, or the name alone."""
    match value:
        case str():
            return _ABSOLUTE.sub(lambda found: _relative(Path(found[0])), value)
        case dict():
            return {key: _portable(item) for key, item in value.items()}
        case list():
            return [_portable(item) for item in value]
    return value


def _relative(path: Path) -> str:
    here = Path.cwd()
    return path.relative_to(here).as_posix() if path.is_relative_to(here) else path.name
