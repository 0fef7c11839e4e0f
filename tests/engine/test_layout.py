"""The rule that chooses a layout, and the forms a layout gives to one value a seed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.engine.axes import Axes, check_layout, read_axes
from jaxdl.engine.choice import choose
from jaxdl.engine.layout import layout
from jaxdl.errors import UsageError, closest

LAYOUTS = ('vmap', 'loop', 'pmap', 'seeds', 'data', 'seeds,data', 'fsdp', 'data=2,tensor=2')


@pytest.mark.parametrize(
    'seeds,flops,convolution,platform,devices,name,scan',
    [
        (5, 1e6, False, 'cpu', 1, 'vmap', True),  # small: together, scanned
        (5, 1e6, True, 'cpu', 1, 'loop', False),  # convolutions
        (5, 1e9, False, 'cpu', 1, 'loop', False),  # heavy
        (5, 1e9, True, 'gpu', 1, 'vmap', True),
        (8, 1e9, True, 'tpu', 8, 'seeds', True),
        (5, 1e9, True, 'tpu', 8, 'seeds,data', True),
        (4, 1e9, True, 'cpu', 2, 'seeds', False),
    ],
)
def test_the_rule(seeds, flops, convolution, platform, devices, name, scan):
    choice = choose(
        seeds=seeds,
        rows=24,
        flops=flops,
        convolution=convolution,
        platform=platform,
        devices=devices,
    )
    assert (choice.name, choice.scan) == (name, scan) and choice.why


def test_sums_over_many_edges_run_seed_after_seed_on_a_cpu():
    rest = {'seeds': 5, 'rows': 1, 'flops': 1e6, 'convolution': False, 'devices': 1}
    choice = choose(**rest, platform='cpu', scattered=2e6)
    assert choice.name == 'loop' and '2.0 M elements' in choice.why
    assert choose(**rest, platform='cpu', scattered=1e5).name == 'vmap'
    assert choose(**rest, platform='gpu', scattered=2e6).name == 'vmap'


@pytest.mark.parametrize('name', LAYOUTS)
def test_unstack_and_stack_are_inverse(name):
    tree = {'a': jnp.arange(12.0).reshape(4, 3), 'key': jax.random.split(jax.random.key(0), 4)}
    lay = layout(name, 4)
    back = lay.stack(lay.unstack(tree))
    np.testing.assert_array_equal(back['a'], tree['a'])
    key_data = jax.random.key_data
    np.testing.assert_array_equal(key_data(back['key']), key_data(tree['key']))


@pytest.mark.parametrize('name', LAYOUTS)
def test_a_program_sees_one_seed_and_what_all_share(name):
    lay = layout(name, 4)
    mine = lay.unstack(jnp.arange(4.0))
    shared = lay.share(jnp.float32(10))
    program = lay.compile(lambda x, y: (x + y, x * y), (mine,), (shared,))
    added, multiplied = program.call(mine, shared)
    np.testing.assert_array_equal(lay.stack(added), [10, 11, 12, 13])
    np.testing.assert_array_equal(lay.stack(multiplied), [0, 10, 20, 30])


@pytest.mark.parametrize(
    'name,sharded', [('seeds', 4), ('data', 1), ('seeds,data', 2), ('vmap', 1)]
)
def test_seeds_lie_on_their_devices(name, sharded):
    count = 2 if name == 'seeds,data' else 4
    mine = layout(name, count).unstack(jnp.arange(float(count)))
    assert len({str(shard.index) for shard in mine.addressable_shards}) == sharded


def test_rows_are_laid_over_devices_where_they_divide():
    lay = layout('data', 1)
    x = jnp.ones((8, 3))

    def program(mine, batch):
        return (lay.constrain(batch)['x'].sum() + mine,)

    mine, batch = lay.unstack(jnp.zeros(1)), lay.share({'x': x})
    text = str(jax.make_jaxpr(jax.vmap(program, in_axes=(0, None)))(mine, batch))
    assert 'sharding_constraint' in text
    (total,) = lay.compile(program, (mine,), (batch,)).call(mine, batch)
    assert total.tolist() == [24]


@pytest.mark.parametrize(
    'name,seeds,words',
    [
        ('vmp', 4, "unknown layout 'vmp'; did you mean 'vmap'"),
        ('auto', 4, '--layout auto: it stands for a choice; '),
        ('seeds', 3, '3 seeds cannot be laid evenly over 4 devices'),
        ('pmap', 6, '6 seeds cannot be laid evenly over 4 devices'),
    ],
)
def test_what_cannot_be_is_said(name, seeds, words):
    with pytest.raises(UsageError, match=words):
        layout(name, seeds)


@pytest.mark.parametrize(
    'text,axes',
    [
        ('data', Axes(data=8)),
        ('fsdp=8', Axes(fsdp=8)),
        ('data=4,tensor=2', Axes(data=4, tensor=2)),
        ('data, tensor=2', Axes(data=4, tensor=2)),
        ('seeds', Axes(seeds=2)),
        ('seeds,data', Axes(seeds=2, data=4)),
        ('seeds=2,fsdp=2', Axes(seeds=2, fsdp=2)),
    ],
)
def test_axes_are_read(text, axes):
    assert read_axes(check_layout(text), seeds=6 if ',' in text else 2, devices=8) == axes


@pytest.mark.parametrize(
    'text,says',
    [
        ('data=3', '3 devices, which does not divide the 8 that are here; 4 does'),
        ('data=4,tensor=4', '16 devices, which does not divide the 8 that are here; 8 does'),
        ('dta=4', "unknown axis 'dta'; did you mean 'data'"),
        ('data=4,data=2', 'data is there twice'),
        ('data=two', "data is 'two'; it must be a whole number"),
        ('data=0', "data is '0'; it must be a whole number"),
        ('fsdp,tensor', 'fsdp and tensor have no number; one alone takes what is left'),
        ('seeds=4', '6 seeds cannot be laid evenly over 4 devices; seeds=3 can'),
    ],
)
def test_axes_that_cannot_be(text, says):
    with pytest.raises(UsageError, match=f'--layout {text}: .*{says}'):
        read_axes(text, seeds=6, devices=8)


def test_the_closest_divisor():
    assert [closest(n, 12) for n in (1, 5, 7, 9, 100)] == [1, 6, 6, 12, 12]


@pytest.mark.parametrize(
    ('name', 'says'),
    [
        ('loop', '--layout loop: it has one device, and the 2 processes of this run have 4; take'),
        ('vmap', '--layout vmap: it has one device'),
        ('pmap', '--layout pmap: it has one process'),
        ('data=2', 'it takes 2 of the 4 devices that the 2 processes .* have, and each must'),
        ('lop', "unknown layout 'lop'; did you mean 'loop'"),
    ],
)
def test_many_processes_refuse_a_layout_that_leaves_one_out(monkeypatch, name, says):
    monkeypatch.setattr(jax, 'process_count', lambda: 2)
    with pytest.raises(UsageError, match=says):
        layout(name, 2)


def test_many_processes_take_all_their_devices():
    rest = {'flops': 1e6, 'convolution': False, 'platform': 'cpu', 'devices': 4, 'rows': 8}
    assert choose(**rest, seeds=2).name == 'seeds'
    assert choose(**rest, seeds=2, all_of_them=True).name == 'seeds,data'
    assert choose(**rest, seeds=4, all_of_them=True).name == 'seeds'


def test_rows_and_seeds_that_lie_here_are_all_of_one_process():
    found = layout('seeds=2,data=2', 2)
    assert found.rows_here(8) == slice(0, 8)
    assert found.rows_here(7) == slice(0, 7)  # which do not divide
    assert found.seeds_here(2) == range(2)
