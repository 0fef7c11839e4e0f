"""Players and games: known values, whose turn moves what, minibatches, accumulation, shadows."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl.errors import UsageError
from jaxdl.game import Lazy, Player, Shadow, beside, ema, game, periodic_copy, supervised
from jaxdl.keys import key_for
from jaxdl.metrics import Mean, finish
from jaxdl.net import trainable
from jaxdl.optim import freeze

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)


class Point(nn.Module):
    """One parameter w, which is also the output."""

    start: float = 1.0

    @nn.compact
    def __call__(self, x):
        return self.param('w', lambda key: jnp.float32(self.start))


def nothing(nets, batch, key):
    return {}


def quadratic(target=3.0):
    """(w - target * mean(x))^2 / 2: its gradient is w - target * mean(x)."""

    def loss(net, batch, key):
        w, net = net(batch['x'])
        return (w - target * batch['x'].mean()) ** 2 / 2, (net, {'w': Mean.of(w)})

    return loss


def run(task, batches, state=None):
    """States after each step (the first is the initial one) and each step's metrics."""
    step = jax.jit(task.step)
    states = [jax.jit(task.init)(KEY, batches[0]) if state is None else state]
    metrics = []
    for i, batch in enumerate(batches):
        state, numbers = step(jax.random.fold_in(KEY, i), states[-1], batch)
        states.append(state)
        metrics.append(finish(numbers))
    return states, metrics


ONES = {'x': np.ones(4, np.float32)}


def w_of(state, name='net'):
    return float(state[name].net.params['w'])


def test_gradient_descent_on_a_quadratic():
    """w <- w - 0.1 (w - 3): w_n = 3 - 2 * 0.9^n."""
    states, metrics = run(supervised(Point(), quadratic(), optax.sgd(0.1), nothing), [ONES] * 5)
    expected = 3 - 2 * 0.9 ** np.arange(6)
    np.testing.assert_allclose([w_of(state) for state in states], expected, rtol=1e-6)
    # The metrics of a step are those before its move.
    np.testing.assert_allclose([m['w'] for m in metrics], expected[:-1], rtol=1e-6)
    np.testing.assert_allclose(
        [m['loss'] for m in metrics], (expected[:-1] - 3) ** 2 / 2, rtol=1e-5
    )
    assert [int(state['net'].turn) for state in states] == list(range(6))


def test_measure_sees_the_net_and_the_key():
    def measure(net, batch, key):
        w, _ = net(batch['x'])
        return {'w': Mean.of(w), 'noise': Mean.of(jax.random.normal(key))}

    task = supervised(Point(2.0), quadratic(), optax.sgd(0.1), measure)
    numbers = finish(task.measure(KEY, task.init(KEY, ONES), ONES))
    assert numbers == {'w': 2.0, 'noise': pytest.approx(float(jax.random.normal(KEY)))}


class Layer(nn.Module):
    """A dense layer with BatchNorm and dropout: parameters, memory and noise."""

    width: int

    @nn.compact
    def __call__(self, x, *, train=False):
        x = nn.BatchNorm(use_running_average=not train)(nn.Dense(self.width, use_bias=False)(x))
        return nn.Dropout(0.2, deterministic=not train)(x)


def adversaries():
    """Two players with memory, each of whose losses calls both networks in training."""

    def a_loss(nets, batch, key):
        code, a = nets['a'](batch['x'], key=key, train=True)
        score, b = nets['b'](code, key=key, train=True)
        return (score**2).mean(), ({**nets, 'a': a, 'b': b}, {'score': Mean.of(score)})

    def b_loss(nets, batch, key):
        value, (nets, metrics) = a_loss(nets, batch, key)
        return -value + (nets['b'].params['Dense_0']['kernel'] ** 2).sum(), (nets, metrics)

    def code(batch):
        return (jnp.zeros((len(batch['x']), 3)),)

    a = Player(Layer(3), a_loss, optax.adam(0.1), lambda batch: (batch['x'],))
    b = Player(Layer(1), b_loss, optax.adam(0.1), code)
    return {'a': a, 'b': b}


def differs(one, two):
    one, two = jax.tree.leaves(one), jax.tree.leaves(two)
    return any((np.asarray(a) != np.asarray(b)).any() for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize(('mover', 'other'), [('a', 'b'), ('b', 'a')])
def test_a_turn_changes_only_its_player_and_its_own_memory(mover, other):
    """Law 7. Both losses move both memories; only the mover's may be kept."""
    players = adversaries()
    players[other] = players[other]._replace(turns=0)
    batch = {'x': RNG.normal(size=(8, 5)).astype(np.float32)}
    (before, after), _ = run(game(players, nothing), [batch])
    for seat in ('net', 'opt', 'turn'):
        old, new = getattr(before[mover], seat), getattr(after[mover], seat)
        assert differs(old, new), seat
        assert not differs(getattr(before[other], seat), getattr(after[other], seat)), seat
    assert differs(before[mover].net.params, after[mover].net.params)
    assert differs(before[mover].net.memory, after[mover].net.memory)


def test_each_player_descends_its_own_loss():
    """A saddle, L = (u - 1) v: u descends, v ascends, one after the other."""

    def value(nets):
        u, v = nets['u'].params['w'], nets['v'].params['w']
        return (u - 1) * v

    players = {
        'u': Player(
            Point(2.0), lambda n, b, k: (value(n), (n, {})), optax.sgd(0.1), lambda b: (0,)
        ),
        'v': Player(
            Point(5.0), lambda n, b, k: (-value(n), (n, {})), optax.sgd(0.1), lambda b: (0,)
        ),
    }
    states, metrics = run(game(players, nothing), [ONES])
    u = 2 - 0.1 * 5
    v = 5 + 0.1 * (u - 1)  # sees u as it has become
    np.testing.assert_allclose([w_of(states[1], n) for n in 'uv'], [u, v], rtol=1e-6)
    assert set(metrics[0]) == {'u/loss', 'v/loss'}
    np.testing.assert_allclose(metrics[0]['v/loss'], -(u - 1) * 5, rtol=1e-6)


def test_turns_take_different_minibatches():
    """Five turns at rate 1 visit the means of five minibatches, in order; one turn the first."""
    trace = []

    def loss(nets, batch, key):
        net = nets['critic'] if 'critic' in nets else nets['net']
        return (net.params['w'] - batch['x'].mean()) ** 2 / 2, (nets, {'mean': Mean.of(batch['x'])})

    def other(nets, batch, key):
        jax.debug.callback(lambda x: trace.append(np.asarray(x)), batch['x'])
        return nets['generator'].params['w'] ** 2, (nets, {})

    def record(shadow, net, turn):
        jax.debug.callback(lambda w: trace.append(float(w)), net.params['w'], ordered=False)
        return shadow

    players = {
        'critic': Player(
            Point(), loss, optax.sgd(1.0), lambda b: (0,), turns=5, shadow=Shadow(record)
        ),
        'generator': Player(Point(), other, optax.sgd(0.0), lambda b: (0,)),
    }
    x = np.repeat(np.array([3, 1, 4, 1.5, 9], np.float32), 2)
    states, metrics = run(game(players, nothing), [{'x': x}])
    jax.effects_barrier()
    assert sorted(t for t in trace if isinstance(t, float)) == [1, 1.5, 3, 4, 9]
    assert w_of(states[1], 'critic') == 9 and int(states[1]['critic'].turn) == 5
    assert metrics[0]['critic/mean'] == x.mean()  # the metrics of all turns, added
    seen = [t for t in trace if isinstance(t, np.ndarray)]
    np.testing.assert_array_equal(seen, [[3, 3]])  # the generator's one turn
    with pytest.raises(UsageError, match='12 rows cannot be split into 5 .* for turns=5'):
        jax.eval_shape(game(players, nothing).step, KEY, states[0], {'x': np.zeros(12)})


def test_every_turn_and_player_has_its_own_key():
    def loss(name):
        def of(nets, batch, key):
            noise = jax.random.normal(key)
            jax.debug.callback(lambda z: draws[name].append(float(z)), noise)
            return nets[name].params['w'] * noise, (nets, {})

        return of

    players = {
        name: Player(Point(0.0), loss(name), optax.sgd(1.0), lambda b: (0,), turns=turns)
        for name, turns in (('a', 1), ('b', 2))
    }
    found = []
    for chosen in (players, players, {'a': players['a']}):
        draws = {'a': [], 'b': []}
        run(game(chosen, nothing), [ONES] * 2)
        jax.effects_barrier()
        found.append({name: sorted(values) for name, values in draws.items()})
    first, again, alone = found
    assert len(first['a']) == 2 and len(first['b']) == 4
    assert len(set(first['a'] + first['b'])) == 6
    assert again == first
    assert alone['a'] == first['a']  # whoever else plays


def regression(opt, norm=False, **options):
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x, *, train=False):
            x = nn.Dense(4, use_bias=not norm)(x)
            if norm:
                x = nn.BatchNorm(use_running_average=not train, momentum=0.5)(x)
            return nn.Dense(1)(nn.tanh(x))

    def loss(net, batch, key):
        y, net = net(batch['x'], train=True)
        return ((y - batch['y']) ** 2).mean(), (net, {'y': Mean.of(y)})

    return supervised(Model(), loss, opt, nothing, **options)


BATCHES = [
    {
        'x': RNG.normal(size=(12, 5)).astype(np.float32),
        'y': RNG.normal(size=(12, 1)).astype(np.float32),
    }
    for _ in range(4)
]


def test_accumulation_equals_one_big_batch():
    whole, metrics = run(regression(optax.adam(0.01)), BATCHES)
    split, summed = run(regression(optax.adam(0.01), accumulate=3), BATCHES)
    for a, b in zip(jax.tree.leaves(whole[-1]), jax.tree.leaves(split[-1]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    for one, other in zip(metrics, summed, strict=True):
        assert one == pytest.approx(other, rel=1e-4)


def test_accumulation_passes_memory_on():
    """BatchNorm's statistics move once for each micro-batch, as if they had come one by one."""
    (start, end), _ = run(regression(optax.sgd(0.0), norm=True, accumulate=3), BATCHES[:1])
    thirds = [{name: value[i::3] for name, value in BATCHES[0].items()} for i in range(3)]
    one_by_one, _ = run(regression(optax.sgd(0.0), norm=True), thirds, start)
    for a, b in zip(
        jax.tree.leaves(end['net'].net.memory),
        jax.tree.leaves(one_by_one[-1]['net'].net.memory),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_micro_batches_have_their_own_keys():
    def loss(net, batch, key):
        return net.params['w'] * jax.random.normal(key), (
            net,
            {'z': Mean.of(jax.random.normal(key))},
        )

    task = supervised(Point(0.0), loss, optax.sgd(1.0), nothing, accumulate=2)
    states, metrics = run(task, [ONES])
    turn = jax.random.fold_in(jax.random.fold_in(KEY, 0), 0)  # step 0
    assert w_of(states[1]) == pytest.approx(-metrics[0]['z'], rel=1e-5)  # the mean of two draws
    assert metrics[0]['z'] != float(jax.random.normal(turn))
    single, _ = run(supervised(Point(0.0), loss, optax.sgd(1.0), nothing), [ONES])
    assert w_of(single[1]) != w_of(states[1])


def test_ema_is_the_weighted_sum_of_the_past():
    task = supervised(Point(), quadratic(), optax.sgd(0.1), nothing, shadow=ema(0.8))
    states, _ = run(task, [ONES] * 6)
    w = [w_of(state) for state in states]
    expected = w[0]
    for state, value in zip(states[1:], w[1:], strict=True):
        expected = 0.8 * expected + 0.2 * value
        assert float(state['net'].net.shadow.params['w']) == pytest.approx(expected, rel=1e-5)


def test_the_decay_of_an_ema_may_be_a_schedule_of_turns():
    shadow = ema(lambda turn: 1 - 1 / turn)  # the mean of all nets so far
    task = supervised(Point(), quadratic(), optax.sgd(0.1), nothing, shadow=shadow)
    states, _ = run(task, [ONES] * 4)
    mean = np.mean([w_of(state) for state in states[1:]])
    assert float(states[-1]['net'].net.shadow.params['w']) == pytest.approx(mean, rel=1e-5)


@pytest.mark.parametrize('every', [1, 3, 4])
def test_periodic_copies_are_at_exact_multiples(every):
    task = supervised(Point(), quadratic(), optax.sgd(0.1), nothing, shadow=periodic_copy(every))
    states, _ = run(task, [ONES] * 9)
    w = [w_of(state) for state in states]
    shadows = [float(state['net'].net.shadow.params['w']) for state in states]
    assert shadows == [w[n // every * every] for n in range(10)]


@pytest.mark.parametrize('shadow', [ema(0.9), periodic_copy(1)])
def test_a_shadow_has_the_nets_memory(shadow):
    states, _ = run(regression(optax.sgd(0.1), norm=True, shadow=shadow), BATCHES[:2])
    net = states[-1]['net'].net
    assert not differs(net.memory, net.shadow.memory)
    assert differs(states[0]['net'].net.memory, net.memory)


def test_a_shadow_is_seen_in_the_loss_but_not_differentiated():
    """The loss (w - shadow - 1)^2 / 2 pushes w at rate 1 to one above the last copy."""

    def loss(net, batch, key):
        return (net.params['w'] - net.shadow.params['w'] - 1) ** 2 / 2, (net, {})

    task = supervised(Point(0.0), loss, optax.sgd(1.0), nothing, shadow=periodic_copy(2))
    states, _ = run(task, [ONES] * 6)
    assert [w_of(state) for state in states] == [0, 1, 1, 2, 2, 3, 3]


def test_a_state_may_be_donated():
    """No buffer is in the state twice: the shadow starts as a copy."""
    task = supervised(Point(), quadratic(), optax.adam(0.1), nothing, shadow=ema(0.9))
    state = task.init(KEY, ONES)  # not compiled, where aliases would survive
    pointers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(state)]
    assert len(set(pointers)) == len(pointers)
    step = jax.jit(task.step, donate_argnums=1)
    for _ in range(2):
        state, _ = step(KEY, state, ONES)
    assert w_of(state) > 1


def test_frozen_parameters_do_not_move():
    opt = freeze(optax.adamw(0.1, weight_decay=0.1), 'Dense_0/*')
    states, _ = run(regression(opt), BATCHES)
    first, last = states[0]['net'].net.params, states[-1]['net'].net.params
    assert not differs(first['Dense_0'], last['Dense_0'])
    assert differs(first['Dense_1'], last['Dense_1'])


def test_a_player_without_a_loss_is_looked_at_and_never_moves():
    def loss(nets, batch, key):
        w, net = nets['net'](batch['x'])
        target, judge = nets['judge'](batch['x'], train=True)
        return (w - target) ** 2 / 2, ({'net': net, 'judge': judge}, {})

    def inputs(batch):
        return (batch['x'],)

    players = {
        'net': Player(Point(), loss, optax.sgd(0.5), inputs),
        'judge': Player(Point(5.0), None, None, inputs),
    }
    task = game(players, nothing)
    states, metrics = run(task, [ONES, ONES])
    assert [w_of(state) for state in states] == [1, 3, 4]
    assert [w_of(state, 'judge') for state in states] == [5, 5, 5]
    assert metrics[0].keys() == {'loss'}  # one player moves: its numbers need no prefix
    assert states[0]['judge'].opt == () and trainable(states[0]) == 1
    assert task.nets(states[0])['judge'].frozen


def test_a_player_beside_a_game_changes_nothing_of_it():
    def measure(net, batch, key):
        return {'w': Mean.of(net(batch['x'])[0])}

    own = supervised(Point(), quadratic(), optax.sgd(0.5), measure)
    frozen = Player(Point(5.0), None, None, lambda batch: (batch['x'],))
    task = beside(own, {'before': frozen})
    states, metrics = run(task, [ONES, ONES])
    assert [w_of(state) for state in states] == [w_of(state) for state in run(own, [ONES] * 2)[0]]
    assert [w_of(state, 'before') for state in states] == [5, 5, 5]
    assert metrics[1].keys() == {'w', 'loss'} and trainable(states[0]) == 1
    assert {*task.nets(states[0])} == {*task.method.players} == {'net', 'before'}
    assert finish(task.measure(KEY, states[2], ONES)) == {'w': w_of(states[2])}
    with pytest.raises(UsageError, match="beside: 'net' is in the game already"):
        beside(own, {'net': frozen}).init(KEY, ONES)
    with pytest.raises(UsageError, match="beside: player 'x' has a loss or an optimizer"):
        beside(own, {'x': own.method.players['net']})


def test_a_player_beside_a_game_makes_what_it_trains_on():
    def measure(net, batch, key):
        return {'x': Mean.of(batch['x'])}

    def make(nets, batch, key):
        assert [*nets] == ['before']
        return {'x': batch['x'] + nets['before'](batch['x'])[0] + jax.random.normal(key, (4,))}

    own = supervised(Point(), quadratic(), optax.sgd(0.5), measure)
    task = beside(own, {'before': Player(Point(5.0), None, None, lambda b: (b['x'],))}, make=make)
    (before, *after), _ = run(task, [ONES, ONES])
    w, drawn = 1.0, []
    for i, state in enumerate(after):
        drawn.append(jax.random.normal(key_for(jax.random.fold_in(KEY, i), 'make'), (4,)))
        w -= 0.5 * (w - 3 * float(6 + drawn[-1].mean()))
        assert w_of(state) == pytest.approx(w, rel=1e-5) and w_of(state, 'before') == 5
    assert not np.array_equal(*drawn)
    # What is measured, and what the players are drawn for, is the batch itself.
    assert finish(task.measure(KEY, after[-1], ONES)) == {'x': 1} and w_of(before) == 1


@pytest.mark.parametrize(('loss', 'opt'), [(None, optax.sgd(0.1)), (nothing, None)])
def test_a_loss_goes_with_an_optimizer(loss, opt):
    with pytest.raises(ValueError, match="player 'net' needs a loss and an optimizer, or neither"):
        game({'net': Player(Point(), loss, opt, lambda batch: ())}, nothing)


@pytest.mark.parametrize(
    ('change', 'line'),
    [
        ({'module': Point}, 'is no module; make one: Point\\('),
        ({'opt': 0.1}, '0.1 is no optimizer; optax.adam'),
        ({'opt': optax.adam}, 'is no optimizer'),
        ({'shadow': 0.9}, '0.9 is no Shadow; ema'),
        ({'turns': -1}, 'turns is -1; it must be a whole number, at least 0'),
        ({'accumulate': 0}, 'accumulate is 0; it must be a whole number, at least 1'),
        ({'accumulate': 1.5}, 'accumulate is 1.5; '),
    ],
)
def test_a_field_of_a_player_is_of_its_kind(change, line):
    player = Player(Point(), nothing, optax.sgd(0.1), lambda batch: ())._replace(**change)
    with pytest.raises(UsageError, match=f"player 'net': .*{line}"):
        game({'net': player}, nothing)


@pytest.mark.parametrize(
    ('returned', 'line'),
    [
        (lambda net, w: w, r'it must return \(loss, \(net, metrics\)\), not float32\[\]'),
        (lambda net, w: (w, net), r'not \(float32\[\], a Net\)'),
        (lambda net, w: (w, net, {}), r'not \(float32\[\], a Net, a mapping of nothing\)'),
        (lambda net, w: None, 'not None'),
        (
            lambda net, w: (w[None], (net, {})),
            r'it must be one number, float32\[\], not float32\[1\]',
        ),
        (lambda net, w: (w > 0, (net, {})), 'it must be one number, float32.., not bool'),
        (lambda net, w: (1.0, (net, {})), 'it must be one number, float32.., not 1.0'),
        (lambda net, w: (w, ({}, net)), 'its metrics are a Net'),
        (lambda net, w: (w, (w, {})), 'it must return'),
        (lambda net, w: (w, ({}, {})), 'it returns a mapping of nothing for the net'),
        (lambda net, w: (w, (net, {'w': w})), "'w' is an array and no metric; Mean.of"),
    ],
)
def test_a_loss_returns_its_value_the_net_and_metrics(returned, line):
    def loss(net, batch, key):
        return returned(net, net(1.0)[0].sum())

    task = supervised(Point(), loss, optax.sgd(0.1), nothing, inputs=lambda batch: (1.0,))
    state = task.init(KEY, {})
    with pytest.raises(UsageError, match=rf'^the loss \(.*test_game.py:\d+\): .*{line}'):
        jax.eval_shape(task.step, KEY, state, {})


def lazily(every=3, **options):
    """(w - 3)^2 / 2 each turn, and (w + 1)^2 / 2 after every third; both count their moves."""

    def loss(nets, batch, key):
        net = nets['net']
        return (net.params['w'] - 3) ** 2 / 2, (nets, {})

    def rare(nets, batch, key):
        net = nets['net']
        net = net.replace(memory={**net.memory, 'kept': {'moves': net.memory['kept']['moves'] + 1}})
        w = net.params['w']
        return (w + 1) ** 2 / 2, ({**nets, 'net': net}, {'w': Mean.of(w)})

    player = Player(
        Point(),
        loss,
        optax.sgd(0.5),
        lambda b: (0,),
        lazy=Lazy(rare, every),
        memory={'kept': {'moves': 0}},
        **options,
    )
    return game({'net': player}, nothing)


def test_a_lazy_loss_is_one_more_move_after_some_turns():
    states, metrics = run(lazily(shadow=ema(0.0)), [ONES] * 7)
    w, want, seen = 1.0, [1.0], []
    for turn in range(1, 8):
        w += 0.5 * (3 - w)
        seen.append(w if turn % 3 == 0 else np.nan)
        w += 0.5 * (-1 - w) if turn % 3 == 0 else 0
        want.append(w)
    np.testing.assert_allclose([w_of(s) for s in states], want, rtol=1e-6)
    np.testing.assert_allclose([m['w'] for m in metrics], seen, rtol=1e-6)
    np.testing.assert_allclose(
        [m['loss'] for m in metrics], [(a - 3) ** 2 / 2 for a in want[:-1]], rtol=1e-5
    )
    assert [int(s['net'].net.memory['kept']['moves']) for s in states] == [0, 0, 0, 1, 1, 1, 2, 2]
    # The slow copy follows after both moves.
    assert [float(s['net'].net.shadow.params['w']) for s in states] == [w_of(s) for s in states]


def test_a_lazy_move_is_not_computed_where_it_is_not_due_of_many_seeds_too():
    """A cond of a predicate for each seed would become a choice between two results."""
    task = lazily()
    keys = jax.random.split(KEY, 3)
    state = jax.vmap(task.init, (0, None))(keys, ONES)
    many = jax.vmap(task.step, (0, 0, None))
    assert ' cond[' in str(jax.make_jaxpr(many)(keys, state, ONES))
    # Of seeds at different turns each makes only the moves that it is to make.
    state['net'] = state['net']._replace(turn=jnp.array([0, 1, 2]))
    after, _ = jax.jit(many)(keys, state, ONES)
    np.testing.assert_allclose(after['net'].net.params['w'], [2, 2, 0.5], rtol=1e-6)
    np.testing.assert_array_equal(after['net'].net.memory['kept']['moves'], [0, 0, 1])


def test_a_lazy_loss_and_kept_memory_are_checked():
    with pytest.raises(UsageError, match='every is 0; it must be a whole number, at least 1'):
        lazily(every=0)
    player = Player(Layer(3), lambda *_: None, optax.sgd(1.0), lambda b: (b['x'],))
    task = game({'a': player._replace(memory={'batch_stats': {}})}, nothing)
    with pytest.raises(UsageError, match="the module has 'batch_stats' of its own"):
        task.init(KEY, {'x': jnp.ones((4, 5))})
    with pytest.raises(UsageError, match='is no Lazy'):
        game({'a': player._replace(lazy=3)}, nothing)
