"""ETT: hourly temperature and load of an electricity transformer (Zhou et al. 2021, Informer)."""

import numpy as np

from jaxdl.data import table
from jaxdl.data.card import Card
from jaxdl.data.public import Download, PublicSet, locate
from jaxdl.data.series import Series, series
from jaxdl.data.table import Table, from_arrays
from jaxdl.errors import UsageError, nearest

CARD = Card(
    'ett',
    'https://github.com/zhouhaoyi/ETDataset',
    licence='CC BY-ND 4.0',
    citation='Zhou et al. 2021 (Informer)',
    about='Load and oil temperature of an electricity transformer, station 1, hourly (ETTh1).',
)
FEATURES = ('HUFL', 'HULL', 'MUFL', 'MULL', 'LUFL', 'LULL', 'OT')  # OT: oil temperature, the target
# 12, 4 and 4 months of 30 days, as in the Informer code; what follows is not used there.
BOUNDS = {'train': (0, 8640), 'valid': (8640, 11520), 'test': (11520, 14400), 'all': (0, 17420)}


def ett(split: str = 'train') -> Table:
    """ETTh1: x float32 [7] (see FEATURES), one row an hour, and `date`; in the order of time."""
    if split not in BOUNDS:
        raise UsageError(f'ett: there is no split {split!r}{nearest(split, BOUNDS)}')
    types = {'date': str, **dict.fromkeys(FEATURES, float)}
    read = table.csv(locate('ett', 'ETTh1.csv'), columns=types).arrays
    x = np.stack([read[name] for name in FEATURES], axis=1).astype(np.float32)
    columns = {'x': x, 'date': read['date']}
    return from_arrays(columns, name=f'ett {split}', card=CARD).take(slice(*BOUNDS[split]))


def ett_series() -> Series:
    """ETTh1 as a series, with the parts of the Informer's code (Zhou et al. 2021), not yet scaled.

    Windows of 96 hours and 24: 8,521, 2,857 and 2,857.
    """
    parts = {part: bounds for part, bounds in BOUNDS.items() if part != 'all'}
    return series(ett('all').column('x'), parts=parts, names=FEATURES, name='ett')


SET = PublicSet(
    name='ett',
    about='electricity transformer temperature, hourly, station 1 (forecasting)',
    source=CARD.source,
    licence=CARD.licence,
    files={
        'ETTh1.csv': Download(
            'https://raw.githubusercontent.com/zhouhaoyi/ETDataset/'
            '1d16c8f4f943005d613b5bc962e9eeb06058cf07/ETT-small/ETTh1.csv',
            'f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066',
        )
    },
    splits={name: end - start for name, (start, end) in BOUNDS.items()},
    load=ett,
)
