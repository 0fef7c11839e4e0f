"""Molecules as text: SMILES (Weininger 1988) and SELFIES (Krenn et al. 2020).

Not every text is a SMILES; every text of SELFIES' symbols stands for a molecule. By RDKit and the
package selfies, the extra 'molecules'.
"""

import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.data.card import Card
from jaxdl.data.table import Table, from_arrays
from jaxdl.data.text import Tokenizer, token_table
from jaxdl.errors import UsageError
from jaxdl.keys import Key
from jaxdl.task import Batch

NEEDS_MOLECULES = "needs the packages rdkit and selfies: pip install 'jaxdl[molecules]'"
# What is one symbol: an atom in brackets, two letters, the number of a ring; or any character.
SMILES = r'\[[^\]]*\]|Br|Cl|%\d\d|.'
SELFIES = r'\[[^\]]*\]|\.'


def parsed(smiles: str, what: str) -> Any:
    """RDKit's molecule of a SMILES.

    what: asks for it, the first word of an error. Raises UsageError for what is no SMILES, or no
    atom, and where RDKit is not installed.
    """
    if (molecule := _read(smiles, what)[1]) is None:
        raise UsageError(f'{what}: {smiles!r:.80} is no SMILES of a molecule')
    return molecule


def canonical_smiles(text: str) -> str | None:
    """The one SMILES of a molecule that a text is a SMILES of; None where it is of none.

    It is of one where RDKit can read it and its valences are those of its atoms. Raises UsageError
    where RDKit is not installed.
    """
    chem, molecule = _read(text, 'canonical_smiles')
    return None if molecule is None else str(chem.MolToSmiles(molecule))


def random_smiles(text: str, *, count: int, seed: int) -> list[str]:
    """So many SMILES of one molecule, each from another walk along its bonds; some may be equal.

    As augmentation they teach what a molecule is, and not how one program writes it (Arus-Pous et
    al. 2019). seed: from 0. Raises UsageError for what is no SMILES.
    """
    molecule = parsed(text, 'random_smiles')
    from rdkit import Chem

    # RDKit takes 0 for no seed at all.
    return [str(each) for each in Chem.MolToRandomSmilesVect(molecule, count, seed + 1)]


def to_selfies(smiles: str) -> str | None:
    """The SELFIES of a SMILES; None where it has none (bonds that its grammar does not know)."""
    library = _selfies('to_selfies')
    try:
        # Not strict: valences that are rare are not forbidden in what is given.
        return str(library.encoder(smiles, strict=False))
    except library.EncoderError:
        return None


def from_selfies(text: str) -> str:
    """The SMILES of a SELFIES; symbols that its grammar does not know are left out."""
    library = _selfies('from_selfies')
    try:
        return str(library.decoder(text))
    except library.DecoderError:
        return str(
            library.decoder(''.join(s for s in re.findall(SELFIES, text) if _known(library, s)))
        )


def variants_table(
    texts: Sequence[Sequence[str]],
    tokenizer: Tokenizer,
    *,
    length: int,
    name: str = 'molecules',
    card: Card | None = None,
) -> Table:
    """A row for each molecule, of as many texts each: `variants` int32 [texts, length].

    How many tokens of each are real is `variant_lengths` int32 [texts]. Texts start and end with
    the tokens for it; see `one_variant`.

    Raises UsageError where molecules have unlike numbers of texts, or one of a text is longer.
    """
    counts = {len(each) for each in texts}
    if len(counts) != 1 or 0 in counts:
        raise UsageError(f'{name}: molecules have {sorted(counts)} texts; each has as many')
    (count,) = counts
    flat = token_table(
        [text for each in texts for text in each],
        tokenizer,
        length=length + 1,
        start=True,
        end=True,
    ).arrays
    longest = int(flat['lengths'].max())
    if longest > length:
        raise UsageError(f'{name}: a text has more than the {length} tokens of a row')
    tokens = flat['tokens'][:, :length].reshape(len(texts), count, length)
    lengths = flat['lengths'].reshape(len(texts), count).astype(np.int32)
    return from_arrays({'variants': tokens, 'variant_lengths': lengths}, name=name, card=card)


def one_variant(key: Key, batch: Batch) -> Batch:
    """A transform of rows of `variants_table`: `tokens` [B, length] and `lengths`, one at random.

    For `jaxdl.objectives.language.language_model`; each row has a draw of its own.
    """
    rows, count, _ = batch['variants'].shape
    return _variant(batch, jax.random.randint(key, (rows,), 0, count))


def first_variant(key: Key, batch: Batch) -> Batch:
    """The same with the first text of each, where it should not be left to chance."""
    return _variant(batch, jnp.zeros(len(batch['variants']), jnp.int32))


def _variant(batch: Batch, which: jax.Array) -> Batch:
    rest = {name: x for name, x in batch.items() if not name.startswith('variant')}
    row = jnp.arange(len(which))
    tokens, lengths = batch['variants'][row, which], batch['variant_lengths'][row, which]
    return {**rest, 'tokens': tokens, 'lengths': lengths}


def _known(library: Any, symbol: str) -> bool:
    try:
        library.decoder(symbol)
    except library.DecoderError:
        return False
    return True


def _read(text: str, what: str) -> tuple[Any, Any]:
    """RDKit's chemistry, and the molecule that it reads in a text, None where it reads none."""
    try:
        from rdkit import Chem, rdBase
    except ImportError as error:
        raise UsageError(f'{what} {NEEDS_MOLECULES}') from error
    with rdBase.BlockLogs():  # what is wrong is said by us, if it is said
        molecule = Chem.MolFromSmiles(text)
    return Chem, molecule if molecule is not None and molecule.GetNumAtoms() else None


def _selfies(what: str) -> Any:
    try:
        import selfies
    except ImportError as error:
        raise UsageError(f'{what} {NEEDS_MOLECULES}') from error
    return selfies
