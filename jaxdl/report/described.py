"""What a reviewer reads before the numbers: background, data, method, and what an interval covers.

From the experiment's text that each run keeps and from its about.json, so that a report needs
neither the data nor the code. Runs from before about.json have none, and the page says so.
"""

import ast
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from jaxdl.report import numerals
from jaxdl.report.finished import Arm


class Block(NamedTuple):
    """A paragraph of a docstring, or an indented block of it: a command."""

    text: str
    code: bool


class Aspect(NamedTuple):
    """One thing about the arms: what it is called, and (arms, value) for each value there is.

    The arms are '' where all have the same.
    """

    name: str
    values: list[tuple[str, str]]


class Part(NamedTuple):
    """The method of one phase; its title is '' where there is but one."""

    title: str
    aspects: list[Aspect]


class Split(NamedTuple):
    """What one split of a phase is of. order: of its rows. arms: whose it is, '' for all."""

    name: str
    table: str
    rows: str
    order: str
    columns: str
    classes: str
    digest: str
    arms: str


class Dataset(NamedTuple):
    """A dataset: its card, and the splits that are taken of it."""

    card: Mapping[str, str]
    splits: list[Split]


def described(study: str, arms: Sequence[Arm]) -> dict[str, Any]:
    """What the templates show of a study before its numbers."""
    trained = [arm for arm in arms if arm.config['phases']]
    known = {arm.name: arm.about for arm in trained if arm.about is not None}
    return {
        'background': background(study, arms),
        'datasets': datasets(known),
        'method': method(known),
        'covers': covers(known),
        'undescribed': [arm.name for arm in trained if arm.about is None],
    }


# ---- background ---------------------------------------------------------------------------------


def background(study: str, arms: Sequence[Arm]) -> list[Block]:
    """The docstring of the experiment's file, as the first arm that kept it has it."""
    for arm in arms:
        path = arm.folder / 'source' / f'{study}.py'
        if path.is_file():
            try:
                text = ast.get_docstring(ast.parse(path.read_bytes()))
            except (SyntaxError, ValueError):  # a person may have written into it
                continue
            return blocks(text or '')
    return []


def blocks(docstring: str) -> list[Block]:
    """The paragraphs of a docstring, and its indented blocks as code."""
    found = []
    for part in docstring.strip().split('\n\n'):
        lines = [line for line in part.split('\n') if line.strip()]
        code = bool(lines) and all(line.startswith('    ') for line in lines)
        if code:
            found.append(Block(textwrap.dedent('\n'.join(lines)), True))
        elif lines:
            found.append(Block(' '.join(line.strip() for line in lines), False))
    return found


# ---- data ---------------------------------------------------------------------------------------


def datasets(known: Mapping[str, Mapping[str, Any]]) -> list[Dataset]:
    """Every dataset that some arms train on or are measured on, and their splits."""
    cards: dict[str, Mapping[str, str]] = {}
    rows: dict[str, dict[Split, list[str]]] = {}
    for arm, about in known.items():
        for it in about['data']:
            if 'unread' in it:
                continue
            name = it['card']['name']
            cards.setdefault(name, it['card'])
            arms = rows.setdefault(name, {}).setdefault(_split(it), [])
            arms.append(arm)
    return [
        Dataset(card, [it._replace(arms=_whose(a, known)) for it, a in rows[name].items()])
        for name, card in cards.items()
    ]


def _split(it: Mapping[str, Any]) -> Split:
    """A split, whosever it is."""
    where = f'{it["name"]}/{it["split"]}' if it['name'] else it['split']
    rows = numerals.DASH if it['rows'] is None else f'{it["rows"]:,}'
    if (drawn := it.get('drawn')) is not None:
        rows = f'{drawn:,} of {rows}, drawn by each seed'
    columns = ', '.join(f'{name} {shape}' for name, shape in it['columns'].items())
    classes = ', '.join(_classes(names) for names in it['classes'].values())
    digest = it['digest'] if it['of'] == 'all rows' else f'{it["digest"]} ({it["of"]})'
    order, columns = it.get('order') or '', columns or 'made by the task'
    return Split(where, it['table'], rows, order, columns, classes, digest, '')


def _classes(names: Sequence[str]) -> str:
    """How many classes, and their names where those are few and no numbers."""
    plain = all(name.isdigit() for name in names)
    return f'{len(names)}' if plain or len(names) > 12 else f'{len(names)}: {", ".join(names)}'


def _whose(arms: Sequence[str], every: Mapping[str, Any]) -> str:
    return '' if len(arms) == len(every) else ', '.join(arms)


# ---- method -------------------------------------------------------------------------------------


def method(known: Mapping[str, Mapping[str, Any]]) -> list[Part]:
    """How each phase trains, phase by phase; what all arms have alike is said once."""
    phases: dict[str, dict[str, Mapping[str, Any]]] = {}
    for arm, about in known.items():
        for phase in about['phases']:
            phases.setdefault(phase['name'], {})[arm] = phase
    # The last phase has no name, and comes last whichever arm was first.
    ordered = sorted(phases.items(), key=lambda item: not item[0])
    parts = []
    for name, arms in ordered:
        title = name or ('the last phase' if len(phases) > 1 else '')
        told = {arm: dict(_aspects(phase)) for arm, phase in arms.items()}
        names = dict.fromkeys(aspect for each in told.values() for aspect in each)
        aspects = [Aspect(it, _values(it, told)) for it in names]
        parts.append(Part(title, aspects))
    return parts


def _values(aspect: str, told: Mapping[str, Mapping[str, str]]) -> list[tuple[str, str]]:
    found: dict[str, list[str]] = {}
    for arm, each in told.items():
        found.setdefault(each.get(aspect, 'none'), []).append(arm)
    return [(_whose(arms, told), value) for value, arms in found.items()]


def _aspects(phase: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What there is to say of a phase: (what, in words)."""
    if 'unread' in phase:
        yield 'method', f'it could not be read from its objects: {phase["unread"]}'
        return
    several = len(phase['players']) > 1
    for player in phase['players']:
        of = f' of {player["name"]}' if several else ''
        yield f'network{of}', player['network']
        if player['loss']:
            yield f'loss{of}', player['loss']
        yield f'optimizer{of}', _moves(player)
        if player['shadow']:
            yield f'slow copy{of}', player['shadow']
    yield 'steps', _steps(phase)
    yield 'augmentation', phase['augmentation']
    if phase['regularisation']:
        yield 'regularisation', ', '.join(phase['regularisation'])
    for number, note in enumerate(phase['notes']):
        yield f'also{" " * number}', note
    if phase['start']:
        yield 'begins with', f'the weights of the phase before: {phase["start"]}'
    if phase['best']:
        yield 'checkpoint kept', f'that of the best {phase["best"]}'
    for name, test in phase['tests'].items():
        yield f'measured on {name}', _measured(test)


def _moves(player: Mapping[str, Any]) -> str:
    words = player['optimizer']
    words += f'; {player["turns"]} turns a step' if player['turns'] != 1 else ''
    if player['accumulate'] != 1:
        words += f'; gradients averaged over {player["accumulate"]} parts of the batch'
    if every := player.get('lazy'):  # results from before there were any do not say
        words += f'; after every {every} turns one more move, down a loss that is only taken then'
    return str(words)


def _steps(phase: Mapping[str, Any]) -> str:
    words = f'{"at most " if phase["at_most"] else ""}{phase["steps"]:,}'
    words += f' of {phase["batch"]:,} rows' if phase['batch'] else ''
    known = phase['epochs'] is not None
    return words + (f', {numerals.epochs([phase["epochs"]])} epochs' if known else '')


def _measured(test: Mapping[str, Any]) -> str:
    words = f'every {test["every"]:,} steps'
    words += f', after {test["transform"]}' if test['transform'] != 'none' else ''
    return words + (f', by {test["measure"]}' if test['measure'] else '')


# ---- what an interval covers --------------------------------------------------------------------


def covers(known: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What differs from seed to seed, and so is covered by an interval over seeds; sentences."""
    phases = [p for about in known.values() for p in about['phases'] if 'unread' not in p]
    if not phases:
        return []

    def some(holds: Callable[[Mapping[str, Any]], bool]) -> bool:
        return any(map(holds, phases))

    drawn = ['initial weights and the noise of training (dropout, sampling)']
    if some(lambda p: p['private']):
        drawn.append('the order of the rows and their augmentation')
    if some(lambda p: p.get('drawn', False)):
        drawn.append('the examples that each seed draws to train on')
    if some(lambda p: not p['batch']):
        drawn.append('the data that each seed makes for itself')
    said = [f'An interval covers what differs from seed to seed: {"; ".join(drawn)}.']
    if some(lambda p: p['batch'] and not p['private']):
        said.append('All seeds see the same training batches in the same order.')
    tests = [
        (name, test, phase['batch'])
        for phase in phases
        if not phase['name']
        for name, test in phase['tests'].items()
        if name != 'valid'
    ]
    fixed = [name for name, test, batch in tests if not test['private'] and batch]
    own = [name for name, test, batch in tests if test['private'] or not batch]
    if fixed:
        names = ', '.join(dict.fromkeys(fixed))
        said.append(
            f'All seeds are measured on the same examples ({names}): these are no draw here, and '
            'what other examples of their kind would give is not covered.'
        )
    if own:
        names = ', '.join(dict.fromkeys(own))
        said.append(f'What is measured on is drawn by each seed anew ({names}), and is covered.')
    return said
