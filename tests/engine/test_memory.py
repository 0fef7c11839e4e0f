"""What a device holds: by hand, in every layout, and before the first step of a run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from jaxdl.engine import engine as engine_module
from jaxdl.engine.engine import Engine
from jaxdl.engine.layout import Devices
from jaxdl.engine.memory import Memory, account, largest

# Dense 5 x 8, scale and bias of BatchNorm, Dense 8 x 2 with its bias.
PARAMETERS = 4 * (40 + 16 + 18)


def seen(layout, ahead=None):
    said, noted = [], []
    engine = Engine(
        toy.task(),
        toy.train_source(),
        seeds=[0, 1],
        layout_name=layout,
        chunk=1,
        say=said.append,
        note=noted.append,
        ahead=ahead,
    )
    return engine, said, noted


@pytest.mark.parametrize('layout,seeds', [('vmap', 2), ('loop', 2), ('pmap', 1), ('seeds=2', 1)])
def test_the_first_step_says_what_a_device_holds(layout, seeds, monkeypatch):
    told = []

    def account_and_tell(mine, ours, *, temporaries):
        told.append(account(mine, ours, temporaries=temporaries))
        return told[-1]

    monkeypatch.setattr(engine_module, 'account', account_and_tell)
    engine, said, noted = seen(layout)
    for _ in engine.train(engine.init(), start=0, stop=2, cadences=[2]):
        pass
    (memory,) = told
    assert memory.parameters == seeds * PARAMETERS
    # Adam's two moments; then its count, the statistics, the slow copy with its own, and the turn.
    assert memory.optimizer == seeds * 2 * PARAMETERS
    assert memory.rest == seeds * (4 + 4 * 16 + PARAMETERS + 4 * 16 + 4)
    assert memory.data > toy.X.nbytes and memory.activations > 0
    assert [line for line in noted if line.startswith('memory')] == [f'memory per device: {memory}']
    assert not [line for line in said if 'memory' in line]


def test_where_the_limit_is_known_a_person_is_told(monkeypatch):
    monkeypatch.setattr(engine_module, 'limit', lambda device: 80_000_000_000)
    engine, said, noted = seen('vmap')
    engine._tell_memory((engine.init(), ()), (), 400)
    (line,) = said
    assert line.startswith('memory per device: ') and ' of 80.0 GB: parameters 592 B, opt' in line
    assert not [line for line in noted if 'memory' in line]


def test_what_will_not_fit_is_told_before_the_first_step(monkeypatch):
    monkeypatch.setattr(engine_module, 'limit', lambda device: 6000)
    engine, said, _ = seen('vmap')
    engine._tell_memory((engine.init(), ()), (), 4000)
    line = said[-1]
    assert line.startswith('this does not fit: ') and 'B more than 6.00 kB a device; ' in line
    assert 'the largest tensors are state/' in line and '--accumulate 2)' in line
    assert 'fewer seeds at once' in line


def test_shapes_tell_the_same_and_nothing_is_placed():
    """A step that is lowered only, over four devices: parameters on each, rows apart."""
    four = Devices(tuple(jax.devices()[:4]), 'gpu')
    engine, *_ = seen('data=4', ahead=four)
    assert engine.choice.name == 'data=4'
    lowered, mine, ours = engine.lower()
    memory = account(mine, ours, temporaries=0)
    assert memory[:2] == (2 * PARAMETERS, 4 * PARAMETERS)
    assert not {'_keys', '_shared', '_ours'} & set(vars(engine))
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves((mine, ours)))
    placed, *_ = seen('data=4')
    now = account((placed.init(), placed._keys), (placed._ours,), temporaries=0)
    assert now.state == memory.state
    assert lowered.as_text()


def test_parts_that_lie_apart_count_once():
    mesh = jax.make_mesh((4,), ('a',), devices=jax.devices()[:4])
    cut = jax.NamedSharding(mesh, jax.P('a'))
    tree = {
        'cut': jax.ShapeDtypeStruct((8, 2), jnp.float32, sharding=cut),
        'whole': np.zeros((3, 2), np.int8),
        'key': jax.random.key(0),
    }
    assert largest(tree) == [('cut', 16), ('key', 8), ('whole', 6)]
    assert account(({},), (tree,), temporaries=5) == Memory(0, 0, 0, 30, 5)
