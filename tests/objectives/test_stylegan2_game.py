"""StyleGAN2's game: what is penalised, how often, and what it costs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.engine import cost
from jaxdl.errors import UsageError
from jaxdl.game import ema
from jaxdl.metrics import finish
from jaxdl.models.stylegan2 import StyleGAN2, StyleGAN2Discriminator
from jaxdl.objectives.stylegan2 import stylegan2

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
GENERATOR = StyleGAN2(8, 1, 4, depth=1, base=32, most=4)
CRITIC = StyleGAN2Discriminator(8, base=32, most=4)
BATCH = {'x': jnp.asarray(RNG.normal(size=(4, 8, 8, 1)), jnp.float32)}


def task_of(**options):
    return stylegan2(GENERATOR, CRITIC, lambda *_: {}, **options)


@functools.cache
def played():
    """States after 0, 1, ... steps with penalties every 2 and 3, and each step's numbers."""
    task = task_of(r1_every=2, path_every=3, shadow=ema(0.5))
    states, numbers = [jax.jit(task.init)(KEY, BATCH)], []
    step = jax.jit(task.step)
    for i in range(4):
        state, metrics = step(jax.random.fold_in(KEY, i), states[-1], BATCH)
        states.append(state)
        numbers.append(finish(metrics))
    return states, numbers


@pytest.mark.slow
def test_penalties_are_moves_of_their_own_and_rare():
    states, numbers = played()
    moves = {name: [int(s[name].opt[0].count) for s in states] for name in states[0]}
    assert moves == {'critic': [0, 1, 3, 4, 6], 'generator': [0, 1, 2, 4, 5]}
    turns = {name: [int(s[name].turn) for s in states] for name in states[0]}
    assert turns == {'critic': [0, 1, 2, 3, 4], 'generator': [0, 1, 2, 3, 4]}
    assert [np.isfinite(n['critic/r1']) for n in numbers] == [False, True, False, True]
    assert [np.isfinite(n['generator/path_length']) for n in numbers] == [False, False, True, False]


@pytest.mark.slow
def test_the_mean_length_moves_a_hundredth_of_the_way_and_only_then():
    states, numbers = played()
    means = [float(s['generator'].net.memory['path']['length']) for s in states]
    length = numbers[2]['generator/path_length']
    assert means == pytest.approx([0, 0, 0, 0.01 * length, 0.01 * length], rel=1e-5)
    assert length > 0


@pytest.mark.slow
def test_the_mean_style_and_the_slow_copy_follow():
    states, _ = played()
    averages = [s['generator'].net.memory['averages']['mapping']['w_avg'] for s in states]
    assert all((a != b).any() for a, b in zip(averages, averages[1:], strict=False))
    nets = [s['generator'].net for s in states]
    for before, after in zip(nets, nets[1:], strict=False):
        want = jax.tree.map(lambda s, p: (s + p) / 2, before.shadow.params, after.params)
        for a, b in zip(jax.tree.leaves(after.shadow.params), jax.tree.leaves(want), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_rare_move_costs_its_share():
    """With R1 every turn, every second, never: the second lies in the middle of the others."""

    def flops(**options):
        task = task_of(path=0.0, **options)
        return cost.flops(task.step, KEY, jax.eval_shape(task.init, KEY, BATCH), BATCH)

    always, often, never = (flops(**o) for o in ({'r1_every': 1}, {'r1_every': 2}, {'r1': 0.0}))
    assert never < always
    assert often - never == pytest.approx((always - never) / 2, rel=1e-3)


@pytest.mark.parametrize(
    ('options', 'line'),
    [
        ({'mixing': 1.5}, 'mixing is 1.5; it is a share'),
        ({'r1': -1.0}, 'r1 is -1.0; it is 0 or more'),
        ({'path_part': 0}, 'path_part is 0; it is 1 or more'),
        ({'path_every': 0}, 'path_every is 0; it is 1 or more'),
    ],
)
def test_what_is_not_allowed_is_one_line(options, line):
    with pytest.raises(UsageError, match=line):
        task_of(**options)
