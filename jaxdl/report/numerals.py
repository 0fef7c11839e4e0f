"""Numbers as a person reads them: as many digits as their uncertainty leaves."""

import math
import re
from collections.abc import Sequence

DASH = '\N{EN DASH}'
MINUS = '\N{MINUS SIGN}'

Number = float | None  # None and NaN are written as a dash


def plus_minus(mean: Number, ci95: Sequence[Number]) -> str:
    """A mean with half its interval, ``0.9862 ± 0.0014``; the mean alone where there is none."""
    half = half_width(ci95)
    if half is None:
        return number(mean)
    digits = decimals(half)
    return f'{number(mean, digits)} ± {half:.{digits}f}' if half else number(mean)


def interval(ci95: Sequence[Number]) -> str:
    """An interval with signs that can be seen, ``[−0.0012, 0.0031]``."""
    half = half_width(ci95)
    if half is None:
        return DASH
    digits = decimals(half) if half else None
    return f'[{number(ci95[0], digits)}, {number(ci95[1], digits)}]'


def estimate(value: Number, ci95: Sequence[Number]) -> str:
    """A number with as many decimals as its interval is written with."""
    half = half_width(ci95)
    return number(value, decimals(half) if half else None)


def number(value: Number, digits: int | None = None) -> str:
    """A number with `digits` decimals, or with four significant digits."""
    if value is None or math.isnan(value):
        return DASH
    if digits is None:
        text = f'{value:.4g}' if abs(value) < 1e4 else f'{value:,.0f}'
    else:
        text = f'{value:,.{digits}f}'
    # A difference of rounding is not to be read as a negative one.
    if not any(digit in text for digit in '123456789'):
        text = text.removeprefix('-')
    return text.replace('-', MINUS)


def p_value(p: Number) -> str:
    """A p-value with two significant digits, ``0.031``, or ``< 0.0001``."""
    if p is None or math.isnan(p):
        return DASH
    return '< 0.0001' if p < 1e-4 else f'{p:.2g}'


def duration(seconds: Number) -> str:
    """A time in the unit that suits it, ``84 s``, ``12 min``, ``3.4 h``."""
    if seconds is None or math.isnan(seconds):
        return DASH
    if seconds < 120:
        return f'{seconds:.0f} s' if seconds >= 10 else f'{seconds:.1f} s'
    return f'{seconds / 60:.0f} min' if seconds < 7200 else f'{seconds / 3600:.1f} h'


def flops(count: Number) -> str:
    """Floating-point operations in the unit that suits them, ``840 MFLOP``, ``1.2 TFLOP``."""
    if count is None or math.isnan(count):
        return DASH
    power = min(max(math.floor(math.log10(count)) // 3, 0), 7) if count > 0 else 0
    return f'{float(f"{count / 1000**power:.2g}"):g} {("", *"kMGTPEZ")[power]}FLOP'


def epochs(counts: Sequence[Number] | None) -> str:
    """Passes over the rows of training, phase by phase, ``2.1 + 40``."""
    if not counts or all(count is None for count in counts):
        return DASH
    return ' + '.join(DASH if count is None else f'{float(f"{count:.3g}"):,g}' for count in counts)


def commit(name: str | None) -> str:
    """A commit by its first ten digits, and what follows them: ``0123456789-dirty``."""
    return re.sub(r'\b([0-9a-f]{10})[0-9a-f]+', r'\1', name or DASH)


def half_width(ci95: Sequence[Number]) -> float | None:
    """Half the length of an interval, None where there is no interval."""
    low, high = ci95
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return None
    return (high - low) / 2


def decimals(half: float) -> int:
    """The decimals that show two significant digits of an uncertainty, at most six."""
    return min(6, max(0, 1 - math.floor(math.log10(half)))) if half > 0 else 4
