"""Images from images: content and adversarial losses by hand, frozen judges, what is measured."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl.keys import key_for
from jaxdl.metrics import finish
from jaxdl.metrics.images import psnr
from jaxdl.objectives.reconstruction import (
    ABSOLUTE,
    SQUARED,
    adversarial_reconstructor,
    features,
    make,
    reconstructor,
)
from jaxdl.objectives.superresolution import scores, show_resolved, srgan, super_resolver

KEY = jax.random.key(3)
RNG = np.random.default_rng(0)
X = RNG.uniform(size=(3, 12, 16, 3)).astype(np.float32)
Y = RNG.uniform(size=(3, 48, 64, 3)).astype(np.float32)
MASK = np.array([True, True, False])
BATCH = {'x': jnp.asarray(X), 'y': jnp.asarray(Y), 'mask': jnp.asarray(MASK)}
SGD = optax.sgd(1e-2)


class Enlarge(nn.Module):
    """Each pixel sixteen times, its channels mixed."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(x).repeat(4, 1).repeat(4, 2)


class Score(nn.Module):
    """A number from the mean colour."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(1)(x.mean((1, 2)))


class Look(nn.Module):
    """Two maps of a third of the size."""

    @nn.compact
    def __call__(self, x):
        return nn.relu(nn.Conv(2, (3, 3), strides=3)(x))


def dense(state, name, x):
    params = jax.device_get(state[name].net.params)['Dense_0']
    return x @ params['kernel'] + params['bias']


def enlarged(state):
    return dense(state, 'generator', X).repeat(4, 1).repeat(4, 2)


def nothing(nets, batch, key):
    return {}


@pytest.mark.parametrize('content, power', [(SQUARED, 2), (ABSOLUTE, 1)])
def test_content_is_that_of_the_rows_that_count(content, power):
    task = reconstructor(Enlarge(), SGD, nothing, content=content)
    state = task.init(KEY, BATCH)
    _, metrics = jax.jit(task.step)(KEY, state, BATCH)
    want = (np.abs(enlarged(state) - Y)[:2] ** power).mean()
    assert metrics['loss'].value() == pytest.approx(want, rel=1e-5)


def test_a_judge_looks_and_never_moves():
    def prepare(x):
        return 2 * x - 1

    task = super_resolver(Enlarge(), SGD, content=features(Look(), prepare=prepare, scale=0.5))
    state = task.init(KEY, BATCH)
    after, metrics = jax.jit(task.step)(KEY, state, BATCH)
    judge = state['judge'].net
    seen, wanted = (0.5 * judge(prepare(jnp.asarray(z)))[0] for z in (enlarged(state), Y))
    want = float(((seen - wanted)[:2] ** 2).mean())
    assert metrics['loss'].value() == pytest.approx(want, rel=1e-4)
    assert jax.tree.all(jax.tree.map(np.array_equal, judge.params, after['judge'].net.params))
    moved = jax.tree.map(np.array_equal, *(s['generator'].net.params for s in (state, after)))
    assert not any(jax.tree.leaves(moved))


def test_the_generator_descends_both_and_the_critic_tells_them_apart():
    task = adversarial_reconstructor(
        *(Enlarge(), Score(), nothing), generator_opt=SGD, critic_opt=SGD, weight=0.25
    )
    state = jax.jit(task.init)(KEY, BATCH)
    after, metrics = jax.jit(task.step)(KEY, state, BATCH)
    made = enlarged(state)

    def softplus(x):
        return np.log1p(np.exp(x))

    def score(state, x):
        return dense(state, 'critic', x.mean((1, 2)))

    critic = softplus(-score(state, Y)).mean() + softplus(score(state, made)).mean()
    assert metrics['critic/loss'].value() == pytest.approx(critic, rel=1e-5)
    # The generator moves second, against the critic that has moved.
    against = softplus(-score(after, made)).mean()
    want = ((made - Y)[:2] ** 2).mean() + 0.25 * against
    assert metrics['generator/loss'].value() == pytest.approx(want, rel=1e-5)


def test_what_is_measured_is_rounded_cut_and_of_the_luma():
    sizes = np.array([[48, 64], [44, 40], [48, 64]], np.int32)
    batch = {**BATCH, 'sizes': jnp.asarray(sizes)}
    task = srgan(Enlarge(), Score(), generator_opt=SGD, discriminator_opt=SGD)
    state = jax.jit(task.init)(KEY, batch)
    numbers = finish(jax.jit(task.measure)(KEY, state, batch))
    luma = np.array([65.481, 128.553, 24.966])
    want = []
    for row, (high, wide) in enumerate(sizes[:2]):
        pair = []
        for image in (enlarged(state)[row], Y[row]):
            eight = np.floor(np.clip(image, 0, 1).astype(np.float64) * 255 + 0.5)
            pair.append(np.floor(16 + eight / 255 @ luma + 0.5)[4 : high - 4, 4 : wide - 4])
        want.append(10 * np.log10(255**2 / ((pair[0] - pair[1]) ** 2).mean()))
    assert numbers['psnr/each'] == pytest.approx(want, abs=1e-2)
    assert numbers['psnr'] == pytest.approx(np.mean(want), abs=1e-2)
    assert {'ssim', 'spectrum', 'patches'} < numbers.keys()
    equal = scores(BATCH['y'], BATCH, border=0)
    assert np.isposinf(equal['psnr']).all() and equal['ssim'] == pytest.approx(1)
    assert equal['spectrum'] == pytest.approx(0) and equal['patches'] == pytest.approx(0)


def test_the_shadow_is_measured_and_pictures_stand_side_by_side():
    net = super_resolver(Enlarge(), SGD).init(KEY, BATCH)['generator'].net
    zeros = net.replace(params=jax.tree.map(jnp.zeros_like, net.params))
    assert not make({'generator': net.replace(shadow=zeros)}, BATCH).any()
    batch = {**BATCH, 'sizes': jnp.array([[48, 64], [44, 40], [48, 64]])}
    shown = show_resolved({'generator': net}, batch, key_for(KEY, 'show'), window=16, count=2)
    pixels = shown['resolved'].pixels
    assert pixels.shape == (6, 16, 16, 3) and shown['resolved'].columns == 3
    np.testing.assert_array_equal(pixels[5], Y[1, 14:30, 12:28])
    assert psnr(pixels[:3:2], pixels[2:3].repeat(2, 0))[1] == np.inf
