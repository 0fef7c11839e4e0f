"""Samples drawn by RDKit: structures of molecules. Needs the extra 'molecules'."""

import io
from typing import Any

import numpy as np

from jaxdl.errors import UsageError
from jaxdl.samples import Molecules

MOST, COLUMNS = 24, 6  # molecules drawn of one sample, and in a row
SIZE = (180, 150)  # pixels of one
LETTERS = 26  # of the text below it


def draw_molecules(sample: Molecules) -> bytes:
    """A PNG of a grid of structures, each over its SMILES.

    Raises UsageError where RDKit is not installed.
    """
    try:
        from rdkit import Chem, rdBase
        from rdkit.Chem import Draw
    except ImportError as error:
        raise UsageError("Molecules needs rdkit: pip install 'jaxdl[molecules]'") from error
    texts = [sample.decode(row) for row in np.asarray(sample.codes)[:MOST].tolist()]
    with rdBase.BlockLogs():  # what is no molecule is shown, not said
        molecules = [Chem.MolFromSmiles(text) for text in texts]
    legends = [
        _cut(text if molecule is not None else f'none: {text}')
        for text, molecule in zip(texts, molecules, strict=True)
    ]
    draw: Any = Draw  # its functions have no types
    picture = draw.MolsToGridImage(
        molecules, molsPerRow=min(COLUMNS, len(texts)), subImgSize=SIZE, legends=legends
    )
    buffer = io.BytesIO()
    picture.save(buffer, 'png', optimize=True)
    return buffer.getvalue()


def _cut(text: str) -> str:
    return text if len(text) <= LETTERS else text[: LETTERS - 3] + '...'
