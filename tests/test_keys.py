"""Keys depend on names and steps, never on the order of calls."""

import jax
import numpy as np
import pytest

from jaxdl.keys import key_at, key_for

KEY = jax.random.key(0)


def data(key):
    return jax.random.key_data(key).tolist()


def test_a_name_gives_the_same_key_in_every_process():
    """A known value: Python's own `hash` of a string would differ from one process to the next."""
    crc32 = 0x9289EFC9  # of b'dropout'
    assert data(key_for(KEY, 'dropout')) == data(jax.random.fold_in(KEY, crc32))
    assert data(key_at(KEY, 7)) == data(jax.random.fold_in(KEY, 7))


def test_order_and_neighbours_do_not_matter():
    alone = data(key_for(KEY, 'noise'))
    key_for(KEY, 'dropout')
    assert data(key_for(KEY, 'noise')) == alone


def test_names_steps_and_seeds_all_give_different_keys():
    seeds = [jax.random.key(seed) for seed in range(5)]
    names = ['params', 'dropout', 'noise', 'x', 'y', '']
    keys = [key_for(key, name) for key in seeds for name in names]
    keys += [key_for(key_at(key, step), name) for key in seeds for step in (0, 1) for name in names]
    assert len({tuple(data(key)) for key in keys}) == len(keys)


@pytest.mark.parametrize('wrap', [jax.jit, lambda f: lambda k: jax.vmap(f)(k[None])[0]])
def test_compiled_and_mapped_keys_are_the_same(wrap):
    plain = data(key_for(key_at(KEY, 3), 'noise'))
    assert data(wrap(lambda key: key_for(key_at(key, 3), 'noise'))(KEY)) == plain
    traced = jax.jit(key_at)(KEY, np.int32(3))
    assert data(key_for(traced, 'noise')) == plain
