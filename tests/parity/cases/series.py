"""Forecasters, and a network of videos."""

from typing import Any

from golden import Case, Exactly

RECURRENT = {'future': 3, 'features': 2, 'units': 4, 'layers': 2}
ATTENTION = {'future': 3, 'features': 2, 'width': 12, 'depth': 2, 'heads': 3, 'mlp': 20}
VIDEO = {'classes': 3, 'rows': 8, 'columns': 12, 'features': 6, 'width': 7, 'units': 5}
TOLERANCE = 1e-5


def clips(lengths: tuple[int, ...], rows: int, columns: int) -> Any:
    """Videos of one channel, and how many frames of each count."""
    return (len(lengths), max(lengths), rows, columns, 1), Exactly(lengths)


CASES = [
    # An average that is wider than the series is mostly of its ends.
    *(
        Case(
            *('dlinear', 'torch', ((3, 12, 2),)),
            {'past': 12, 'future': 4, 'average': average},
            TOLERANCE,
            train=True,
            again=((1, 12, 5),),
        )
        for average in (5, 25)
    ),
    Case(
        *('nlinear', 'torch', ((3, 12, 2),), {'past': 12, 'future': 4}, TOLERANCE),
        train=True,
        again=((1, 12, 5),),
    ),
    *(
        Case(
            *(f'{kind}_forecaster', 'torch', ((3, 7, 2),), RECURRENT, TOLERANCE),
            train=True,
            again=((1, 11, 2),),
        )
        for kind in ('lstm', 'gru')
    ),
    Case(
        *('transformer_forecaster', 'torch', ((3, 7, 2),), ATTENTION, 2e-5),
        train=True,
        again=((1, 11, 2),),
    ),
    Case(
        *('frame_lstm', 'torch', clips((5, 2, 4), 8, 12), VIDEO, TOLERANCE),
        train=True,
        again=clips((1, 6), 8, 12),
    ),
    Case('dlinear', 'torch', ((2, 336, 7),), {}, TOLERANCE, full=True),
    Case('nlinear', 'torch', ((2, 336, 7),), {}, TOLERANCE, full=True),
    *(
        Case(f'{kind}_forecaster', 'torch', ((2, 96, 7),), {}, TOLERANCE, full=True)
        for kind in ('lstm', 'gru')
    ),
    Case('transformer_forecaster', 'torch', ((2, 96, 7),), {}, 2e-5, full=True),
    Case('frame_lstm', 'torch', clips((8, 3), 16, 16), {}, TOLERANCE, full=True),
]
