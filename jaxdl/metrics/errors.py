"""Errors of estimates that do not add as they are."""

import math

from jaxdl.metrics.base import Mean


class RootMean(Mean):
    """The root of a weighted mean, as of squared errors (RMSE): the squares add, their root not."""

    def value(self) -> float:
        """sqrt(total / weight), on the host."""
        mean = super().value()
        return math.sqrt(mean) if mean >= 0 else math.nan
