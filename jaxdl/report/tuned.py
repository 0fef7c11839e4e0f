"""How the hyperparameters of a run's arms were chosen, as its folder holds it.

runs/NAME/tuning/ARM/lr=0.001/    a candidate: a run as any other, on the validation split
runs/NAME/tuning/ARM/choice.json  what all of them reached, and which was taken
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxdl.errors import UsageError
from jaxdl.files import read_json
from jaxdl.report import numerals
from jaxdl.report.finished import Arm
from jaxdl.report.rows import Cell, Grid

TUNING, CHOICE = 'tuning', 'choice.json'
ASKED = ('by', 'seeds', 'grid')  # of a choice: what it was made among

Result = Mapping[str, Any]  # what result.json holds


def candidates_folder(folder: Path, arm: str) -> Path:
    """Where the candidates of an arm are, of the run in `folder`."""
    return folder / TUNING / arm


def read_choice(folder: Path, arm: str) -> dict[str, Any] | None:
    """What choice.json says of an arm; None where nothing was chosen."""
    path = candidates_folder(folder, arm) / CHOICE
    again = 'remove it, and `jaxdl run` writes it again from the candidates'
    return read_json(path, remedy=again) if path.exists() else None


def refused_choices(folder: Path) -> dict[str, str]:
    """Arms that were not begun because no candidate of theirs could be chosen, and why."""
    found = {}
    for path in sorted(folder.glob(f'{TUNING}/*/{CHOICE}')):
        arm = path.parent.name
        choice = read_choice(folder, arm)
        if choice and choice['chosen'] is None and not (folder / arm / 'config.json').exists():
            found[arm] = 'no candidate of its grid could be chosen'
    return found


def tuning(folder: Path, arms: Sequence[Arm]) -> dict[str, Any] | None:
    """What result.json says of tuning; None where no arm was tuned.

    Raises UsageError where an arm was trained with something else than what was chosen for it.
    """
    names = [arm.name for arm in arms if arm.config.get('tuned')] + [*refused_choices(folder)]
    choices = {name: found for name in names if (found := read_choice(folder, name))}
    for arm in arms:
        if arm.config.get('tuned') and arm.name not in choices:
            raise UsageError(
                f'{candidates_folder(folder, arm.name) / CHOICE} is gone, and {arm.name} was '
                'tuned; `jaxdl run` writes it again from the candidates'
            )
    if not choices:
        return None
    first = next(iter(choices.values()))
    return {
        **{name: first[name] for name in (*ASKED, 'better')},
        'seconds': round(
            sum(sum(c['seconds'] for c in it['candidates']) for it in choices.values()), 1
        ),
        'arms': {
            name: {key: it[key] for key in ('candidates', 'chosen', 'edge')}
            | ({} if _asked(it) == _asked(first) else _asked(it))
            for name, it in choices.items()
        },
    }


def _asked(choice: Mapping[str, Any]) -> dict[str, Any]:
    return {name: choice[name] for name in ASKED}


def notes_of(tuning: Mapping[str, Any] | None, arm: Arm, tuned: Sequence[str] = ()) -> list[str]:
    """What a reader must know of how the parameters of an arm were chosen.

    tuned: the parameters that the study tunes.
    """
    found = (tuning or {}).get('arms', {}).get(arm.name)
    params, own = arm.config['params'], arm.config.get('tuned', [])
    notes = (
        [f'{name} {params[name]} is at the edge of its grid' for name in found['edge']]
        if found
        else []
    )
    if found and 'grid' in found:
        notes.append('it was tuned over another grid, or by other seeds, than other arms')
    if arm.name != 'tiny' and not arm.config.get('smoke'):
        if not arm.config['phases']:  # a baseline, which has those alone that it takes
            tuned = [name for name in tuned if name in params]
        missing = [f'{name} {params.get(name)}' for name in tuned if name not in own]
        if missing:
            notes.append(f'not tuned, though the study has a grid: {", ".join(missing)}')
    return notes


def chosen_lines(result: Result) -> list[str]:
    """A line for each arm that was tuned: 'mlp: lr 0.003 of 3 values, by valid/accuracy'."""
    found = result.get('tuning') or {'arms': {}}
    return [
        f'{name}: {chosen_words(it["chosen"], len(it["candidates"]), it.get("by", found["by"]))}'
        for name, it in found['arms'].items()
    ]


def chosen_words(chosen: Mapping[str, Any] | None, candidates: int, by: str) -> str:
    """What was chosen of how many, and by what."""
    several = 'combinations' if chosen and len(chosen) > 1 else 'values'
    what = 'none' if chosen is None else ', '.join(f'{name} {x}' for name, x in chosen.items())
    return f'{what} of {candidates} {several}, by {by}'


def candidate_grid(result: Result) -> Grid:
    """A row for each candidate of each arm, those that were chosen marked."""
    found = result['tuning']
    names = list(
        dict.fromkeys(n for it in found['arms'].values() for n in it.get('grid', found['grid']))
    )
    noted = any(c.get('note') for it in found['arms'].values() for c in it['candidates'])
    rows = []
    for arm, it in found['arms'].items():
        for candidate in it['candidates']:
            params, mean, each = candidate['params'], candidate['mean'], candidate['per_seed']
            is_it = params == it['chosen']
            cells = [arm, *(str(params.get(name, numerals.DASH)) for name in names)]
            cells += [_number(mean), ' / '.join(map(_number, each))]
            cells += [f'{candidate["steps"]:,}', numerals.duration(candidate['seconds'])]
            cells += [candidate.get('note', '')] if noted else []
            rows.append([Cell(text, is_it) for text in cells])
    head = ('arm', *names, found['by'], 'each seed', 'steps', 'time')
    return Grid((*head, *(('note',) if noted else ())), rows)


def _number(value: float | None) -> str:
    return numerals.DASH if value is None else f'{value:.4g}'
