"""The catalogue: public sets with one loader each, downloads that are checked, descriptions."""

import hashlib
import urllib.request

import numpy as np
import pytest
from rich.console import Console

from jaxdl.data import public
from jaxdl.data.catalogue import available, prepare, show, table
from jaxdl.data.public import Download, PublicSet, locate, public_sets
from jaxdl.data.sets.esol import esol
from jaxdl.data.sets.ett import FEATURES, ett
from jaxdl.data.table import csv
from jaxdl.errors import DataMissingError, JaxdlError, UsageError

CONTENT = b'x,y\n1,2\n3,4\n'


@pytest.fixture
def pairs(tmp_path, monkeypatch):
    """A public set whose file is 'downloaded' from this machine, and nothing prepared."""
    (tmp_path / 'web.csv').write_bytes(CONTENT)
    download = Download((tmp_path / 'web.csv').as_uri(), hashlib.sha256(CONTENT).hexdigest())

    def load(split):
        return csv(locate('pairs', 'pairs.csv'), columns={'x': int, 'y': int})

    dataset = PublicSet(
        'pairs',
        'two columns',
        'https://example.org',
        'CC0',
        {'pairs.csv': download},
        {'all': 2},
        load,
    )
    monkeypatch.setattr('jaxdl.data.catalogue.public_sets', lambda: {'pairs': dataset})
    monkeypatch.setenv('JAXDL_DATA_DIR', str(tmp_path / 'raw'))
    monkeypatch.delenv('TFDS_DATA_DIR', raising=False)
    return dataset


def states():
    return {entry.name: entry.state for entry in available()}


def test_a_public_set_is_missing_then_prepared_then_shown(pairs, tmp_path):
    assert states() == {'digits': 'prepared', 'pairs': 'missing'}
    with pytest.raises(
        DataMissingError, match=r'pairs/pairs\.csv is missing; run: jaxdl data prep'
    ):
        show('pairs')
    line = prepare('pairs')
    assert line.endswith('raw/pairs (from https://example.org, licence CC0)')
    assert states() == {'digits': 'prepared', 'pairs': 'prepared'}
    assert 'pairs: 2 rows' in show('pairs').plain
    assert 'x  int64 []  1 .. 3, mean 2' in show('pairs').plain
    assert [path.name for path in (tmp_path / 'raw' / 'pairs').iterdir()] == ['pairs.csv']


def test_the_table_to_print_names_the_command(pairs, capsys):
    Console(width=120).print(table())
    printed = capsys.readouterr().out
    assert 'missing; run: jaxdl data prepare pairs' in printed and 'all 1797' in printed


def test_a_file_may_lie_in_a_folder_of_the_set(pairs, tmp_path):
    (download,) = pairs.files.values()
    folder = public.download(pairs._replace(files={'images/one.csv': download}))
    assert (folder / 'images' / 'one.csv').read_bytes() == CONTENT


def test_a_download_is_checked_before_it_gets_its_name(pairs, tmp_path):
    (tmp_path / 'web.csv').write_bytes(CONTENT + b'5,6\n')
    with pytest.raises(JaxdlError, match='SHA-256 .*; not kept'):
        prepare('pairs')
    assert states()['pairs'] == 'missing'


def test_a_failed_download_is_one_line(pairs, tmp_path):
    (tmp_path / 'web.csv').unlink()
    with pytest.raises(JaxdlError, match='cannot be fetched') as error:
        prepare('pairs')
    assert '\n' not in str(error.value)


def test_what_is_there_is_not_fetched_again(pairs, monkeypatch):
    prepare('pairs')
    monkeypatch.setattr(urllib.request, 'urlopen', None)
    prepare('pairs')


def test_every_public_set_names_its_source_and_licence():
    assert {'ett', 'esol'} <= public_sets().keys()
    for name, each in public_sets().items():
        assert each.name == name and each.about and each.licence
        assert each.source.startswith('https://') and each.splits
        for url, sha256 in each.files.values():
            assert url.startswith('https://') and len(bytes.fromhex(sha256)) == 32


@pytest.mark.parametrize('load', [ett, esol])
def test_unset_folder(load, monkeypatch):
    monkeypatch.delenv('JAXDL_DATA_DIR', raising=False)
    with pytest.raises(
        DataMissingError, match=f'JAXDL_DATA_DIR is not set; .*prepare {load.__name__}'
    ):
        load()


def test_digits_need_no_preparation():
    assert 'nothing to prepare' in prepare('digits')
    text = show('digits').plain
    assert 'digits: 1797 rows' in text
    assert 'x  uint8 [8, 8, 1]  0 .. 16' in text
    # The counts in scikit-learn's description of the set.
    assert '0 178, 1 182, 2 177, 3 183, 4 181, 5 182, 6 181, 7 179, 8 174, 9 180' in text
    with pytest.raises(UsageError, match="digits: there is no split 'test'"):
        show('digits', 'test')


def real(name):
    if {entry.name: entry.state for entry in available()}[name] != 'prepared':
        pytest.skip(f'{name} is not under JAXDL_DATA_DIR')
    for file, (_, sha256) in public.public_sets()[name].files.items():
        assert hashlib.sha256(locate(name, file).read_bytes()).hexdigest() == sha256


def test_ett():
    real('ett')
    train, valid, test = ett('train'), ett('valid'), ett('test')
    assert [len(part) for part in (train, valid, test)] == [8640, 2880, 2880]
    assert train[:1]['x'].shape == (1, len(FEATURES)) and train[:1]['x'].dtype == np.float32
    assert train[:1]['date'][0] == '2016-07-01 00:00:00'
    assert train[:1]['x'][0, -1] == np.float32(30.5310001373291)
    assert test[:1]['date'][0] == '2017-10-24 00:00:00'  # 480 days later
    with pytest.raises(UsageError, match="ett: there is no split 'tset'; did you mean 'test'"):
        ett('tset')


def test_esol():
    real('esol')
    molecules = esol()
    assert len(molecules) == 1128 and molecules.classes == {}
    assert molecules[1:2]['smiles'][0] == 'Cc1occc1C(=O)Nc2ccccc2'
    # Delaney's own estimate: RMSE 0.91 over all molecules as MoleculeNet has them.
    error = molecules.column('y') - molecules.column('delaney')
    assert abs(np.sqrt((error**2).mean()) - 0.91) < 0.02
