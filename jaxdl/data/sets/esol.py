"""ESOL: aqueous solubility of 1,128 small molecules (Delaney 2004, as in MoleculeNet)."""

import functools

from jaxdl.data import table
from jaxdl.data.card import Card
from jaxdl.data.graphs import graph_table
from jaxdl.data.molecules import molecule_graph, solubility_descriptors
from jaxdl.data.public import Download, PublicSet, locate
from jaxdl.data.table import Table
from jaxdl.errors import UsageError, nearest

CARD = Card(
    'esol',
    'https://github.com/deepchem/deepchem',
    licence='MIT (deepchem)',
    citation='Delaney 2004, as in MoleculeNet',
    about='Aqueous solubility of 1,128 small molecules, measured.',
)
# Column of the file: its type and its name here.
COLUMNS = {
    'smiles': (str, 'smiles'),
    'measured log solubility in mols per litre': (float, 'y'),
    'ESOL predicted log solubility in mols per litre': (float, 'delaney'),
    'Minimum Degree': (int, 'degree'),
    'Molecular Weight': (float, 'weight'),
    'Number of H-Bond Donors': (int, 'donors'),
    'Number of Rings': (int, 'rings'),
    'Number of Rotatable Bonds': (int, 'rotatable'),
    'Polar Surface Area': (float, 'area'),
}


def esol(split: str = 'all') -> Table:
    """All molecules: `smiles`, y = measured log10(mol/litre), Delaney's own estimate, descriptors.

    There is no split of its own; MoleculeNet splits at random, 80/10/10.
    """
    if split != 'all':
        raise UsageError(f'esol: there is no split {split!r}{nearest(split, ["all"])}')
    types = {name: kind for name, (kind, _) in COLUMNS.items()}
    read = table.csv(locate('esol', 'delaney-processed.csv'), columns=types)
    named = read.select({new: name for name, (_, new) in COLUMNS.items()})
    return table.from_arrays(named.arrays, name='esol', card=CARD)


@functools.cache
def esol_graphs() -> Table:
    """All molecules as graphs of at most 55 atoms: y as in `esol`, and `descriptors` [4].

    See `jaxdl.data.molecules` for x and the descriptors, which need the extra 'molecules'.
    """
    read = esol().arrays
    graphs = [molecule_graph(smiles) for smiles in read['smiles']]
    descriptors = solubility_descriptors(list(read['smiles']))
    numbers = zip(read['y'], descriptors, strict=True)
    rows = [
        {**graph, 'y': y, 'descriptors': d} for graph, (y, d) in zip(graphs, numbers, strict=True)
    ]
    return graph_table(rows, name='esol', card=CARD)


SET = PublicSet(
    name='esol',
    about='aqueous solubility of small molecules (regression on graphs)',
    source=CARD.source,
    licence=CARD.licence,
    files={
        'delaney-processed.csv': Download(
            'https://raw.githubusercontent.com/deepchem/deepchem/'
            'fbe3b911a94a6eb8c84c1a9e7ac67a472c49ea80/datasets/delaney-processed.csv',
            '8c06a76f0c6487d29ab0f903e6a7a7139f189ab3c1178f159c8be8964602f189',
        )
    },
    splits={'all': 1128},
    load=esol,
)
