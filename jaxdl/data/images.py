"""Images made ready once, on the host: functions for `Table.map`."""

import numpy as np

from jaxdl.data.rows import ColumnFunction
from jaxdl.errors import UsageError


def shrunk(factor: int) -> ColumnFunction:
    """Images [k, H, W, C] at 1/factor of their height and width: means of squares, rounded.

    Rows and columns beyond a multiple of `factor` are cut off.
    """

    def function(images: np.ndarray) -> np.ndarray:
        k, high, wide, channels = images.shape
        rows, columns = high // factor, wide // factor
        if not rows or not columns:
            raise UsageError(f'shrunk: images of {high}x{wide} cannot be {factor} times smaller')
        inner = images[:, : rows * factor, : columns * factor]
        mean = inner.reshape(k, rows, factor, columns, factor, channels).mean((2, 4))
        return np.round(mean).astype(images.dtype) if images.dtype.kind in 'iu' else mean

    return function
