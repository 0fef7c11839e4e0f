"""Data that every seed draws: the laws of seeds, for training, validation and test."""

import jax
import numpy as np
import pytest
import toy
from asked import Asked
from pace import mostly_slow

from jaxdl.data.draws import Draw
from jaxdl.data.stream import in_order, shuffled
from jaxdl.data.table import Table, from_arrays
from jaxdl.engine.engine import Engine, finish_each
from jaxdl.engine.identity import differences
from jaxdl.metrics import About, Each
from jaxdl.study import Eval

LAYOUTS = mostly_slow(['loop', 'vmap', 'pmap', 'seeds', 'data=2', 'data=2,fsdp=2'], keep=2)
DATA = from_arrays({'x': toy.X, 'y': toy.Y, 'row': np.arange(100)}, name='toy')


def rows(nets, batch, key):
    return {'rows': Each.of(batch['row'], batch['mask'])}


def engine(seeds, layout='vmap', *, data=DATA, parts=None, **options):
    train, valid, test = parts or data.draw(valid=0.15, test=0.25, contiguous=True)
    tests = {
        'valid': Eval(in_order(valid, batch=4, **options)),
        'test': Eval(in_order(test, batch=10, **options)),
        'rows': Eval(in_order(test, batch=10, **options), measure=rows),
    }
    source = shuffled(train, batch=8, **options)
    made = Engine(
        toy.task(), source, seeds=seeds, layout_name=layout, evaluations=tests, chunk=2, scan=True
    )
    return made, test


def measured(made, steps=4):
    """The states after some steps and all numbers, with a leading axis of seeds."""
    *_, tick = made.train(made.init(), start=0, stop=steps, cadences=[steps])
    numbers = {
        f'{split}/{name}': np.array(values)
        for split in made.evaluations
        for name, values in finish_each(made.measure(tick.states, split)).items()
    }
    return jax.device_get(made.layout.stack(tick.states)), numbers


@pytest.mark.parametrize('layout', LAYOUTS)
def test_law_1_a_seed_among_many_equals_the_seed_alone(layout):
    many, test = engine([0, 1, 2, 5], layout)
    states, numbers = measured(many)
    alone_states, alone = measured(engine([5], layout)[0])
    for got, want in zip(*map(jax.tree.leaves, (states, alone_states)), strict=True):
        if not jax.dtypes.issubdtype(got.dtype, jax.dtypes.prng_key):
            np.testing.assert_allclose(got[3], want[0], rtol=2e-5, atol=1e-6)
    for name, values in numbers.items():
        np.testing.assert_allclose(values[3], alone[name][0], rtol=1e-5, err_msg=name)
    # Each is measured on its own rows, in their order, all of them and no other.
    want = [test.numbers(seed) for seed in (0, 1, 2, 5)]
    np.testing.assert_array_equal(numbers['rows/rows'], want)
    assert not np.array_equal(want[0], want[3])
    assert numbers['test/confusion'].sum((1, 2)).tolist() == [25] * 4


def test_a_table_that_is_read_when_asked_gives_the_same():
    lazy = Table(Asked(DATA), 'toy')
    states, numbers = measured(engine([0, 5])[0])
    others, same = measured(engine([0, 5], data=lazy, resident=False, threads=1)[0])
    for got, want in zip(*map(jax.tree.leaves, (others, states)), strict=True):
        np.testing.assert_array_equal(got, want)
    for name, values in numbers.items():
        np.testing.assert_array_equal(same[name], values, err_msg=name)


def test_the_numbers_are_those_of_the_rows_of_each_seed():
    made, test = engine([0, 5])
    states = made.init()
    numbers = finish_each(made.measure(states, 'test'))
    for i, seed in enumerate((0, 5)):
        (net,) = toy.nets(jax.tree.map(lambda x, i=i: x[i], states))
        own = test.of(seed)
        logits, _ = net.shadow(own.column('x'))
        right = np.asarray(logits).argmax(-1) == own.column('y')
        np.testing.assert_array_equal(numbers['accuracy/each'][i], right)
        assert numbers['accuracy'][i] == pytest.approx(right.mean())


def test_parts_of_one_table_are_placed_once():
    made, _ = engine([0, 1])
    measured(made, steps=2)
    placed = [made._ours[1], *(resident for _, resident in made._placed.values())]
    assert len(placed) == 4
    for name in DATA.columns:
        assert len({id(arrays[name]) for arrays in placed}) == 1


def test_what_each_seed_has_of_its_own_is_known():
    about = engine([0, 1])[0].about
    assert about['test']['accuracy'] == About((), 'higher', drawn=True)
    assert about['train']['loss'].drawn and about['valid']['accuracy/each'].drawn
    fixed = Engine(toy.task(), toy.train_source(private=True), seeds=[0], evaluations={
        'test': Eval(toy.test_source())
    }).about  # fmt: skip
    assert not fixed['test']['accuracy/each'].drawn
    assert not fixed['train']['loss'].drawn  # an order of its own is no draw of data


def test_the_identity_covers_the_rows_of_each_seed():
    parts = DATA.draw(valid=0.15, test=0.25, contiguous=True)
    before = engine([0, 1, 5])[0].identity
    assert engine([0, 1, 5])[0].identity == before
    test = parts[2]

    def other(seed):
        return np.roll(test.numbers(seed), 1) if seed == 5 else test.numbers(seed)

    parts = *parts[:2], Draw(DATA, other, test.name)
    after = engine([0, 1, 5], parts=parts)[0].identity
    line = 'other rows are drawn by seed 5'
    assert differences([before], [after]) == [f'rows: {line}', f'test: {line}']
