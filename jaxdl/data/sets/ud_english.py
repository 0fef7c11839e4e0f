"""English of the LinES treebank with parts of speech (Ahrenberg 2015; Universal Dependencies)."""

from jaxdl.data.table import Table
from jaxdl.data.tfds import tfds
from jaxdl.errors import UsageError, nearest

SPLITS = {'train': 'train', 'valid': 'dev', 'test': 'test'}


def ud_english(split: str = 'train') -> Table:
    """Columns `words`, the words of a sentence, and `tags`, the universal part of speech of each.

    3,176 / 1,032 / 1,035 sentences. The names of the tags are in `classes`.
    """
    if split not in SPLITS:
        raise UsageError(f'ud_english: there is no split {split!r}{nearest(split, SPLITS)}')
    columns = {'words': 'tokens', 'tags': 'upos'}
    return tfds('universal_dependencies/en_lines', SPLITS[split], columns=columns)
