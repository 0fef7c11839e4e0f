"""StyleGAN2: published sizes, the laws of its parts, and what its memory does."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.errors import UsageError
from jaxdl.models.stylegan2 import (
    MappingNetwork,
    StyleGAN2,
    StyleGAN2Discriminator,
    SynthesisNetwork,
    batch_deviation,
)
from jaxdl.net import Net
from jaxdl.nn.equalised import modulate

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
SMALL = StyleGAN2(8, 1, 6, depth=2, base=32, most=6)
Z = RNG.normal(size=(2, 3, 6)).astype(np.float32)


def size(tree):
    return sum(x.size for x in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ('pixels', 'generator', 'discriminator'),
    # Of 1024 pixels the totals that the authors' program prints, which are the paper's
    # configuration F; the others are those of the same rule.
    [(1024, 30_370_060, 29_012_513), (512, 30_276_583, 28_982_849), (256, 30_034_338, 28_864_129)],
)
def test_parameters_are_the_published_ones(pixels, generator, discriminator):
    net = jax.eval_shape(lambda: Net.init(StyleGAN2(pixels), KEY, jnp.zeros((1, 512))))
    image = jnp.zeros((1, pixels, pixels, 3))
    critic = jax.eval_shape(lambda: Net.init(StyleGAN2Discriminator(pixels), KEY, image))
    assert (size(net.params), size(critic.params)) == (generator, discriminator)
    assert size(net.params['mapping']) == 2_101_248


@functools.cache
def small():
    """A generator all of whose parameters matter, and its memory."""
    net = jax.jit(lambda: Net.init(SMALL, KEY, jnp.zeros((3, 6))))()

    def drawn(path, x):
        noise = jax.random.normal(jax.random.key(len(jax.tree_util.keystr(path))), x.shape)
        return x + 0.3 * noise

    params = jax.tree_util.tree_map_with_path(drawn, net.params)
    memory = {**net.memory, 'averages': {'mapping': {'w_avg': jnp.arange(6.0)}}}
    return net.replace(params=params, memory=memory)


@functools.cache
def called(method, **options):
    """One program for each way to call it."""
    return jax.jit(lambda net, *xs, **kw: net(*xs, method=method, **options, **kw))


def images(method, *xs):
    return np.asarray(called(method)(small(), *xs)[0])


def test_outputs_have_variance_one_whatever_the_style():
    x = RNG.normal(size=(4, 24, 24, 16)).astype(np.float32)
    kernel = RNG.normal(size=(3, 3, 16, 8)).astype(np.float32)
    style = RNG.lognormal(sigma=2, size=(4, 16)).astype(np.float32)
    y = np.asarray(jax.jit(modulate)(x, kernel, style))[:, 1:-1, 1:-1]
    # Each of 4 x 8 variances is of 484 values that their neighbours resemble.
    np.testing.assert_allclose(y.var((1, 2)).mean(), 1, atol=0.05)
    np.testing.assert_allclose(y.var((1, 2)), 1, atol=0.45)


@pytest.mark.parametrize('demodulate', [True, False])
def test_scaling_maps_is_scaling_the_kernels_of_each_image(demodulate):
    x = RNG.normal(size=(3, 5, 6, 4)).astype(np.float32)
    kernel = RNG.normal(size=(3, 3, 4, 2)).astype(np.float32)
    style = RNG.normal(size=(3, 4)).astype(np.float32)
    found = jax.jit(functools.partial(modulate, demodulate=demodulate))(x, kernel, style)
    around = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))).astype(np.float64)
    for image, s, y in zip(around, style, np.asarray(found), strict=True):
        own = kernel * s[:, None]
        if demodulate:
            own = own / np.sqrt((own**2).sum((0, 1, 2)) + 1e-8)
        want = sum(image[i : i + 5, j : j + 6] @ own[i, j] for i in range(3) for j in range(3))
        np.testing.assert_allclose(y, want, rtol=1e-4, atol=1e-5)


def test_truncation_goes_from_the_mean_to_the_style():
    w = called('map')(small(), Z[0])[0]
    whole, none, half = (called('truncate')(small(), w, psi)[0] for psi in (1.0, 0.0, 0.5))
    np.testing.assert_allclose(whole, w, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(none, np.tile(np.arange(6.0, dtype=np.float32), (3, 1)))
    np.testing.assert_allclose(half, (w + none) / 2, rtol=1e-5, atol=1e-6)


def test_images_of_no_style_are_all_the_same_and_of_whole_ones_are_not():
    none, whole = images('still', Z[0], 0.0), images('still', Z[0], 1.0)
    np.testing.assert_allclose(none, none[:1].repeat(3, 0), rtol=1e-4, atol=1e-5)
    assert np.abs(whole - whole[:1]).max() > 0.01


def test_mixed_at_either_end_is_not_mixed():
    at = jnp.array([0, SMALL.layers, 2])
    mixed = images('still_mix', Z[0], Z[1], at)
    first, second = images('still', Z[0], 1.0), images('still', Z[1], 1.0)
    np.testing.assert_allclose(mixed[0], second[0], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(mixed[1], first[1], rtol=1e-3, atol=1e-4)
    assert min(np.abs(mixed[2] - x[2]).max() for x in (first, second)) > 0.01
    styles = SMALL.bind({'params': small().params, **small().memory}).mix(Z[0], Z[1], at)
    np.testing.assert_array_equal(styles[2], [Z[0][2]] * 2 + [Z[1][2]] * 2)


def test_noise_is_drawn_or_the_same_again():
    styles = jnp.asarray(RNG.normal(size=(2, 4, 6)), jnp.float32)
    styles = jnp.concatenate((styles[:1], styles[:1]))  # one style twice
    apply = jax.jit(lambda net, noise_key: net(styles, key=noise_key, method='synthesise')[0])
    a, b = apply(small(), KEY), apply(small(), jax.random.key(1))
    assert np.abs(a - b).max() > 0.01 and np.abs(a[0] - a[1]).max() > 0.01
    same = images('still', jnp.stack((Z[0][0], Z[0][0])), 1.0)
    np.testing.assert_allclose(same[0], same[1], rtol=1e-5, atol=1e-6)


def test_the_mean_style_moves_in_training_alone():
    module = MappingNetwork(5, 2, decay=0.9)
    net = Net.init(module, KEY, jnp.zeros((4, 5)))
    z = RNG.normal(size=(4, 5)).astype(np.float32)
    w, after = net(z, train=True)
    mean = after.memory['averages']['w_avg']
    np.testing.assert_allclose(mean, 0.1 * np.asarray(w).mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(net(z)[1].memory['averages']['w_avg'], 0)
    # Only the direction of z matters.
    np.testing.assert_allclose(net(7 * z)[0], w, rtol=1e-4, atol=1e-5)


def test_the_deviation_of_a_group_is_one_more_map():
    x = RNG.normal(size=(6, 2, 3, 4))
    x[1::3] = x[1]  # a group of equal images
    found = np.asarray(batch_deviation(jnp.asarray(x, jnp.float32), group=2))
    np.testing.assert_allclose(found[..., :4], x, rtol=1e-6)
    for i in range(3):
        want = x[i::3].std(0).mean() if i != 1 else 1e-4
        np.testing.assert_allclose(found[i::3, ..., 4], want, rtol=1e-4)
    with pytest.raises(UsageError, match='6 images do not make groups of 4'):
        batch_deviation(jnp.zeros((6, 2, 2, 1)))


@pytest.mark.parametrize(
    ('call', 'line'),
    [
        (lambda: StyleGAN2(12).layers, 'size is 12; it is a power of two from 4 on'),
        (
            lambda: StyleGAN2Discriminator(4).init(KEY, jnp.zeros((1, 4, 4, 3))),
            'size is 4; it is a power of two from 8 on',
        ),
        (
            lambda: StyleGAN2Discriminator(8).init(KEY, jnp.zeros((1, 16, 16, 3))),
            'height and width are 8',
        ),
        (lambda: SynthesisNetwork(8).init(KEY, jnp.zeros((1, 3, 4))), '3 styles; .* 8 take 4'),
        (
            lambda: SynthesisNetwork(8).init(KEY, jnp.zeros((1, 4, 4)), noise='none'),
            "noise is 'none'; it is 'drawn' or 'constant'",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(call, line):
    with pytest.raises(UsageError, match=line):
        jax.eval_shape(call)
