"""Data that needs no download: it comes with the libraries."""

import numpy as np

from jaxdl.data.card import Card
from jaxdl.data.table import Table, from_arrays

CARD = Card(
    'digits',
    'scikit-learn, load_digits; https://archive.ics.uci.edu/dataset/80',
    licence='CC BY 4.0',
    citation='Alpaydin and Kaynak 1998, UCI Machine Learning Repository',
    about='The test set of Optical Recognition of Handwritten Digits: 1,797 images of 8x8 pixels '
    'by 13 writers.',
)


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
    classes = {'y': [str(n) for n in raw.target_names]}
    return from_arrays(columns, name='digits', classes=classes, card=CARD)
