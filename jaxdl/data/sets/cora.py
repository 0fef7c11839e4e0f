"""Cora: 2,708 papers of seven fields, their words and citations, as Planetoid has them.

Sen et al. 2008, with the public split of Yang et al. 2016: 20 papers of each field to train on, 500
to choose by, 1,000 to test on.
"""

import functools
import pickle
from typing import Any

import numpy as np
import scipy.sparse

from jaxdl.data.card import Card
from jaxdl.data.graphs import NodeGraph, both_ways
from jaxdl.data.public import Download, PublicSet, locate
from jaxdl.data.table import Table, from_arrays
from jaxdl.errors import JaxdlError, UsageError, nearest

CARD = Card(
    'planetoid',
    'https://github.com/kimiyoung/planetoid',
    licence='MIT (planetoid); the data are of LINQS',
    citation='Sen et al. 2008; Yang et al. 2016',
    about='Cora: papers on machine learning, their words and citations.',
)
CLASSES = 7  # fields, which the files do not name
WORDS = 1433
BOUNDS = {'train': (0, 140), 'valid': (140, 640), 'test': (1708, 2708), 'all': (0, 2708)}

# What the files are made of. Nothing else is unpickled: a pickle can run any code.
KNOWN = {
    ('collections', 'defaultdict'),
    ('__builtin__', 'list'),
    ('_codecs', 'encode'),
    ('numpy', 'ndarray'),
    ('numpy', 'dtype'),
    ('numpy.core.multiarray', '_reconstruct'),
    ('scipy.sparse.csr', 'csr_matrix'),
}
MOVED = {'numpy.core.multiarray': 'numpy._core.multiarray', '__builtin__': 'builtins'}


def cora(split: str = 'train') -> Table:
    """Papers: their number `node`, y int32 (a field), and x [1433], which words they have.

    Rows of x add up to 1, as in Kipf and Welling 2017: each word of a paper has the same share.
    """
    if split not in BOUNDS:
        raise UsageError(f'cora: there is no split {split!r}{nearest(split, BOUNDS)}')
    graph = cora_graph()
    x = np.zeros((graph.nodes, WORDS), np.float32)
    x[graph.features['rows'], graph.features['columns']] = graph.features['values']
    columns = {'node': np.arange(graph.nodes, dtype=np.int32), 'y': graph.y, 'x': x}
    return from_arrays(columns, name=f'cora {split}', card=CARD).take(slice(*BOUNDS[split]))


@functools.cache
def cora_graph() -> NodeGraph:
    """All papers, with sparse features, and the 10,556 edges between them, citations both ways."""
    words = scipy.sparse.vstack([_read('allx'), _read('tx')]).tocsr()
    labels = np.concatenate([_read('ally'), _read('ty')])
    # The papers of the test are stored in the order of this file, and not in that of the graph.
    at = np.array(locate('planetoid', 'ind.cora.test.index').read_text().split(), np.int64)
    where = np.arange(len(labels))
    where[at] = np.sort(at)
    words, labels = words[where], labels[where]
    pairs = [(paper, other) for paper, others in _read('graph').items() for other in others]
    senders, receivers = both_ways(pairs, nodes=len(labels))
    return NodeGraph(_entries(words), senders, receivers, labels.argmax(1).astype(np.int32), 'cora')


def _entries(words: Any) -> dict[str, np.ndarray]:
    """The entries of a sparse matrix, of which each row then adds up to 1."""
    counts = np.diff(words.indptr)
    rows = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    sums = np.bincount(rows, weights=words.data, minlength=len(counts))
    values = (words.data / sums[rows]).astype(np.float32)
    return {'rows': rows, 'columns': words.indices.astype(np.int32), 'values': values}


class _Known(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """What a pickle names, if it is known."""
        if (module, name) not in KNOWN:
            raise JaxdlError(f'planetoid: a file holds {module}.{name}, which is not unpickled')
        if name == 'csr_matrix':
            return scipy.sparse.csr_matrix
        return super().find_class(MOVED.get(module, module), name)


def _read(part: str) -> Any:
    """A file of the set, pickled by Python 2."""
    with locate('planetoid', f'ind.cora.{part}').open('rb') as file:
        return _Known(file, encoding='latin1').load()


SET = PublicSet(
    name='planetoid',
    about='papers and their citations: Cora (classes of nodes)',
    source=CARD.source,
    licence=CARD.licence,
    files={
        f'ind.cora.{part}': Download(
            'https://raw.githubusercontent.com/kimiyoung/planetoid/'
            f'af6abf468a772cc055bec88c52e4d6f51b7c37e3/data/ind.cora.{part}',
            sha256,
        )
        for part, sha256 in {
            'allx': '9419ba2f26f5c35243db64aba110e0f35a04851609e0dc5433450676ca6b8543',
            'ally': '2b998f5cc7fedc86e7f97ca2498f47a1ffc1462c29e2d578b23bf3f62b6e7d71',
            'tx': 'b9afbaa4a400df991f6f02ef677e1e44da55ffc04801fd02f9e673987829226a',
            'ty': '41f5ac76596a1699cc33f53084a2419e92961c42bb75f36fc38e616d348532ad',
            'graph': '58f13302f39dde8852dad6fe6d15b89b077b6d7f837626bce671ef80344b383d',
            'test.index': '297ce89af2b51a6a194181c7dbe1796c6a1cf9cd9349a88383b1b1e227867875',
        }.items()
    },
    splits={name: end - start for name, (start, end) in BOUNDS.items()},
    load=cora,
)
