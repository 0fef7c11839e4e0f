"""The first models: exact parameter counts, independent numpy implementations, properties."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jitted import jitted

from jaxdl.errors import UsageError
from jaxdl.models import lenet
from jaxdl.models.conv_stack import ConvStack
from jaxdl.models.heads import Headed, Online, Probe
from jaxdl.models.lenet import LeNet, LeNet5
from jaxdl.models.mlp import MLP
from jaxdl.nn.layers import BatchNorm

RNG = np.random.default_rng(0)


def shapes(module, *shape):
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.eval_shape(lambda x: module.init(jax.random.key(0), x), x)['params']


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def random_like(tree):
    """Every parameter random, biases and coefficients too: with zeros wrong code can pass."""
    return jax.tree.map(lambda s: RNG.normal(size=s.shape, scale=0.3).astype(np.float32), tree)


def convolve(x, kernel, bias=0.0, stride=1):
    """A valid convolution by its definition, one output position after another."""
    kh, kw, _, out = kernel.shape
    h, w = (x.shape[1] - kh) // stride + 1, (x.shape[2] - kw) // stride + 1
    y = np.zeros((len(x), h, w, out))
    for i in range(h):
        for j in range(w):
            patch = x[:, i * stride : i * stride + kh, j * stride : j * stride + kw]
            y[:, i, j] = np.einsum('bhwc,hwco->bo', patch, kernel)
    return y + bias


def blocks(x):
    b, h, w, c = x.shape
    return x[:, : h // 2 * 2, : w // 2 * 2].reshape(b, h // 2, 2, w // 2, 2, c)


def relu(x):
    return np.maximum(x, 0)


def close(actual, expected):
    assert np.abs(actual - expected).max() < 1e-5 * np.abs(expected).max()


class TestMLP:
    @pytest.mark.parametrize(
        ('features', 'shape', 'expected'),
        [((300, 100, 10), (1, 28, 28, 1), 266_610), ((10,), (1, 784), 7850), ((3, 2), (1, 5), 26)],
    )
    def test_parameters(self, features, shape, expected):
        assert count(shapes(MLP(features), *shape)) == expected

    def test_output_is_that_of_numpy(self):
        module = MLP((7, 5, 3), activation=jnp.tanh)
        p = random_like(shapes(module, 2, 4, 2))
        x = RNG.normal(size=(2, 4, 2)).astype(np.float32)
        y = x.reshape(2, 8)
        for i in range(2):
            y = np.tanh(y @ p[f'Dense_{i}']['kernel'] + p[f'Dense_{i}']['bias'])
        y = y @ p['Dense_2']['kernel'] + p['Dense_2']['bias']
        close(jitted(module.apply)({'params': p}, x), y)

    def test_dropout_is_for_training_and_for_hidden_units(self):
        module = MLP((1000, 1), activation=lambda x: x, dropout=0.25)
        p = {
            'Dense_0': {'kernel': np.ones((1, 1000), np.float32), 'bias': np.zeros(1000)},
            'Dense_1': {'kernel': np.ones((1000, 1), np.float32), 'bias': np.zeros(1)},
        }
        x = np.ones((1, 1), np.float32)
        apply = jitted(module.apply)
        assert apply({'params': p}, x) == 1000
        kept = apply({'params': p}, x, train=True, rngs={'dropout': jax.random.key(0)})
        assert 900 < kept[0, 0] < 1100 and kept[0, 0] != 1000

    def test_a_norm_stands_before_the_activation_of_hidden_layers(self):
        module = MLP((7, 3), norm=BatchNorm)
        v = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((4, 5)))
        assert count(v['params']) == 5 * 7 + 2 * 7 + 7 * 3 + 3
        p, x = random_like(v['params']), RNG.normal(size=(4, 5)).astype(np.float32)
        stats = {'BatchNorm_0': {'mean': np.zeros(7), 'var': np.ones(7)}}
        apply = jitted(partial(module.apply, train=True, mutable=['batch_stats']))
        y, _ = apply({'params': p, 'batch_stats': stats}, x)
        h, norm = x @ p['Dense_0']['kernel'], p['BatchNorm_0']
        h = (h - h.mean(0)) / np.sqrt(h.var(0) + 1e-5) * norm['scale'] + norm['bias']
        close(y, relu(h) @ p['Dense_1']['kernel'] + p['Dense_1']['bias'])


class TestConvStack:
    def test_parameters(self):
        convolutions = 9 * (64 + 3 * 64 * 64)
        assert count(shapes(ConvStack(), 1, 28, 28, 1)) == convolutions + 4 * 2 * 64 == 111_680

    def test_output_is_that_of_numpy(self):
        module = ConvStack((3, 4))
        v = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((2, 7, 6, 2)))
        v = random_like(v)
        v['batch_stats'] = jax.tree.map(np.abs, v['batch_stats'])
        y = x = RNG.normal(size=(2, 7, 6, 2)).astype(np.float32)
        for i in range(2):
            y = np.pad(y, ((0, 0), (1, 1), (1, 1), (0, 0)))
            y = convolve(y, v['params'][f'Conv_{i}']['kernel'])
            norm, stats = (v[kind][f'BatchNorm_{i}'] for kind in ('params', 'batch_stats'))
            y = (y - stats['mean']) / np.sqrt(stats['var'] + 1e-5) * norm['scale'] + norm['bias']
            y = blocks(relu(y)).max((2, 4))
        close(jitted(module.apply)(v, x), y.reshape(2, -1))


class TestHeads:
    encoder, head = MLP((6, 5), norm=BatchNorm), MLP((3,))
    x = RNG.normal(size=(8, 4)).astype(np.float32)

    @pytest.mark.parametrize('build', [Headed, Probe])
    def test_a_head_reads_the_features(self, build):
        module = build(self.encoder, self.head)
        v = jax.jit(module.init)(jax.random.key(0), self.x)
        inner = {kind: v[kind]['encoder'] for kind in v}
        features = jitted(self.encoder.apply)(inner, self.x)
        expected = jitted(self.head.apply)({'params': v['params']['head']}, features)
        np.testing.assert_allclose(jitted(module.apply)(v, self.x), expected, rtol=1e-6)

    @pytest.mark.parametrize('build', [Headed, Probe])
    def test_a_probe_leaves_the_encoder_as_it_is(self, build):
        module = build(self.encoder, self.head)
        v = jax.jit(module.init)(jax.random.key(0), self.x)

        @jax.jit
        @partial(jax.grad, has_aux=True)
        def gradient(params):
            variables = {**v, 'params': params}
            y, memory = module.apply(variables, self.x, train=True, mutable=['batch_stats'])
            return (y**2).sum(), memory['batch_stats']

        gradients, memory = gradient(v['params'])
        moved = any(
            not np.array_equal(a, b)
            for a, b in zip(jax.tree.leaves(memory), jax.tree.leaves(v['batch_stats']), strict=True)
        )
        assert jax.tree.leaves(gradients['head'])[0].any()
        reached = any(leaf.any() for leaf in jax.tree.leaves(gradients['encoder']))
        assert (moved, reached) == ((True, True) if build is Headed else (False, False))

    def test_the_online_network_predicts_from_its_projection(self):
        module = Online(self.encoder, MLP((4, 3)), MLP((2, 3)))
        v = jax.jit(module.init)(jax.random.key(0), self.x)
        assert v['params'].keys() == {'encoder', 'projector', 'predictor'}
        z = jitted(partial(module.apply, method='project'))(v, self.x)
        q = jitted(MLP((2, 3)).apply)({'params': v['params']['predictor']}, z)
        np.testing.assert_allclose(jitted(module.apply)(v, self.x), q, rtol=1e-6)
        assert z.shape == (8, 3)
        with pytest.raises(UsageError, match='are one module'):
            Online(self.encoder, self.head, self.head)


class TestLeNet5:
    def test_parameters_are_those_of_the_paper(self):
        p = shapes(LeNet5(), 1, 32, 32, 1)
        paper = {'C1': 156, 'S2': 12, 'C3': 1516, 'S4': 32, 'C5': 48120, 'F6': 10164}
        assert {name: count(layer) for name, layer in p.items()} == paper
        assert count(p) == 60_000
        assert count(shapes(LeNet5(), 1, 28, 28, 1)) == 60_000

    def test_a_linear_output_is_one_argument(self):
        p = shapes(LeNet5(head=partial(nn.Dense, 10)), 1, 32, 32, 1)
        assert count(p['output']) == 850 and count(p) == 60_850

    @pytest.mark.parametrize('linear', [False, True])
    def test_output_is_that_of_numpy(self, linear):
        module = LeNet5(head=partial(nn.Dense, 10)) if linear else LeNet5()
        p = random_like(shapes(module, 2, 32, 32, 1))
        x = RNG.normal(size=(2, 32, 32, 1)).astype(np.float32)
        y = self.numpy(p, x)
        if linear:
            y = y @ p['output']['kernel'] + p['output']['bias']
        else:
            y = -((y[:, None] - lenet.bitmap_codes()) ** 2).sum(-1)
        close(jax.jit(module.apply)({'params': p}, x), y)

    @staticmethod
    def numpy(p, x):
        """The state of F6, map by map as table I is read."""

        def squash(a):
            return 1.7159 * np.tanh(a * 2 / 3)

        def subsample(x, q):
            return squash(blocks(x).sum((2, 4)) * q['scale'] + q['bias'])

        s2 = subsample(squash(convolve(x, p['C1']['kernel'], p['C1']['bias'])), p['S2'])
        c3, connection = [], 0
        for j, seen in enumerate(lenet.TABLE):
            total = p['C3']['bias'][j]
            for i in seen:
                kernel = p['C3']['kernel'][:, :, connection].reshape(5, 5, 1, 1)
                total = total + convolve(s2[..., i : i + 1], kernel)
                connection += 1
            c3.append(squash(total))
        assert connection == 60
        s4 = subsample(np.concatenate(c3, -1), p['S4'])
        c5 = squash(convolve(s4, p['C5']['kernel'], p['C5']['bias'])).reshape(len(x), 120)
        return squash(c5 @ p['F6']['kernel'] + p['F6']['bias'])

    def test_table_is_that_of_the_paper(self):
        """Table I: six maps see 3 neighbours, six 4 neighbours, three 4 others, one all six."""
        assert [len(seen) for seen in lenet.TABLE] == [3] * 6 + [4] * 9 + [6]
        assert len(set(lenet.TABLE)) == 16
        for j, seen in enumerate(lenet.TABLE[:12]):  # contiguous on the ring of six maps
            assert set(seen) == {(j + k) % 6 for k in range(3 if j < 6 else 4)}
        assert np.bincount(np.concatenate(lenet.TABLE), minlength=6).tolist() == [10] * 6

    def test_a_map_does_not_see_what_the_table_withholds(self):
        module = lenet.TableConv(lenet.TABLE, (5, 5))
        p = {'params': random_like(shapes(module, 1, 5, 5, 6))}
        seen = jax.jit(jax.jacobian(lambda x: module.apply(p, x)[0, 0, 0]))(jnp.ones((1, 5, 5, 6)))
        seen = np.abs(seen).sum((1, 2, 3)) > 0
        for j, maps in enumerate(lenet.TABLE):
            assert np.flatnonzero(seen[j]).tolist() == list(maps)

    def test_small_images_are_framed_by_the_background(self):
        x = RNG.normal(size=(1, 28, 28, 1)).astype(np.float32)
        framed = np.full((1, 32, 32, 1), -0.1, np.float32)
        framed[:, 2:30, 2:30] = x
        p = {'params': random_like(shapes(LeNet5(), 1, 32, 32, 1))}
        module = LeNet5(background=-0.1)
        apply = jax.jit(module.apply)
        np.testing.assert_array_equal(apply(p, x), apply(p, framed))

    def test_other_sizes_are_refused(self):
        with pytest.raises(ValueError, match='32x32 or 28x28, not 8x8'):
            shapes(LeNet5(), 1, 8, 8, 1)

    def test_initial_weights_are_uniform_by_fan_in(self):
        p = jax.jit(LeNet5().init)(jax.random.key(0), jnp.ones((1, 32, 32, 1)))['params']
        fans = {'C1': 25, 'C5': 400, 'F6': 120}
        for name, fan in fans.items():
            top = np.abs(p[name]['kernel']).max()
            assert 0.9 * 2.4 / fan < top <= 2.4 / fan
        kernels = np.abs(p['C3']['kernel'])
        assert 2.4 / 100 < kernels[..., :18].max() <= 2.4 / 75
        assert 2.4 / 150 < kernels[..., 18:54].max() <= 2.4 / 100
        assert kernels[..., 54:].max() <= 2.4 / 150

    def test_squash_is_fixed_at_one(self):
        np.testing.assert_allclose(lenet.squash(jnp.array([-1.0, 0.0, 1.0])), [-1, 0, 1], atol=1e-4)

    def test_codes_are_ten_different_bitmaps(self):
        codes = lenet.bitmap_codes()
        assert codes.shape == (10, 84) and set(np.unique(codes)) == {-1.0, 1.0}
        apart = (codes[:, None] != codes[None]).sum(-1)[~np.eye(10, dtype=bool)]
        assert apart.min() >= 9
        # A code itself is recognised as its class, at distance 0.
        logits = lenet.RadialBasis().apply({}, jnp.asarray(codes))
        assert (logits.argmax(-1) == np.arange(10)).all() and (np.diag(logits) == 0).all()
        assert lenet.bitmap_codes('#. ..\n.. .#').tolist() == [[1, -1, -1, -1], [-1, -1, -1, 1]]


class TestLeNet:
    def test_dropout_is_for_training_and_for_dense_units(self):
        x = jnp.ones((1, 8, 8, 1))
        module = LeNet((2, 3), (40,), kernel=(3, 3), padding='SAME', dropout=0.5)
        p = {'params': random_like(shapes(module, *x.shape))}
        plain = module.clone(dropout=0.0)
        np.testing.assert_array_equal(jax.jit(module.apply)(p, x), jax.jit(plain.apply)(p, x))
        _, seen = jitted(module.apply)(
            *(p, x), train=True, rngs={'dropout': jax.random.key(0)}, capture_intermediates=True
        )
        hidden = nn.relu(
            jitted(plain.apply)(p, x, capture_intermediates=True)[1]['intermediates']['Dense_0'][
                '__call__'
            ][0]
        )
        kept = seen['intermediates']['Dropout_0']['__call__'][0]
        assert set(np.unique(np.round(np.asarray(kept / hidden)[hidden > 0], 5))) == {0.0, 2.0}

    @pytest.mark.parametrize(
        ('module', 'size', 'expected'),
        [
            (LeNet(), 28, 61_706),
            (LeNet(padding='VALID'), 32, 61_706),
            (LeNet(features=(20, 50), dense=(500,), padding='VALID'), 28, 431_080),
            (LeNet(conv=partial(nn.Conv, strides=2), pool=lambda x: x), 28, 61_706),
            (LeNet(pool=lenet.average_pool), 28, 61_706),
            (LeNet(pool=lenet.strided_conv), 28, 61_706 + 150 + 1040),
            (LeNet(kernel=(3, 3), padding='SAME'), 8, 60 + 880 + 7800 + 10164 + 850),
        ],
    )
    def test_parameters(self, module, size, expected):
        assert count(shapes(module, 1, size, size, 1)) == expected

    @pytest.mark.parametrize('pool', ['max', 'average', 'strided'])
    def test_output_is_that_of_numpy(self, pool):
        pools = {
            'max': (lenet.max_pool, lambda x, _: blocks(x).max((2, 4))),
            'average': (lenet.average_pool, lambda x, _: blocks(x).mean((2, 4))),
            'strided': (lenet.strided_conv, lambda x, q: convolve(x, **q, stride=2)),
        }
        of_jax, of_numpy = pools[pool]
        module = LeNet(
            features=(3, 4), dense=(6,), classes=5, pool=of_jax, padding=('SAME', 'VALID')
        )
        p = random_like(shapes(module, 2, 13, 13, 2))
        x = RNG.normal(size=(2, 13, 13, 2)).astype(np.float32)
        convs = [p[name] for name in sorted(p) if name.startswith('Conv')]
        step = len(convs) // 2  # with a strided convolution after each
        y = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
        for i in (0, step):
            y = of_numpy(relu(convolve(y, **convs[i])), convs[i + step - 1])
        y = relu(y.reshape(2, -1) @ p['Dense_0']['kernel'] + p['Dense_0']['bias'])
        y = y @ p['Dense_1']['kernel'] + p['Dense_1']['bias']
        close(jax.jit(module.apply)({'params': p}, x), y)

    def test_strided_convolutions_without_pooling(self):
        conv = partial(nn.Conv, strides=2)
        module = LeNet((3,), (), 5, padding='VALID', conv=conv, pool=lambda x: x)
        p = random_like(shapes(module, 2, 9, 9, 1))
        x = RNG.normal(size=(2, 9, 9, 1)).astype(np.float32)
        y = relu(convolve(x, **p['Conv_0'], stride=2)).reshape(2, -1)
        close(
            jitted(module.apply)({'params': p}, x),
            y @ p['Dense_0']['kernel'] + p['Dense_0']['bias'],
        )

    @pytest.mark.parametrize('pool', [lenet.max_pool, lenet.average_pool, lenet.strided_conv])
    def test_maps_move_with_the_image(self, pool):
        """Four pixels (one position after two reductions) to the right move the maps by one."""
        seen = []

        def tap(x):
            x = pool(x)
            seen.append(np.asarray(x))
            return x

        module = LeNet(features=(3, 4), pool=tap, padding='SAME')
        x = np.zeros((2, 40, 40, 1), np.float32)
        x[0, 16:24, 12:20] = x[1, 16:24, 16:24] = RNG.normal(size=(8, 8, 1))
        p = random_like(shapes(LeNet(features=(3, 4), pool=pool, padding='SAME'), *x.shape))
        module.apply({'params': p}, x)
        for maps, step in zip(seen, (2, 1), strict=True):
            moved, still = maps[1, 2:-2, 2 + step : -2], maps[0, 2:-2, 2 : -2 - step]
            np.testing.assert_allclose(moved, still, atol=1e-5)
            assert np.abs(maps[0] - maps[1]).max() > 0.1

    def test_a_padding_for_each_convolution(self):
        with pytest.raises(ValueError, match='2 paddings for 3 convolutions'):
            shapes(LeNet(features=(3, 4, 5)), 1, 28, 28, 1)
