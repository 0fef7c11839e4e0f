"""The rows of a result, for everything that prints it: terminal, pages and the record."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxdl.derived import is_training, twin
from jaxdl.report import numerals
from jaxdl.report.verdicts import corrected

Result = Mapping[str, Any]  # what result.json holds
DAGGER = '\N{DAGGER}'  # beside the steps of an arm that still moved in its last fifth


class Cell(NamedTuple):
    """A cell of a table; `marked` ones stand out."""

    text: str
    marked: bool = False


class Grid(NamedTuple):
    """A table: its head, and a row of cells for each thing.

    The first `words` columns hold words, the others numbers.
    """

    head: tuple[str, ...]
    rows: list[list[Cell]]
    words: int = 1

    def width(self) -> int:
        """The characters of its widest row, with a gap between columns."""
        texts = [self.head, *([cell.text for cell in row] for row in self.rows)]
        return sum(max(map(len, column)) + 3 for column in zip(*texts, strict=True))


class Answer(NamedTuple):
    """What a claim got, in words. reason: why it could not be judged, or what its reader misses.

    interval: over seeds. examples: over seeds and examples. p: of the claim alone; holm: corrected
    for the claims of the study, where there are several.
    when: whether it is confirmatory or exploratory, '' where that is not said.
    reported: what others found, '' where the claim does not say.
    """

    text: str
    verdict: str
    effect: str
    kind: str
    interval: str
    p: str
    holm: str
    reason: str
    examples: str = numerals.DASH
    when: str = ''
    reported: str = ''


def arm_grid(result: Result, *, beside: bool = True, cost: bool = True) -> Grid:
    """A row for each arm: parameters, the numbers that are shown, seeds, steps and what they cost.

    beside: whether the twins of tests in training and validation are among the numbers. cost:
    whether epochs and FLOPs are, where they are known.
    The best mean is marked. Steps are those that were done, of the shortest and the longest seed;
    a dagger is beside those of an arm that still moved.
    """
    arms, shown = result['arms'], result['shown']
    tests = without_twins(shown)
    metrics = shown if beside else tests
    stars = {metric: best(result, metric) if metric in tests else [] for metric in metrics}
    keeps = any(known(arm.get('best_step')) for arm in arms.values())
    costs = {
        'epochs': cost and any(known(arm.get('epochs')) for arm in arms.values()),
        'FLOPs': cost and any(arm.get('flops') is not None for arm in arms.values()),
    }
    rows = []
    for name, arm in arms.items():
        cells = [Cell(name), Cell(f'{arm["parameters"]:,}')]
        for metric in metrics:
            found = arm['metrics'].get(metric)
            text = numerals.plus_minus(found['mean'], found['ci95']) if found else numerals.DASH
            cells.append(Cell(text, name in stars[metric]))
        seeds = len(next(iter(arm['metrics'].values()))['per_seed']) if arm['metrics'] else 0
        steps = span(arm.get('steps_done') or [arm['steps']])
        cells += [Cell(str(seeds)), Cell(f'{steps} {DAGGER}' if arm.get('moving') else steps)]
        cells += [Cell(span(known(arm.get('best_step'))))] if keeps else []
        cells += [Cell(numerals.epochs(arm.get('epochs')))] if costs['epochs'] else []
        cells += [Cell(numerals.flops(arm.get('flops')))] if costs['FLOPs'] else []
        rows.append([*cells, Cell(numerals.duration(arm['seconds']))])
    tail = (*(['best step'] if keeps else []), *(name for name, there in costs.items() if there))
    return Grid(('arm', 'parameters', *metrics, 'seeds', 'steps', *tail, 'time'), rows)


def cost_grid(result: Result) -> Grid:
    """A row for each arm: what one seed of it cost, and how long all of them took."""
    rows = []
    for name, arm in result['arms'].items():
        flops, steps = arm.get('flops'), arm['steps']
        cells = [name, f'{arm["parameters"]:,}', f'{steps:,}', numerals.epochs(arm.get('epochs'))]
        cells += [numerals.flops(flops / steps if flops is not None and steps else None)]
        cells += [numerals.flops(flops), str(len(arm['seeds'])), numerals.duration(arm['seconds'])]
        rows.append([Cell(text) for text in cells])
    head = ('arm', 'parameters', 'steps', 'epochs', 'FLOPs a step', 'FLOPs', 'seeds', 'time')
    return Grid(head, rows)


def counted(result: Result) -> str:
    """How many claims got which verdict, '2 supported, 1 refuted'."""
    verdicts = [answer.verdict for answer in answers(result)]
    return ', '.join(f'{verdicts.count(it)} {it}' for it in dict.fromkeys(verdicts))


def answers(result: Result) -> list[Answer]:
    """What each claim got. A result from before verdicts were corrected is read as if it were."""
    claims = corrected(result['claims'])
    several = sum(claim['p_holm'] is not None for claim in claims) > 1
    return [
        Answer(
            claim['text'],
            claim['verdict'],
            numerals.estimate(claim['effect'], claim['ci95']),
            claim.get('kind') or '',
            numerals.interval(claim['ci95']),
            numerals.p_value(claim['p']),
            numerals.p_value(claim['p_holm'] if several else None),
            claim.get('reason') or '',
            numerals.interval(claim.get('ci95_examples') or (None, None)),
            claim.get('when') or '',
            claim.get('reported') or '',
        )
        for claim in claims
    ]


def answer_grid(result: Result) -> Grid:
    """A row for each claim; the verdict is marked, and says why where that is to be said."""
    found = answers(result)
    noted, dated = any(it.reason for it in found), any(it.when for it in found)
    both = any(it.examples != numerals.DASH for it in found)
    beside = any(it.reported for it in found)
    words = ('claim', *(['reported'] if beside else []), 'verdict')
    words += (*(['when'] if dated else []), *(['note'] if noted else []))
    rows = []
    for it in found:
        named = it.kind and it.effect != numerals.DASH
        effect = f'{it.effect} ({it.kind})' if named else it.effect
        said = [Cell(it.text), *([Cell(it.reported)] if beside else []), Cell(it.verdict, True)]
        said += [Cell(it.when)] if dated else []
        said += [Cell(it.reason)] if noted else []
        intervals = [it.interval, *([it.examples] if both else [])]
        rows.append([*said, *map(Cell, (effect, *intervals, it.p, it.holm))])
    more = ('over seeds and examples',) if both else ()
    head = (*words, 'effect', '95 % interval', *more, 'p', 'p (Holm)')
    return Grid(head, rows, words=len(words))


def remarks(result: Result) -> list[str]:
    """What a reader of the table must know, of the run and of each arm."""
    return [
        *result.get('notes', []),
        *(
            f'{name}: {note}'
            for name, arm in result['arms'].items()
            for note in arm.get('notes', [])
        ),
    ]


def still_moved(result: Result) -> list[str]:
    """What still moved in the last fifth of each arm, and of which arms that is not known."""
    arms = result['arms'].items()
    told = [
        f'{DAGGER} {name}: {", ".join(arm["moving"])}' for name, arm in arms if arm.get('moving')
    ]
    unknown = [
        name for name, arm in arms if 'moving' in arm and arm['moving'] is None and arm['steps']
    ]
    if unknown:
        told.append(
            f'whether it still moved at the end cannot be told of {", ".join(unknown)} (two seeds '
            'and three looks are needed)'
        )
    return told


def best(result: Result, metric: str) -> list[str]:
    """The arms whose mean is the best of several that differ, where it is said what is better.

    Training metrics have no best: they are of data that the networks have seen.
    """
    means = {
        name: arm['metrics'][metric]['mean']
        for name, arm in result['arms'].items()
        if metric in arm['metrics'] and arm['metrics'][metric]['mean'] is not None
    }
    if metric not in result['better'] or is_training(metric) or len(set(means.values())) < 2:
        return []
    top = (min if result['better'][metric] == 'lower' else max)(means.values())
    return [name for name, mean in means.items() if mean == top]


def without_twins(shown: Sequence[str]) -> list[str]:
    """The numbers of tests among those that are shown; all where there are none."""
    twins = {twin(name, shown, split) for name in shown for split in ('train', 'valid')}
    tests = [name for name in shown if name not in twins and not is_training(name)]
    return tests or list(shown)


def known(steps: Sequence[float | None] | None) -> list[float]:
    """The numbers of a list that are known."""
    return [step for step in steps or [] if step is not None]


def span(numbers: Sequence[float]) -> str:
    """The least and the most of some whole numbers, ``40–1,200``, or the one that all are."""
    if not numbers:
        return numerals.DASH
    low, high = min(numbers), max(numbers)
    return f'{low:,.0f}' if low == high else f'{low:,.0f}{numerals.DASH}{high:,.0f}'
