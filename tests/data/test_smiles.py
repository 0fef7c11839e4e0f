"""Molecules as text: what is one, what is the same one, and that SELFIES always are."""

import jax
import numpy as np
import pytest

from jaxdl.data.smiles import (
    SELFIES,
    SMILES,
    canonical_smiles,
    first_variant,
    from_selfies,
    one_variant,
    random_smiles,
    to_selfies,
    variants_table,
)
from jaxdl.data.text import Words, load
from jaxdl.errors import UsageError

pytest.importorskip('rdkit')
pytest.importorskip('selfies')

ASPIRIN = 'CC(=O)Oc1ccccc1C(=O)O'
SOME = [ASPIRIN, 'C1CCCCC1Cl', '[O-][N+](=O)c1ccccc1', 'C/C=C/Br', 'N[C@@H](C)C(=O)O']


@pytest.mark.parametrize('text', ['', 'c1ccccc', 'C(C', 'CN(C)(C)(C)C', 'C=F=C', 'water'])
def test_what_is_no_molecule_has_no_form(text, capfd):
    assert canonical_smiles(text) is None
    assert capfd.readouterr().err == ''
    with pytest.raises(UsageError, match='is no SMILES of a molecule'):
        random_smiles(text, count=1, seed=0)


@pytest.mark.parametrize('text', SOME)
def test_walks_along_one_molecule_are_that_molecule(text):
    ways = random_smiles(text, count=8, seed=0)
    assert len(ways) == 8 and len(set(ways)) > 1
    assert {canonical_smiles(way) for way in ways} == {canonical_smiles(text)}
    assert ways == random_smiles(text, count=8, seed=0)
    assert {canonical_smiles(from_selfies(to_selfies(way))) for way in ways} == {
        canonical_smiles(text)
    }


def test_any_row_of_symbols_is_a_molecule_in_selfies_and_seldom_in_smiles():
    rng = np.random.default_rng(0)
    valid = {}
    for pattern, texts in ((SMILES, SOME), (SELFIES, [to_selfies(text) for text in SOME])):
        tokenizer = Words.learn(texts, pattern=pattern, between='')
        assert [tokenizer.decode(tokenizer.encode(text)) for text in texts] == texts
        rows = rng.integers(4, tokenizer.vocabulary, (100, 12)).tolist()
        drawn = [tokenizer.decode(row) for row in rows]
        if pattern == SELFIES:
            drawn = [from_selfies(text) for text in drawn]
        valid[pattern] = sum(canonical_smiles(text) is not None for text in drawn)
    assert valid[SELFIES] >= 99 and valid[SMILES] < 20, valid
    assert from_selfies('[C][unheard][O]') == 'CO'


def test_symbols_of_two_letters_and_brackets_are_one(tmp_path):
    tokenizer = Words.learn(['BrCCl[C@@H]%12'], pattern=SMILES, between='')
    assert set(tokenizer.pieces[4:]) == {'Br', 'C', 'Cl', '[C@@H]', '%12'}
    tokenizer.save(tmp_path / 't.json')
    again = load(tmp_path / 't.json')
    assert again == tokenizer and again.decode(again.encode('ClCBr')) == 'ClCBr'


def test_a_row_of_a_batch_is_one_of_its_texts():
    texts = [['CO', 'OC'], ['CCO', 'OCC']]
    tokenizer = Words.learn(['CO'], pattern=SMILES, between='')
    table = variants_table(texts, tokenizer, length=6)
    batch = {**table.arrays, 'mask': np.ones(2, bool)}
    first = first_variant(jax.random.key(0), batch)
    assert first['tokens'].shape == (2, 6) and first['lengths'].tolist() == [4, 5]
    assert [tokenizer.decode(row) for row in first['tokens'].tolist()] == ['CO', 'CCO']
    draw, seen = jax.jit(one_variant), set()
    for i in range(20):
        rows = draw(jax.random.key(i), batch)['tokens'].tolist()
        seen.add(tuple(tokenizer.decode(row) for row in rows))
    assert seen == {(a, b) for a in texts[0] for b in texts[1]}
    with pytest.raises(UsageError, match='more than the 4 tokens of a row'):
        variants_table(texts, tokenizer, length=4)
    with pytest.raises(UsageError, match=r'molecules have \[1, 2\] texts'):
        variants_table([['C'], ['C', 'C']], tokenizer, length=4)
