"""Autoencoders and diffusion as tasks: their numbers against formulas, and that they learn."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl.diffusion import linear_schedule
from jaxdl.errors import UsageError
from jaxdl.game import ema
from jaxdl.metrics import finish
from jaxdl.models.ddpm import DenoisingUNet, step_embedding
from jaxdl.models.vae import VAE, Decoder, Encoder, Gaussian
from jaxdl.net import Net
from jaxdl.objectives.diffusion import diffusion, show_denoised
from jaxdl.objectives.variational import show_decoded, variational

KEY = jax.random.key(0)


def test_divergence_is_that_of_many_draws():
    mean, log_variance = jnp.array([[0.5, -1.0]]), jnp.array([[0.2, -0.8]])
    code = Gaussian(mean, log_variance)
    wide = Gaussian(*(jnp.repeat(x, 100_000, axis=0) for x in code))
    z = jax.jit(lambda key: wide.sample(key))(KEY)
    log_q = jax.scipy.stats.norm.logpdf(z, mean, jnp.exp(log_variance / 2)).sum(-1)
    log_p = jax.scipy.stats.norm.logpdf(z).sum(-1)
    np.testing.assert_allclose(code.divergence()[0], (log_q - log_p).mean(), atol=0.02)
    assert Gaussian(jnp.zeros((1, 3)), jnp.zeros((1, 3))).divergence() == 0


@pytest.fixture(scope='module')
def autoencoder():
    task = variational(VAE(Encoder(2, (8,)), Decoder((3, 1), (8,))), optax.adam(0.02))
    x = jnp.asarray(np.random.default_rng(0).random((16, 1, 1)) > 0.5, jnp.float32)
    batch = {'x': jnp.repeat(x, 3, axis=1), 'mask': jnp.arange(16) < 12}
    return task, batch, jax.jit(task.init)(KEY, batch)


def test_an_autoencoder_learns_one_bit_and_its_bound_holds(autoencoder):
    task, batch, state = autoencoder
    measure = jax.jit(task.measure)
    before = finish(measure(KEY, state, batch))
    both = before['reconstruction'] + before['divergence']
    np.testing.assert_allclose(before['loss'], both, rtol=np.finfo(np.float32).eps)
    np.testing.assert_allclose(before['reconstruction'], 3 * np.log(2), rtol=0.3)
    step = jax.jit(task.step)
    for i in range(300):
        state, _ = step(jax.random.key(i), state, batch)
    after = [finish(measure(jax.random.key(i), state, batch))['loss'] for i in range(20)]
    share = float(batch['x'][:12].mean())
    entropy = -share * np.log(share) - (1 - share) * np.log(1 - share)
    # -log p(x) is no less than the entropy of the one bit, and the bound no less than that.
    assert entropy <= np.mean(after) < 1.3 * entropy + 0.2


def test_rows_that_are_padding_count_nowhere(autoencoder):
    task, batch, state = autoencoder
    padded = {**batch, 'x': batch['x'].at[12:].set(7.0)}
    for fn in (task.measure, lambda *args: task.step(*args)[1]):
        one, other = (jax.jit(fn)(KEY, state, each) for each in (batch, padded))
        jax.tree.map(np.testing.assert_array_equal, one, other)


def test_samples_of_an_autoencoder_are_probabilities(autoencoder):
    task, batch, state = autoencoder
    shown = show_decoded(task.nets(state), batch, KEY, codes=2, count=5)['samples'].pixels
    assert shown.shape == (5, 3, 1) and ((0 < shown) & (shown < 1)).all()


def test_a_divergence_of_no_weight_is_refused():
    with pytest.raises(UsageError, match='beta is 0'):
        variational(VAE(Encoder(2), Decoder((3,))), optax.sgd(1.0), beta=0)


def test_step_embedding_by_hand():
    got = step_embedding(jnp.array([0, 3]), 4)
    angles = 3 * np.array([1, 1e-4])
    np.testing.assert_allclose(got, [[0, 0, 1, 1], [*np.sin(angles), *np.cos(angles)]], rtol=1e-6)


def test_the_network_of_cifar10_has_its_published_size():
    x, steps = jnp.zeros((1, 32, 32, 3)), jnp.zeros(1, jnp.int32)
    init = functools.partial(Net.init, DenoisingUNet())
    net = jax.eval_shape(init, KEY, x, steps)
    assert sum(leaf.size for leaf in jax.tree.leaves(net.params)) == 35_746_307
    with pytest.raises(
        ValueError, match='28x30 cannot be halved 3 times; sides are multiples of 8'
    ):
        jax.eval_shape(init, KEY, jnp.zeros((1, 28, 30, 3)), steps)


class Perceptron(nn.Module):
    """Noise of images of two pixels from what they are and their step."""

    @nn.compact
    def __call__(self, x, steps):
        h = jnp.concatenate((x.reshape(len(x), -1), step_embedding(steps, 8)), axis=-1)
        return nn.Dense(2)(nn.swish(nn.Dense(64)(nn.swish(nn.Dense(64)(h))))).reshape(x.shape)


def test_diffusion_learns_one_image_and_shows_it():
    schedule = linear_schedule(20)
    task = diffusion(Perceptron(), optax.adam(5e-3), schedule, shadow=ema(0.98))
    image = jnp.array([[[0.6], [-0.6]]])
    batch = {'x': jnp.tile(image[None], (32, 1, 1, 1)), 'mask': jnp.arange(32) < 24}
    state = jax.jit(task.init)(KEY, batch)
    measure = jax.jit(task.measure)
    before = finish(measure(KEY, state, batch))['loss']
    padded = {**batch, 'x': batch['x'].at[24:].set(jnp.nan)}
    np.testing.assert_allclose(finish(measure(KEY, state, padded))['loss'], before, rtol=1e-6)

    def steps(state, keys):
        return jax.lax.scan(lambda s, k: (task.step(k, s, batch)[0], None), state, keys)[0]

    state = jax.jit(steps)(state, jax.random.split(KEY, 800))
    assert finish(measure(KEY, state, batch))['loss'] < 0.15 < 0.4 < before
    show = jax.jit(functools.partial(show_denoised, schedule=schedule, count=3))
    shown = show(task.nets(state), batch, KEY)['samples'].pixels
    np.testing.assert_allclose(shown, [(image + 1) / 2] * 3, atol=0.1)


@pytest.mark.slow
def test_a_denoising_network_starts_from_no_noise_and_sees_its_step():
    net = DenoisingUNet(channels=1, width=8, levels=(1, 2), blocks=1, attention=(2,), groups=2)
    x = jax.random.normal(KEY, (2, 4, 4, 1))
    drawn = jax.jit(functools.partial(Net.init, net))(KEY, x, jnp.zeros(2, jnp.int32))
    drawn = drawn.replace(params=jax.tree.map(jnp.asarray, drawn.params))
    call = jax.jit(lambda net, steps: net(x, steps)[0])
    assert call(drawn, jnp.array([0, 5])).shape == x.shape
    assert not call(drawn, jnp.array([0, 5])).any()  # its last convolution is zero
    rng = np.random.default_rng(0)
    filled = jax.tree.map(lambda p: p + 0.1 * rng.normal(size=p.shape).astype(p.dtype), drawn)
    one, other = call(filled, jnp.array([0, 5])), call(filled, jnp.array([0, 6]))
    np.testing.assert_allclose(one[0], other[0], rtol=1e-5)
    assert np.abs(one[1] - other[1]).max() > 1e-3


def test_noise_of_another_shape_is_refused():
    class Flat(nn.Module):
        @nn.compact
        def __call__(self, x, steps):
            return nn.Dense(1)(x.reshape(len(x), -1))

    task = diffusion(Flat(), optax.sgd(0.1), linear_schedule(4))
    batch = {'x': jnp.zeros((2, 2, 2, 1)), 'mask': jnp.ones(2, bool)}
    state = task.init(KEY, batch)
    with pytest.raises(UsageError, match=r'Flat tells noise of \[2, 1\]'):
        jax.eval_shape(task.step, KEY, state, batch)
