"""Residual networks: exact sizes, and laws of shortcuts, dilation, translation and attention.

That they equal torchvision's, Keras' and plain PyTorch's is in tests/parity.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from pace import mostly_slow

from jaxdl.engine.cost import flops, parameters
from jaxdl.models import resnet
from jaxdl.models.resnet import BasicBlock, Bottleneck, ResNet, Stages, cifar_stem
from jaxdl.nn.attention_blocks import CBAM, SqueezeExcitation, maximum
from jaxdl.nn.layers import Conv
from jaxdl.nn.regularise import StochasticDepth

BLOCKS = [BasicBlock, Bottleneck, partial(Bottleneck, strided=1)]
IDS = ['basic', 'bottleneck', 'bottleneck-v1']


def shapes(module, *shape):
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.eval_shape(lambda x: module.init(jax.random.key(0), x), x)


def macs(module, variables, *shape):
    return flops(module.apply, variables, jax.ShapeDtypeStruct(shape, jnp.float32)) // 2


def drawn(module, *shape):
    """Variables without a 0 or a 1: kernels by their fan-in, scales and variances positive."""
    rng = np.random.default_rng(0)

    def draw(leaf):
        if len(leaf.shape) > 1:
            scale = np.sqrt(2 / np.prod(leaf.shape[:-1]))
            return rng.normal(size=leaf.shape, scale=scale).astype(np.float32)
        return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)

    return jax.tree.map(draw, shapes(module, *shape))


def image(*shape):
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def apply(module, variables, x, **options):
    return jax.jit(partial(module.apply, **options))(variables, x)


def close(actual, expected, tolerance=1e-5):
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= tolerance * np.abs(expected).max()


@pytest.mark.parametrize(
    ('depth', 'count', 'giga'),  # torchvision's published table
    mostly_slow(
        [
            (18, 11_689_512, 1.814),
            (34, 21_797_672, 3.664),
            (50, 25_557_032, 4.089),
            (101, 44_549_160, 7.801),
            (152, 60_192_808, 11.514),
        ]
    ),
)
def test_imagenet_sizes(depth, count, giga):
    module = getattr(resnet, f'resnet{depth}')()
    variables = shapes(module, 1, 224, 224, 3)
    assert parameters(variables['params']) == count
    assert macs(module, variables, 1, 224, 224, 3) == pytest.approx(giga * 1e9, rel=5e-4)


@pytest.mark.parametrize(
    ('depth', 'count'),
    mostly_slow([(20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018), (110, 1_727_962)]),
)
def test_cifar_sizes_and_those_of_the_plain_twins(depth, count):
    module = getattr(resnet, f'resnet{depth}')()
    twin = getattr(resnet, f'plain{depth}')()
    variables = shapes(module, 1, 32, 32, 3)
    assert parameters(variables['params']) == count
    assert shapes(twin, 1, 32, 32, 3) == variables
    # The table of section 4.2: every 3x3 convolution costs the same, but for two of half the cost.
    each = 16 * 16 * 9 * 32 * 32
    expected = 3 * 16 * 9 * 32 * 32 + each * (depth - 2 - 1) + 64 * 10
    assert macs(module, variables, 1, 32, 32, 3) == expected


@pytest.mark.parametrize(
    ('network', 'attention', 'count'),  # 11.78, 28.09 and 49.33 M in table 4 of Woo et al. 2018
    [
        (resnet.resnet18, SqueezeExcitation, 11_778_592),
        (resnet.resnet18, CBAM, 11_779_392),
        (resnet.resnet50, SqueezeExcitation, 28_088_024),
        (resnet.resnet50, CBAM, 28_089_624),
    ],
)
def test_sizes_with_attention(network, attention, count):
    assert parameters(shapes(network(attention=attention), 1, 64, 64, 3)['params']) == count


@pytest.mark.parametrize(
    ('network', 'shape'),
    [
        (partial(resnet.resnet20), (2, 28, 28, 1)),
        (partial(resnet.resnet20), (2, 33, 17, 5)),
        (partial(resnet.resnet18, stem=cifar_stem), (2, 32, 32, 3)),
        pytest.param(
            *(partial(resnet.resnet50, stem=cifar_stem), (2, 28, 28, 1)), marks=pytest.mark.slow
        ),
    ],
)
def test_any_image_is_classified(network, shape):
    module = network(classes=7)
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    assert jax.eval_shape(module.apply, shapes(module, *shape), x).shape == (2, 7)


class TestStages:
    @pytest.mark.parametrize(
        ('dilated', 'sides'),
        [
            ((), (16, 8, 4, 2)),
            ((False, False, True), (16, 8, 4, 4)),
            ((False, True, True), (16, 8, 8, 8)),
        ],
    )
    def test_shapes(self, dilated, sides):
        module = Stages(dilated=dilated)
        x = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
        outputs = jax.eval_shape(module.apply, shapes(module, *x.shape), x)
        widths = (256, 512, 1024, 2048)
        assert [y.shape for y in outputs] == [
            (1, side, side, width) for side, width in zip(sides, widths, strict=True)
        ]

    def test_are_a_classifier_without_its_head(self):
        """So weights of a classifier fit a backbone as they are."""
        trunk, whole = shapes(Stages(), 1, 64, 64, 3), shapes(ResNet(), 1, 64, 64, 3)
        head = whole['params'].pop('fc')
        assert trunk == whole and parameters(head) == 2049 * 1000

    @pytest.mark.parametrize('block', BLOCKS, ids=IDS)
    def test_dilated_stages_have_the_others_at_every_second_position(self, block):
        """Dilation moves no sample: the strided network is the dilated one, seen less often."""
        sizes = {'stages': (1, 2, 1), 'widths': (4, 6, 8), 'stem': cifar_stem, 'block': block}
        module = Stages(**sizes)
        variables, x = drawn(module, 1, 16, 24, 3), image(1, 16, 24, 3)
        strided = apply(module, variables, x)
        outputs = apply(Stages(**sizes, dilated=(True, True)), variables, x)
        for dense, sparse, step in zip(outputs, strided, (1, 2, 4), strict=True):
            close(dense[:, ::step, ::step], sparse)

    def test_wrong_numbers_are_refused(self):
        with pytest.raises(ValueError, match='4 widths for 3 stages'):
            shapes(Stages(stages=(1, 1, 1)), 1, 32, 32, 3)
        with pytest.raises(ValueError, match='2 dilated for 3 stages after the first'):
            shapes(Stages(dilated=(True, True)), 1, 32, 32, 3)
        with pytest.raises(ValueError, match='the stride is 1 or 2, not 3'):
            shapes(Stages(block=partial(Bottleneck, strided=3)), 1, 32, 32, 3)


class Nothing(nn.Module):
    """A branch left out."""

    @nn.compact
    def __call__(self, x, *, train):
        return 0 * x


CIFAR = {
    'stages': (1, 1, 1),
    'widths': (4, 6, 8),
    'stem': cifar_stem,
    'block': BasicBlock,
    'shortcut': resnet.padded,
}


class TestShortcut:
    @pytest.mark.parametrize('how', mostly_slow(['zero scale', 'attention', 'drop']))
    def test_remains_where_the_branches_are_silent(self, how):
        """The stem, at every second position, with zeros as further channels."""
        silent = {
            'zero scale': {},
            'attention': {'attention': Nothing},
            'drop': {'drop': lambda depth: Nothing()},
        }
        variables, x = drawn(Stages(**CIFAR), 2, 16, 16, 3), image(2, 16, 16, 3)
        if how == 'zero scale':
            flat = flatten_dict(variables)
            flat |= {path: 0 * leaf for path, leaf in flat.items() if path[-2] == 'bn2'}
            flat |= {path: 1 + leaf for path, leaf in flat.items() if path[-2:] == ('bn2', 'var')}
            variables = unflatten_dict(flat)
        outputs = apply(Stages(**CIFAR, **silent[how]), variables, x)
        stem = variables['params']['conv1']
        y = np.asarray(apply(Conv(4, (3, 3), padding=1, use_bias=False), {'params': stem}, x))
        norm, memory = variables['params']['bn1'], variables['batch_stats']['bn1']
        y = (y - memory['mean'].reshape(1, 1, 1, -1)) / np.sqrt(memory['var'] + 1e-5).reshape(
            1, 1, 1, -1
        )
        y = y * norm['scale'].reshape(1, 1, 1, -1) + norm['bias'].reshape(1, 1, 1, -1)
        y = np.maximum(y, 0)
        for step, output in zip((1, 2, 4), outputs, strict=True):
            expected = np.zeros(output.shape, np.float32)
            expected[..., :4] = y[:, ::step, ::step]
            close(output, expected)

    def test_is_absent_from_the_plain_twin(self):
        twin = Stages(**CIFAR | {'shortcut': resnet.plain}, attention=Nothing)
        variables, x = drawn(twin, 1, 8, 8, 3), image(1, 8, 8, 3)
        assert all((y == 0).all() for y in apply(twin, variables, x))

    def test_projects_only_where_the_shape_changes(self):
        params = shapes(resnet.resnet50(), 1, 64, 64, 3)['params']
        found = [name for name, block in params.items() if 'downsample_0' in block]
        assert found == ['layer1_0', 'layer2_0', 'layer3_0', 'layer4_0']
        params = shapes(resnet.resnet18(), 1, 64, 64, 3)['params']
        found = [name for name, block in params.items() if 'downsample_0' in block]
        assert found == ['layer2_0', 'layer3_0', 'layer4_0']


def circular(*sizes, padding, **options):
    """The image is a torus: every position is alike."""
    return resnet.ResNetConv(*sizes, padding='CIRCULAR', **options)


@pytest.mark.parametrize('attention', [None, CBAM])
def test_maps_move_with_the_image_and_logits_stay(attention):
    if attention:
        # Its own convolution pads with zeros; over one position it has no border.
        attention = partial(CBAM, reduction=2, kernel=1)
    options = CIFAR | {'conv': circular, 'attention': attention}
    trunk, whole = Stages(**options), ResNet(**options, classes=5)
    x = image(16, 24, 3)
    moved, finer = np.roll(x, (4, 8), (0, 1)), np.roll(x, 1, 0)
    images = np.stack([x, moved, finer])
    variables = drawn(whole, *images.shape)
    logits = apply(whole, variables, images)
    close(logits[1], logits[0])
    assert np.abs(logits[2] - logits[0]).max() > 1e-3  # less than the stride
    variables['params'].pop('fc')
    for step, maps in zip((1, 2, 4), apply(trunk, variables, images), strict=True):
        close(maps[1], np.roll(maps[0], (4 // step, 8 // step), (0, 1)))


class TestInjection:
    def test_stochastic_depth_grows_with_the_depth(self):
        seen = []

        def drop(depth):
            seen.append(depth)
            return StochasticDepth(0.5 * depth)

        shapes(ResNet(**CIFAR, drop=drop), 2, 8, 8, 3)
        np.testing.assert_allclose(seen, np.arange(1, 4) / 3)

    def test_dropped_branches_leave_the_shortcut(self):
        block = BasicBlock(3, drop=partial(StochasticDepth, 0.25))
        x = image(200, 2, 2, 3)
        options = {
            'train': True,
            'mutable': ['batch_stats'],
            'rngs': {'dropout': jax.random.key(0)},
        }
        y, _ = apply(block, drawn(block, *x.shape), x, **options)
        dropped = (y == np.maximum(x, 0)).all((1, 2, 3))
        assert 30 <= dropped.sum() <= 70

    def test_another_norm(self):
        def norm(use_running_average, name):
            return nn.GroupNorm(2, name=name)

        variables = shapes(ResNet(**CIFAR, norm=norm), 1, 8, 8, 3)
        assert set(variables) == {'params'}

    def test_initial_kernels_are_those_of_he(self):
        module = resnet.resnet20(stages=(1, 1, 1))
        params = jax.jit(module.init)(jax.random.key(0), jnp.ones((1, 8, 8, 3)))['params']
        for name, outputs in (('layer2_0', 32), ('layer3_0', 64)):
            kernel = params[name]['conv1']['kernel']  # of half as many inputs
            assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * outputs)), rel=0.05)
        assert np.abs(params['fc']['kernel']).max() <= 1 / 8


class TestAttention:
    @pytest.mark.parametrize('block', [SqueezeExcitation, CBAM])
    def test_weighs_with_numbers_between_0_and_1(self, block):
        module, x = block(reduction=2), image(2, 9, 8, 6)
        ratio = apply(module, drawn(module, *x.shape), x) / x
        assert 0 < ratio.min() and ratio.max() < 1 and np.ptp(ratio) > 0.1

    def test_squeeze_weighs_all_positions_alike(self):
        module, x = SqueezeExcitation(reduction=2), image(2, 5, 4, 6)
        ratio = apply(module, drawn(module, *x.shape), x) / x
        close(ratio, np.broadcast_to(ratio[:, :1, :1], ratio.shape))
        assert np.ptp(ratio[0, 0, 0]) > 0.01

    def test_spatial_attention_starts_indifferent(self):
        module, x = CBAM(), image(2, 9, 9, 32)
        variables = jax.jit(module.init)(jax.random.key(0), x)
        ratio = apply(module, variables, x) / x
        close(ratio, np.broadcast_to(ratio[:, :1, :1], ratio.shape))

    def test_maximum_and_its_gradient(self):
        x = jnp.array([[1.0, 3.0, 3.0], [2.0, -1.0, 0.0], [-4.0, -3.0, -5.0]])
        np.testing.assert_array_equal(maximum(x, 1), [3, 2, -3])
        np.testing.assert_array_equal(maximum(x, 0), [2, 3, 3])
        gradient = jax.grad(lambda x: maximum(x, -1).sum())(x)
        np.testing.assert_array_equal(gradient, [[0, 1, 0], [1, 0, 0], [0, 1, 0]])
