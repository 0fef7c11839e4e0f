"""Files that are written whole or not at all, and say in one line what is wrong with them."""

import errno
import random

import numpy as np
import pytest

from jaxdl.errors import JaxdlError
from jaxdl.files import read_arrays, write_arrays


def test_every_damage_of_arrays_is_one_line_that_names_the_file(tmp_path):
    path, rng = tmp_path / 'a.npz', random.Random(0)
    write_arrays(path, {'a': np.arange(30.0), 'b': np.ones((3, 4))})
    whole = path.read_bytes()
    for case in range(300):
        cut = bytearray(whole[: rng.randrange(len(whole))] if case % 3 == 0 else whole)
        if case % 3:
            at = rng.randrange(len(cut))
            cut[at : at + 4] = rng.randbytes(4)
        path.write_bytes(bytes(cut))
        try:
            read_arrays(path)
        except JaxdlError as error:
            assert str(error).startswith(f'{path} is damaged: ') and '\n' not in str(error)
    path.write_bytes(b'')
    with pytest.raises(JaxdlError, match=r'a\.npz is damaged: No data left'):
        read_arrays(path)


def test_a_machine_that_cannot_read_damages_nothing(tmp_path, monkeypatch):
    def busy(*args, **more):
        raise OSError(errno.EMFILE, 'Too many open files')

    write_arrays(tmp_path / 'a.npz', {'a': np.ones(2)})
    monkeypatch.setattr(np, 'load', busy)
    with pytest.raises(JaxdlError, match=r'a\.npz cannot be read: Too many open files'):
        read_arrays(tmp_path / 'a.npz')
