"""Parameters by path: freezing and weight decay's mask."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl.errors import UsageError
from jaxdl.optim import clip_weights, decayed, freeze, lazy_adam, path_name, paths

PARAMS = {
    'encoder': {
        'Dense_0': {'kernel': jnp.ones((2, 3)), 'bias': jnp.ones(3)},
        'LayerNorm_0': {'scale': jnp.ones(3), 'bias': jnp.ones(3)},
        'Embed_0': {'embedding': jnp.ones((5, 3))},
    },
    'head': {'kernel': jnp.ones((3, 1)), 'bias': jnp.ones(1)},
}
NAMES = [
    'encoder/Dense_0/bias',
    'encoder/Dense_0/kernel',
    'encoder/Embed_0/embedding',
    'encoder/LayerNorm_0/bias',
    'encoder/LayerNorm_0/scale',
    'head/bias',
    'head/kernel',
]


def moved(opt, params=PARAMS, steps=2):
    """The names of the parameters that `steps` steps of equal gradients move."""
    state, now = opt.init(params), params
    for _ in range(steps):
        updates, state = opt.update(jax.tree.map(jnp.ones_like, params), state, now)
        now = optax.apply_updates(now, updates)
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), params, now)
    return [name for name, c in zip(paths(params), jax.tree.leaves(changed), strict=True) if c]


def test_paths_of_dicts_tuples_and_linen_parameters():
    assert paths(PARAMS) == NAMES
    assert paths({'a': (jnp.ones(1), [jnp.ones(1)])}) == ['a/0', 'a/1/0']
    params = nn.Dense(2).init(jax.random.key(0), jnp.ones((1, 2)))
    assert paths(params) == ['params/bias', 'params/kernel']
    named = jax.tree_util.tree_map_with_path(lambda path, _: path_name(path), PARAMS)
    assert named['encoder']['Dense_0']['kernel'] == 'encoder/Dense_0/kernel'


@pytest.mark.parametrize(
    ('patterns', 'still'),
    [
        ((), []),
        (('encoder/*',), NAMES[:5]),
        (('*/bias',), [NAMES[0], NAMES[3], NAMES[5]]),
        (('head/kernel', '*scale'), [NAMES[4], NAMES[6]]),
        (('*',), NAMES),
    ],
)
def test_frozen_parameters_do_not_move_and_the_rest_do(patterns, still):
    # Weight decay would move a frozen parameter if it were only its gradient that was zero.
    opt = freeze(optax.adamw(0.1, weight_decay=0.5), *patterns)
    assert moved(opt) == [name for name in NAMES if name not in still]


def test_the_rest_moves_as_without_freezing():
    grads = jax.tree.map(lambda x: 0.3 * jnp.ones_like(x), PARAMS)
    plain, frozen = optax.adam(0.1), freeze(optax.adam(0.1), 'encoder/*')
    expected, _ = plain.update(grads, plain.init(PARAMS), PARAMS)
    updates, _ = jax.jit(frozen.update)(grads, frozen.init(PARAMS), PARAMS)
    np.testing.assert_allclose(updates['head']['kernel'], expected['head']['kernel'], rtol=1e-6)


def test_clipping_before_freezing_sees_all_and_inside_only_the_trained():
    """A gradient norm over what is trained: frozen gradients have no part inside `freeze`."""
    grads = {'a': jnp.array([3.0]), 'b': jnp.array([400.0])}
    opt = freeze(optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(1.0)), 'b')
    updates, _ = opt.update(grads, opt.init(grads), grads)
    np.testing.assert_allclose(updates['a'], [-1.0])
    np.testing.assert_allclose(updates['b'], [0.0])


def test_frozen_parameters_have_no_optimizer_state():
    state = freeze(optax.adam(0.1), 'encoder/*').init(PARAMS)
    assert sum(x.size for x in jax.tree.leaves(state)) == 2 * 4 + 1  # two moments and a count


def test_a_pattern_that_matches_nothing_names_the_nearest_path():
    opt = freeze(optax.sgd(0.1), 'head/*', 'encoder/Dense_1/kernel')
    with pytest.raises(UsageError) as error:
        opt.init(PARAMS)
    line = str(error.value)
    assert "'encoder/Dense_1/kernel' matches no parameter" in line
    assert "did you mean 'encoder/Dense_0/kernel'?" in line and '\n' not in line


def test_decay_is_for_kernels():
    mask = decayed(PARAMS)
    chosen = [n for n, m in zip(NAMES, jax.tree.leaves(mask), strict=True) if m]
    assert chosen == ['encoder/Dense_0/kernel', 'head/kernel']
    opt = optax.adamw(0.1, weight_decay=0.5, mask=decayed)
    updates, _ = opt.update(jax.tree.map(jnp.zeros_like, PARAMS), opt.init(PARAMS), PARAMS)
    for name, leaf in zip(NAMES, jax.tree.leaves(updates), strict=True):
        np.testing.assert_allclose(leaf, -0.05 if name in chosen else 0.0, rtol=1e-6)


def test_positions_and_class_tokens_do_not_decay():
    params = {'pos_embedding': jnp.ones((1, 5, 3)), 'class_token': jnp.ones((1, 1, 3))}
    mask = decayed({**params, 'encoder': {'mlp': {'kernel': jnp.ones((3, 3))}}})
    assert mask == {
        'pos_embedding': False,
        'class_token': False,
        'encoder': {'mlp': {'kernel': True}},
    }


@pytest.mark.parametrize(
    ('schedule', 'values'),
    [
        (
            optax.warmup_cosine_decay_schedule(0, 0.4, 100, 1100),
            # steps include the warm-up; half way down the cosine is half the peak.
            {0: 0, 50: 0.2, 100: 0.4, 350: 0.2 * (1 + 2**-0.5), 600: 0.2, 1100: 0, 2000: 0},
        ),
        (
            optax.piecewise_constant_schedule(0.1, {32_000: 0.1, 48_000: 0.1}),
            {0: 0.1, 31_999: 0.1, 32_001: 0.01, 47_999: 0.01, 48_001: 0.001},
        ),
        (
            optax.exponential_decay(0.5, 1000, 0.9),
            {0: 0.5, 500: 0.5 * 0.9**0.5, 1000: 0.45, 2000: 0.405},
        ),
        (optax.linear_schedule(0.2, 0, 10), {0: 0.2, 5: 0.1, 10: 0, 11: 0}),
    ],
)
def test_schedules_as_the_docstring_says_them(schedule, values):
    for step, value in values.items():
        np.testing.assert_allclose(schedule(step), value, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    'module', [nn.Conv(2, (3, 3)), nn.LSTMCell(2), nn.MultiHeadDotProductAttention(2), nn.PReLU()]
)
def test_decay_of_linen_layers(module):
    x = jnp.ones((1, 4, 4, 2))
    carry = (jnp.ones((1, 2)), jnp.ones((1, 2)))
    args = (carry, jnp.ones((1, 2))) if isinstance(module, nn.LSTMCell) else (x,)
    params = module.init(jax.random.key(0), *args)['params']
    for name, decays in zip(paths(params), jax.tree.leaves(decayed(params)), strict=True):
        # Attention's biases have the axes [heads, width].
        assert decays == name.endswith('kernel'), name


def test_weights_are_clipped_after_each_step_and_moved_before():
    opt = optax.chain(optax.sgd(1.0), clip_weights(0.5))
    params, grads = jnp.array([0.4, 0.4, -0.3, 2.0]), jnp.array([0.1, -0.3, 0.9, 0.0])
    updates, _ = jax.jit(opt.update)(grads, opt.init(params), params)
    # The last one began beyond the limit.
    np.testing.assert_allclose(params + updates, [0.3, 0.5, -0.5, 0.5], rtol=1e-6)


@pytest.mark.parametrize('limit', [0.0, -1.0, float('nan')])
def test_a_limit_must_be_positive(limit):
    with pytest.raises(UsageError, match='must be above 0'):
        clip_weights(limit)


def test_lazy_adam_does_in_k_turns_and_a_rare_move_what_adam_does_in_k():
    """Of a constant gradient: the way is k lr, and the first moment's memory decays as much."""
    params = {'w': jnp.float32(0.0)}

    def way(opt, moves):
        state, w = opt.init(params), params
        for _ in range(moves):
            updates, state = opt.update({'w': jnp.float32(1.0)}, state, w)
            w = optax.apply_updates(w, updates)
        return float(w['w'])

    plain, lazy = optax.adam(0.01, 0.5, 0.9), lazy_adam(0.01, every=4, b1=0.5, b2=0.9)
    assert way(lazy, 10) == pytest.approx(way(plain, 8), rel=1e-4)
    falling = optax.linear_schedule(0.01, 0.0, 8)
    assert way(lazy_adam(falling, every=4), 10) == pytest.approx(
        way(optax.adam(falling, 0.0, 0.99), 8), rel=0.1
    )
    state = lazy.init(params)
    (_, after) = lazy.update({'w': jnp.float32(1.0)}, state)
    assert float(after[0].mu['w']) == pytest.approx(1 - 0.5**0.8, rel=1e-5)
    assert float(after[0].nu['w']) == pytest.approx(1 - 0.9**0.8, rel=1e-5)
