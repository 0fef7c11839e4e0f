"""The rows of a result, for everything that prints it: terminal, pages and the record."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxdl.derived import is_training
from jaxdl.report import numerals
from jaxdl.report.verdicts import corrected

Result = Mapping[str, Any]  # what result.json holds


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


def arm_grid(result: Result, *, training: bool = True) -> Grid:
    """A row for each arm: parameters, the numbers that are shown, seeds, steps and time.

    training: whether the twins of tests in training are among them.
    The best mean is marked. Steps are those that were done, of the shortest and the longest seed.
    """
    arms, shown = result['arms'], result['shown']
    tests = [metric for metric in shown if not is_training(metric)]
    metrics = shown if training or not tests else tests
    stars = {metric: best(result, metric) for metric in metrics}
    keeps = any(known(arm.get('best_step')) for arm in arms.values())
    rows = []
    for name, arm in arms.items():
        cells = [Cell(name), Cell(f'{arm["parameters"]:,}')]
        for metric in metrics:
            found = arm['metrics'].get(metric)
            text = numerals.plus_minus(found['mean'], found['ci95']) if found else numerals.DASH
            cells.append(Cell(text, name in stars[metric]))
        seeds = len(next(iter(arm['metrics'].values()))['per_seed']) if arm['metrics'] else 0
        cells += [Cell(str(seeds)), Cell(span(arm.get('steps_done') or [arm['steps']]))]
        cells += [Cell(span(known(arm.get('best_step'))))] if keeps else []
        rows.append([*cells, Cell(numerals.duration(arm['seconds']))])
    tail = ('best step',) if keeps else ()
    return Grid(('arm', 'parameters', *metrics, 'seeds', 'steps', *tail, 'time'), rows)


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
        )
        for claim in claims
    ]


def answer_grid(result: Result) -> Grid:
    """A row for each claim; the verdict is marked, and says why where that is to be said."""
    found = answers(result)
    noted = any(it.reason for it in found)
    both = any(it.examples != numerals.DASH for it in found)
    words = ('claim', 'verdict', *(['note'] if noted else []))
    rows = []
    for it in found:
        named = it.kind and it.effect != numerals.DASH
        effect = f'{it.effect} ({it.kind})' if named else it.effect
        said = [Cell(it.text), Cell(it.verdict, True), *([Cell(it.reason)] if noted else [])]
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


def known(steps: Sequence[float | None] | None) -> list[float]:
    """The numbers of a list that are known."""
    return [step for step in steps or [] if step is not None]


def span(numbers: Sequence[float]) -> str:
    """The least and the most of some whole numbers, ``40–1,200``, or the one that all are."""
    if not numbers:
        return numerals.DASH
    low, high = min(numbers), max(numbers)
    return f'{low:,.0f}' if low == high else f'{low:,.0f}{numerals.DASH}{high:,.0f}'
