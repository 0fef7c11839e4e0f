"""Statistics: the interval of a median, against the binomial by hand and by simulation."""

import numpy as np

from jaxdl.statistics import median_ci


def test_the_interval_of_a_median_is_made_of_the_values():
    # Of nine, the second from either end: P(Binomial(9, 1/2) <= 1) = 10 / 512 = 0.0195 a side.
    median, interval = median_ci([9, 1, 8, 2, 7, 3, 6, 4, 5])
    assert median == 5 and interval == (2, 8)
    # Of fifteen the fourth: P(<= 3) = 0.0176, P(<= 4) = 0.0592.
    assert median_ci(np.arange(15))[1] == (3, 11)
    assert median_ci(range(6))[1] == (0, 5)  # P(0) = 1 / 64
    for few in ([], [1.0], range(5)):
        assert np.isnan(median_ci(few)[1]).all()


def test_it_covers_the_median_of_what_is_skewed():
    rng = np.random.default_rng(0)
    draws = rng.exponential(size=(2000, 15))
    intervals = np.array([median_ci(row)[1] for row in draws])
    covered = (intervals[:, 0] <= np.log(2)) & (np.log(2) <= intervals[:, 1])
    assert 0.95 < covered.mean() < 0.98  # it is 0.965
