"""Intervals, tests and corrections: what the verdicts of claims are made of.

Everything is two-sided at 95 %. Where the values have no variance nothing can be tested: there is
no interval and no p-value, instead of one of width 0 and a p-value of 0 or 1.
"""

import math
from collections.abc import Sequence

import numpy as np

Interval = tuple[float, float]
NAN = float('nan')
NONE: Interval = (NAN, NAN)

LEVEL = 0.05  # of every test here
DRAWS = 2000  # of a bootstrap
_NUMBERS = 2**18  # of a bootstrap that are in memory together, and in the cache


def mean_ci(values: Sequence[float] | np.ndarray) -> tuple[float, Interval]:
    """The mean of values [seeds], and its 95 % t interval.

    No interval (NaN) for one value, for values that are all equal, and for any that is not finite.
    """
    values = np.asarray(values, np.float64)
    interval, _ = t_test(values, 0.0, near=rounding(values))
    return (float(values.mean()) if values.size else NAN), interval


def median_ci(values: Sequence[float] | np.ndarray) -> tuple[float, Interval]:
    """The median of values [n], and its 95 % interval, whatever they are distributed as.

    Two of the values themselves, as many from either end (Conover 1999, section 3.2): their chance
    to lie on both sides of the median is 95 % or more. No interval (NaN) for fewer than six.
    """
    from scipy import stats

    ordered = np.sort(np.asarray(values, np.float64))
    n = ordered.size
    if not n:
        return NAN, NONE
    beyond = int(stats.binom.ppf(LEVEL / 2, n, 0.5))  # so many below it are no rarer than that
    interval = NONE if beyond < 1 else (float(ordered[beyond - 1]), float(ordered[n - beyond]))
    return float(np.median(ordered)), interval


def t_test(values: np.ndarray, bound: float, *, near: float) -> tuple[Interval, float]:
    """The 95 % t interval of the mean of values [seeds], and the p-value of its being `bound`.

    All NaN where there is nothing to test: fewer than two values, one that is not finite, or values
    that are equal up to `near`.
    """
    from scipy import special

    n = values.size
    if n < 2 or not np.isfinite(values).all() or no_variance(values, near=near):
        return NONE, NAN
    mean, error = float(values.mean()), float(values.std(ddof=1)) / math.sqrt(n)
    half = float(special.stdtrit(n - 1, 1 - LEVEL / 2)) * error
    p = 2 * float(special.stdtr(n - 1, -abs(mean - bound) / error))
    return (mean - half, mean + half), p


def no_variance(values: np.ndarray, *, near: float) -> bool:
    """Whether two or more finite values are equal up to `near`."""
    return bool(values.size > 1 and np.isfinite(values).all() and np.ptp(values) <= near)


def rounding(*values: np.ndarray | float) -> float:
    """How far two results of the same arithmetic on numbers of this size may lie apart."""
    sizes = np.abs(np.concatenate([np.atleast_1d(np.float64(value)) for value in values]))
    return 64 * float(np.finfo(np.float64).eps) * float(sizes[np.isfinite(sizes)].max(initial=0))


def share_ci(k: int, n: int) -> Interval:
    """The exact 95 % interval of a share seen as k of n (Clopper and Pearson 1934)."""
    from scipy import special

    if not n:
        return NONE
    low = float(special.betaincinv(k, n - k + 1, LEVEL / 2)) if k else 0.0
    high = float(special.betaincinv(k + 1, n - k, 1 - LEVEL / 2)) if k < n else 1.0
    return low, high


def share_p(k: int, n: int, share: float) -> float:
    """The p-value of the exact binomial test of a share seen as k of n.

    Twice the smaller tail, which belongs to the interval of Clopper and Pearson: that one excludes
    the share exactly when p < 0.05.
    """
    from scipy import special

    if not n:
        return NAN
    below = float(special.bdtr(k, n, share))
    above = float(special.bdtrc(k - 1, n, share)) if k else 1.0
    return min(1.0, 2 * min(below, above))


def seeds_to_show(share: float) -> int | None:
    """How many seeds, if every one reaches it, show that a share of all seeds does.

    17 for 0.8. None for a share of 1, which no number of seeds can show.
    """
    return math.ceil(math.log(LEVEL / 2) / math.log(share)) if share < 1 else None


def holm(ps: Sequence[float]) -> list[float]:
    """p-values adjusted for how many there are (Holm 1979). NaN stays NaN and does not count."""
    adjusted = [NAN] * len(ps)
    order = sorted((i for i, p in enumerate(ps) if np.isfinite(p)), key=lambda i: ps[i])
    highest = 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * ps[i]))
        adjusted[i] = highest
    return adjusted


def crossed_interval(
    terms: Sequence[tuple[float, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    """The 95 % interval of a sum of means over seeds and examples, both of them drawn anew.

    terms: (factor, values [..., seeds, n]) each; NaN is a value that is missing, and the mean of a
        seed is over those that it has. All have the same seeds and the same examples.

    Returns the ends, [...] each. The crossed ("pigeonhole") bootstrap of Owen 2007: seeds and
    examples are resampled independently, the same ones in every term; the interval is Efron's
    percentile interval of 2,000 draws, always the same ones.

    How often it covers the truth, by simulation (tests/test_verdicts_simulated.py): 95 % where the
    variance between examples is the greatest, and nearly always where only what is left of seeds
    and examples varies. Where the variance between seeds rules it covers too seldom, as bootstraps
    of few values do: 85 % with 5 seeds, 91 % with 10. The interval over seeds is the one to go by
    there, and it is what verdicts go by.
    """
    of_examples, of_seeds = (np.random.default_rng((0, stream)) for stream in (0, 1))
    *_, seeds, n = shape = terms[0][1].shape
    known = [np.isfinite(values) for _, values in terms]
    filled = [np.nan_to_num(values.astype(np.float64), nan=0.0) for _, values in terms]
    found, at_once = [], max(1, _NUMBERS // max(n, math.prod(shape[:-1])))
    for start in range(0, DRAWS, at_once):
        count = min(at_once, DRAWS - start)
        examples, drawn = _weights(of_examples, count, n), _weights(of_seeds, count, seeds)
        total = np.zeros((*shape[:-1], count))
        with np.errstate(invalid='ignore'):  # a draw without a known example has no mean
            for (factor, _), there, values in zip(terms, known, filled, strict=True):
                size = n if there.all() else there.astype(np.float64) @ examples.T
                total += factor * (values @ examples.T) / size
        found.append((drawn.T * total).mean(-2))
    low, high = np.quantile(np.concatenate(found, -1), (LEVEL / 2, 1 - LEVEL / 2), axis=-1)
    return low, high


def _weights(rng: np.random.Generator, count: int, n: int) -> np.ndarray:
    """How often each of n things is drawn in n draws from them, [count, n]."""
    drawn = rng.integers(0, n, (count, n), np.int32) + n * np.arange(count)[:, None]
    return np.bincount(drawn.ravel(), minlength=count * n).reshape(count, n).astype(np.float64)
