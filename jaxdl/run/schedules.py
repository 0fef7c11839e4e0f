"""Schedules of optax in words, read from the functions they are."""

from collections.abc import Callable, Mapping
from typing import Any

from jaxdl.run.closures import closed_over, custom, in_words, number, origin


def schedule_in_words(schedule: Any) -> str:
    """A schedule of optax, or a number: '0.003 falling to 0 along a cosine over 1,500 steps'."""
    if not callable(schedule):
        return in_words(schedule)
    schedule = getattr(schedule, 'schedule_fn', schedule)  # of inject_hyperparams
    told = SCHEDULES.get(origin(schedule))
    try:
        return told(closed_over(schedule)) if told else custom(schedule)
    except Exception:  # as above
        return custom(schedule)


def _way(start: Any, end: Any, how: str) -> str:
    if float(start) == float(end):
        return number(start)
    return f'{number(start)} {"falling" if end < start else "rising"} to {number(end)} {how}'


def _polynomial(values: Mapping[str, Any]) -> str:
    if 'end_value' not in values:  # of no steps at all
        return number(values['init_value'])
    power, begin = values['power'], values['transition_begin']
    how = 'in a line' if power == 1 else f'as a power of {number(power)}'
    how += f' over {number(values["transition_steps"])} steps'
    how += f' from step {number(begin)} on' if begin else ''
    return _way(values['init_value'], values['end_value'], how)


def _cosine(values: Mapping[str, Any]) -> str:
    power, start = values['exponent'], values['init_value']
    how = 'along a cosine' + (f' to the power of {number(power)}' if power != 1 else '')
    how += f' over {number(values["decay_steps"])} steps'
    return _way(start, start * values['alpha'], how)


def _stairs(values: Mapping[str, Any]) -> str:
    steps = sorted((values.get('boundaries_and_scales') or {}).items())
    each = ' and '.join(f'times {number(by)} from step {number(at)}' for at, by in steps)
    return f'{number(values["init_value"])}{", " if each else ""}{each}'


def _exponential(values: Mapping[str, Any]) -> str:
    if 'decay_rate' not in values:
        return number(values['init_value'])
    every = f'{number(values["transition_steps"])} steps'
    how = f'times {number(values["decay_rate"])} every {every}'
    how += ' in stairs' if values['staircase'] else ''
    begin, end = values['transition_begin'], values.get('end_value')
    how += f' from step {number(begin)} on' if begin else ''
    how += f', to {number(end)} at most' if end is not None else ''
    return f'{number(values["init_value"])}, {how}'


def _interpolated(values: Mapping[str, Any]) -> str:
    value = values['init_value']
    words = number(value)
    for at, by in zip(values['boundaries'], values['scales'], strict=True):
        value = value * by
        words += f', to {number(value)} at step {number(at)}'
    how = 'along a cosine' if 'cosine' in origin(values['interpolate_fn']) else 'in a line'
    return f'{words}, {how}'


def _joined(values: Mapping[str, Any]) -> str:
    return ', then '.join(map(schedule_in_words, values['schedules']))


def _constant(values: Mapping[str, Any]) -> str:
    return number(values['value'])


SCHEDULES: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    'constant_schedule': _constant,
    'polynomial_schedule': _polynomial,
    'cosine_decay_schedule': _cosine,
    'piecewise_constant_schedule': _stairs,
    'exponential_decay': _exponential,
    'piecewise_interpolate_schedule': _interpolated,
    'join_schedules': _joined,
}
