"""The record of results: finished runs as committed JSON, and the table made from it.

A recorded result carries command, seeds, device, versions, time and commit, and nothing that is
true of one machine only: no absolute path. What a run missed is recorded as it is, and what is not
the study as it stands only with words that say so.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxdl.errors import UsageError, nearest
from jaxdl.files import read_json, write_bytes, write_json
from jaxdl.report.finished import Arm, finished_arms, finished_names, unfinished_arms
from jaxdl.report.numerals import DASH, commit, duration
from jaxdl.report.rows import Grid, answer_grid, answers, arm_grid, counted, remarks, still_moved
from jaxdl.report.tuned import read_choice, refused_choices

BEGIN, END = '<!-- results: written by `jaxdl record` -->', '<!-- end of results -->'
LEARNED = '<!-- learned: written by `jaxdl record` -->'
END_OF_LEARNED = '<!-- end of what was learned -->'

# An absolute path: at the start of a word, or after what sets off an option's value.
_ABSOLUTE = re.compile(r"""(?<![^\s'"=:,(\[])/[^\s'"=:,)\]]+""")


class Own(NamedTuple):
    """What a study is as it stands: the parameters of its arms as JSON has them, and its seeds.

    grids: the values that are tried of each arm. asked: by what they are chosen, and with which
    seeds.
    """

    arms: Mapping[str, Mapping[str, Any]]
    seeds: int
    grids: Mapping[str, Mapping[str, Any]] = {}
    asked: Mapping[str, Any] = {}


def record_run(
    run_folder: Path, results_folder: Path, *, own: Own | None = None, anyway: bool = False
) -> Path:
    """Copy a finished run's result.json to NAME.json, and return where it is.

    own: the study that is to be recorded, None to take the run for it. anyway: record what departs
    from it all the same; the result then says so under 'departs'.
    Raises UsageError where the run is not finished or departs from the study: see `departures`.
    """
    run_folder = Path(run_folder)
    path = run_folder / 'result.json'
    if not path.exists():
        raise UsageError(f'{run_folder} is not finished: it has no result.json')
    result = read_json(path, remedy='`jaxdl report` writes it again')
    name, again = Path(result['study']).stem, f'`jaxdl run {result["study"]}` goes on with it'
    if set(finished_names(run_folder)) != set(result['arms']):
        raise UsageError(f'{path} is older than the arms; `jaxdl report {name}` writes it again')
    unfinished = [*unfinished_arms(run_folder), *refused_choices(run_folder)]
    departs = [f'{arm} is not finished' for arm in unfinished]
    departs += [f'not run: {c["text"]!r}' for c in result['claims'] if c['verdict'] == 'not run']
    if departs and not anyway:
        raise UsageError(f'{run_folder} is not finished: {"; ".join(departs)}; {again}')
    departs += departures(finished_arms(run_folder), own)
    if departs and not anyway:
        raise UsageError(
            f'{run_folder} is not the study as it stands: {"; ".join(departs)}; --anyway records '
            'it all the same, and the table says so'
        )
    told = {'departs': departs} if departs else {}
    return write_recorded(results_folder, name, {**result, **told})


def departures(arms: Sequence[Arm], own: Own | None) -> list[str]:
    """In what a run is not its study, at one commit: nothing that a reader would expect of it.

    Smoke runs, uncommitted changes, arms of different commits; and of the study `own` other arms,
    other parameters, weights from elsewhere, or fewer seeds; and what it tunes was not tuned, or
    otherwise.
    """
    smoke = [arm.name for arm in arms if arm.config.get('smoke')]
    found = [f'{", ".join(smoke)}: a smoke run'] if smoke else []
    found += [f'{a.name} computes something else since it was begun' for a in arms if a.changed]
    commits = {arm.name: _commit(arm) for arm in arms}
    dirty = [name for name, of in commits.items() if of and of.endswith('-dirty')]
    found += [f'{", ".join(dirty)} ran with uncommitted changes'] if dirty else []
    if len({*commits.values()}) > 1:
        each = ', '.join(f'{name} of {commit(of)}' for name, of in commits.items())
        found.append(f'the arms are of different commits: {each}')
    for arm in arms:
        if source := arm.config.get('init_from'):
            found.append(f'{arm.name} started from the weights of {source}')
    return found + (_other_options(arms, own) if own else [])


def _commit(arm: Arm) -> str | None:
    """The commit that an arm ran at; several, where it was begun at one and ended at another."""
    found = dict.fromkeys(start.get('commit') for start in arm.starts)
    return next(iter(found)) if len(found) == 1 else ', '.join(map(str, found))


def _other_options(arms: Sequence[Arm], own: Own) -> list[str]:
    """What the study has otherwise, each with the arms of which it is true."""
    found: dict[str, list[str]] = {}
    strange = [arm.name for arm in arms if arm.name not in own.arms]
    for arm in arms:
        given, meant = arm.config['params'], own.arms.get(arm.name, {})
        grid, tuned = own.grids.get(arm.name, {}), arm.config.get('tuned', [])
        for name in grid:
            if name not in tuned:
                found.setdefault(f'{name} of {{}} is not tuned', []).append(arm.name)
        if tuned and not _is_own_choice(arm, own):
            found.setdefault('{} was tuned over another grid, or otherwise', []).append(arm.name)
        names = [name for name in dict.fromkeys([*meant, *given]) if name not in grid]
        for name in names if meant else ():
            have, want = (x.get(name, 'not there') for x in (given, meant))
            if have != want:
                said = f'{name} of {{}} is {have}, and {want} in the study'
                found.setdefault(said, []).append(arm.name)
        if len(arm.seeds) < own.seeds:
            said = f'{{}} has {len(arm.seeds)} of {own.seeds} seeds'
            found.setdefault(said, []).append(arm.name)
    return [
        *(f'the arm {name} is missing' for name in own.arms if name not in [a.name for a in arms]),
        *(f'{name} is no arm of the study{nearest(name, own.arms)}' for name in strange),
        *(said.replace('{}', ', '.join(names), 1) for said, names in found.items()),
    ]


def _is_own_choice(arm: Arm, own: Own) -> bool:
    """Whether an arm was tuned as the study has it."""
    choice = read_choice(arm.folder.parent, arm.name)
    asked = {'grid': own.grids.get(arm.name, {}), **own.asked}
    if choice is None or any(choice[name] != value for name, value in asked.items()):
        return False
    return all(arm.config['params'][name] == x for name, x in choice['chosen'].items())


def remark(results_folder: Path, name: str, text: str) -> Path:
    """Say of a recorded result what its reader must know, until the study is recorded anew.

    Returns where the result is. Raises UsageError where there is none.
    """
    return write_recorded(
        results_folder, name, {**read_recorded(results_folder, name), 'remark': text}
    )


def read_recorded(results_folder: Path, name: str) -> dict[str, Any]:
    """The recorded result of a study. Raises UsageError where there is none."""
    path = results_folder / f'{name}.json'
    if not path.exists():
        known = [each.stem for each in results_folder.glob('*.json')]
        raise UsageError(f'no result of {name!r} is recorded{nearest(name, known)}')
    result: dict[str, Any] = read_json(path, sealed=False)
    return result


def write_recorded(results_folder: Path, name: str, result: Mapping[str, Any]) -> Path:
    """Write the recorded result of a study, without absolute paths; returns where it is."""
    path = results_folder / f'{name}.json'
    # Not sealed: a person may read and mend what is committed, and its history says so.
    write_json(path, {key: _portable(value) for key, value in result.items()}, sealed=False)
    return path


def check_readme(readme: Path) -> None:
    """Raise UsageError where there is such a file without the two markers."""
    if readme.exists():
        _between(readme, readme.read_text(), BEGIN, END)


def make_readme(readme: Path) -> None:
    """Make a Markdown file for the table where there is none."""
    if not readme.exists():
        write_bytes(readme, f'# Results\n\n{BEGIN}\n\n{END}\n'.encode())


def write_table(results_folder: Path, readme: Path) -> None:
    """Rewrite the parts of a Markdown file between the markers from the recorded results.

    What was learned is written where the file has the markers for it. Raises UsageError where the
    file is missing or has not the two markers of the results, in order.
    """
    results = [read_json(path, sealed=False) for path in sorted(results_folder.glob('*.json'))]
    table = results_table(results) if results else 'Nothing is recorded yet.\n'
    write_between(readme, BEGIN, END, table)
    if LEARNED in readme.read_text():
        write_between(readme, LEARNED, END_OF_LEARNED, learned_table(results))


def write_between(path: Path, begin: str, end: str, text: str) -> None:
    """Rewrite what stands between two lines of a Markdown file.

    Raises UsageError where the file is missing or has not the two lines, in order.
    """
    whole = path.read_text() if path.exists() else ''
    first, last = _between(path, whole, begin, end)
    write_bytes(path, f'{whole[: first + len(begin)]}\n\n{text}\n{whole[last:]}'.encode())


def _between(path: Path, whole: str, begin: str, end: str) -> tuple[int, int]:
    first, last = whole.find(begin), whole.find(end)
    if not 0 <= first < last:
        raise UsageError(f'{path} must have the lines {begin!r} and {end!r}')
    return first, last


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
        if departs := result.get('departs'):
            lines += [f'**Recorded anyway, though {"; ".join(departs)}.**', '']
        if stale := result.get('stale'):
            lines += [f'**Stale, as far as is known: {"; ".join(stale)}.**', '']
        lines += _grid(arm_grid(result))
        lines += ['', *still_moved(result)] if still_moved(result) else []
        lines += ['', *(f'- {text}' for text in remarks(result))] if remarks(result) else []
        lines += ['', *_grid(answer_grid(result))] if result['claims'] else []
    return '\n'.join(lines) + '\n'


def learned_table(results: Iterable[Mapping[str, Any]]) -> str:
    """What others found, what was found here, and how sure that is: each claim that names both."""
    head = ('reported', 'asked here', 'answer', 'effect, 95 % interval', 'p', 'seeds', 'study')
    rows = []
    for result in results:
        doubts = [word for word in ('stale', 'departs', 'remark') if result.get(word)]
        for it in answers(result):
            if not it.reported:
                continue
            notes = [*(['at this budget'] if 'at this budget' in it.reason else []), *doubts]
            answer = f'**{it.verdict}**' + (f' ({", ".join(notes)})' if notes else '')
            effect = it.effect if it.interval == DASH else f'{it.effect} {it.interval}'
            p = it.p if it.holm == DASH else it.holm
            study = f'[{result["study"]}](#{_anchor(result["study"])})'
            seeds = str(len(result['seeds']))
            rows.append((it.reported, it.text, answer, effect, p, seeds, study))
    lines = markdown_table(head, rows, words=len(head)) if rows else ['Nothing yet.']
    return '\n'.join(lines) + '\n'


def _grid(grid: Grid) -> list[str]:
    """A table of cells, whose marked ones are bold."""
    rows = [[f'**{cell.text}**' if cell.marked else cell.text for cell in row] for row in grid.rows]
    return markdown_table(grid.head, rows, words=grid.words)


def _answer(result: Mapping[str, Any]) -> str:
    """How many claims got which verdict, ``2 supported, 1 refuted``."""
    found = counted(result)
    found += ' (**not the study as it stands**)' if result.get('departs') else ''
    found += ' (**stale**)' if result.get('stale') else ''
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
