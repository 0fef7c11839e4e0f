"""Vision transformers: exact sizes, what patches and positions mean, what is injected.

That they equal torchvision's is in tests/parity.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pace import mostly_slow

from jaxdl.engine.cost import flops, parameters
from jaxdl.models import vit
from jaxdl.models.vit import EncoderBlock, ViT, resize_positions
from jaxdl.net import unboxed
from jaxdl.nn.regularise import StochasticDepth

SMALL = {'width': 12, 'depth': 2, 'heads': 3, 'mlp': 20, 'patch': 4, 'classes': 5}


def shapes(module, *shape):
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    return unboxed(jax.eval_shape(lambda x: module.init(jax.random.key(0), x), x))


def drawn(module, *shape):
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape, scale=0.5).astype(np.float32),
        shapes(module, *shape),
    )


def image(*shape):
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def close(actual, expected, tolerance=1e-5):
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= tolerance * np.abs(expected).max()


@pytest.mark.parametrize(
    ('name', 'count', 'giga'),  # torchvision's published table; DeiT-S for the small ones
    mostly_slow(
        [
            ('vit_s_16', 22_050_664, 4.6),
            ('vit_s_32', 22_878_952, 1.143),
            ('vit_b_16', 86_567_656, 17.564),
            ('vit_b_32', 88_224_232, 4.409),
            ('vit_l_16', 304_326_632, 61.555),
            ('vit_l_32', 306_535_400, 15.378),
        ]
    ),
)
def test_sizes(name, count, giga):
    module = getattr(vit, name)()
    variables = shapes(module, 1, 224, 224, 3)
    assert parameters(variables['params']) == count
    x = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    assert flops(module.apply, variables, x) / 2 == pytest.approx(giga * 1e9, rel=5e-4)


def test_small_images():
    module = ViT(width=384, depth=6, heads=6, mlp=1536, patch=2, classes=10)
    params = shapes(module, 8, 32, 32, 3)['params']
    assert params['pos_embedding'].shape == (1, 257, 384)
    assert shapes(ViT(**SMALL), 1, 28, 12, 1)['params']['pos_embedding'].shape == (1, 22, 12)


def test_patches_must_tile_the_image():
    with pytest.raises(ValueError, match='patches of 4 do not tile images of 30x32'):
        shapes(ViT(**SMALL), 1, 30, 32, 3)


def shuffled(x, order):
    """The image with its 4x4 patches in another order."""
    b, h, w, c = x.shape
    patches = x.reshape(b, h // 4, 4, w // 4, 4, c).swapaxes(2, 3)
    patches = patches.reshape(b, -1, 4, 4, c)[:, order]
    return patches.reshape(b, h // 4, w // 4, 4, 4, c).swapaxes(2, 3).reshape(x.shape)


class TestPositions:
    def test_alone_tell_the_patches_apart(self):
        """Without positions an image is a set of patches."""
        module, x = ViT(**SMALL), image(1, 12, 8, 3)
        order = np.random.default_rng(2).permutation(6)
        images = np.concatenate([x, shuffled(x, order)])
        assert np.abs(images[0] - images[1]).max() > 1
        variables = drawn(module, *x.shape)
        apply = jax.jit(module.apply)
        a, b = apply(variables, images)
        assert np.abs(a - b).max() > 0.01
        variables['params']['pos_embedding'] *= 0
        a, b = apply(variables, images)
        close(a, b)

    def test_a_block_treats_tokens_alike(self):
        module, z = EncoderBlock(heads=3, mlp=20), image(2, 7, 12)
        order = np.random.default_rng(2).permutation(7)
        apply = partial(jax.jit(module.apply), drawn(module, *z.shape))
        close(apply(z[:, order]), apply(z)[:, order])
        assert np.abs(apply(z[:, :5]) - apply(z)[:, :5]).max() > 0.1  # it attends to the others

    @pytest.mark.parametrize('method', ['bilinear', 'bicubic'])
    def test_resized_are_the_same_plane(self, method):
        """A plane over the rows and columns stays one, away from the border."""
        rows, columns = np.mgrid[:6, :6]
        plane = (2.0 * rows - 3.0 * columns + 1)[..., None].astype(np.float32)
        table = np.concatenate([np.full((1, 1, 1), 7.0), plane.reshape(1, 36, 1)], 1)
        other = np.ones(3)
        variables = {'params': {'pos_embedding': jnp.array(table), 'head': other}}
        found = resize_positions(variables, (12, 18), method=method)['params']
        assert found['head'] is other
        token, grid = np.split(found['pos_embedding'], [1], 1)
        assert token.item() == 7
        # Centres of the finer cells in the coordinates of the coarse ones.
        i, j = (np.arange(12) + 0.5) / 2 - 0.5, (np.arange(18) + 0.5) / 3 - 0.5
        expected = 2 * i[:, None] - 3 * j[None] + 1
        inner = slice(4, -4), slice(6, -6)
        close(grid.reshape(12, 18)[inner], expected[inner], 1e-5)

    def test_resized_fit_images_of_another_size(self):
        module = ViT(**SMALL)
        variables = drawn(module, 1, 16, 16, 3)
        same = resize_positions(variables, (4, 4))['params']['pos_embedding']
        close(same, variables['params']['pos_embedding'], 1e-6)
        wide = resize_positions(variables, (4, 8))
        assert jax.tree.map(jnp.shape, wide) == jax.tree.map(
            jnp.shape, shapes(module, 1, 16, 32, 3)
        )
        back = resize_positions(wide, (4, 4), before=(4, 8))
        assert back['params']['pos_embedding'].shape == (1, 17, 12)

    def test_must_be_a_grid(self):
        variables = drawn(ViT(**SMALL), 1, 16, 8, 3)
        with pytest.raises(ValueError, match='8 positions are no grid of 3x3'):
            resize_positions(variables, (4, 4))


class TestInjection:
    def test_without_its_branches_the_class_token_arrives_as_it_was(self):
        seen = []

        class Nothing(nn.Module):
            @nn.compact
            def __call__(self, z, *, train):
                return 0 * z

        def drop(depth):
            seen.append(depth)
            return Nothing()

        module = ViT(**SMALL, drop=drop)
        variables = drawn(module, 1, 8, 8, 3)
        np.testing.assert_allclose(np.unique(seen), [0.5, 1])
        p = variables['params']
        z = (p['class_token'] + p['pos_embedding'][:, :1])[0, 0]
        z = (z - z.mean()) / np.sqrt(z.var() + 1e-6) * p['ln']['scale'] + p['ln']['bias']
        expected = z @ p['head']['kernel'] + p['head']['bias']
        close(jax.jit(module.apply)(variables, image(1, 8, 8, 3)), expected[None])

    @pytest.mark.parametrize(
        'options',
        [
            {'dropout': partial(nn.Dropout, 0.5)},
            {'attention': partial(vit.Attention, dropout_rate=0.5)},
            {'drop': lambda depth: StochasticDepth(0.5 * depth)},
        ],
        ids=['dropout', 'attention dropout', 'stochastic depth'],
    )
    def test_noise_is_for_training(self, options):
        module, x = ViT(**SMALL | {'depth': 1}, **options), image(4, 8, 8, 3)
        variables = drawn(module, *x.shape)

        @jax.jit
        def trained(seed):
            return module.apply(variables, x, train=True, rngs={'dropout': jax.random.key(seed)})

        assert np.abs(trained(0) - trained(1)).max() > 0.01
        plain = ViT(**SMALL | {'depth': 1})
        np.testing.assert_array_equal(
            jax.jit(module.apply)(variables, x), jax.jit(plain.apply)(variables, x)
        )

    def test_initial_values(self):
        variables = jax.jit(ViT(**SMALL | {'depth': 1}).init)(
            jax.random.key(0), jnp.ones((1, 64, 64, 3))
        )
        params = unboxed(variables)['params']
        assert not params['class_token'].any() and not params['head']['kernel'].any()
        assert params['pos_embedding'].std() == pytest.approx(0.02, rel=0.1)
        # Xavier's uniform distribution: +-sqrt(6 / (inputs + outputs)).
        block = params['encoder_layer_0']
        for kernel, units in (
            (block['mlp_0']['kernel'], 12 + 20),
            (block['self_attention']['query']['kernel'], 12 + 12),
        ):
            top = np.abs(kernel).max()
            assert 0.85 * np.sqrt(6 / units) < top <= np.sqrt(6 / units)
