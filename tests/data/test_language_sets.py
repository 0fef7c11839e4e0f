"""Sets of language: their sizes as published, and what one row of each is."""

import numpy as np
import pytest

from jaxdl.data.catalogue import available
from jaxdl.data.sets.multi30k import multi30k
from jaxdl.data.sets.scan import scan
from jaxdl.data.sets.shakespeare import shakespeare
from jaxdl.data.sets.sst2 import SET as LABELLED
from jaxdl.data.sets.sst2 import sst2
from jaxdl.data.sets.ud_english import ud_english
from jaxdl.data.sets.wnut17 import TAGS, wnut17
from jaxdl.data.sets.xquad import xquad
from jaxdl.errors import DataMissingError, JaxdlError, UsageError


def needs(*names):
    states = {entry.name: entry.state for entry in available()}
    for name in names:
        if states.get(name) != 'prepared':
            pytest.skip(f'{name} is not prepared')


def sizes(load):
    return [len(load(split)) for split in ('train', 'valid', 'test')]


def test_shakespeare():
    needs('tiny_shakespeare')
    train, valid = shakespeare(), shakespeare('validation+test')
    # 90 % and 10 % of 1,115,394 characters, as in nanoGPT's preparation.
    assert (len(train), len(valid)) == (1_003_854, 111_540)
    assert train.startswith('First Citizen:\nBefore we proceed') and len(set(train + valid)) == 65
    assert shakespeare('validation') + shakespeare('test') == valid


@pytest.mark.parametrize(
    ('kind', 'train', 'test'),
    [('simple', 16_728, 4_182), ('addprim_jump', 14_670, 7_706), ('length', 16_990, 3_920)],
)
def test_scan(kind, train, test):
    needs(f'scan/{kind}')
    seen, held = scan(kind), scan(kind, 'test')
    assert (len(seen), len(held)) == (train, test) and seen.columns == ('source', 'target')
    longest = [max(len(text.split()) for text in t.column('target')) for t in (seen, held)]
    assert longest == ([22, 48] if kind == 'length' else [48, 48])
    assert not kind == 'simple' or not {*seen.column('source')} & {*held.column('source')}


def test_sst2():
    needs('glue/sst2', 'sst2_labeled_test')
    assert sizes(sst2) == [67_349, 872, 1_821]
    test = sst2('test')
    # As the file has them; that these are the treebank's own labels it only says.
    assert np.bincount(test.column('y')).tolist() == [917, 904]
    assert test[:1]['text'][0] == 'uneasy mishmash of styles and genres .'
    assert sst2('valid').classes == test.classes == {'y': ('negative', 'positive')}
    assert not any(text != text.strip() for text in sst2('valid').column('text'))


def test_ud_english():
    needs('universal_dependencies/en_lines')
    assert sizes(ud_english) == [3_176, 1_032, 1_035]
    row = ud_english()[3:4]
    names = ud_english().classes['tags']
    assert row['words'][0].tolist() == ['I', 'grew', '.']
    assert [names[tag] for tag in row['tags'][0]] == ['PRON', 'VERB', 'PUNCT']


def test_multi30k():
    needs('multi30k')
    assert sizes(multi30k) == [29_000, 1_014, 1_000]
    row = multi30k()[:1]
    assert row['en'][0] == 'Two young, White males are outside near many bushes.'
    assert row['de'][0] == 'Zwei junge weiße Männer sind im Freien in der Nähe vieler Büsche.'


def test_wnut17():
    needs('wnut17')
    assert sizes(wnut17) == [3_394, 1_009, 1_287]
    tables = [wnut17(split) for split in ('train', 'valid', 'test')]
    # Entities as table 2 of the paper has them for the test set.
    begun = [sum((tags % 2 == 1).sum() for tags in t.column('tags')) for t in tables]
    assert begun[2] == 1_079 and begun[0] == 1_975
    assert [sum(map(len, t.column('words'))) for t in tables] == [62_730, 15_733, 23_394]
    words, tags = (tables[0][:1][name][0] for name in ('words', 'tags'))
    assert [words[i] for i in np.flatnonzero(tags)] == ['Empire', 'State', 'Building', 'ESB']
    assert [TAGS[tag] for tag in tags if tag] == [
        'B-location', 'I-location', 'I-location', 'B-location'
    ]  # fmt: skip


def test_xquad():
    needs('xquad')
    assert len(xquad()) == 1_190 and sum(sizes(xquad)) == 1_190
    parts = [set(xquad(split).column('paragraph')) for split in ('train', 'valid', 'test')]
    assert list(map(len, parts)) == [192, 24, 24] and not parts[0] & parts[1] | parts[2] & parts[1]
    for row in xquad('test'):
        for answer, start in zip(row['answers'], row['starts'], strict=True):
            assert row['context'][start:].startswith(answer)


@pytest.mark.parametrize('load', [scan, sst2, ud_english, multi30k, wnut17, xquad])
def test_what_is_missing_is_named(load, monkeypatch, tmp_path):
    monkeypatch.setenv('JAXDL_DATA_DIR', str(tmp_path))
    monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path))
    with pytest.raises(DataMissingError, match='run: jaxdl data prepare|prepare it: jaxdl data'):
        load()
    wrong = 'simpel' if load is scan else 'tset'
    close = 'simple' if load is scan else 'test'
    with pytest.raises(UsageError, match=f"'{wrong}'; did you mean '{close}'"):
        load(wrong)


def test_a_damaged_file_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv('JAXDL_DATA_DIR', str(tmp_path))
    for file, content, load in (
        ('wnut17/emerging.dev.conll', 'a\tO\nb\tB-animal\n', lambda: wnut17('valid')),
        ('xquad/xquad.en.json', '{"data": [{}]}', xquad),
        ('multi30k/val.en.gz', 'no gzip', lambda: multi30k('valid')),
        ('sst2_labeled_test/test-labeled.tsv', 'a\tb\n', lambda: LABELLED.load('test')),
    ):
        path = tmp_path / file
        path.parent.mkdir()
        path.write_text(content)
        with pytest.raises(JaxdlError, match=f'{path.name} is damaged: '):
            load()
