"""Diffusion: noise as its formula says, and samplers that find a distribution that is known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.diffusion import (
    ancestral,
    cosine_schedule,
    deterministic,
    linear_schedule,
    noised,
)
from jaxdl.errors import UsageError

KEY = jax.random.key(0)
MEAN, DEVIATION = 0.6, 0.3


def test_noise_in_one_step_is_that_of_many():
    schedule = linear_schedule(200)
    rng = np.random.default_rng(0)
    x, last = np.full(20_000, 0.8), 80
    for beta in np.asarray(schedule.beta)[: last + 1]:
        x = np.sqrt(1 - beta) * x + np.sqrt(beta) * rng.normal(size=x.shape)
    steps = jnp.full(2, last)
    at_once = noised(schedule, jnp.full((2, 1), 0.8), steps, jnp.array([[0.0], [1.0]]))[:, 0]
    np.testing.assert_allclose(x.mean(), at_once[0], atol=0.03)
    np.testing.assert_allclose(x.std(), at_once[1] - at_once[0], atol=0.02)


def test_published_schedules_leave_what_they_should():
    # 4.04e-5 is the product of 1 - beta over beta = linspace(1e-4, 0.02, 1000).
    np.testing.assert_allclose(linear_schedule().kept[-1], 4.0358e-5, rtol=1e-3)
    half = cosine_schedule(1000).kept[499]  # f(1/2) / f(0) of eq. 17
    want = np.cos(0.508 / 1.008 * np.pi / 2) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(half, want, rtol=1e-3)


def best(schedule, x, steps):
    """The expected noise in x_t where x_0 is normal: what a network would learn at best."""
    kept = schedule.kept[steps][:, None]
    variance = kept * DEVIATION**2 + 1 - kept
    return jnp.sqrt(1 - kept) / variance * (x - jnp.sqrt(kept) * MEAN)


@pytest.mark.parametrize('sampler', [ancestral, functools.partial(deterministic, calls=200)])
def test_samplers_find_the_distribution_of_the_data(sampler):
    schedule = linear_schedule(200)
    shape, known = (4000, 1), functools.partial(best, schedule)
    draw = jax.jit(lambda key: sampler(schedule, known, key, shape, limit=jnp.inf))
    x = np.asarray(draw(KEY))
    np.testing.assert_allclose(x.mean(), MEAN, atol=0.02)
    np.testing.assert_allclose(x.std(), DEVIATION, atol=0.02)
    assert not np.array_equal(x, draw(jax.random.key(1)))


def test_a_single_image_is_found_exactly_whatever_the_calls():
    schedule, image = linear_schedule(100), jnp.array([[0.2, -0.7]])

    def denoise(x, steps):
        kept = schedule.kept[steps][:, None]
        return (x - jnp.sqrt(kept) * image) / jnp.sqrt(1 - kept)

    for calls in (1, 7, 100):
        x = deterministic(schedule, denoise, KEY, (3, 2), calls=calls)
        np.testing.assert_allclose(x, jnp.repeat(image, 3, axis=0), atol=1e-4)


@pytest.mark.parametrize(
    ('call', 'says'),
    [
        (lambda: linear_schedule(1), 'steps is 1; a diffusion has 2 or more'),
        (lambda: cosine_schedule(0), 'steps is 0; a diffusion has 2 or more'),
        (lambda: linear_schedule(4, last=-1.0), 'variances lie between 0 and 1'),
        (
            lambda: deterministic(linear_schedule(9), best, KEY, (1, 1), calls=10),
            'calls is 10; it is 1 to 9',
        ),
    ],
)
def test_what_cannot_be(call, says):
    with pytest.raises(UsageError, match=says):
        call()
