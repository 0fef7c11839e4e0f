"""Whether an arm was trained: did its loss and its validation numbers still move at the end?

The rule, for each curve of the last phase. Over its last fifth every seed has a change: the slope
of a least-squares line through the looks there, times the length of that fifth. The look at four
fifths is one of them; where there is none, the last look before it. The curve still moves where the
95 % t interval of the mean change over seeds excludes zero, and where that mean is more than 2 % of
the curve's whole way, from its first look to its last. One seed, or fewer than three looks, cannot
tell.
"""

from collections.abc import Collection, Mapping

import numpy as np

from jaxdl.derived import is_training
from jaxdl.metrics import Better
from jaxdl.report.finished import Arm, Curve
from jaxdl.report.numerals import number
from jaxdl.statistics import mean_ci, no_variance, rounding

LEAST = 0.02  # of its whole way: what is less is no movement to speak of
RULE = (
    'Over the last fifth of the steps the change of each seed (the slope of a line through the '
    'looks there) has a mean whose 95 % interval excludes zero, and which is more than 2 % of the '
    'whole way of the curve.'
)


def still_moving(arm: Arm, judged: Collection[str] = ()) -> list[str] | None:
    """What of an arm still moved in its last fifth: 'train/loss falls (−0.012, 5 % of its way)'.

    Looked at are its training losses and the numbers of its validation split that say which values
    are better; where there is no such split, the `judged` numbers of its tests.
    None where no curve can tell.
    """
    begin = max(arm.ends.values(), default=0)
    found = [
        _moves(name, arm.curves[name], begin=begin)
        for name in _watched(arm.curves, arm.better, judged)
    ]
    known = [said for said in found if said is not None]
    return [said for said in known if said] if known else None


def _watched(
    curves: Mapping[str, Curve], better: Mapping[str, Better], judged: Collection[str]
) -> list[str]:
    """The curves that tell whether an arm was trained."""
    losses = [name for name in curves if is_training(name) and name.split('/')[-1] == 'loss']
    valid = [name for name in curves if name.startswith('valid/') and name in better]
    tests = [name for name in curves if name in judged and not is_training(name)]
    return losses + (valid or tests)


def _moves(name: str, curve: Curve, *, begin: int) -> str | None:
    """How a curve still moves, in words; '' where it does not, None where that cannot be told.

    begin: the step at which the last phase began.
    """
    there = curve.steps > begin
    steps, values = curve.steps[there] - begin, curve.values[there]
    if len(steps) < 3 or values.shape[1] < 2:
        return None
    changes = change_at_the_end(steps, values)
    mean, (low, high) = mean_ci(changes)
    if no_variance(changes, near=rounding(values)):  # no test is needed to see it
        low = high = mean
    way = abs(float((values[-1] - values[0]).mean()))
    if not np.isfinite([low, way]).all():
        return None
    if low <= 0 <= high or not abs(mean) > LEAST * way:
        return ''
    part = f'{100 * abs(mean) / way:.0f} % of its way' if way else 'more than its whole way'
    sign = '' if mean < 0 else '+'
    return f'{name} {"falls" if mean < 0 else "rises"} ({sign}{number(mean)}, {part})'


def change_at_the_end(steps: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The change of each seed over the last fifth, [seeds]; NaN of a seed with a value that is.

    steps: [t], rising, from the beginning of the phase. values: [t, seeds].
    """
    end = float(steps[-1])
    first = int(np.searchsorted(5 * steps, 4 * end, side='right')) - 1
    first = min(max(first, 0), len(steps) - 2)  # a line needs two points
    x = steps[first:] - steps[first:].mean()
    return np.asarray((x[:, None] * values[first:]).sum(0) / (x**2).sum() * end / 5)
