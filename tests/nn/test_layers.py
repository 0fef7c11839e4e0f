"""The layers' own formulations against the plain ones, in value and in gradient."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from pace import mostly_slow

from jaxdl.nn import layers
from jaxdl.nn.cpu import banded, winograd

DIMENSIONS = ('NHWC', 'HWIO', 'NHWC')


def value_and_gradients(fn, *args):
    return jax.jit(jax.value_and_grad(lambda *a: (2 + jnp.sin(fn(*a))).sum(), range(len(args))))(
        *args
    )


def assert_all_close(ours, plain, tolerance=1e-5):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * np.abs(b).max())


@pytest.mark.parametrize('channels', mostly_slow([3, 1, 6, 9]))
@pytest.mark.parametrize(
    'size,kernel,strides,padding',
    [
        ((8, 8), (3, 3), (1, 1), 'SAME'),
        ((9, 7), (5, 5), (1, 1), 'VALID'),
        ((9, 7), (2, 3), (1, 1), 'SAME'),
        ((6, 5), (3, 2), (1, 1), [(1, 2), (0, 1)]),
        ((9, 8), (3, 3), (2, 2), 'SAME'),
        ((9, 8), (3, 3), (1, 2), [(1, 0), (-1, 2)]),
        ((9, 8), (1, 1), (1, 1), 'SAME'),
        ((9, 8), (1, 1), (2, 3), 'SAME'),
        ((9, 8), (1, 1), (2, 2), [(1, 0), (0, 0)]),
    ],
)
def test_convolution_equals_the_plain_one(channels, size, kernel, strides, padding):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, *size, channels)).astype(np.float32)
    w = rng.normal(size=(*kernel, channels, 4)).astype(np.float32)
    args = {'window_strides': strides, 'padding': padding, 'dimension_numbers': DIMENSIONS}
    ours = value_and_gradients(lambda x, w: layers.convolution(x, w, **args), x, w)
    plain = value_and_gradients(lambda x, w: lax.conv_general_dilated(x, w, **args), x, w)
    assert_all_close(ours, plain)


@pytest.mark.parametrize('kernel', [1, 3])
@pytest.mark.parametrize(
    'options', [{'feature_group_count': 2}, {'rhs_dilation': (2, 2)}, {'lhs_dilation': (2, 1)}]
)
def test_grouped_and_dilated_convolutions_are_the_plain_ones(options, kernel):
    groups = options.get('feature_group_count', 1)
    x, w = jnp.ones((1, 8, 8, 4)), jnp.ones((kernel, kernel, 4 // groups, 4))
    args = {'window_strides': (1, 1), 'padding': [(1, 1)] * 2, 'dimension_numbers': DIMENSIONS}
    np.testing.assert_array_equal(
        layers.convolution(x, w, **args, **options),
        lax.conv_general_dilated(x, w, **args, **options),
    )


SAME = ((1, 1), (1, 1))
WIDE = ((32, 16, 16, 64), (3, 3, 64, 64))


@pytest.mark.parametrize(
    'images,kernel,padding,taken',
    [
        (*WIDE, SAME, 'winograd'),
        (*WIDE, ((0, 0), (2, 1)), 'winograd'),
        (*WIDE, ((3, 1), (1, 1)), 'plain'),
        (*WIDE, ((-1, 1), (1, 1)), 'plain'),
        (WIDE[0], (5, 5, 64, 64), SAME, 'plain'),
        ((32, 16, 16, 16), (3, 3, 16, 256), SAME, 'plain'),
        ((1, 7, 7, 512), (3, 3, 512, 512), SAME, 'plain'),  # 16 tiles
        ((2, 16, 16, 32), (3, 3, 32, 32), SAME, 'plain'),  # 5 M multiply-adds
        ((8, 28, 28, 1), (5, 5, 1, 6), SAME, 'banded'),
        ((8, 28, 28, 3), (3, 3, 3, 64), SAME, 'banded'),
        ((8, 12, 12, 20), (5, 5, 20, 50), SAME, 'banded'),
        ((8, 12, 12, 20), (5, 5, 20, 48), SAME, 'plain'),
        ((8, 12, 12, 8), (5, 5, 8, 16), SAME, 'plain'),
        ((32, 12, 12, 30), (3, 3, 30, 50), SAME, 'winograd'),
        ((32, 12, 12, 30), (5, 5, 30, 50), SAME, 'plain'),
        ((8, 2, 4, 1), (5, 5, 1, 6), SAME, 'plain'),  # an empty map
    ],
)
def test_which_convolution_is_taken(monkeypatch, images, kernel, padding, taken):
    for method in (winograd, banded):
        monkeypatch.setattr(method, 'convolution', lambda *_, name=method.__name__: name)
    x, w = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in (images, kernel))

    def method(x=x, w=w, strides=(1, 1), **options):
        answers = []

        def conv(x, w):
            args = {'dimension_numbers': DIMENSIONS, **options}
            answers.append(layers.convolution(x, w, strides, padding, **args))

        jax.eval_shape(conv, x, w)
        return answers[0].split('.')[-1] if isinstance(answers[0], str) else 'plain'

    assert method() == taken
    with jax.default_matmul_precision('highest'):
        assert method() == 'plain'
    assert method(strides=(2, 2)) == method(rhs_dilation=(2, 2)) == 'plain'
    half = [x.update(dtype=jnp.bfloat16) for x in (x, w)]
    assert method(*half) == 'plain'


@pytest.mark.parametrize('size', [(8, 8), (9, 7), (2, 3)])
@pytest.mark.parametrize(
    'ours,plain', [(layers.max_pool, nn.max_pool), (layers.average_pool, nn.avg_pool)]
)
def test_pooling_equals_the_plain_one_with_ties(size, ours, plain):
    # Rounded values: many windows have several maxima, and the gradient goes to the first.
    x = np.round(np.random.default_rng(1).normal(size=(3, *size, 2)) * 2).astype(np.float32)
    got = value_and_gradients(ours, x)
    want = value_and_gradients(lambda x: plain(x, (2, 2), strides=(2, 2)), x)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    'window,strides,padding',
    [
        ((3, 3), (3, 3), 'VALID'),
        ((3, 3), (2, 2), 'VALID'),
        ((3, 3), (2, 2), ((1, 1), (1, 1))),
        ((3, 3), (1, 1), 'SAME'),
        ((2, 3), (3, 2), 'VALID'),
        ((3, 2), (2, 1), 'SAME'),
    ],
)
def test_maxima_of_any_windows_equal_the_plain_ones_with_ties(window, strides, padding):
    x = np.round(np.random.default_rng(2).normal(size=(2, 8, 9, 2)) * 2 - 3).astype(np.float32)
    options = {'strides': strides, 'padding': padding}
    got = value_and_gradients(lambda x: layers.max_pool(x, window, **options), x)
    want = value_and_gradients(lambda x: nn.max_pool(x, window, **options), x)
    assert_all_close(got, want, 1e-6)


MODULES = [
    (layers.BatchNorm, nn.BatchNorm, {'momentum': 0.9, 'epsilon': 1e-5}),
    (layers.BatchNorm, nn.BatchNorm, {'momentum': 0.8, 'epsilon': 1e-3, 'use_bias': False}),
    (layers.BatchNorm, nn.BatchNorm, {'momentum': 0.8, 'use_scale': False}),
    (layers.BatchNorm, nn.BatchNorm, {'momentum': 0.9, 'axis': 1}),
    (layers.ConvTranspose, nn.ConvTranspose, {'kernel_size': (2, 2), 'strides': (2, 2)}),
    (layers.ConvTranspose, nn.ConvTranspose, {'kernel_size': (2, 3), 'strides': (2, 3)}),
    (layers.ConvTranspose, nn.ConvTranspose, {'kernel_size': (2, 2), 'strides': 2}),
    (layers.ConvTranspose, nn.ConvTranspose, {'kernel_size': (3, 3), 'strides': (2, 2)}),
    (layers.ConvTranspose, nn.ConvTranspose, {'kernel_size': (4, 4), 'strides': 2}),
    (layers.ConvTranspose, nn.ConvTranspose, {'kernel_size': (5, 2), 'strides': (2, 2)}),
    (layers.ConvTranspose, nn.ConvTranspose, {'kernel_size': (1, 1)}),
]


@pytest.mark.parametrize('ours,plain,options', MODULES)
@pytest.mark.parametrize('padding', mostly_slow(['SAME', 'VALID']))
def test_modules_have_the_variables_values_and_gradients_of_the_plain_ones(
    ours, plain, options, padding
):
    normalises = plain is nn.BatchNorm
    if normalises:
        options = {'use_running_average': padding == 'VALID', **options}
    else:
        # In float64 it is the sum that is compared, and not in which order it was rounded.
        options = {'features': 3, 'padding': padding, 'param_dtype': jnp.float64, **options}
    with jax.enable_x64(not normalises):
        compare_modules(ours(**options), plain(**options), 1e-5 if normalises else 1e-12)


def compare_modules(a, b, tolerance):
    """Two modules with the same variables have the same values, to a tenth of it, and gradients."""
    key = jax.random.key(0)
    x = 3 + 2 * jax.random.normal(key, (3, 5, 6, 4))
    variables = jax.jit(b.init)(key, x)
    jax.tree.map(np.testing.assert_array_equal, jax.jit(a.init)(key, x), variables)
    assert type(a).__name__ == type(b).__name__  # it is what Linen makes names of
    variables = jax.tree.map(lambda v: v + jax.random.uniform(key, v.shape), variables)

    def apply(module, variables, x):
        # The statistics have a part in the loss: their gradients are tested too.
        y, memory = module.apply(variables, x, mutable=['batch_stats'])
        return [2 + jnp.sin(leaf) for leaf in jax.tree.leaves((y, memory))]

    def loss(module):
        return jax.jit(
            jax.value_and_grad(lambda *v: sum(leaf.sum() for leaf in apply(module, *v)), (0, 1))
        )(variables, x)

    forward = [jax.jit(partial(apply, module))(variables, x) for module in (a, b)]
    assert_all_close(*forward, tolerance / 10)
    assert_all_close(loss(a), loss(b), tolerance)


@pytest.mark.parametrize('backend', ['cpu', 'gpu'])
@pytest.mark.parametrize('ratio', [100, 1000, 10_000])
def test_norms_keep_their_digits_where_the_mean_is_many_deviations(monkeypatch, backend, ratio):
    monkeypatch.setattr(jax, 'default_backend', lambda: backend)
    x = (np.random.default_rng(0).normal(size=(8, 6, 6, 4)) + ratio).astype(np.float32)
    exact = x.astype(np.float64)
    norm = layers.BatchNorm(use_running_average=False, momentum=0.0)
    # As functions of their own: a program that is kept would be of the other backend.
    y, memory = jax.jit(
        lambda x: norm.apply(norm.init(jax.random.key(0), x), x, mutable=['batch_stats'])
    )(x)
    axes = (0, 1, 2)
    rounding = 1e-7 * ratio  # of x itself, in deviations
    variance = memory['batch_stats']['var']
    np.testing.assert_allclose(variance, exact.var(axes), rtol=1e-5 + 10 * rounding)
    want = (exact - exact.mean(axes)) / np.sqrt(exact.var(axes) + 1e-5)
    np.testing.assert_allclose(y, want, atol=1e-5 + 20 * rounding)
    tokens = x.reshape(8, -1)
    of_rows = layers.LayerNorm()
    y = jax.jit(lambda x: of_rows.apply(of_rows.init(jax.random.key(0), x), x))(tokens)
    exact = tokens.astype(np.float64)
    want = (exact - exact.mean(1, keepdims=True)) / np.sqrt(exact.var(1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(y, want, atol=1e-5 + 20 * rounding)


@pytest.mark.parametrize('queries', [5, 1])
def test_attention_equals_the_plain_one(queries):
    q, k, v = jax.random.normal(jax.random.key(0), (3, 2, 5, 3, 4))
    args = (q[:, :queries], 3 * k, v)
    ours = value_and_gradients(layers.attention, *args)
    assert_all_close(ours, value_and_gradients(nn.dot_product_attention, *args))

    def penalty(attention, *args):
        return jnp.square(
            jax.grad(lambda k: jnp.sin(attention(args[0], k, v)).sum())(args[1])
        ).sum()

    twice = [
        jax.jit(jax.grad(partial(penalty, attention), (0, 1)))(*args)
        for attention in (layers.attention, nn.dot_product_attention)
    ]
    assert_all_close(*twice, 1e-4)


@pytest.mark.parametrize(
    'options',
    [
        {'mask': jnp.tril(jnp.ones((1, 1, 5, 5), bool))},
        {'bias': jnp.arange(5.0).reshape(1, 1, 1, 5)},
        {'dropout_rate': 0.5, 'dropout_rng': jax.random.key(1)},
        {'dtype': jnp.bfloat16},
    ],
)
def test_attention_with_options_is_the_plain_one(options):
    args = jax.random.normal(jax.random.key(0), (3, 2, 5, 3, 4))
    plain = jax.jit(partial(nn.dot_product_attention, **options))(*args)
    assert not np.array_equal(plain, jax.jit(layers.attention)(*args))
    ours = jax.jit(partial(layers.attention, **options))(*args)
    np.testing.assert_array_equal(ours, plain)
    module = nn.MultiHeadDotProductAttention(3, attention_fn=layers.attention)
    x, mask = args[0].reshape(2, 5, 12), jnp.tril(jnp.ones((1, 1, 5, 5), bool))
    variables = jax.jit(module.init)(jax.random.key(2), x)
    np.testing.assert_array_equal(
        jax.jit(module.apply)(variables, x, mask=mask),
        jax.jit(nn.MultiHeadDotProductAttention(3).apply)(variables, x, mask=mask),
    )


def network(x, w, u, scale, *, own):
    """Every layer once, so that what jax may do to functions is tested on all."""
    conv = layers.convolution if own else lax.conv_general_dilated
    pool = layers.max_pool if own else nn.max_pool
    norm = (layers.BatchNorm if own else nn.BatchNorm)(
        use_running_average=False, momentum=0.9, use_fast_variance=False
    )
    up = (layers.ConvTranspose if own else nn.ConvTranspose)(3, (2, 2), strides=(2, 2))
    width = w.shape[-1]
    x = conv(x, w, (1, 1), 'SAME', dimension_numbers=DIMENSIONS)
    memory = {'mean': jnp.zeros(width), 'var': jnp.ones(width)}
    variables = {'params': {'scale': scale, 'bias': scale}, 'batch_stats': memory}
    x = jnp.tanh(norm.apply(variables, x, mutable=['batch_stats'])[0])
    x = pool(x, (3, 3), strides=(2, 2), padding='SAME')
    return up.apply({'params': {'kernel': u, 'bias': scale[:3]}}, pool(x, (2, 2), strides=(2, 2)))


def drawn():
    rng = np.random.default_rng(3)
    shapes = ((8, 8, 8, 3), (3, 3, 3, 4), (2, 2, 4, 3), (4,))
    return [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]


@pytest.mark.slow
def test_seeds_by_vmap_rows_over_devices_and_second_derivatives():
    x, *weights = drawn()

    def gradients(own):
        def loss(*weights, x):
            return jnp.sin(network(x, *weights, own=own)).sum()

        def penalty(x, *weights):
            return (jax.grad(lambda x: loss(*weights, x=x))(x) ** 2).sum()

        return partial(jax.grad(loss, (0, 1, 2)), x=x), jax.grad(penalty, (0, 1, 2, 3)), loss

    (ours, ours_twice, loss), (plain, plain_twice, _) = gradients(True), gradients(False)
    want = jax.jit(plain)(*weights)
    close = partial(assert_all_close, tolerance=1e-4)  # gradients before a norm cancel
    seeds = [jnp.stack([w, 2 * w]) for w in weights]
    got = jax.jit(jax.vmap(ours))(*seeds)
    close(jax.tree.map(lambda leaf: leaf[0], got), want)
    mesh = jax.make_mesh((4,), ('rows',), axis_types=(AxisType.Auto,))
    rows = jax.device_put(x, NamedSharding(mesh, PartitionSpec('rows')))
    close(jax.jit(jax.grad(loss, (0, 1, 2)))(*weights, x=rows), want)
    close(jax.jit(ours_twice)(x, *weights), jax.jit(plain_twice)(x, *weights))


def test_other_backends_take_the_plain_ones(monkeypatch):
    monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
    args = drawn()
    ours, plain = (
        str(
            jax.make_jaxpr(jax.value_and_grad(lambda *a, own=own: network(*a, own=own).sum()))(
                *args
            )
        )
        for own in (True, False)
    )
    assert 'custom_vjp' not in ours and 'select_and_scatter_add' in ours
    assert sorted(ours.split()) == sorted(plain.split())
