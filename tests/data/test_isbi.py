"""The ISBI membranes: what is read, and that it is what was published."""

import hashlib

import numpy as np
import pytest

from jaxdl.data.catalogue import available
from jaxdl.data.public import locate
from jaxdl.data.sets.isbi import SET, isbi_membrane
from jaxdl.errors import DataMissingError, UsageError


@pytest.fixture(scope='module')
def slices():
    if {entry.name: entry.state for entry in available()}['isbi_membrane'] != 'prepared':
        pytest.skip('isbi_membrane is not under JAXDL_DATA_DIR')
    return isbi_membrane('all')


def test_the_last_six_slices_are_held_out(slices):
    train, test = isbi_membrane(), isbi_membrane('test')
    assert (len(train), len(test), len(slices)) == (24, 6, 30)
    for name in ('x', 'segmentation'):
        together = np.concatenate((train.column(name), test.column(name)))
        np.testing.assert_array_equal(together, slices.column(name))


def test_membrane_is_the_dark_minority(slices):
    x, truth = slices.column('x'), slices.column('segmentation')
    assert x.shape == (30, 512, 512, 1) and truth.shape == (30, 512, 512)
    assert x.dtype == truth.dtype == np.uint8 and np.unique(truth).tolist() == [0, 1]
    share = truth.mean((1, 2))
    assert 0.15 < share.min() and share.max() < 0.3
    for image, is_membrane in zip(x[..., 0], truth == 1, strict=True):
        assert image[is_membrane].mean() < image[~is_membrane].mean() - 30


def test_files_are_those_of_the_source(slices):
    assert len(SET.files) == 60
    for file, (url, sha256) in SET.files.items():
        assert url.endswith(f'/data/membrane/{file}')
        content = locate('isbi_membrane', file).read_bytes()
        assert hashlib.sha256(content).hexdigest() == sha256, file


def test_what_is_missing_is_named(monkeypatch, tmp_path):
    with pytest.raises(UsageError, match="there is no split 'tests'; did you mean 'test'"):
        isbi_membrane('tests')
    monkeypatch.setenv('JAXDL_DATA_DIR', str(tmp_path))
    with pytest.raises(
        DataMissingError, match=r'train/image/0\.png is missing; run: jaxdl data prepare isbi_memb'
    ):
        isbi_membrane()
