"""Environments against independent ones: Gymnasium's CartPole, plain loops, gymnax's own steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.errors import UsageError
from jaxdl.keys import key_at
from jaxdl.rl.cartpole import LEAN, TRACK, Cart, cartpole, draw_cart
from jaxdl.rl.env import advance, whole_episodes
from jaxdl.rl.frames import stack_frames
from jaxdl.rl.gymnax import from_gymnax
from jaxdl.rl.volley import BALL, FALL, PADDLE, STRIDE, THICK, Court, volley

KEY = jax.random.key(0)


@pytest.fixture(scope='module')
def push():
    """CartPole's compiled step: (cart, action) -> (cart, outcome), at the first move."""
    step = jax.jit(cartpole().step)

    def pushed(cart, action):
        (after, _), outcome = step(KEY, (Cart(*cart), jnp.int32(0)), jnp.int32(action))
        return after, outcome

    return pushed


# What Gymnasium 1.3.0 has from (0.01, -0.02, 0.03, -0.04) on, after moves 1, 2, 5 and 10.
ACTIONS = (1, 0, 1, 1, 0, 0, 1, 0, 1, 1)
RECORDED = {
    1: (0.0096, 0.1746792, 0.0292, -0.32306872),
    2: (0.01309358, -0.02084612, 0.02273863, -0.02132219),
    5: (0.0235303, 0.17339486, 0.00433111, -0.29457401),
    10: (0.03306435, 0.36871185, -0.01340609, -0.59156974),
}


def test_cartpole_moves_as_gymnasium_recorded(push):
    cart = jnp.array([0.01, -0.02, 0.03, -0.04])
    for move, action in enumerate(ACTIONS, 1):
        cart, outcome = push(cart, action)
        if move in RECORDED:
            np.testing.assert_allclose(outcome.obs, RECORDED[move], rtol=1e-4, atol=1e-7)
        assert not outcome.terminal and float(outcome.reward) == 1


@pytest.mark.parametrize(
    ('cart', 'action', 'over'),
    [
        ((-2.39, -0.6, 0, 0), 0, True),  # x is -2.402 then
        ((-2.39, -0.4, 0, 0), 0, False),
        ((2.39, 0.6, 0, 0), 1, True),
        ((0, 0, 0.2, 0.5), 1, True),  # 0.21, and the limit is 0.20944
        ((0, 0, 0.2, 0.4), 1, False),
        ((0, 0, -0.2, -0.5), 0, True),
    ],
)
def test_cartpole_is_over_where_the_cart_or_the_pole_goes_too_far(push, cart, action, over):
    _, outcome = push(jnp.array(cart, jnp.float32), action)
    assert bool(outcome.terminal) is over and not outcome.truncated
    assert float(outcome.reward) == 1  # also the last move


def test_cartpole_is_cut_off_after_500_moves_and_that_is_no_end():
    env = cartpole()
    assert env.horizon == 500 and env.shape == (4,) and env.actions == 2
    balanced = Cart(*jnp.zeros(4))
    (_, moves), outcome = env.step(KEY, (balanced, jnp.int32(499)), jnp.int32(1))
    assert outcome.truncated and not outcome.terminal and int(moves) == 500
    state, obs, transition, over = advance(
        env, KEY, (balanced, jnp.int32(499)), jnp.zeros(4), jnp.int32(1), discount=0.9
    )
    assert over and float(transition.discount) == pytest.approx(0.9)
    assert int(state[1]) == 0 and (jnp.abs(obs) <= 0.05).all()


def test_cartpole_equals_gymnasium_step_by_step(push):
    gymnasium = pytest.importorskip('gymnasium')
    theirs, rng, ends = gymnasium.make('CartPole-v1').unwrapped, np.random.default_rng(0), 0
    assert gymnasium.spec('CartPole-v1').max_episode_steps == 500
    assert theirs.x_threshold == TRACK
    assert theirs.theta_threshold_radians == pytest.approx(LEAN, rel=1e-6)
    for episode in range(12):
        obs, _ = theirs.reset(seed=episode)
        assert (np.abs(obs) <= 0.05).all()
        for _ in range(60):
            action = int(rng.integers(2)) if episode % 2 else int(obs[2] > 0)
            before = jnp.asarray(theirs.state, jnp.float32)
            obs, reward, over, cut, _ = theirs.step(action)
            _, outcome = push(before, action)
            np.testing.assert_allclose(outcome.obs, obs, rtol=1e-5, atol=1e-6)
            assert (float(outcome.reward), bool(outcome.terminal)) == (reward, over)
            assert not cut
            if over:
                ends += 1
                break
    assert ends >= 6


def test_the_pole_is_drawn_where_it_leans():
    seen = np.asarray(draw_cart(Cart(*jnp.array([1.0, 0, 0.2, 0]))))
    assert seen.shape == (48, 120, 1)
    cart, pole = np.argwhere(seen[..., 0] == np.float32(0.2)), np.argwhere(seen[..., 0] == 0.45)
    assert cart[:, 1].mean() == pytest.approx(60 + 25 * 1.0, abs=1)
    # 1 m is 25 pixels: the tip is 25 sin(0.2) to the right of the foot, and 25 cos(0.2) above.
    tip, foot = pole[pole[:, 0].argmin()], pole[pole[:, 0].argmax()]
    assert tip[1] - foot[1] == pytest.approx(25 * np.sin(0.2), abs=2.5)
    assert foot[0] - tip[0] == pytest.approx(25 * np.cos(0.2), abs=1.5)


# ---- Volley -------------------------------------------------------------------------------------


def test_volley_is_the_game_of_its_rules():
    env, side = volley(), 84
    step, rng = jax.jit(env.step), np.random.default_rng(0)
    (court, moves), obs = jax.jit(env.reset)(KEY)
    last, returned, lost, bounced, ceiling = side - BALL, 0, 0, 0, 0
    for move in range(400):
        row, column, down, right, paddle = (int(x) for x in court)
        # It follows the ball, but for a lapse now and then.
        wanted = 1 + np.sign(column + BALL // 2 - paddle - PADDLE // 2)
        action = int(rng.integers(3)) if move % 29 > 14 else int(wanted)
        paddle = min(max(paddle + STRIDE * (action - 1), 0), side - PADDLE)
        row, column = row + down, column + right
        if not 0 <= column <= last:
            bounced, right = bounced + 1, -right
            column = -column if column < 0 else 2 * last - column
        landed = down > 0 and row >= side - THICK - BALL
        hit = landed and paddle - BALL < column < paddle + PADDLE
        if row <= 0 and down < 0:
            ceiling, row, down = ceiling + 1, 0, FALL
        (court, moves), outcome = step(key_at(KEY, move), (court, moves), jnp.int32(action))
        assert float(outcome.reward) == (1 if hit else -1 if landed else 0)
        assert bool(outcome.terminal) is (landed and not hit)
        assert (int(court.column), int(court.paddle)) == (column, paddle)
        assert int(court.row) == min(row, side - THICK - BALL)
        if hit:
            assert int(court.down) == -FALL and 1 <= abs(int(court.right)) <= 3
        else:
            assert (int(court.down), int(court.right)) == (down, right)
        seen = np.zeros((side, side), np.uint8)
        seen[int(court.row) : int(court.row) + BALL, column : column + BALL] = 255
        seen[side - THICK :, paddle : paddle + PADDLE] = 255
        np.testing.assert_array_equal(outcome.obs, seen)
        returned, lost = returned + hit, lost + (landed and not hit)
        if landed and not hit:
            (court, moves), obs = env.reset(key_at(KEY, 1000 + move))
        moves = jnp.int32(0)  # the limit is another test's
    assert min(returned, lost, bounced, ceiling) >= 2


def test_volley_starts_at_the_top_and_the_sides_are_as_likely():
    (court, _), obs = jax.jit(jax.vmap(volley().reset))(jax.random.split(KEY, 2000))
    assert obs.dtype == jnp.uint8 and not court.row.any() and (court.down == FALL).all()
    shares = [float((court.right == v).mean()) for v in (-3, -2, -1, 1, 2, 3)]
    np.testing.assert_allclose(shares, [1 / 6] * 6, atol=0.04)
    assert int(court.column.min()) == 0 and int(court.column.max()) == 84 - BALL


def test_frames_are_stacked_the_newest_last_and_the_first_is_repeated():
    env = stack_frames(volley(steps=3), 3)
    assert env.shape == (84, 84, 3) and env.horizon == 3
    plain, stacked = volley(steps=3), jax.jit(env.step)
    (inner, seen), obs = env.reset(KEY)
    same, frame = plain.reset(KEY)
    frames = [frame] * 3
    np.testing.assert_array_equal(obs, jnp.stack(frames, -1))
    for move in range(3):
        key = key_at(KEY, move)
        same, outcome = plain.step(key, same, jnp.int32(0))
        frames = [*frames[1:], outcome.obs]
        (inner, seen), mine = stacked(key, (inner, seen), jnp.int32(0))
        np.testing.assert_array_equal(mine.obs, jnp.stack(frames, -1))
        assert bool(mine.truncated) is (move == 2)
    court, _ = inner
    assert isinstance(court, Court) and env.draw((inner, seen)).shape == (84, 84, 1)


# ---- gymnax -------------------------------------------------------------------------------------


def test_gymnax_cartpole_is_ours(push):
    pytest.importorskip('gymnax')
    env = from_gymnax('CartPole-v1', steps=30)
    assert (env.actions, env.shape, env.horizon) == (2, (4,), 30)
    step = jax.jit(env.step)
    state, obs = env.reset(KEY)
    rng = np.random.default_rng(0)
    for move in range(30):
        action = int(obs[2] > 0) if move % 3 else int(rng.integers(2))
        _, mine = push(obs, action)
        state, outcome = step(KEY, state, jnp.int32(action))
        np.testing.assert_allclose(outcome.obs, mine.obs, rtol=1e-5, atol=1e-6)
        assert bool(outcome.terminal) == bool(mine.terminal) and float(outcome.reward) == 1
        obs = outcome.obs
        assert bool(outcome.truncated) is (move == 29 and not outcome.terminal)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['Catch-bsuite', 'MountainCar-v0', 'Breakout-MinAtar'])
def test_gymnax_environments_play_whole_episodes(name):
    pytest.importorskip('gymnax')
    env = from_gymnax(name, steps=40)

    def act(key, obs):
        return jax.random.randint(key, (len(obs),), 0, env.actions)

    returns, lengths = jax.jit(lambda key: whole_episodes(env, key, act, episodes=3))(KEY)
    assert jnp.isfinite(returns).all() and (lengths >= 1).all() and (lengths <= 40).all()
    if name == 'Catch-bsuite':
        assert (jnp.abs(returns) == 1).all() and (lengths == 9).all()
    if name == 'MountainCar-v0':  # random actions do not get there
        assert (lengths == 40).all() and (returns == -40).all()


@pytest.mark.parametrize(
    ('name', 'more', 'line'),
    [
        ('CartPole', {}, "no environment 'CartPole' in gymnax; did you mean 'CartPole-v1'?"),
        ('Pendulum-v1', {}, 'Pendulum-v1: its actions are not a finite number'),
        ('CartPole-v1', {'steps': 0}, 'from_gymnax: steps is 0'),
    ],
)
def test_what_gymnax_has_not_is_one_line(name, more, line):
    pytest.importorskip('gymnax')
    with pytest.raises(UsageError) as raised:
        from_gymnax(name, **more)
    assert line in str(raised.value) and '\n' not in str(raised.value)


def test_without_gymnax_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'gymnax', None)
    with pytest.raises(UsageError, match=r"pip install 'jaxdl\[gymnax\]'"):
        from_gymnax('CartPole-v1')
