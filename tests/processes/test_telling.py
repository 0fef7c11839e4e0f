"""What a process that is alone tells itself: all is as it would be without the others."""

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxdl.errors import UsageError
from jaxdl.processes import arrays
from jaxdl.processes.leaving import lost_peer
from jaxdl.processes.telling import Agreement, from_first, wait_for_all


def test_what_the_first_finds_is_what_it_returns_or_raises():
    value = object()
    assert from_first(lambda: value) is value  # not a copy

    def wrong():
        raise UsageError('no')

    with pytest.raises(UsageError, match='no'):
        from_first(wrong)
    wait_for_all()


def test_one_alone_agrees_with_itself_at_once():
    received = []
    asked = Agreement(received)
    assert asked.look() == asked.now() == 0
    received += [15, 2]
    assert asked.look() == asked.now() == 15


def test_arrays_of_one_process_are_as_they_are():
    tree = {'a': jax.numpy.arange(4), 'key': jax.random.key(0)}
    assert arrays.replicate(tree) is tree
    assert arrays.gather(tree) is tree


def mesh():
    auto = (jax.sharding.AxisType.Auto,)
    return jax.make_mesh((4,), ('data',), auto, devices=jax.devices()[:4])


def test_a_part_is_laid_where_its_rows_belong():
    rows = NamedSharding(mesh(), PartitionSpec(None, 'data'))
    whole = np.arange(24).reshape(2, 4, 3)
    here = arrays.needed(whole.shape, rows, axis=1)
    assert here == slice(0, 4)
    laid = arrays.lay_part(whole, whole.shape, rows, axis=1, first=0)
    np.testing.assert_array_equal(laid, whole)
    assert laid.sharding.is_equivalent_to(rows, 3)


def test_only_an_error_of_jax_among_many_is_a_lost_peer(monkeypatch):
    words = 'UNKNOWN: Gloo all-reduce failed:\n Connection closed by peer'
    gloo = jax.errors.JaxRuntimeError(words)
    assert lost_peer(gloo) is None  # alone
    monkeypatch.setattr('jaxdl.processes.leaving.count', lambda: 2)
    assert lost_peer(gloo) == 'UNKNOWN: Gloo all-reduce failed: Connection closed by peer'
    assert lost_peer(ValueError('UNKNOWN: Gloo AllGather failed: Connection reset by peer'))
    assert lost_peer(ValueError('a connection of layers')) is None
    assert lost_peer(jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: 8 GB')) is None
    assert lost_peer(RuntimeError('connection to the database')) is None
