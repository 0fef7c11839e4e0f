"""U-Net and FCN: sizes and costs of the papers, skips, tiles, and that maps move with the image."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pace import mostly_slow

from jaxdl.engine import cost
from jaxdl.models import fcn, unet
from jaxdl.models.fcn import FCN, FCNHead, fcn8s, fcn16s, fcn32s, fcn_resnet50
from jaxdl.models.unet import UNet, no_norm, no_skip, overlap_tile, unet_original
from jaxdl.models.vgg import vgg16

RNG = np.random.default_rng(0)


@cache
def shapes(module, *shape):
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.eval_shape(lambda x: module.init(jax.random.key(0), x), x)


def random_like(tree):
    return jax.tree.map(lambda s: RNG.normal(size=s.shape, scale=0.3).astype(np.float32), tree)


def drawn(module, *shape):
    """(a function of images, random variables)."""
    variables = {'params': random_like(shapes(module, *shape)['params'])}
    return partial(jax.jit(module.apply), variables)


def training(module, variables, x):
    rngs = {'dropout': jax.random.key(0)}
    return module.apply(variables, x, train=True, mutable=['batch_stats'], rngs=rngs)


def output(module, *shape):
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.eval_shape(module.apply, shapes(module, *shape), x).shape


def convolutions(layers):
    """Parameters and multiply-adds of (kernel, inputs, outputs, side of the output, bias) each."""
    return (
        sum(k * k * i * o + bias * o for k, i, o, _, bias in layers),
        sum(k * k * i * o * side**2 for k, i, o, side, _ in layers),
    )


def figure_1():
    """The convolutions in figure 1 of the U-Net paper, read off it from left to right."""
    side, inputs, layers = 572, 1, []
    for level in range(5):
        for _ in range(2):
            side, outputs = side - 2, 64 << level
            layers.append((3, inputs, outputs, side, True))
            inputs = outputs
        side //= 2 if level < 4 else 1
    for level in (3, 2, 1, 0):
        outputs = 64 << level
        layers.append((2, inputs, outputs, side, True))  # one tap an output: counted below
        side *= 2
        for _ in range(2):
            side -= 2
            layers.append((3, inputs, outputs, side, True))
            inputs = outputs
    return [*layers, (1, 64, 2, side, True)]


class TestSizes:
    def test_the_original_is_that_of_figure_1(self):
        layers = figure_1()
        assert len(layers) == 23 and layers[-1][3] == 388  # "in total 23 convolutional layers"
        parameters, macs = convolutions(layers)
        module, shape = unet_original(), (1, 572, 572, 1)
        assert parameters == 31_030_658 == cost.parameters(shapes(module, *shape)['params'])
        assert output(module, *shape) == (1, 388, 388, 2)
        x = jax.ShapeDtypeStruct(shape, jnp.float32)
        counted = cost.flops(module.apply, shapes(module, *shape), x) // 2
        assert counted == pytest.approx(macs, rel=0.01)

    def test_the_one_of_today(self):
        assert cost.parameters(shapes(UNet(), 1, 32, 32, 3)['params']) == 31_037_698
        # The norms' two numbers for each of the biases they replace, and two channels more.
        assert 31_037_698 - 31_030_658 == 2 * 2944 + 2 * 9 * 64
        assert output(UNet(), 1, 37, 50, 3) == (1, 37, 50, 2)

    @pytest.mark.parametrize(
        ('make', 'parameters', 'scored'),
        [
            (fcn32s, 136_152_917, [(64, 21)]),
            (fcn16s, 134_815_994, [(4, 21), (32, 21), 512]),
            (fcn8s, 134_489_759, [(4, 21), (4, 21), (16, 21), 512, 256]),
        ],
    )
    def test_fcn(self, make, parameters, scored):
        """VGG16's blocks, its dense layers as convolutions, and 21 scores."""
        vgg = shapes(vgg16(), 1, 32, 32, 3)['params']
        params = shapes(make(), 1, 32, 32, 3)['params']
        trunk = cost.parameters(vgg) - cost.parameters(vgg['predictions'])
        heads = [s * 21 + 21 if isinstance(s, int) else s[0] ** 2 * s[1] ** 2 for s in scored]
        assert trunk + 4096 * 21 + 21 + sum(heads) == parameters == cost.parameters(params)
        for name, layer in vgg.items():
            if name.startswith('block'):
                assert jax.tree.leaves(params[name]) == jax.tree.leaves(layer)
        for ours, theirs in (('fc6', 'fc1'), ('fc7', 'fc2')):
            assert params[ours]['kernel'].size == vgg[theirs]['kernel'].size

    @pytest.mark.parametrize('side', mostly_slow([31, 1, 64, 97]))
    @pytest.mark.parametrize('make', [fcn32s, fcn16s, fcn8s])
    @pytest.mark.parametrize('margins', [{}, {'margin': 1, 'padding': 3}])
    def test_fcn_scores_every_pixel(self, make, side, margins):
        module = make(features=(1, 1, 1, 1, 1), hidden=(1, 1), **margins)
        assert output(module, 1, side, 2 * side, 3) == (1, side, 2 * side, 21)

    def test_fcn_multiply_adds(self):
        """The convolutions layer by layer on 500x500 images, the largest of PASCAL VOC."""
        side, inputs, layers = 500 + 198, 3, []
        for count, width in zip((2, 2, 3, 3, 3), (64, 128, 256, 512, 512), strict=True):
            for _ in range(count):
                layers.append((3, inputs, width, side, True))
                inputs = width
            side = -(-side // 2)
        layers += [(7, 512, 4096, side - 6, True), (1, 4096, 4096, side - 6, True)]
        layers += [(1, 4096, 21, side - 6, True), (64, 21, 21, side - 6, False)]
        parameters, macs = convolutions(layers)
        assert parameters == 136_152_917 and side == 22
        module, x = fcn32s(), jax.ShapeDtypeStruct((1, 500, 500, 3), jnp.float32)
        counted = cost.flops(module.apply, shapes(module, 1, 32, 32, 3), x) // 2
        assert counted == pytest.approx(macs, rel=0.01)

    @pytest.mark.parametrize(('head', 'parameters'), [(None, 32_957_013), (FCNHead, 35_322_218)])
    def test_fcn_resnet50(self, head, parameters):
        module = fcn_resnet50(auxiliary=head)
        variables = shapes(module, 1, 64, 64, 3)
        assert cost.parameters(variables['params']) == parameters
        if head is FCNHead:
            # torchvision's table, which counts both heads: 152.717 G at 520x520.
            x = jax.ShapeDtypeStruct((1, 520, 520, 3), jnp.float32)
            macs = cost.flops(partial(training, module), variables, x) // 2
            assert macs == pytest.approx(152.717e9, rel=0.01)

    def test_an_auxiliary_head_is_for_training(self):
        module, x = fcn_resnet50(classes=3, auxiliary=FCNHead), jnp.ones((1, 33, 40, 3))
        variables = shapes(module, 1, 64, 64, 3)
        heads, _ = jax.eval_shape(partial(training, module), variables, x)
        assert heads.logits.shape == heads.auxiliary[0].shape == (1, 33, 40, 3)
        assert jax.eval_shape(module.apply, variables, x).shape == (1, 33, 40, 3)


class TestUNet:
    def test_without_skips_nothing_passes_around_the_bottom(self):
        """A dead bottleneck leaves a network without skips blind; with skips it still sees."""
        for merge, sees in ((no_skip, False), (unet.pad_and_concatenate, True)):
            module = UNet(base=2, depth=2, norm=no_norm, merge=merge)
            params = random_like(shapes(module, 1, 16, 16, 1)['params'])
            params['down2'] = jax.tree.map(np.zeros_like, params['down2'])
            x = RNG.normal(size=(1, 16, 16, 1)).astype(np.float32)
            y = jax.jit(
                jax.grad(lambda x, m=module, p=params: (m.apply({'params': p}, x) ** 2).sum())
            )(x)
            assert (np.abs(y).max() > 0) == sees

    def test_valid_maps_move_with_the_image(self):
        """A network without padding commutes with shifts by 2^depth: it has no border."""
        module = unet_original(base=2, depth=2)
        f = drawn(module, 1, 60, 60, 1)
        x = RNG.normal(size=(1, 64, 68, 1)).astype(np.float32)
        a, b = f(x[:, :60, :60]), f(x[:, 4:, 8:])
        assert a.shape == (1, 20, 20, 2)
        np.testing.assert_allclose(a[:, 4:, 8:], b[:, :-4, :-8], rtol=1e-4, atol=1e-4)
        assert np.abs(a[:, 3:, 8:] - b[:, :-3, :-8]).max() > 0.1

    def test_a_size_that_pooling_would_cut_is_refused(self):
        with pytest.raises(ValueError, match='every pooling sees an even one'):
            shapes(unet_original(base=2, depth=2), 1, 62, 60, 1)

    def test_dropout_is_at_the_end_of_the_contracting_path(self):
        module = unet_original(base=2, depth=3)
        x = jnp.ones((1, 92, 92, 1))
        seen = {}

        def note(call, args, kwargs, context):
            seen.setdefault(context.module.path, []).append(args[0].shape[-1])
            return call(*args, **kwargs)

        with unet.nn.intercept_methods(note):
            jax.eval_shape(lambda x: module.init(jax.random.key(0), x), x)
        drops = {path: width for path, width in seen.items() if 'Dropout' in ''.join(path)}
        assert sorted(drops.values()) == [[8], [16]]

    def test_initial_kernels_have_the_variance_of_the_paper(self):
        module = unet_original(base=32, depth=1, classes=50)
        p = jax.jit(module.init)(jax.random.key(0), jnp.ones((1, 20, 20, 3)))['params']
        inputs = {('down1', 'conv2'): 9 * 64, ('up1_up',): 64, ('up1_conv', 'conv1'): 9 * 64}
        for path, n in inputs.items():
            layer = p
            for name in path:
                layer = layer[name]
            assert layer['kernel'].std() == pytest.approx(np.sqrt(2 / n), rel=0.05)


class TestOverlapTile:
    @pytest.mark.parametrize('stride', mostly_slow([None, 16]))
    def test_equals_the_whole(self, stride):
        """Tiles whose poolings lie as those of the whole give the same numbers."""
        f = drawn(unet_original(base=2, depth=2), 1, 60, 60, 1)
        x = RNG.normal(size=(2, 45, 70, 1)).astype(np.float32)
        tiled = overlap_tile(f, x, tile=60, stride=stride)
        assert tiled.shape == (2, 45, 70, 2)
        whole = np.pad(x, ((0, 0), (20, 20 + 45 % 4 + 2), (20, 20 + 2), (0, 0)), mode='reflect')
        np.testing.assert_allclose(tiled, f(whole)[:, :45, :70], rtol=1e-4, atol=1e-4)

    def test_each_pixel_stays_where_it_is(self):
        x = RNG.normal(size=(3, 10, 13, 2)).astype(np.float32)
        np.testing.assert_array_equal(overlap_tile(lambda t: t[:, 2:-2, 2:-2], x, tile=8), x)
        mean = overlap_tile(lambda t: (t[:, :-2, 1:-1] + t[:, 2:, 1:-1]) / 2, x, tile=7)
        mirrored = np.concatenate((x[:, 1:2], x, x[:, -2:-1]), 1)
        np.testing.assert_allclose(mean, (mirrored[:, :-2] + mirrored[:, 2:]) / 2, rtol=1e-6)

    def test_gaps_are_refused(self):
        with pytest.raises(ValueError, match='middle is 4 wide cannot be 5 apart'):
            overlap_tile(lambda t: t[:, 2:-2, 2:-2], jnp.ones((1, 9, 9, 1)), tile=8, stride=5)


BILINEAR = jax.jit(fcn.bilinear, static_argnums=1)


class TestFCN:
    def test_enlargements_start_as_interpolations(self):
        kernel = BILINEAR(jax.random.key(0), (8, 8, 2, 2))
        assert np.count_nonzero(kernel[:, :, 0, 1]) == 0
        module = fcn.ConvTranspose(
            2, (8, 8), strides=(4, 4), padding='VALID', use_bias=False, kernel_init=fcn.bilinear
        )
        x = RNG.normal(size=(1, 5, 6, 2)).astype(np.float32)
        got, _ = jax.jit(module.init_with_output)(jax.random.key(0), x)
        want = jax.image.resize(x, (1, 20, 24, 2), 'linear')
        np.testing.assert_allclose(got[:, 4:-4, 4:-4], want[:, 2:-2, 2:-2], atol=1e-5)

    @pytest.mark.parametrize('skips', [0, 1])
    @pytest.mark.parametrize('margins', [{}, {'margin': 1, 'padding': 3}])
    def test_scores_lie_where_the_image_is(self, skips, margins):
        """Channels that only pass brightness on, and interpolation: a patch is found in place."""
        features = {'convolutions': (1, 1), 'features': (1, 1), 'hidden': (1, 1), 'classes': 1}
        module = FCN(skips=skips, **features, **margins)
        params = jax.tree.map(lambda s: np.zeros(s.shape, np.float32), shapes(module, 1, 32, 32, 1))
        params = params['params']
        for name, layer in params.items():
            kernel = layer['kernel']
            if name.startswith('upscore'):
                layer['kernel'] = np.asarray(BILINEAR(jax.random.key(0), kernel.shape))
            else:
                kernel[kernel.shape[0] // 2, kernel.shape[1] // 2] = 1
        x = np.zeros((1, 48, 40, 1), np.float32)
        first = (1 - module.margin) % 4  # where a window of the poolings begins
        x[:, first + 20 : first + 28, first + 12 : first + 20] = 1
        y = np.asarray(jax.jit(module.apply)({'params': params}, x))[0, :, :, 0]
        rows, columns = (y.sum(axis) @ np.arange(y.shape[1 - axis]) / y.sum() for axis in (1, 0))
        assert y.shape == (48, 40) and (rows, columns) == pytest.approx(
            (first + 23.5, first + 15.5)
        )

    def test_maps_move_with_the_image(self):
        module = FCN((1, 1), (2, 3), skips=1, hidden=(4, 4), classes=2, margin=1, padding=3)
        f = drawn(module, 1, 64, 64, 1)
        x = np.zeros((2, 96, 96, 1), np.float32)
        x[0, 40:48, 40:48] = x[1, 44:52, 48:56] = RNG.normal(size=(8, 8, 1))
        a, b = f(x)
        np.testing.assert_allclose(a[36:56, 36:56], b[40:60, 44:64], atol=1e-4)
        assert np.abs(a - b).max() > 0.1

    def test_a_margin_too_small_is_refused(self):
        with pytest.raises(ValueError, match='give a larger margin'):
            shapes(FCN((1, 1), (2, 2), hidden=(2, 2), margin=1), 1, 40, 40, 1)
