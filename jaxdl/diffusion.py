"""Denoising diffusion: how images become noise, and noise images again (Ho et al. 2020).

    q(x_t | x_0) = N(sqrt(a_t) x_0, 1 - a_t)        a_t = prod_{s <= t} (1 - beta_s)

A `Schedule` holds the betas; `noised` goes forward in one step; `ancestral` and `deterministic` go
back, with any function that tells the noise in an image. Steps are 0..T-1, where the paper's are
1..T. Everything is pure, and a sampler is one scan.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxdl.errors import UsageError
from jaxdl.keys import Key, key_at, key_for

Array = jax.Array
Denoise = Callable[[Array, Array], Array]  # images [B, ...] and steps int [B] -> the noise in them


class Schedule(struct.PyTreeNode):
    """The variances beta [T] that a diffusion adds, and what is left of an image: kept [T], a_t."""

    beta: Array
    kept: Array

    @classmethod
    def of(cls, beta: np.ndarray) -> 'Schedule':
        """The schedule of these variances, [T] in (0, 1). Raises UsageError for others."""
        wrong = beta[~((beta > 0) & (beta < 1))]
        if wrong.size or beta.ndim != 1:
            raise UsageError(f'Schedule: variances lie between 0 and 1, and one is {wrong[:1]}')
        kept = np.cumprod(1 - np.asarray(beta, np.float64))
        return cls(jnp.asarray(beta, jnp.float32), jnp.asarray(kept, jnp.float32))

    @property
    def steps(self) -> int:
        """T."""
        return len(self.beta)


def linear_schedule(steps: int = 1000, *, first: float = 1e-4, last: float = 0.02) -> Schedule:
    """Variances along a line (Ho et al. 2020, section 4).

    Those of fewer steps are larger by 1000 / steps, so that as little of an image is left.
    """
    if steps < 2:
        raise UsageError(f'linear_schedule: steps is {steps}; a diffusion has 2 or more')
    times = 1000 / steps
    return Schedule.of(np.minimum(times * np.linspace(first, last, steps), 0.999))


def cosine_schedule(steps: int = 1000, *, offset: float = 0.008) -> Schedule:
    """What is left falls along a squared cosine (Nichol and Dhariwal 2021, eq. 17)."""
    if steps < 2:
        raise UsageError(f'cosine_schedule: steps is {steps}; a diffusion has 2 or more')
    at = np.arange(steps + 1) / steps
    left = np.cos((at + offset) / (1 + offset) * np.pi / 2) ** 2
    return Schedule.of(np.clip(1 - left[1:] / left[:-1], 1e-8, 0.999))


def noised(schedule: Schedule, x: Array, steps: Array, noise: Array) -> Array:
    """x_t of images x [B, ...] at steps int [B] (eq. 4)."""
    kept = _rows(schedule.kept[steps], x)
    return jnp.sqrt(kept) * x + jnp.sqrt(1 - kept) * noise


def ancestral(
    schedule: Schedule, denoise: Denoise, key: Key, shape: tuple[int, ...], *, limit: float = 1.0
) -> Array:
    """Images [*shape] from noise, T steps back (algorithm 2), with the true posterior's variance.

    limit: what the image that is guessed at each step is cut to, -limit..limit, as the authors do;
    infinite for no cut.
    """
    beta, kept = schedule.beta, schedule.kept
    before = jnp.concatenate((jnp.ones(1), kept[:-1]))

    def back(x: Array, t: Array) -> tuple[Array, None]:
        guess = _image(schedule, x, denoise(x, jnp.full(shape[0], t)), t, limit)
        left = 1 - kept[t]
        mean = jnp.sqrt(before[t]) * beta[t] / left * guess
        mean += jnp.sqrt(1 - beta[t]) * (1 - before[t]) / left * x  # eq. 7
        noise = jax.random.normal(key_at(key_for(key, 'back'), t), shape)
        return mean + jnp.sqrt((1 - before[t]) / left * beta[t]) * noise, None

    start = jax.random.normal(key_for(key, 'start'), shape)
    return jax.lax.scan(back, start, jnp.arange(schedule.steps - 1, -1, -1))[0]


def deterministic(
    schedule: Schedule,
    denoise: Denoise,
    key: Key,
    shape: tuple[int, ...],
    *,
    calls: int = 50,
    limit: float = 1.0,
) -> Array:
    """Images [*shape] from noise in a few steps without more of it (Song et al. 2021, eq. 12).

    calls: of `denoise`, at steps evenly spread over the T. Raises UsageError for more than T.
    """
    if not 1 <= calls <= schedule.steps:
        raise UsageError(f'deterministic: calls is {calls}; it is 1 to {schedule.steps}')
    times = jnp.asarray(np.linspace(schedule.steps - 1, 0, calls).round().astype(np.int32))
    after = jnp.concatenate((schedule.kept[times[1:]], jnp.ones(1)))

    def back(x: Array, now: tuple[Array, Array]) -> tuple[Array, None]:
        t, kept = now
        guess = _image(schedule, x, denoise(x, jnp.full(shape[0], t)), t, limit)
        here = schedule.kept[t]
        noise = (x - jnp.sqrt(here) * guess) / jnp.sqrt(1 - here)
        return jnp.sqrt(kept) * guess + jnp.sqrt(1 - kept) * noise, None

    start = jax.random.normal(key_for(key, 'start'), shape)
    return jax.lax.scan(back, start, (times, after))[0]


def _image(schedule: Schedule, x: Array, noise: Array, t: Array, limit: float) -> Array:
    """The image that noise was added to, as the noise tells (eq. 15)."""
    kept = schedule.kept[t]
    return jnp.clip((x - jnp.sqrt(1 - kept) * noise) / jnp.sqrt(kept), -limit, limit)


def _rows(values: Array, x: Array) -> Array:
    return values.reshape(-1, *[1] * (x.ndim - 1))
