"""SCAN: commands and the actions they mean, to be composed (Lake and Baroni 2018), from TFDS."""

from jaxdl.data.table import Table
from jaxdl.data.tfds import tfds
from jaxdl.errors import UsageError, nearest

# How what is tested differs from what is trained on (sections 3 to 5): in nothing; by a word that
# was only seen alone; by longer actions.
KINDS = ('simple', 'addprim_jump', 'length')


def scan(kind: str = 'simple', split: str = 'train') -> Table:
    """Columns `source`, 'jump twice', and `target`, 'I_JUMP I_JUMP'.

    kind: one of KINDS. split: 'train' or 'test', or a part as TFDS writes it.
    """
    if kind not in KINDS:
        raise UsageError(f'scan: there is no kind {kind!r}{nearest(kind, KINDS)}')
    return tfds(f'scan/{kind}', split, columns={'source': 'commands', 'target': 'actions'})
