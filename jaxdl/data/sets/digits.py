"""Data that needs no download: it comes with the libraries."""

import numpy as np

from jaxdl.data.table import Table, from_arrays


def digits() -> Table:
    """The 1,797 handwritten digits of scikit-learn: x uint8 [8, 8, 1] with values 0..16, y int32.

    The test set of "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak 1998, UCI
    Machine Learning Repository, CC BY 4.0), 13 writers.
    """
    from sklearn.datasets import load_digits

    raw = load_digits()
    columns = {
        'x': raw.images[..., None].astype(np.uint8),
        'y': raw.target.astype(np.int32),
    }
    return from_arrays(columns, name='digits', classes={'y': [str(n) for n in raw.target_names]})
