"""CIFAR-10 and Omniglot: what is read is what was published."""

import hashlib
import zipfile

import numpy as np
import pytest

from jaxdl.data.catalogue import available
from jaxdl.data.public import locate
from jaxdl.data.sets.cifar import cifar10
from jaxdl.data.sets.omniglot import SET, omniglot
from jaxdl.errors import JaxdlError, UsageError

THERE = {entry.name for entry in available() if entry.state == 'prepared'}


@pytest.mark.skipif('omniglot' not in THERE, reason='omniglot is not under JAXDL_DATA_DIR')
class TestOmniglot:
    def test_twenty_drawings_of_each_character(self):
        for split, characters in (('small1', 136), ('small2', 156)):
            table = omniglot(split)
            y, drawer = table.column('y'), table.column('drawer')
            assert len(table) == 20 * characters == SET.splits[split]
            np.testing.assert_array_equal(np.bincount(y), 20)
            pairs = set(zip(y.tolist(), drawer.tolist(), strict=True))
            assert pairs == {(c, d) for c in range(characters) for d in range(1, 21)}

    def test_alphabets_and_their_sizes(self):
        table = omniglot('small2')
        seen = {(a, c) for a, c in zip(table.column('alphabet'), table.column('y'), strict=True)}
        sizes = {a: sum(b == a for b, _ in seen) for a, _ in seen}
        assert sizes == {
            'Greek': 24,
            'Japanese_(katakana)': 47,
            'Latin': 26,
            'Sanskrit': 42,
            'Tagalog': 17,
        }

    def test_ink_is_bright_and_sparse(self):
        x = omniglot().column('x')
        assert x.shape == (2720, 28, 28, 1) and x.dtype == np.uint8
        assert x.max((1, 2, 3)).min() > 100 and 0.02 < x.mean() / 255 < 0.15

    def test_files_are_those_of_the_source(self):
        for file, (url, sha256) in SET.files.items():
            assert url.endswith(file)
            content = locate('omniglot', file).read_bytes()
            assert hashlib.sha256(content).hexdigest() == sha256


def test_what_is_wrong_is_named(monkeypatch, tmp_path):
    with pytest.raises(UsageError, match="no split 'small'; did you mean 'small"):
        omniglot('small')
    monkeypatch.setenv('JAXDL_DATA_DIR', str(tmp_path))
    (tmp_path / 'omniglot').mkdir()
    file = tmp_path / 'omniglot' / 'images_background_small1.zip'
    file.write_bytes(b'no archive')
    with pytest.raises(JaxdlError, match='small1.zip is damaged'):
        omniglot()
    with zipfile.ZipFile(file, 'w') as archive:
        archive.writestr('images_background_small1/Greek/character01/0001_01.png', b'no image')
    with pytest.raises(JaxdlError, match='small1.zip is damaged'):
        omniglot()


@pytest.mark.skipif('cifar10_q75' not in THERE, reason='cifar10_q75 is not under TFDS_DATA_DIR')
def test_cifar10_and_a_quarter_of_its_pixels():
    train, test = cifar10('cifar10_q75', 20)
    assert len(train) == 20 and len(test) == 200
    assert train.column('x').shape == (20, 32, 32, 3) and set(test.column('y')) == set(range(10))
    small, _ = cifar10('cifar10_q75', 20, shrink=2)
    blocks = train.column('x').reshape(20, 16, 2, 16, 2, 3).mean((2, 4))
    assert np.abs(small.column('x') - blocks).max() <= 0.5
