"""SST-2: sentences of film reviews, negative or positive (Socher et al. 2013; Wang et al. 2019).

GLUE, and so TFDS, hides the labels of the test sentences; they are in a file of their own here.
"""

import numpy as np

from jaxdl.data.public import Download, PublicSet, card_of, locate
from jaxdl.data.table import Table, from_arrays
from jaxdl.data.tfds import tfds
from jaxdl.errors import JaxdlError, UsageError, nearest

NAMES = ('negative', 'positive')
SPLITS = {'train': 'train', 'valid': 'validation'}


def sst2(split: str = 'train') -> Table:
    """Columns `text`, of which words and signs are parted by blanks, and y: 0 negative, 1 positive.

    67,349 phrases to train on, 872 sentences ('valid') and 1,821 ('test').
    """
    if split == 'test':
        return _labelled_test(split)
    if split not in SPLITS:
        raise UsageError(f'sst2: there is no split {split!r}{nearest(split, [*SPLITS, "test"])}')
    table = tfds('glue/sst2', SPLITS[split], columns={'text': 'sentence', 'y': 'label'})
    return table.map({'text': _stripped})


def _stripped(texts: np.ndarray) -> np.ndarray:
    return np.array([text.strip() for text in texts], object)


def _labelled_test(split: str) -> Table:
    if split != 'test':
        raise UsageError(
            f'sst2_labeled_test: there is no split {split!r}{nearest(split, ["test"])}'
        )
    path = locate(SET.name, 'test-labeled.tsv')
    # Quotation marks are text here, so it is no file for `csv`.
    head, *lines = path.read_bytes().decode().splitlines()
    rows = [line.rsplit('\t', 1) for line in lines]
    if head.split('\t') != ['sentence', 'label'] or {row[-1] for row in rows} - {'0', '1'}:
        raise JaxdlError(f'{path} is damaged: its lines are a sentence, a tab, and 0 or 1')
    texts, labels = zip(*rows, strict=True)
    columns = {'text': [text.strip() for text in texts], 'y': [int(label) for label in labels]}
    return from_arrays(columns, name='sst2 test', classes={'y': NAMES}, card=card_of(SET))


SET = PublicSet(
    name='sst2_labeled_test',
    about='the test sentences of SST-2 with their labels (sentiment)',
    source='https://github.com/eyalbd2/Reproducing-AutoPrompt',
    licence='Apache-2.0 (the repository); data of Socher et al. 2013',
    files={
        'test-labeled.tsv': Download(
            'https://raw.githubusercontent.com/eyalbd2/Reproducing-AutoPrompt/'
            '6288fb5bec9c572f2492875ae0111df5b6daed11/glue_data/SST-2/test-labeled.tsv',
            'c0efc56ade6e0598d0f8daca1976e232aee0bcabca8e599341cad290d9d10b3c',
        )
    },
    splits={'test': 1821},
    load=_labelled_test,
)
