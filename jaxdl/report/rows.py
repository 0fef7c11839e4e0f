"""The rows of a result, for everything that prints it: terminal, pages and the record."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxdl.claims import holm
from jaxdl.report import numerals

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
    """What a claim got, in words. reason: why it could not be judged, or what its reader misses."""

    text: str
    verdict: str
    effect: str
    kind: str
    interval: str
    p: str
    holm: str
    reason: str


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
    """What each claim got."""
    return [
        Answer(
            claim['text'],
            claim['verdict'],
            numerals.estimate(claim['effect'], claim['ci95']),
            claim.get('kind') or '',
            numerals.interval(claim['ci95']),
            numerals.p_value(claim['p']),
            numerals.p_value(adjusted),
            claim.get('reason') or '',
        )
        for claim, adjusted in zip(result['claims'], holm_adjusted(result), strict=True)
    ]


def answer_grid(result: Result) -> Grid:
    """A row for each claim; the verdict is marked, and says why where that is to be said."""
    found = answers(result)
    noted = any(it.reason for it in found)
    words = ('claim', 'verdict', *(['note'] if noted else []))
    rows = []
    for it in found:
        named = it.kind and it.effect != numerals.DASH
        effect = f'{it.effect} ({it.kind})' if named else it.effect
        said = [Cell(it.text), Cell(it.verdict, True), *([Cell(it.reason)] if noted else [])]
        rows.append([*said, *map(Cell, (effect, it.interval, it.p, it.holm))])
    return Grid((*words, 'effect', '95 % interval', 'p', 'p (Holm)'), rows, words=len(words))


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


def holm_adjusted(result: Result) -> list[float | None]:
    """The p-value of each claim adjusted for their number; None where one stands alone."""
    ps = [np.nan if claim['p'] is None else claim['p'] for claim in result['claims']]
    if np.isfinite(ps).sum() < 2:
        return [None] * len(ps)
    return [None if np.isnan(p) else p for p in holm(ps)]


def is_training(metric: str) -> bool:
    """Whether a number was measured in training, 'train/loss' or 'pretrain/train/loss'."""
    split, *rest = metric.split('/')
    return split == 'train' or (len(rest) > 1 and rest[0] == 'train')


def twin(metric: str, names: Sequence[str]) -> str | None:
    """The training metric of the same name as a test's, where it is one of `names`."""
    parts = metric.split('/')
    for i in range(min(2, len(parts) - 1)):
        other = '/'.join([*parts[:i], 'train', *parts[i + 1 :]])
        if parts[i] not in ('train', 'valid') and other in names:
            return other
    return None


def known(steps: Sequence[float | None] | None) -> list[float]:
    """The numbers of a list that are known."""
    return [step for step in steps or [] if step is not None]


def span(numbers: Sequence[float]) -> str:
    """The least and the most of some whole numbers, ``40–1,200``, or the one that all are."""
    if not numbers:
        return numerals.DASH
    low, high = min(numbers), max(numbers)
    return f'{low:,.0f}' if low == high else f'{low:,.0f}{numerals.DASH}{high:,.0f}'
