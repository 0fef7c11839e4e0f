"""Convolutional classifiers before residual ones: counts, the papers' tables, properties."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.errors import InvalidRngError
from jitted import jitted

from jaxdl import losses
from jaxdl.engine import cost
from jaxdl.models import googlenet, inception, vgg
from jaxdl.models.alexnet import AlexNet, alexnet2014, local_response_norm
from jaxdl.models.cnn import CNN, deep_mnist, flax_mnist
from jaxdl.models.googlenet import TABLE, ConvUnit, GoogLeNet, Heads, googlenet_bn
from jaxdl.models.inception import InceptionV3
from jaxdl.nn.pooling import adaptive_average_pool, ceil_max_pool

RNG = np.random.default_rng(0)


def drawn(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def images(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


@cache
def shapes(module, *shape):
    return jax.eval_shape(lambda x: module.init(jax.random.key(0), x), images(*shape))


def random_like(tree):
    return jax.tree.map(lambda leaf: drawn(*leaf.shape) * 0.3, tree)


def close(actual, expected):
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() < 1e-5 * np.abs(expected).max()


class TestCounts:
    @pytest.mark.parametrize(
        ('module', 'shape', 'parameters', 'macs'),
        [
            (CNN(), (32, 32, 3), 1_070_794, 6_654_464),
            (CNN(), (64, 64, 3), 4_216_522, 26_610_176),
            (CNN(classes=200), (64, 64, 3), 4_265_352, 26_658_816),
            (flax_mnist(), (28, 28, 1), 824_458, 4_643_840),
            (deep_mnist(), (28, 28, 1), 3_274_634, 13_883_904),
        ],
    )
    def test_tutorials(self, module, shape, parameters, macs):
        assert self.of(module, shape) == (parameters, macs)

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ('module', 'side', 'parameters', 'gmacs'),
        [
            (AlexNet(), 227, 60_965_224, 0.7244),
            # From here the numbers are those that torchvision publishes with its weights.
            (alexnet2014(), 224, 61_100_840, 0.714),
            (vgg.vgg11(), 224, 132_863_336, 7.609),
            (vgg.vgg13(), 224, 133_047_848, 11.308),
            (vgg.vgg16(), 224, 138_357_544, 15.47),
            (vgg.vgg19(), 224, 143_667_240, 19.632),
            (vgg.vgg11_bn(), 224, 132_868_840, 7.609),
            (vgg.vgg13_bn(), 224, 133_053_736, 11.308),
            (vgg.vgg16_bn(), 224, 138_365_992, 15.47),
            (vgg.vgg19_bn(), 224, 143_678_248, 19.632),
            (googlenet_bn(auxiliary=None), 224, 6_624_904, 1.498),
            (InceptionV3(), 299, 27_161_264, 5.713),
            # These are the totals of Caffe's GoogLeNet without and with auxiliary heads.
            (GoogLeNet(auxiliary=None), 224, 6_998_552, 1.583),
            (GoogLeNet(), 224, 13_378_280, 1.583),
            (googlenet_bn(), 224, 13_004_888, 1.498),
            (InceptionV3(auxiliary=None), 299, 23_834_568, 5.713),
        ],
    )
    def test_published_networks(self, module, side, parameters, gmacs):
        found, macs = self.of(module, (side, side, 3))
        assert found == parameters
        assert macs == pytest.approx(gmacs * 1e9, rel=1e-3)

    @staticmethod
    def of(module, shape):
        """Parameters and multiply-adds, from shapes alone."""
        x, variables = images(1, *shape), shapes(module, 1, *shape)
        return cost.parameters(variables['params']), cost.flops(module.apply, variables, x) // 2


class TestPooling:
    @pytest.mark.parametrize(
        ('side', 'bins'), [((5, 7), (2, 3)), ((2, 3), (7, 7)), ((9, 1), (6, 6)), ((4, 6), (4, 6))]
    )
    def test_adaptive_average_is_the_mean_over_each_bin(self, side, bins):
        x = drawn(2, *side, 3)
        y = np.zeros((2, *bins, 3))
        for i in range(bins[0]):
            for j in range(bins[1]):
                (top, bottom), (left, right) = (
                    (int(np.floor(k * h / n)), int(np.ceil((k + 1) * h / n)))
                    for k, h, n in zip((i, j), side, bins, strict=True)
                )
                y[:, i, j] = x[:, top:bottom, left:right].mean((1, 2))
        close(jax.jit(adaptive_average_pool, static_argnums=1)(x, bins), y)

    @pytest.mark.parametrize(
        ('side', 'window', 'out'), [(7, 3, 3), (8, 3, 4), (112, 3, 56), (2, 3, 1), (7, 2, 4)]
    )
    def test_ceil_mode_keeps_what_is_left_at_the_edge(self, side, window, out):
        x = -1 - drawn(1, side, side + 1, 2) ** 2  # padding with zeros would win
        y = ceil_max_pool(x, window, stride=2)
        assert y.shape[1] == out
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                seen = x[:, 2 * i : 2 * i + window, 2 * j : 2 * j + window]
                np.testing.assert_array_equal(y[:, i, j], seen.max((1, 2)))


class TestAlexNet:
    @pytest.mark.parametrize('maps', [3, 12])
    def test_response_norm_is_the_equation(self, maps):
        a = 50 * drawn(2, 3, 2, maps)
        b = np.empty_like(a)
        for i in range(maps):
            near = a[..., max(0, i - 2) : min(maps - 1, i + 2) + 1]
            b[..., i] = a[..., i] / (2 + 1e-4 * (near**2).sum(-1)) ** 0.75
        close(jax.jit(local_response_norm)(a), b)

    def test_neurons_are_those_of_the_paper(self):
        """Figure 2; the 253,440 it gives for the first layer are not 55 x 55 x 96."""
        rows = cost.layers(AlexNet(), images(1, 227, 227, 3))
        neurons = {row.path[0]: row.output.size for row in rows if row.parameters and row.path}
        assert list(neurons.values()) == [290400, 186624, 64896, 64896, 43264, 4096, 4096, 1000]

    def test_towers_meet_in_conv3_and_in_the_dense_layers_only(self):
        module = AlexNet(hidden=(8, 8), classes=2)
        x = drawn(1, 67, 67, 3)
        params = random_like(shapes(module, *x.shape)['params'])

        @jax.jit
        @jax.grad
        def gradient(params):
            maps = module.apply({'params': params}, x, capture_intermediates=True)[1]
            return maps['intermediates']['conv5']['__call__'][0][..., :128].sum()

        grads = gradient(params)
        halves = {
            name: [bool(half.any()) for half in np.split(grads[name]['kernel'], 2, axis=-1)]
            for name in ('conv1', 'conv2', 'conv3', 'conv4', 'conv5')
        }
        assert halves == {
            'conv5': [True, False],
            'conv4': [True, False],
            'conv3': [True, False],
            'conv2': [True, True],
            'conv1': [True, True],
        }

    def test_initial_values_are_those_of_section_5(self):
        p = jax.jit(AlexNet(hidden=(8, 8), classes=8).init)(
            jax.random.key(0), jnp.ones((1, 67, 67, 3))
        )
        biases = {name: np.unique(layer['bias']).tolist() for name, layer in p['params'].items()}
        ones = ('conv2', 'conv4', 'conv5', 'fc6', 'fc7')
        assert biases == {name: [float(name in ones)] for name in p['params']}
        for layer in p['params'].values():
            assert layer['kernel'].std() == pytest.approx(0.01, rel=0.2)


class TestGoogLeNet:
    # Szegedy et al. 2015, table 1: parameters in thousands (of 1024) and operations in millions.
    PAPER = {
        'conv1': (2.7, 34),
        'conv2, conv3': (112, 360),
        'inception3a': (159, 128),
        'inception3b': (380, 304),
        'inception4a': (364, 73),
        'inception4b': (437, 88),
        'inception4c': (463, 100),
        'inception4d': (580, 119),
        'inception4e': (840, 170),
        'inception5a': (1072, 54),
        'inception5b': (1388, 71),
        'fc': (1000, 1),
    }
    # Where it is not the arithmetic of its own columns, by more than 1 %. The first row counts a
    # separable convolution, 7x7 with 8 maps a channel and then 1x1: 49 * 3 * 8 + 24 * 64 = 2712.
    OWN = {
        'conv1': (9.2, 118),
        'inception4c': (497.5, 100),
        'inception4d': (590.5, 119),
        'inception5a': (1018, 51.1),
        'inception5b': (1409, 71),
    }
    WIDTHS = (64, 192, 256, 480, 512, 512, 512, 528, 832, 832, 1024, 1000)

    def test_rows_are_those_of_table_1(self):
        module = GoogLeNet(auxiliary=None)
        rows = cost.layers(module, images(1, 224, 224, 3))
        top = {row.path[0]: row for row in rows if len(row.path) == 1}
        kernels = shapes(module, 1, 224, 224, 3)['params']
        for (name, paper), width in zip(self.PAPER.items(), self.WIDTHS, strict=True):
            parts = name.split(', ')
            # The paper counts no biases.
            weights = sum(
                leaf.size
                for part in parts
                for leaf in jax.tree.leaves(kernels[part])
                if leaf.ndim > 1
            )
            assert top[parts[-1]].output.shape[-1] == width
            macs = sum(top[part].flops for part in parts) // 2
            parameters, operations = self.OWN.get(name, paper)
            assert weights / 1024 == pytest.approx(parameters, rel=0.01), name
            assert macs / 1e6 == pytest.approx(operations, rel=0.01, abs=0.6), name

    def test_table_is_consistent(self):
        """The outputs of a row are the sum of its branches, as figure 2b concatenates them."""
        widths = [a + c + e + f for a, _, c, _, e, f in TABLE.values()]
        assert widths == list(self.WIDTHS[2:-1])

    def test_auxiliary_head_is_that_of_section_5(self):
        """5x5 averages at stride 3 to 4x4, 1x1 with 128 maps, 1024 units, classes."""
        module = googlenet.AuxiliaryHead(7, ConvUnit)
        x = drawn(2, 14, 14, 6)
        p = random_like(shapes(module, *x.shape)['params'])
        y = np.stack(
            [
                np.stack([x[:, i : i + 5, j : j + 5].mean((1, 2)) for j in (0, 3, 6, 9)], 1)
                for i in (0, 3, 6, 9)
            ],
            1,
        )
        y = np.maximum(y @ p['conv']['conv']['kernel'][0, 0] + p['conv']['conv']['bias'], 0)
        y = np.maximum(y.reshape(2, 2048) @ p['fc1']['kernel'] + p['fc1']['bias'], 0)
        close(jax.jit(module.apply)({'params': p}, x), y @ p['fc2']['kernel'] + p['fc2']['bias'])

    def test_maps_too_small_for_the_heads_are_refused(self):
        with pytest.raises(ValueError, match='cannot pool maps of 2x4'):
            shapes(GoogLeNet(), 1, 32, 64, 3)
        shapes(GoogLeNet(auxiliary=None), 1, 32, 64, 3)


class TestInceptionV3:
    def test_maps_are_those_of_the_paper(self):
        """Table 1: the sizes after each stage."""
        rows = cost.layers(InceptionV3(auxiliary=None), images(1, 299, 299, 3))
        found = {row.path[0]: row.output.shape[1:] for row in rows if len(row.path) == 1}
        assert found['Conv2d_1a_3x3'] == (149, 149, 32)
        assert found['Conv2d_2b_3x3'] == (147, 147, 64)
        assert found['Conv2d_4a_3x3'] == (71, 71, 192)
        assert found['Mixed_5d'] == (35, 35, 288)
        assert found['Mixed_6e'] == (17, 17, 768)
        assert found['Mixed_7a'] == (8, 8, 1280)
        assert found['Mixed_7c'] == (8, 8, 2048)

    def test_auxiliary_head_is_that_of_figure_8(self):
        """5x5 averages at stride 3 to 5x5, 1x1 with 128 maps, all of it to 768, classes."""
        module = inception.AuxiliaryHead(7, ConvUnit)
        x = drawn(2, 17, 17, 6)
        p = random_like(shapes(module, *x.shape)['params'])
        starts = (0, 3, 6, 9, 12)
        y = np.stack(
            [
                np.stack([x[:, i : i + 5, j : j + 5].mean((1, 2)) for j in starts], 1)
                for i in starts
            ],
            1,
        )
        y = np.maximum(y @ p['conv0']['conv']['kernel'][0, 0] + p['conv0']['conv']['bias'], 0)
        kernel = p['conv1']['conv']['kernel'].reshape(5 * 5 * 128, 768)
        y = np.maximum(y.reshape(2, -1) @ kernel + p['conv1']['conv']['bias'], 0)
        close(jax.jit(module.apply)({'params': p}, x), y @ p['fc']['kernel'] + p['fc']['bias'])

    def test_small_images_need_a_network_without_head(self):
        with pytest.raises(ValueError, match='maps of 17x17 or more, not 3x3'):
            shapes(InceptionV3(), 1, 75, 75, 3)
        with pytest.raises(ValueError, match='75x75 or more, not 74x99'):
            shapes(InceptionV3(auxiliary=None), 1, 74, 99, 3)
        shapes(InceptionV3(auxiliary=None), 1, 75, 75, 3)


class TestHeads:
    @pytest.mark.parametrize(
        ('module', 'side', 'heads'),
        [
            (googlenet_bn(classes=5), 64, 2),
            (InceptionV3(classes=5), 299, 1),
            (GoogLeNet(classes=5, auxiliary=None), 64, 0),
            pytest.param(GoogLeNet(classes=5), 224, 2, marks=pytest.mark.slow),
            pytest.param(InceptionV3(classes=5, auxiliary=None), 75, 0, marks=pytest.mark.slow),
        ],
    )
    def test_training_returns_the_auxiliary_logits_too(self, module, side, heads):
        x, variables = images(2, side, side, 3), shapes(module, 2, side, side, 3)

        def call(train):
            apply = partial(module.apply, train=train, rngs={'dropout': jax.random.key(0)})
            return jax.eval_shape(
                lambda v, x: apply(v, x, mutable=['batch_stats'])[0], variables, x
            )

        logits = images(2, 5)
        assert call(train=False) == logits
        assert call(train=True) == (Heads(logits, (logits,) * heads) if heads else logits)

    def test_evaluation_does_not_compute_them(self):
        x = images(1, 224, 224, 3)
        with_heads, without = GoogLeNet(), GoogLeNet(auxiliary=None)
        assert cost.flops(with_heads.apply, shapes(with_heads, *x.shape), x) == cost.flops(
            without.apply, shapes(without, *x.shape), x
        )

    @pytest.mark.parametrize(
        ('loss', 'weight'), [(googlenet.googlenet_loss, 0.3), (inception.inception_v3_loss, 0.4)]
    )
    def test_loss_weighs_them(self, loss, weight):
        a, b, c = drawn(3, 4, 5)
        of = jax.jit(partial(losses.cross_entropy, targets=np.array([0, 4, 2, 2])))
        expected = of(a) + weight * (of(b) + of(c))
        found = jax.jit(lambda *heads: loss(of, Heads(heads[0], heads[1:])))(a, b, c)
        np.testing.assert_allclose(found, expected, rtol=1e-6)

    def test_dropout_is_for_training(self):
        module = googlenet.AuxiliaryHead(3, ConvUnit, dropout=0.5)
        x = drawn(1, 14, 14, 2)
        variables = random_like(shapes(module, *x.shape))
        y = jitted(module.apply)(variables, x)
        a, b = (
            jitted(module.apply)(variables, x, train=True, rngs={'dropout': jax.random.key(i)})
            for i in (0, 1)
        )
        assert not np.allclose(a, b) and not np.allclose(a, y)

    def test_the_network_tells_its_heads_that_it_trains(self):
        module = GoogLeNet(dropout=0.0)
        variables = shapes(module, 1, 224, 224, 3)
        with pytest.raises(InvalidRngError, match='Dropout'):
            jax.eval_shape(partial(module.apply, train=True), variables, images(1, 224, 224, 3))


@pytest.mark.parametrize(
    ('module', 'side', 'message'),
    [
        (AlexNet(), 62, 'AlexNet sees images of 63x63 or more, not 62x62'),
        (vgg.vgg11(), 31, 'VGG sees images of 32x32 or more, not 31x31'),
    ],
)
def test_images_too_small_are_refused(module, side, message):
    with pytest.raises(ValueError, match=message):
        shapes(module, 1, side, side, 3)
