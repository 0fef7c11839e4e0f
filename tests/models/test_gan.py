"""The networks of image GANs: sizes, ranges, what a class changes, and spectral norms."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.models.conditional_gan import (
    ConditionalDiscriminator,
    ConditionalGenerator,
    Maxout,
    ToldDiscriminator,
    ToldGenerator,
)
from jaxdl.models.dcgan import DCGANDiscriminator, DCGANGenerator
from jaxdl.models.gan import (
    PerceptronGenerator,
    leaky_discriminator,
    leaky_generator,
    perceptron_discriminator,
)
from jaxdl.models.judge import Judge
from jaxdl.models.unet import no_norm
from jaxdl.net import Net
from jaxdl.nn.layers import Conv
from jaxdl.nn.spectral import spectral

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
DIGITS, Z, Y = jnp.zeros((1, 28, 28, 1)), jnp.zeros((1, 100)), jnp.zeros(1, int)


def drawn(module, *inputs):
    """A net, initialised as one program."""
    return jax.jit(partial(Net.init, module))(KEY, *inputs)


def counted(module, *inputs):
    """(parameters, shape of the output)."""
    variables = jax.eval_shape(module.init, KEY, *inputs)
    output = jax.eval_shape(module.apply, variables, *inputs)
    return sum(x.size for x in jax.tree.leaves(variables['params'])), output.shape


@pytest.mark.parametrize(
    'module, inputs, parameters, shape',
    [
        (PerceptronGenerator(), (Z,), 114_064, (1, 28, 28, 1)),
        (perceptron_discriminator(), (DIGITS,), 100_609, (1, 1)),
        (leaky_generator(), (Z,), 559_632, (1, 28, 28, 1)),
        (leaky_discriminator(), (DIGITS,), 533_505, (1, 1)),
        (ConditionalGenerator(), (Z, Y), 2_413_984, (1, 28, 28, 1)),
        (ConditionalDiscriminator(), (DIGITS, Y), 1_224_351, (1, 1)),
        (DCGANGenerator(), (Z,), 3_576_704, (1, 64, 64, 3)),
        (DCGANDiscriminator(), (jnp.zeros((1, 64, 64, 3)),), 2_765_568, (1, 1)),
        # By the sum of kernels and norms: 16 w (100 4w + 8w^2 + 2w^2 + 3) + 2 (4 + 2 + 1) w at 32.
        (
            DCGANGenerator(stages=3),
            (Z,),
            16 * (100 * 256 + 256 * 128 + 128 * 64 + 64 * 3) + 2 * (256 + 128 + 64),
            (1, 32, 32, 3),
        ),
        (
            DCGANGenerator(channels=1, stages=2, first=7),
            (Z,),
            49 * 100 * 128 + 16 * (128 * 64 + 64) + 2 * (128 + 64),
            (1, 28, 28, 1),
        ),
        (
            DCGANDiscriminator(stages=2, last=7),
            (DIGITS,),
            16 * (64 + 64 * 128) + 49 * 128 + 2 * 128,
            (1, 1),
        ),
    ],
)
def test_sizes_are_the_published_ones(module, inputs, parameters, shape):
    assert counted(module, *inputs) == (parameters, shape)


@pytest.mark.parametrize(
    'module, low', [(PerceptronGenerator((2, 3, 1), (4,)), 0), (DCGANGenerator(1, 2, 1, 2), -1)]
)
def test_pixels_lie_in_their_range(module, low):
    z = jnp.asarray(RNG.normal(size=(64, 3)), jnp.float32)
    net = drawn(module, z)
    x = net.replace(params=jax.tree.map(lambda p: 30 * p, net.params))(z, train=True)[0]
    assert low <= x.min() < low + 0.01 and 0.99 < x.max() <= 1


def test_initial_weights_are_those_of_the_paper():
    params = drawn(DCGANGenerator(1, 32, 2), Z).params
    for stage in range(3):
        np.testing.assert_allclose(params[f'up{stage}']['kernel'].std(), 0.02, rtol=0.1)
    scale = np.asarray(params['norm0']['scale'])
    np.testing.assert_allclose([scale.mean(), scale.std()], [1, 0.02], rtol=0.3, atol=0.01)


def test_images_of_another_size_are_refused():
    with pytest.raises(ValueError, match='an image of side 28 is needed'):
        counted(DCGANDiscriminator(2, 2, 7), jnp.zeros((1, 32, 32, 1)))


def test_maxout_takes_the_best_piece_of_each_unit():
    x = RNG.normal(size=(4, 3)).astype(np.float32)
    params = jax.device_get(drawn(Maxout(2, 5), x).params)['dense']
    pieces = (x @ params['kernel'] + params['bias']).reshape(4, 2, 5)
    found = Maxout(2, 5).apply({'params': {'dense': params}}, x)
    np.testing.assert_allclose(found, pieces.max(-1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    'module, x',
    [
        (ConditionalGenerator(3, (2, 2, 1), (4, 5), 6), RNG.normal(size=(3, 4))),
        (ConditionalDiscriminator(3, (4, 5), 6), RNG.normal(size=(3, 2, 2, 1))),
        (ToldGenerator(DCGANGenerator(1, 2, 1, 2), 3), RNG.normal(size=(3, 4))),
        (ToldDiscriminator(DCGANDiscriminator(2, 1, 2), 3), RNG.normal(size=(3, 4, 4, 1))),
    ],
)
def test_a_row_depends_on_its_own_class_alone(module, x):
    x = jnp.asarray(x, jnp.float32)
    net = drawn(module, x, jnp.array([0, 1, 2]))
    see = jax.jit(lambda y: net(x, y)[0])
    before, after = see(jnp.array([0, 1, 2])), see(jnp.array([0, 2, 2]))
    changed = np.abs(np.asarray(before - after)).reshape(3, -1).max(1) > 1e-6
    assert changed.tolist() == [False, True, False]


SPECTRAL = DCGANDiscriminator(4, 1, 2, conv=Conv, norm=no_norm, constraint=spectral)


@pytest.fixture(scope='module')
def normed():
    """A critic of spectral norms, and what it has become after many calls in training."""
    x = jnp.asarray(RNG.normal(size=(2, 4, 4, 3)), jnp.float32)
    net = drawn(SPECTRAL, x)
    step = jax.jit(lambda net: net(x, train=True)[1])
    after = net
    for _ in range(100):
        after = step(after)
    return x, net, after


def test_power_iteration_finds_the_largest_singular_value(normed):
    _, net, after = normed
    for name in ('conv0', 'conv1'):
        kernel = np.asarray(after.params[name]['kernel'])
        largest = np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]), compute_uv=False)[0]
        sigma, before = (
            float(it.memory['batch_stats'][f'{name}_spectral'][f'{name}/kernel/sigma'])
            for it in (after, net)
        )
        np.testing.assert_allclose(sigma, largest, rtol=1e-5)
        assert before == 1  # no call has trained yet


def test_weights_are_divided_by_it(normed):
    x, _, after = normed
    sigma = {
        name: float(after.memory['batch_stats'][f'{name}_spectral'][f'{name}/kernel/sigma'])
        for name in ('conv0', 'conv1')
    }
    divided = {
        name: {**layer, 'kernel': layer['kernel'] / sigma[name]}
        for name, layer in after.params.items()
    }
    plain = SPECTRAL.clone(constraint=DCGANDiscriminator.constraint)
    want = plain.apply({'params': divided}, x)
    np.testing.assert_allclose(after(x)[0], want, rtol=1e-4, atol=1e-6)
    # The scale of the weights is of no account, and so neither is their gradient's along them.
    doubled = jax.tree_util.tree_map_with_path(
        lambda path, p: 2 * p if 'kernel' in str(path[-1]) else p, after.params
    )
    np.testing.assert_allclose(after.replace(params=doubled)(x)[0], want, rtol=1e-4, atol=1e-6)


def test_only_training_moves_the_iteration(normed):
    x, net, _ = normed
    assert net(x)[1] is net
    moved = net(x, train=True)[1]
    u, after = (it.memory['batch_stats']['conv0_spectral']['conv0/kernel/u'] for it in (net, moved))
    assert (u != after).all() and jnp.linalg.norm(after) == pytest.approx(1, rel=1e-5)


def test_a_judge_says_what_it_says_of_its_features():
    x = jnp.asarray(RNG.normal(size=(3, 8, 8, 1)), jnp.float32)
    net = drawn(Judge((2, 3), 5, 4), x)
    features, _ = net(x, method='features')
    assert features.shape == (3, 5)
    np.testing.assert_allclose(net(features, method='classify')[0], net(x)[0], rtol=1e-5)
