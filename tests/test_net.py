"""A network as a value: the train flag, memory, keys by name, methods."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.errors import UsageError
from jaxdl.keys import key_for
from jaxdl.net import Net, applications, initial_applications, takes_train, trainable

KEY = jax.random.key(0)
X = jnp.asarray(np.random.default_rng(0).normal(size=(8, 3)), jnp.float32)


class Normed(nn.Module):
    """Counts its training calls in its memory, as BatchNorm keeps statistics."""

    @nn.compact
    def __call__(self, x, *, train=False):
        return nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)


class Noisy(nn.Module):
    @nn.compact
    def __call__(self, x, *, train=False):
        noise = jax.random.normal(self.make_rng('noise'), x.shape) if train else 0.0
        return nn.Dropout(0.5, deterministic=not train)(x), noise


class Coder(nn.Module):
    def setup(self):
        self.dense = nn.Dense(2)

    def __call__(self, x):
        return self.encode(x)

    def encode(self, x, *, train=False):
        return self.dense(x) * (2.0 if train else 1.0)


def test_without_a_train_keyword_the_flag_is_not_passed():
    net = Net.init(nn.Dense(2), KEY, X)
    expected = X @ net.params['kernel'] + net.params['bias'].reshape(1, 2)
    for train in (False, True):
        out, after = net(X, train=train)
        np.testing.assert_allclose(out, expected, rtol=1e-5)
        assert after is net
    assert not takes_train(nn.Dense(2)) and takes_train(Normed())


def test_init_is_lazy_about_nothing_and_reproducible():
    one, two = (Net.init(nn.Dense(2), KEY, X) for _ in range(2))
    other = Net.init(nn.Dense(2), jax.random.key(1), X)
    np.testing.assert_array_equal(one.params['kernel'], two.params['kernel'])
    assert (one.params['kernel'] != other.params['kernel']).any()
    assert one.memory == {} and one.shadow is None


def test_memory_moves_in_training_only():
    net = Net.init(Normed(), KEY, X)
    out, same = net(X)
    assert same is net
    np.testing.assert_allclose(out, X / np.sqrt(1 + 1e-5), rtol=1e-5)  # statistics are still (0, 1)
    out, after = net(X, train=True)
    stats = after.memory['batch_stats']['BatchNorm_0']
    np.testing.assert_allclose(stats['mean'], 0.1 * np.mean(X, 0), atol=1e-6)
    np.testing.assert_allclose(stats['var'], 0.9 + 0.1 * np.var(X, 0), rtol=1e-5)
    np.testing.assert_allclose(out.mean(0), np.zeros(3), atol=1e-6)
    assert after.params is net.params
    assert jax.tree.structure(after) == jax.tree.structure(net)  # so a scan can carry it
    # A value: the old net is what it was.
    assert not net.memory['batch_stats']['BatchNorm_0']['mean'].any()
    out, _ = after(X)
    expected = (X - stats['mean'].reshape(1, 3)) / jnp.sqrt(stats['var'].reshape(1, 3) + 1e-5)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-6)


def test_keys_are_by_name():
    net = Net.init(Noisy(), KEY, X)
    (dropped, noise), _ = net(X, key=KEY, train=True)
    (again, same), _ = net(X, key=KEY, train=True)
    np.testing.assert_array_equal(dropped, again)
    np.testing.assert_array_equal(noise, same)
    (other, fresh), _ = net(X, key=jax.random.key(1), train=True)
    assert (other != dropped).any() and (fresh != noise).all()
    # The dropout stream is the child called 'dropout', whatever else is drawn.
    alone = nn.Dropout(0.5, deterministic=False)
    expected = nn.Sequential([alone]).apply({}, X, rngs={'dropout': key_for(KEY, 'dropout')})
    drop_only = Net.init(nn.Sequential([nn.Dropout(0.5, deterministic=False)]), KEY, X)
    np.testing.assert_array_equal(drop_only(X, key=KEY)[0], expected)
    (plain, zero), _ = net(X, key=KEY)
    np.testing.assert_array_equal(plain, X)
    assert zero == 0


class Images(nn.Module):
    @nn.compact
    def __call__(self, x, *, train=False):
        x = nn.Conv(4, (3, 3), name='conv1')(x)
        x = nn.Conv(2, (3, 3), name='conv2')(nn.BatchNorm(use_running_average=not train)(x))
        return nn.Dense(2, name='head')(x.reshape(*x.shape[:-3], -1))


class Nested(nn.Module):
    @nn.compact
    def __call__(self, x):
        return Images(name='trunk')(x)


GREY = (
    'Images: params/conv1/kernel is [3, 3, 3, 4], and an input of [8, 5, 5, 1] asks for '
    '[3, 3, 1, 4]: the network has weights for images of 3 channels and was given 1'
)


class TestInputsThatDoNotFit:
    @pytest.mark.parametrize('train', [False, True])
    def test_channels(self, train):
        net = Net.init(Images(), KEY, jnp.ones((8, 5, 5, 3)))
        with pytest.raises(UsageError) as caught:
            net(jnp.ones((8, 5, 5, 1)), train=train)
        assert str(caught.value) == GREY and caught.value.__cause__ is not None

    def test_inside_a_program_of_several_seeds(self):
        one = Net.init(Images(), KEY, jnp.ones((8, 5, 5, 3)))
        nets = jax.tree.map(lambda x: jnp.stack([x, x]), one)
        run = jax.jit(jax.vmap(lambda net, x: jax.grad(lambda x: net(x)[0].sum())(x), (0, None)))
        with pytest.raises(UsageError) as caught:
            run(nets, jnp.ones((8, 5, 5, 1)))
        assert str(caught.value) == GREY

    def test_no_axis_of_channels(self):
        net = Net.init(Images(), KEY, jnp.ones((8, 5, 5, 1)))
        with pytest.raises(UsageError) as caught:
            net(jnp.ones((8, 5, 5)))
        assert str(caught.value) == (
            'Images: params/conv1/kernel is [3, 3, 1, 4], and an input of [8, 5, 5] asks for '
            '[3, 3, 5, 4]: the network has weights for images of 1 channel and was given 5 (a '
            'batch has 4 axes, the channels last)'
        )

    def test_sizes(self):
        net = Net.init(Nested(), KEY, jnp.ones((8, 5, 5, 3)))
        with pytest.raises(UsageError) as caught:
            net(jnp.ones((8, 6, 5, 3)))
        assert str(caught.value) == (
            'Nested: params/trunk/head/kernel is [50, 2], and an input of [8, 6, 5, 3] asks for '
            '[60, 2]'
        )

    def test_maps_of_a_method_and_a_module_alone(self):
        net = Net.init(nn.Conv(4, (3,)), KEY, jnp.ones((8, 5, 3)))
        with pytest.raises(UsageError, match=r'^Conv: params/kernel is \[3, 3, 4\].* given 2$'):
            net(jnp.ones((8, 5, 2)))
        net = Net.init(Coder(), KEY, X)
        with pytest.raises(UsageError, match=r'^Coder: params/dense/kernel is \[3, 2\], and'):
            net(X[:, :2], method='encode')

    def test_other_mistakes_are_let_through(self):
        net = Net.init(Coder(), KEY, X)
        with pytest.raises(TypeError):
            net(X, X)
        with pytest.raises(Exception, match='parameter named "kernel"') as caught:
            net.replace(params={'dense': {}})(X)
        assert not isinstance(caught.value, UsageError)


def test_noise_without_a_key_is_an_error():
    net = Net.init(Noisy(), KEY, X)
    with pytest.raises(Exception, match='needs PRNG'):
        net(X, train=True)


@pytest.mark.parametrize('train', [False, True])
def test_a_method_has_its_own_train_keyword(train):
    net = Net.init(Coder(), KEY, X)
    plain, _ = net(X, train=train)  # __call__ has none
    out, _ = net(X, method='encode', train=train)
    np.testing.assert_allclose(out, plain * (2 if train else 1), rtol=1e-6)
    assert takes_train(Coder(), 'encode') and not takes_train(Coder())


def test_a_net_is_a_pytree_of_its_arrays():
    net = Net.init(Normed(), KEY, X)
    doubled = jax.tree.map(lambda x: 2 * x, net)
    assert doubled.module is net.module
    np.testing.assert_array_equal(doubled.params['BatchNorm_0']['scale'], [2, 2, 2])
    out = jax.jit(lambda net, x: net(x, train=True))(net, X)
    np.testing.assert_allclose(out[0], net(X, train=True)[0], rtol=1e-5, atol=1e-6)
    nets = jax.vmap(lambda key: Net.init(nn.Dense(2), key, X))(jax.random.split(KEY, 4))
    assert nets.params['kernel'].shape == (4, 3, 2)
    outs = jax.vmap(lambda net: net(X)[0])(nets)
    assert outs.shape == (4, 8, 2)


def test_trainable_parameters_leave_out_memory_and_shadows():
    net = Net.init(Normed(), KEY, X)
    state = {'a': net.replace(shadow=net), 'b': (Net.init(nn.Dense(2), KEY, X), jnp.ones(99))}
    assert trainable(state) == 6 + 8


def test_applications_are_the_networks_that_are_called():
    state = {'a': Net.init(nn.Dense(2), KEY, X), 'b': Net.init(Normed(), KEY, X[:, :2])}

    def measure(key, state, batch):
        hidden, _ = state['a'](batch)
        return state['b'](hidden, train=True)[0]

    found = applications(measure, state, X)
    assert {name: (type(m).__name__, x[0].shape) for name, (m, x) in found.items()} == {
        'a': ('Dense', (8, 3)),
        'b': ('Normed', (8, 2)),
    }


def test_equal_modules_of_two_players_are_two_networks():
    def init(key, batch):
        return {
            'first': Net.init(nn.Dense(3), KEY, batch),
            'second': Net.init(nn.Dense(3), KEY, batch[:, :2]),
            'third': Net.init(nn.Dense(3), KEY, batch[:4]),
        }

    def measure(key, state, batch):
        free = nn.Dense(3)  # of no player, and called twice
        params = free.init(KEY, batch)
        hidden, _ = state['first'](batch)
        state['second'](hidden[:, :2])
        return free.apply(params, batch) + free.apply(params, hidden)

    found = applications(measure, init(KEY, X), X)
    sizes = {name: inputs[0].shape for name, (_, inputs) in found.items()}
    assert sizes == {'first': (8, 3), 'second': (8, 2), 'Dense': (8, 3)}
    assert found['first'][0] == found['second'][0] == nn.Dense(3)
    # What no call shows, the first draw does.
    drawn = initial_applications(init, X)
    sizes = {name: inputs[0].shape for name, (_, inputs) in drawn.items()}
    assert sizes == {'first': (8, 3), 'second': (8, 2), 'third': (8, 3)}


def test_what_a_module_sows_is_not_its_memory():
    class Sowing(nn.Module):
        @nn.compact
        def __call__(self, x, *, train=False):
            self.sow('intermediates', 'mean', x.mean())
            return nn.BatchNorm(use_running_average=not train)(x)

    net = Net.init(Sowing(), KEY, X)
    assert set(net.memory) == {'batch_stats'}
    _, after = net(X, train=True)
    assert jax.tree.structure(after) == jax.tree.structure(net)


def test_train_is_given_at_the_start_where_it_must_be():
    class Must(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            return nn.Dense(2)(nn.Dropout(0.5, deterministic=not train)(x))

    net = Net.init(Must(), jax.random.key(0), jnp.ones((1, 2)))
    assert net(jnp.ones((1, 2)))[0].shape == (1, 2)


@pytest.mark.parametrize(
    ('name', 'line'),
    [
        ('training', 'what says whether it trains is called `train`'),
        ('deterministic', 'what says whether it trains is called `train`'),
        ('is_training', 'what says whether it trains is called `train`'),
    ],
)
@pytest.mark.parametrize('default', ['', ' = True'])
def test_another_word_for_train_is_refused(name, line, default):
    space = {'nn': nn}
    exec(
        f'class M(nn.Module):\n    def __call__(self, x, {name}{default}):\n        return x', space
    )
    with pytest.raises(UsageError, match=f'M: its call has the argument {name!r}, and {line}'):
        Net.init(space['M'](), jax.random.key(0), jnp.ones(1))
    # Where the experiment gives it with the inputs it is no word for anything else.
    Net.init(space['M'](), jax.random.key(0), jnp.ones(1), True)


def test_an_argument_that_nobody_gives_is_named():
    class Two(nn.Module):
        def __call__(self, x, y):
            return x + y

    with pytest.raises(
        UsageError, match="Two: its call has the argument 'y', and is given 1 inputs"
    ):
        Net.init(Two(), jax.random.key(0), jnp.ones(1))
    assert Net.init(Two(), jax.random.key(0), jnp.ones(1), jnp.ones(1)).params == {}
