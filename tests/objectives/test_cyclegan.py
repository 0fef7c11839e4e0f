"""CycleGAN: its four losses by hand, whose turn moves what, and the pool of made images."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from pace import mostly_slow

from jaxdl.errors import UsageError
from jaxdl.objectives.cyclegan import CycleState, cyclegan, draw_from_pool, empty_pool

KEY = jax.random.key(5)
RNG = np.random.default_rng(0)
A, B = (RNG.normal(size=(4, 2, 2, 1)).astype(np.float32) for _ in range(2))
BATCH = {'a': jnp.asarray(A), 'b': jnp.asarray(B), 'mask': jnp.ones(4, bool)}
FROZEN = optax.set_to_zero()


class Mix(nn.Module):
    """A linear map of all pixels."""

    shape: tuple[int, ...] = (2, 2, 1)

    @nn.compact
    def __call__(self, x):
        flat = nn.Dense(int(np.prod(self.shape)))(x.reshape(len(x), -1))
        return flat.reshape(-1, *self.shape)


def game(opt=FROZEN, **options):
    task = cyclegan(
        *({'ab': Mix(), 'ba': Mix()}, {'a': Mix((1, 1, 1)), 'b': Mix((1, 1, 1))}),
        lambda *_: {},
        generator_opt=opt,
        critic_opt=opt,
        **options,
    )
    return task, jax.jit(task.init)(KEY, BATCH)


def mixed(state, name, x):
    params = jax.device_get(state.players[name].net.params)['Dense_0']
    flat = x.reshape(len(x), -1) @ params['kernel'] + params['bias']
    return flat.reshape(-1, *x.shape[1:]) if flat.shape[1] == 4 else flat


@pytest.mark.parametrize('cycle, identity', mostly_slow([(10.0, 0.5), (3.0, 0.0), (0.0, 0.5)]))
def test_losses_by_hand(cycle, identity):
    task, state = game(cycle=cycle, identity=identity, pool=0)
    _, metrics = jax.jit(task.step)(KEY, state, BATCH)
    there, back = mixed(state, 'ab', A), mixed(state, 'ba', B)
    way = np.abs(mixed(state, 'ba', there) - A).mean()
    way += np.abs(mixed(state, 'ab', back) - B).mean()
    for name, made, real, kind in (('ab', there, B, 'b'), ('ba', back, A, 'a')):
        fake = mixed(state, f'critic_{kind}', made)
        want = ((fake - 1) ** 2).mean() + cycle * way
        want += cycle * identity * np.abs(mixed(state, name, real) - real).mean()
        assert metrics[f'{name}/loss'].value() == pytest.approx(want, rel=1e-4)
        scores = mixed(state, f'critic_{kind}', real)
        judged = (((scores - 1) ** 2).mean() + (fake**2).mean()) / 2
        assert metrics[f'critic_{kind}/loss'].value() == pytest.approx(judged, rel=1e-4)


def test_every_player_moves_and_the_pool_fills():
    task, state = game(optax.sgd(1e-2), pool=6)
    step = jax.jit(task.step)
    after, _ = step(KEY, state, BATCH)
    assert isinstance(after, CycleState)
    for name in ('ab', 'ba', 'critic_a', 'critic_b'):
        old, new = (s.players[name].net.params['Dense_0']['kernel'] for s in (state, after))
        assert not np.array_equal(old, new)
    # What the generators made before their turn.
    assert after.pools['b'].images[:4] == pytest.approx(mixed(state, 'ab', A), rel=1e-4, abs=1e-5)
    assert after.pools['a'].images[:4] == pytest.approx(mixed(state, 'ba', B), rel=1e-4, abs=1e-5)
    again, _ = step(KEY, after, BATCH)
    assert [int(s.pools['a'].size) for s in (state, after, again)] == [0, 4, 6]


def test_a_pool_keeps_while_it_has_room_and_then_swaps_half():
    draw = jax.jit(draw_from_pool)
    pool = empty_pool((1,), 3)
    pool, shown = draw(KEY, pool, jnp.array([[1.0], [2.0]]))
    assert shown.ravel().tolist() == [1, 2] and pool.size == 2
    swapped, total = 0, 0
    seen = {1.0, 2.0}
    for i in range(40):
        before = set(pool.images.ravel().tolist())
        new = 10.0 + jnp.arange(5 * i, 5 * i + 5, dtype=jnp.float32)[:, None]
        pool, shown = draw(jax.random.fold_in(KEY, i), pool, new)
        seen |= set(new.ravel().tolist())
        inside, given = set(pool.images.ravel().tolist()), set(shown.ravel().tolist())
        # Nothing is lost or made up: what went in or was there is shown or still there.
        assert inside | given == (before - {0.0}) | set(new.ravel().tolist())
        assert len(inside) == 3 and inside <= seen
        if i:
            swapped += int((shown != new).sum())
            total += 5
    assert 0.4 < swapped / total < 0.6
    images = jnp.ones((2, 1))
    same, shown = draw_from_pool(KEY, empty_pool((1,), 0), images)
    assert shown is images and same.images.shape == (0, 1)


def test_mistakes_are_one_line():
    with pytest.raises(UsageError, match=r"generators are for \['ab'\]; they are for \['ab', 'ba'"):
        options = {'generator_opt': FROZEN, 'critic_opt': FROZEN}
        cyclegan({'ab': Mix()}, {'a': Mix(), 'b': Mix()}, lambda *_: {}, **options)
    with pytest.raises(UsageError, match='pool=-1; it is 0 or more'):
        game(pool=-1)
