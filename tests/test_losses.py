"""Losses against independent formulae in numpy, finite differences, extremes and masks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jitted import Jitted
from scipy import special
from test_boxes import recomputed

import jaxdl.losses

losses = Jitted(jaxdl.losses)

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
ROWS, CLASSES = 6, 4
LOGITS = RNG.normal(size=(ROWS, CLASSES)) * 2
LABELS = RNG.integers(0, CLASSES, ROWS)
PROBABILITIES = RNG.dirichlet(np.ones(CLASSES), ROWS)
REAL, FAKE = RNG.normal(size=(2, ROWS, 3))
BITS = RNG.integers(0, 2, (ROWS, 3)).astype(np.float64)
SIGNS = 2 * BITS - 1
WEIGHTS = np.array([0.0, 1.0, 0.5, 2.0, 0.0, 1.0])
A = np.array([0.5, 1.0, 3.0, 0.0])
EYE = np.eye(CLASSES)
PIXEL_LOGITS = RNG.normal(size=(ROWS, 2, 2, CLASSES))
MAP = RNG.integers(0, CLASSES + 1, (ROWS, 2, 2))  # CLASSES: no class
MAP[:, 0] %= CLASSES
SEEN = RNG.uniform(0.1, 0.9, (ROWS, 2, 3, 2))
THERE = RNG.integers(0, 2, (ROWS, 2, 3, 2)).astype(np.float64)
THERE[1, ..., 0] = 0


def mean(values, w):
    """The weighted mean of values [rows, ...], w [rows]."""
    w = np.broadcast_to(w.reshape(-1, *(1,) * (values.ndim - 1)), values.shape)
    return (values * w).sum() / w.sum()


def nll(x):
    return special.logsumexp(x, axis=-1, keepdims=True) - x


def bce(x, y, c=1.0):
    p = special.expit(x)
    return -(c * y * np.log(p) + (1 - y) * np.log1p(-p))


def cosines(x, y):
    return (x @ y.T) / np.outer(np.linalg.norm(x, axis=1), np.linalg.norm(y, axis=1))


def crammer_singer(x, y):
    rows = []
    for scores, label in zip(x, y, strict=True):
        others = [s for c, s in enumerate(scores) if c != label]
        rows.append(max(0.0, 1 + max(others) - scores[label]))
    return np.array(rows)


def huber(x, y, d):
    e = np.abs(x - y)
    return np.where(e <= d, e**2 / 2, d * (e - d / 2))


def ignoring(x, labels, w):
    """The weighted mean over elements whose label is a class, one by one."""
    total, weight = 0.0, 0.0
    for index in np.ndindex(labels.shape):
        if labels[index] < CLASSES:
            total += w[index[0]] * nll(x[index])[labels[index]]
            weight += w[index[0]]
    return total / weight


def focal(x, y, alpha, gamma):
    p = np.where(y == 1, special.expit(x), special.expit(-x))
    return -np.where(y == 1, alpha, 1 - alpha) * (1 - p) ** gamma * np.log(p)


def dice(p, g, s):
    both, squares = (p * g).sum((1, 2)), (p**2 + g**2).sum((1, 2))
    return 1 - (2 * both + s) / (squares + s)


# name: the loss of (predictions, weights), its predictions, the independent value of both.
CASES = {
    'cross_entropy': (
        lambda x, w: losses.cross_entropy(x, LABELS, weights=w),
        LOGITS,
        lambda x, w: mean(nll(x)[np.arange(ROWS), LABELS], w),
    ),
    'cross_entropy_one_hot': (
        lambda x, w: losses.cross_entropy(x, EYE[LABELS], weights=w),
        LOGITS,
        lambda x, w: mean(nll(x)[np.arange(ROWS), LABELS], w),
    ),
    'cross_entropy_probabilities': (
        lambda x, w: losses.cross_entropy(x, PROBABILITIES, weights=w),
        LOGITS,
        lambda x, w: mean((PROBABILITIES * nll(x)).sum(-1), w),
    ),
    'cross_entropy_smoothed': (
        lambda x, w: losses.cross_entropy(x, LABELS, weights=w, label_smoothing=0.1),
        LOGITS,
        lambda x, w: mean(((0.9 * EYE[LABELS] + 0.1 / CLASSES) * nll(x)).sum(-1), w),
    ),
    # torch: sum_i a[y_i] l_i / sum_i a[y_i]; smoothed, the second term is sum_c a_c (-log p_c) / C.
    'cross_entropy_class_weights': (
        lambda x, w: losses.cross_entropy(x, LABELS, weights=w, class_weights=A),
        LOGITS,
        lambda x, w: (
            (A[LABELS] * w * nll(x)[np.arange(ROWS), LABELS]).sum() / (A[LABELS] * w).sum()
        ),
    ),
    'cross_entropy_class_weights_smoothed': (
        lambda x, w: losses.cross_entropy(
            x, LABELS, weights=w, class_weights=A, label_smoothing=0.2
        ),
        LOGITS,
        lambda x, w: (
            (
                0.8 * (A[LABELS] * w * nll(x)[np.arange(ROWS), LABELS]).sum()
                + 0.2 / CLASSES * (w[:, None] * A * nll(x)).sum()
            )
            / (A[LABELS] * w).sum()
        ),
    ),
    'cross_entropy_of_pixels': (
        lambda x, w: losses.cross_entropy(x, MAP, weights=w, ignore=CLASSES),
        PIXEL_LOGITS,
        lambda x, w: ignoring(x, MAP, w),
    ),
    'focal': (
        lambda x, w: losses.focal(x, BITS, weights=w, alpha=0.3, gamma=1.5),
        REAL,
        lambda x, w: mean(focal(x, BITS, 0.3, 1.5), w),
    ),
    'dice': (
        lambda x, w: losses.dice(x, THERE, weights=w),
        SEEN,
        lambda x, w: mean(dice(x, THERE, 1.0), w),
    ),
    'dice_as_published': (
        lambda x, w: losses.dice(x, THERE, weights=w, smooth=0.0),
        SEEN,
        lambda x, w: mean(dice(x, THERE, 0.0), w),
    ),
    'binary_cross_entropy': (
        lambda x, w: losses.binary_cross_entropy(x, BITS, weights=w),
        REAL,
        lambda x, w: mean(bce(x, BITS), w),
    ),
    'binary_cross_entropy_pos_weight': (
        lambda x, w: losses.binary_cross_entropy(x, BITS, weights=w, pos_weight=A[:3]),
        REAL,
        lambda x, w: mean(bce(x, BITS, A[:3]), w),
    ),
    'mean_squared_error': (
        lambda x, w: losses.mean_squared_error(x, FAKE, weights=w),
        REAL,
        lambda x, w: mean((x - FAKE) ** 2, w),
    ),
    'normalised_squared_error': (
        lambda x, w: losses.normalised_squared_error(x, FAKE, weights=w),
        REAL,
        lambda x, w: mean(2 - 2 * cosines(x, FAKE).diagonal(), w),
    ),
    'mean_absolute_error': (
        lambda x, w: losses.mean_absolute_error(x, FAKE, weights=w),
        REAL,
        lambda x, w: mean(np.abs(x - FAKE), w),
    ),
    'huber': (
        lambda x, w: losses.huber(x, FAKE, weights=w, delta=0.7),
        REAL,
        lambda x, w: mean(huber(x, FAKE, 0.7), w),
    ),
    'smooth_l1': (
        lambda x, w: losses.smooth_l1(x, FAKE, weights=w, beta=0.5),
        REAL,
        lambda x, w: mean(np.where(abs(x - FAKE) < 0.5, (x - FAKE) ** 2, abs(x - FAKE) - 0.25), w),
    ),
    'hinge_binary': (
        lambda x, w: losses.hinge(x, SIGNS, weights=w),
        REAL,
        lambda x, w: mean(np.maximum(0, 1 - SIGNS * x), w),
    ),
    'hinge_multi_class': (
        lambda x, w: losses.hinge(x, LABELS, weights=w),
        LOGITS,
        lambda x, w: mean(crammer_singer(x, LABELS), w),
    ),
    'non_saturating_discriminator': (
        lambda x, w: losses.non_saturating_discriminator(x, FAKE, weights=w),
        REAL,
        lambda x, w: mean(bce(x, 1.0) + bce(FAKE, 0.0), w),
    ),
    'non_saturating_generator': (
        lambda x, w: losses.non_saturating_generator(x, weights=w),
        FAKE,
        lambda x, w: mean(-np.log(special.expit(x)), w),
    ),
    'wasserstein_critic': (
        lambda x, w: losses.wasserstein_critic(x, FAKE, weights=w),
        REAL,
        lambda x, w: mean(FAKE, w) - mean(x, w),
    ),
    'wasserstein_generator': (
        lambda x, w: losses.wasserstein_generator(x, weights=w),
        FAKE,
        lambda x, w: -mean(x, w),
    ),
}
every = pytest.mark.parametrize('name', CASES)


@functools.cache
def compiled(name):
    """(predictions, weights [rows]) -> (value, gradient), single precision, compiled once."""
    return jax.jit(jax.value_and_grad(CASES[name][0]))


def run(name, x, w):
    return compiled(name)(np.asarray(x, np.float32), np.asarray(w, np.float32))


@every
@pytest.mark.parametrize('w', [np.ones(ROWS), WEIGHTS])
def test_value(name, w):
    _, x, expected = CASES[name]
    value, _ = run(name, x, w)
    assert value.shape == ()
    np.testing.assert_allclose(value, expected(x, w), rtol=2e-6)


@pytest.mark.parametrize('name', ['cross_entropy', 'mean_squared_error', 'wasserstein_critic'])
def test_no_weights_are_equal_weights(name):
    loss, x, expected = CASES[name]
    value = jax.jit(lambda x: loss(x, None))(np.asarray(x, np.float32))
    np.testing.assert_allclose(value, expected(x, np.ones(ROWS)), rtol=2e-6)


@every
def test_gradient_is_that_of_the_independent_formula(name):
    _, x, expected = CASES[name]
    _, gradient = run(name, x, WEIGHTS)
    for index in np.ndindex(x.shape):
        h = np.zeros_like(x)
        h[index] = 1e-5
        difference = (expected(x + h, WEIGHTS) - expected(x - h, WEIGHTS)) / 2e-5
        np.testing.assert_allclose(gradient[index], difference, rtol=1e-4, atol=1e-6)


@every
@pytest.mark.parametrize('poison', [np.nan, np.inf, -1e30])
def test_padding_has_no_part_in_value_or_gradient(name, poison):
    _, x, _ = CASES[name]
    mask = [1, 1, 1, 1, 0, 0]
    dirty = x.copy()
    dirty[4:] = poison
    value, gradient = run(name, x, mask)
    dirty_value, dirty_gradient = run(name, dirty, mask)
    assert dirty_value == value
    np.testing.assert_array_equal(dirty_gradient, gradient)
    assert gradient[:4].any() and not gradient[4:].any()


@every
def test_no_weight_is_zero(name):
    value, gradient = run(name, np.full(CASES[name][1].shape, np.nan), np.zeros(ROWS))
    assert value == 0 and not gradient.any()


@every
@pytest.mark.parametrize('scale', [1e4, -1e4])
def test_extremes_are_finite(name, scale):
    value, gradient = run(name, np.sign(CASES[name][1]) * scale, np.ones(ROWS))
    assert np.isfinite(value) and np.isfinite(gradient).all()


@every
def test_batches_of_unequal_size_add_up(name):
    """Weights make the loss of a whole from its parts: what a mean of means gets wrong."""
    if 'class_weights' in name or 'pixels' in name:
        pytest.skip('the denominator is not the weights alone')
    x, first = CASES[name][1], np.arange(ROWS) < 2
    whole, one, two = (run(name, x, w)[0] for w in (np.ones(ROWS), first, ~first))
    np.testing.assert_allclose(whole, (2 * one + 4 * two) / 6, rtol=1e-5)


def contrast(a, b, t):
    """Chen et al. 2020, algorithm 1 and equation 1, one pair of rows after another."""
    z = np.concatenate((a, b))
    s, n = cosines(z, z), len(a)
    terms = []
    for i in range(2 * n):
        others = [np.exp(s[i, k] / t) for k in range(2 * n) if k != i]
        terms.append(-np.log(np.exp(s[i, (i + n) % (2 * n)] / t) / sum(others)))
    return np.mean(terms)


@functools.cache
def contrasted(t):
    fn = functools.partial(jaxdl.losses.nt_xent, temperature=t)
    return jax.jit(jax.value_and_grad(lambda a, b, w: fn(a, b, weights=w)))


@pytest.mark.parametrize('t', [0.1, 0.5])
def test_nt_xent_is_the_loop_over_pairs_and_padding_is_no_negative(t):
    a, b = REAL.astype(np.float32), FAKE.astype(np.float32)
    value, gradient = contrasted(t)(a, b, np.ones(ROWS))
    np.testing.assert_allclose(value, contrast(a, b, t), rtol=2e-6)
    np.testing.assert_allclose(contrasted(t)(2 * a, b, np.ones(ROWS))[0], value, rtol=1e-5)
    for index in np.ndindex(a.shape):
        h = np.zeros_like(REAL)
        h[index] = 1e-5
        difference = (contrast(REAL + h, FAKE, t) - contrast(REAL - h, FAKE, t)) / 2e-5
        np.testing.assert_allclose(gradient[index], difference, rtol=1e-3, atol=1e-5)
    kept = np.arange(ROWS) < 4
    a[4:], b[4:] = np.nan, 1e30
    value, gradient = contrasted(t)(a, b, kept)
    np.testing.assert_allclose(value, contrast(a[:4], b[:4], t), rtol=2e-6)
    assert gradient[:4].any() and not gradient[4:].any()
    value, gradient = contrasted(t)(a, b, np.zeros(ROWS))
    assert value == 0 and not gradient.any()
    value, gradient = contrasted(t)(np.zeros_like(a), np.zeros_like(b), np.ones(ROWS))
    np.testing.assert_allclose(value, np.log(2 * ROWS - 1), rtol=1e-6)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    ('x', 'beta', 'value', 'slope'),
    [
        (0.5, 1.0, 0.125, 0.5),
        (-3.0, 1.0, 2.5, -1.0),
        (1.0, 1.0, 0.5, 1.0),  # where the two pieces meet
        (0.05, 1 / 9, 0.01125, 0.45),
        (2.0, 1 / 9, 2 - 1 / 18, 1.0),
    ],
)
def test_smooth_l1_of_known_values(x, beta, value, slope):
    found = jax.jit(jax.value_and_grad(functools.partial(losses.smooth_l1, beta=beta)))(x, 0.0)
    np.testing.assert_allclose(found, (value, slope), rtol=1e-5)


def test_padding_in_the_targets():
    y = FAKE.copy()
    y[4:] = np.nan
    value = jax.jit(losses.mean_squared_error)(REAL, y, weights=np.arange(ROWS) < 4)
    np.testing.assert_allclose(value, ((REAL - FAKE)[:4] ** 2).mean(), rtol=1e-5)
    labels = LABELS.copy()
    labels[4:] = -1  # a common padding label
    value = jax.jit(losses.cross_entropy)(LOGITS, labels, weights=np.arange(ROWS) < 4)
    np.testing.assert_allclose(value, nll(LOGITS)[np.arange(4), LABELS[:4]].mean(), rtol=1e-5)


def test_classes_that_cannot_be_have_logit_minus_infinity():
    x = jnp.array([[1.0, 2.0, -jnp.inf]])
    expected = -np.log(np.exp(1) / (np.exp(1) + np.exp(2)))
    for y in (jnp.array([0]), jnp.array([[1.0, 0.0, 0.0]])):
        value, gradient = jax.jit(jax.value_and_grad(losses.cross_entropy))(x, y)
        np.testing.assert_allclose(value, expected, rtol=1e-6)
        assert np.isfinite(gradient).all()


def test_a_token_mask_weighs_tokens():
    x = RNG.normal(size=(2, 3, CLASSES))
    y = RNG.integers(0, CLASSES, (2, 3))
    mask = np.array([[1, 1, 0], [1, 0, 0]], bool)
    each = np.take_along_axis(nll(x), y[..., None], -1)[..., 0]
    np.testing.assert_allclose(
        losses.cross_entropy(x, y, weights=mask), each[mask].mean(), rtol=1e-5
    )


def test_a_map_of_weights_weighs_pixels():
    """U-Net's loss: a weight for each pixel, and a mask of rows."""
    w = RNG.uniform(0, 3, MAP.shape) * (np.arange(ROWS) < 4).reshape(-1, 1, 1)
    each = np.take_along_axis(nll(PIXEL_LOGITS), MAP[..., None] % CLASSES, -1)[..., 0]
    known = np.where(MAP < CLASSES, w, 0)
    value = losses.cross_entropy(PIXEL_LOGITS, MAP, weights=w, ignore=CLASSES)
    np.testing.assert_allclose(value, (known * each).sum() / known.sum(), rtol=1e-5)


def test_an_ignored_label_may_be_any_number():
    labels = LABELS.copy()
    labels[:3] = 255
    for smoothing in (0.0, 0.1):
        value = losses.cross_entropy(LOGITS, labels, ignore=255, label_smoothing=smoothing)
        part = losses.cross_entropy(LOGITS[3:], LABELS[3:], label_smoothing=smoothing)
        np.testing.assert_allclose(value, part, rtol=1e-6)
    nothing = jax.value_and_grad(losses.cross_entropy)(LOGITS, np.full(ROWS, 9), ignore=9)
    assert nothing[0] == 0 and not nothing[1].any()


@pytest.mark.parametrize(('alpha', 'gamma'), [(0.5, 0.0), (0.25, 2.0)])
def test_focal_of_known_values(alpha, gamma):
    """Half the cross-entropy at gamma = 0; the paper's examples: 100 and 1000 times less at 2."""
    for p, factor in ((0.9, 100), (0.968377, 1000)):
        x = jnp.array([np.log(p / (1 - p))])
        value = losses.focal(x, np.ones(1), alpha=alpha, gamma=gamma)
        expected = -alpha * np.log(p) / (factor if gamma else 1)
        np.testing.assert_allclose(value, expected, rtol=1e-3)


def test_dice_of_known_values():
    g = np.zeros((1, 4, 4, 1))
    g[:, :2] = 1
    for p, expected in ((g, 0.0), (1 - g, 1.0), (np.roll(g, 1, 1), 0.5), (0.5 + 0 * g, 1 / 3)):
        np.testing.assert_allclose(losses.dice(p, g, smooth=0.0), expected, atol=1e-6)
    # What is neither there nor predicted: no loss, and a gradient that is a number.
    for smooth in (0.0, 1.0):
        value, gradient = jax.value_and_grad(losses.dice)(0 * g, 0 * g, smooth=smooth)
        assert value == 0 and not gradient.any()
    assert losses.dice(0.5 + 0 * g, 0 * g) == 1 - 1 / 5


def test_dice_of_pixels_that_count():
    w = np.zeros((ROWS, 2, 3))
    w[:, 0] = 2.0
    dirty = np.where(w[..., None] > 0, SEEN, np.nan)
    value, gradient = jax.value_and_grad(losses.dice)(dirty, THERE, weights=w, smooth=0.0)
    np.testing.assert_allclose(value, dice(SEEN[:, :1], THERE[:, :1], 0.0).mean(), rtol=1e-5)
    assert gradient[:, 0].any((1, 2)).all() and not gradient[:, 1].any()


def test_low_precision_is_summed_in_float32():
    value = losses.mean_absolute_error(jnp.ones(1001, jnp.bfloat16), jnp.zeros(1001, jnp.bfloat16))
    assert value.dtype == jnp.float32 and value == 1


@pytest.mark.parametrize('slope', [0.0, 1.0, 3.0])
def test_gradient_penalty_of_a_linear_critic(slope):
    direction = np.array([[3.0], [4.0]]) / 5

    def penalty(slope):
        return losses.gradient_penalty(
            lambda x: x @ (slope * direction), REAL[:, :2], FAKE[:, :2], jax.random.key(0)
        )

    value, gradient = jax.jit(jax.value_and_grad(penalty))(slope)
    np.testing.assert_allclose(value, (slope - 1) ** 2, rtol=1e-5)
    # At slope 0 the norm has no gradient; it must not be NaN.
    np.testing.assert_allclose(gradient, 2 * (slope - 1) if slope else 0, atol=1e-5)


def test_gradient_penalty_is_taken_between_real_and_fake():
    seen = []

    def critic(x):
        jax.debug.callback(lambda v: seen.append(np.asarray(v)), x)
        return (x**2).sum((1, 2)) / 2  # its gradient is x itself

    real, fake = RNG.normal(size=(2, ROWS, 3, 2)).astype(np.float32)
    mask = np.arange(ROWS) < 4
    value = losses.gradient_penalty(critic, real, fake, jax.random.key(1), weights=mask)
    jax.effects_barrier()
    u = seen[0]
    e = ((u - fake) / (real - fake))[:4].reshape(4, -1)
    np.testing.assert_allclose(e, e[:, :1].repeat(6, 1), atol=1e-4)
    assert (e > 0).all() and (e < 1).all() and len(np.unique(e[:, 0].round(4))) == 4
    norms = np.sqrt((u[:4] ** 2).sum((1, 2)))
    np.testing.assert_allclose(value, ((norms - 1) ** 2).mean(), rtol=1e-5)


def smooth_critic(params, x):
    """A two-layer critic of rows [B, 3], in the precision of what it is given."""
    return jnp.tanh(x @ params['w']) @ params['v']


def by_differences(params, u, penalty):
    """The penalty of each row's gradient, by central differences in float64."""
    steps, h = np.eye(3)[:, None], 1e-5
    f = {name: np.asarray(p, np.float64) for name, p in params.items()}

    def value(x):
        return np.tanh(x @ f['w']) @ f['v']

    slopes = np.stack([(value(u + h * s) - value(u - h * s)) / (2 * h) for s in steps], axis=1)
    return penalty(np.sqrt((slopes**2).sum(1)))


@pytest.mark.parametrize('name', ['gradient penalty', 'r1'])
def test_penalties_of_gradients_are_those_of_finite_differences(name):
    params = {n: jnp.asarray(RNG.normal(size=s), jnp.float32) for n, s in SLOPES.items()}
    x, fake = (RNG.normal(size=(4, 3)).astype(np.float32) for _ in range(2))
    weights, key = np.array([1.0, 2, 0, 1], np.float32), jax.random.key(2)
    e = np.asarray(jax.random.uniform(key, (4, 1)), np.float64)
    u = x.astype(np.float64) if name == 'r1' else e * x + (1 - e) * fake

    def penalty(params):
        def critic(rows):
            return smooth_critic(params, rows)

        if name == 'r1':
            return losses.r1_penalty(critic, x, weights=weights)
        return losses.gradient_penalty(critic, x, fake, key, weights=weights)

    def wanted(params):
        square = (lambda n: n**2) if name == 'r1' else (lambda n: (n - 1) ** 2)
        return np.average(by_differences(params, u, square), weights=weights)

    value, gradient = jax.jit(jax.value_and_grad(penalty))(params)
    np.testing.assert_allclose(value, wanted(params), rtol=1e-5)
    # What the critic descends is the derivative of that by its parameters.
    host = {n: np.asarray(p, np.float64) for n, p in params.items()}
    for n, p in host.items():
        for at in np.ndindex(*p.shape):
            step = np.zeros_like(p)
            step[at] = 1e-4
            up, down = (wanted({**host, n: p + s * step}) for s in (1, -1))
            np.testing.assert_allclose(gradient[n][at], (up - down) / 2e-4, rtol=1e-3, atol=1e-4)


SLOPES = {'w': (3, 4), 'v': (4,)}


def test_hinge_losses_of_a_gan_stop_at_their_margins():
    real, fake = np.array([2.0, 0.5, -1.0]), np.array([-3.0, 0.0, 1.0])
    found = losses.hinge_discriminator(real, fake)
    np.testing.assert_allclose(found, (0 + 0.5 + 2 + 0 + 1 + 2) / 3, rtol=1e-6)
    slopes = jax.grad(lambda x: losses.hinge_discriminator(x, fake))(jnp.asarray(real))
    np.testing.assert_allclose(slopes, [0, -1 / 3, -1 / 3], rtol=1e-6)


def small_generator(styles):
    """[B, L, W] -> images [B, 2, 3, 1], each of its own row."""
    mix = np.random.default_rng(5).normal(size=(2 * 3, 2 * 4))
    return jnp.tanh(styles.reshape(len(styles), -1) @ mix.T.astype(styles.dtype)).reshape(
        -1, 2, 3, 1
    )


def test_path_lengths_are_those_of_finite_differences():
    """|J^T y| with J column by column, and the y that is drawn from the key."""
    key, styles = jax.random.key(2), RNG.normal(size=(3, 2, 4)) / 2
    found = losses.path_lengths(small_generator, styles.astype(np.float32), key)
    y = np.asarray(jax.random.normal(key, (3, 2, 3, 1))) / np.sqrt(6)
    step, gradient = 1e-3, np.zeros(styles.shape)
    for index in np.ndindex(styles.shape[1:]):
        ahead, behind = styles.copy(), styles.copy()
        ahead[:, *index] += step
        behind[:, *index] -= step
        with jax.enable_x64(True):
            change = np.asarray(small_generator(jnp.asarray(ahead))) - np.asarray(
                small_generator(jnp.asarray(behind))
            )
        gradient[:, *index] = (change * y).sum((1, 2, 3)) / (2 * step)
    want = np.sqrt((gradient**2).sum(2).mean(1))
    np.testing.assert_allclose(found, want, rtol=1e-4)


def test_the_path_length_of_what_ignores_its_style_is_zero_and_has_a_gradient():
    def total(scale):
        return losses.path_lengths(
            lambda s: jnp.zeros((2, 4, 4, 1)) + scale * 0 * s.sum(), jnp.ones((2, 1, 3)), KEY
        ).sum()

    value, slope = jax.jit(jax.value_and_grad(total))(1.0)
    assert value == 0 and slope == 0


@pytest.mark.parametrize(
    'call',
    [
        lambda: losses.mean_squared_error(np.zeros((3, 1)), np.zeros(3)),
        lambda: losses.huber(np.zeros((3, 1)), np.zeros(3)),
        lambda: losses.dice(np.zeros((3, 2, 2, 1)), np.zeros((3, 2, 2))),
        lambda: losses.focal(np.zeros((3, 1)), np.zeros(3)),
        lambda: losses.cross_entropy(np.zeros((3, 4)), np.zeros((3, 1), int)),
        lambda: losses.cross_entropy(np.zeros((3, 4)), np.zeros((3, 5))),
        lambda: losses.hinge(np.zeros((3, 4)), np.zeros(4, int)),
        lambda: losses.mean_squared_error(np.zeros((3, 2)), np.zeros((3, 2)), weights=np.ones(2)),
    ],
)
def test_shapes_that_would_broadcast_are_refused(call):
    with pytest.raises(ValueError, match='have shape'):
        call()


@pytest.mark.parametrize('name', ['huber', 'smooth_l1', 'hinge_binary', 'hinge_multi_class'])
@pytest.mark.slow
def test_gradients_are_there_whatever_is_computed_twice(name):
    rng = np.random.default_rng(0)
    x = rng.normal(0, 2, (200, 5)).astype(np.float32)
    signs, classes = np.sign(rng.normal(size=x.shape)), rng.integers(5, size=200)
    loss = {
        'huber': lambda x: losses.huber(1.5 * x, np.zeros((200, 5)), delta=0.7),
        'smooth_l1': lambda x: losses.smooth_l1(1.5 * x, np.zeros((200, 5)), beta=0.7),
        'hinge_binary': lambda x: losses.hinge(1.5 * x, signs.astype(np.float32)),
        'hinge_multi_class': lambda x: losses.hinge(1.5 * x, classes),
    }[name]
    want = jax.grad(loss)(x)
    got = recomputed(jax.grad(loss), x)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5 * np.abs(want).max())


def test_least_squares_is_lsgan():
    real, fake, w = np.array([0.5, 2.0, 9.0]), np.array([1.0, -1.0, 9.0]), np.array([1, 1, 0])
    found = losses.least_squares_discriminator(real, fake, weights=w)
    assert found == pytest.approx((0.25 + 1 + 1 + 1) / 2)
    assert losses.least_squares_generator(fake, weights=w) == pytest.approx((0 + 4) / 2)
