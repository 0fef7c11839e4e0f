"""Derived numbers of an arm: from the lines of its metrics.jsonl, one lot of seeds at a time."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxdl.derived import Derived, area, first_time

Event = Mapping[str, Any]  # a line of metrics.jsonl


class Times(NamedTuple):
    """When each seed of some reached a value: first [seeds], infinite where it never did.

    length: of the run [seeds], which is what counts for those.
    """

    first: np.ndarray
    length: np.ndarray


class _Looks(NamedTuple):
    """A metric of one phase at each look: steps and seconds [t] of the run, values [t, seeds]."""

    steps: np.ndarray
    seconds: np.ndarray
    values: np.ndarray


def phase_of(metric: str, phases: Sequence[Mapping[str, Any]]) -> tuple[int, str]:
    """The index of the phase that a number is of, and what the lines of that phase call it."""
    for index, phase in enumerate(phases[:-1]):
        if metric.startswith(f'{phase["name"]}/'):
            return index, metric.removeprefix(f'{phase["name"]}/')
    return len(phases) - 1, metric


def area_of(
    made: Derived, events: Sequence[Event], phases: Sequence[Mapping[str, Any]]
) -> np.ndarray | None:
    """The area under the curve of each seed of a lot, [seeds]; None where it has no such curve."""
    index, name = phase_of(made.metric, phases)
    looks = _looks(events, index, name)
    if looks is None:
        return None
    end = sum(phase['steps'] for phase in phases[: index + 1])
    return area(looks.steps, looks.values, end=end)


def times_of(
    made: Derived, events: Sequence[Event], phases: Sequence[Mapping[str, Any]]
) -> Times | None:
    """When each seed of a lot reached a value; None where it has no such curve.

    The length in steps is the planned one, whether or not a seed stopped early: it never got there.
    That in seconds is the time of the last look, of all seeds together.
    """
    index, name = phase_of(made.metric, phases)
    looks = _looks(events, index, name)
    if looks is None:
        return None
    steps = made.kind == 'steps'
    end = sum(phase['steps'] for phase in phases[: index + 1]) if steps else looks.seconds[-1]
    times = looks.steps if steps else looks.seconds
    first = first_time(times, looks.values, bound=made.bound, above=made.above)
    return Times(first, np.full(len(first), float(end)))


def _looks(events: Sequence[Event], phase: int, name: str) -> _Looks | None:
    """A metric of a phase, as lines have it; null was not a finite number."""
    found = [it for it in events if it['phase'] == phase and name in it['metrics']]
    if not found:
        return None
    values = [[np.nan if x is None else x for x in it['metrics'][name]] for it in found]
    steps, seconds = (np.array([it[of] for it in found], np.float64) for of in ('step', 'seconds'))
    return _Looks(steps, seconds, np.array(values, np.float64))
