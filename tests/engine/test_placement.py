"""Where parameters lie on a mesh: by their names, by their sizes, and their optimizer with them."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P

from jaxdl.engine.axes import Axes
from jaxdl.engine.layout import layout
from jaxdl.engine.placement import specs
from jaxdl.errors import UsageError
from jaxdl.game import supervised
from jaxdl.losses import mean_squared_error
from jaxdl.net import Net, named_nets

init = nn.initializers.lecun_normal()


class Named(nn.Module):
    """Two dense layers that say what their axes are, and one that does not."""

    hidden: int = 64

    @nn.compact
    def __call__(self, x):
        up = nn.with_logical_partitioning(init, ('embed', 'mlp'))
        down = nn.with_logical_partitioning(init, ('mlp', 'embed'))
        x = nn.relu(nn.Dense(self.hidden, kernel_init=up, name='up')(x))
        x = nn.with_logical_constraint(x, ('rows', 'mlp'))
        return nn.Dense(48, name='out')(nn.Dense(32, kernel_init=down, name='down')(x))


def loss(net, batch, key):
    y, net = net(batch['x'])
    return mean_squared_error(y, batch['y']), (net, {})


TASK = supervised(Named(), loss, optax.adam(1e-2), lambda *_: {})
BATCH = {'x': jnp.ones((8, 16)), 'y': jnp.ones((8, 48))}


def stacked(tree, seeds=1):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((seeds, *x.shape), x.dtype), tree)


def laid(axes):
    """The spec of every parameter by its path, and those of Adam's first moments."""
    state = jax.eval_shape(TASK.init, jax.random.key(0), BATCH)
    found = jax.tree_util.tree_leaves_with_path(
        specs(stacked(state), axes), is_leaf=lambda x: isinstance(x, P)
    )
    words = {jax.tree_util.keystr(path): spec for path, spec in found}
    params, moments = (
        {key.split(mark)[1]: spec for key, spec in words.items() if mark in key}
        for mark in ('.net.params', '.mu')
    )
    return params, moments


def test_named_axes_lie_where_the_rules_say_and_others_by_their_length():
    params, moments = laid(Axes(fsdp=2, tensor=4))
    assert params == {
        "['up']['kernel']": P('seeds', 'fsdp', 'tensor'),
        "['up']['bias']": P('seeds'),
        "['down']['kernel']": P('seeds', 'tensor', 'fsdp'),
        "['down']['bias']": P('seeds'),
        "['out']['kernel']": P('seeds', None, 'fsdp'),  # the longer of two
        "['out']['bias']": P('seeds'),
    }
    assert moments == params


def test_on_one_device_of_each_kind_nothing_is_cut():
    params, moments = laid(Axes(seeds=2, data=4))
    assert set(params.values()) == set(moments.values()) == {P('seeds')}


def test_an_axis_that_does_not_divide_is_named():
    with pytest.raises(
        UsageError, match=r"tensor is 3, which does not divide the 64 mlp .*'down'.*; 4"
    ):
        laid(Axes(tensor=3))


def test_names_of_axes_are_no_part_of_the_parameters():
    net = Net.init(Named(), jax.random.key(0), BATCH['x'])
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(net.params))
    assert dict(net.axes) == {
        ('up', 'kernel'): ('embed', 'mlp'),
        ('down', 'kernel'): ('mlp', 'embed'),
    }
    assert net(BATCH['x'])[0].shape == (8, 48)


@pytest.mark.parametrize('name', ['fsdp=4', 'fsdp=2,tensor=2'])
def test_a_device_holds_its_part_and_the_numbers_are_those_of_one(name):
    def train(name):
        lay = layout(name, 1)
        keys = lay.unstack(jax.random.split(jax.random.key(0), 1))
        ours = lay.share(BATCH)
        start = lay.compile(lambda key, batch: (TASK.init(key, batch),), (keys,), (ours,))
        (state,) = start.call(keys, ours)

        def step(state, key, batch):
            return (TASK.step(key, state, lay.constrain(batch))[0],)

        one = lay.compile(step, (state, keys), (ours,), donate=(0,))
        for _ in range(3):
            (state,) = one.call(state, keys, ours)
        return state, one.bytes

    state, _ = train(name)
    for leaf in jax.tree.leaves(state['net'].net.params):
        parts = 1 if leaf.size < 1024 else 4 if 'tensor' not in name or leaf.shape[-1] != 48 else 2
        assert leaf.addressable_shards[0].data.size * parts == leaf.size
    want, _ = train('vmap')
    for got, one in zip(jax.tree.leaves(state), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(got, one, rtol=2e-4, atol=1e-6)
    assert named_nets(state).keys() == {'net'}
