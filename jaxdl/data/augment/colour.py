"""Changes of colour: functions of one image [H, W, C] of floats in 0..1, and colour jitter."""

import jax
import jax.numpy as jnp

from jaxdl.data.augment.basic import Transform, on, real, uniform
from jaxdl.errors import UsageError
from jaxdl.keys import Key, key_for

Array = jax.Array


def jitter(
    *,
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
    hue: float = 0.0,
    column: str = 'x',
) -> Transform:
    """Random brightness, contrast, saturation and hue, in this order (Howard 2013, section 2).

    The factors of the first three are drawn from max(0, 1 - s) to 1 + s, where 1 changes nothing;
    the turn of the hue from -hue to hue, of 1 for the whole circle. After each, values are clipped
    to 0..1. Saturation and hue need three channels (RGB); images of one channel have the other two.
    """
    changes = (
        (adjust_brightness, brightness),
        (adjust_contrast, contrast),
        (adjust_colour, saturation),
    )

    def transform(key: Key, x: Array) -> Array:
        rows, channels = len(real(x, 'jitter')), x.shape[-1]
        if (saturation or hue) and channels != 3:
            raise UsageError(f'jitter: saturation and hue of {channels} channels; they need 3')
        for change, strength in changes:
            if strength:
                limits = (max(0.0, 1 - strength), 1 + strength)
                x = jax.vmap(change)(x, uniform(key_for(key, change.__name__), rows, limits))
        if hue:
            x = jax.vmap(turn_hue)(x, uniform(key_for(key, 'hue'), rows, (-hue, hue)))
        return x

    return on(column, transform)


def greyscale(*, column: str = 'x') -> Transform:
    """The luminance in every channel; ``sometimes(0.2, greyscale())`` is Chen et al.'s (2020)."""

    def transform(key: Key, x: Array) -> Array:
        return jnp.broadcast_to(luminance(real(x, 'greyscale')), x.shape)

    return on(column, transform)


def adjust_brightness(x: Array, factor: Array) -> Array:
    """Black at 0, x at 1, brighter above."""
    return blend(jnp.zeros_like(x), x, factor)


def adjust_contrast(x: Array, factor: Array) -> Array:
    """The mean of the luminance at 0, x at 1, more contrast above."""
    return blend(jnp.full_like(x, luminance(x).mean()), x, factor)


def adjust_colour(x: Array, factor: Array) -> Array:
    """The luminance at 0, x at 1, more saturation above."""
    return blend(jnp.broadcast_to(luminance(x), x.shape), x, factor)


def adjust_sharpness(x: Array, factor: Array) -> Array:
    """x smoothed at 0 (by weights of 5 in the middle and 1 around it), x at 1, sharper above.

    The outermost pixels stay.
    """
    around = sum(jnp.roll(x, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1))
    inner = ((around + 4 * x) / 13)[1:-1, 1:-1]
    return blend(x.at[1:-1, 1:-1].set(inner), x, factor)


def blend(a: Array, b: Array, factor: Array) -> Array:
    """(1 - factor) a + factor b, clipped to 0..1; beyond 1 it goes on away from a."""
    return jnp.clip(b + (1 - factor) * (a - b), 0, 1)


def luminance(x: Array) -> Array:
    """[H, W, 3] -> [H, W, 1]: 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601); one channel as it is."""
    if x.shape[-1] == 1:
        return x
    # Channel by channel: sums over a last axis of three are slow on CPU.
    return 0.299 * x[..., :1] + 0.587 * x[..., 1:2] + 0.114 * x[..., 2:]


def turn_hue(x: Array, turn: Array) -> Array:
    """RGB with its hue turned by a part of the circle; value and saturation of HSV stay."""
    r, g, b = x[..., 0], x[..., 1], x[..., 2]
    value, least = jnp.maximum(jnp.maximum(r, g), b), jnp.minimum(jnp.minimum(r, g), b)
    chroma = value - least
    sixth = jnp.where(
        value == r,
        _part(g - b, chroma),
        jnp.where(value == g, _part(b - r, chroma) + 2, _part(r - g, chroma) + 4),
    )
    # Each channel falls from the value by the chroma as its distance in hue grows (Smith 1978).
    k = (jnp.array([[[5.0, 3.0, 1.0]]]) + (sixth + 6 * turn)[..., None]) % 6
    return value[..., None] - chroma[..., None] * jnp.clip(jnp.minimum(k, 4 - k), 0, 1)


def autocontrast(x: Array) -> Array:
    """Each channel stretched to reach from 0 to 1; one of a single value stays."""
    low, high = x.min((0, 1), keepdims=True), x.max((0, 1), keepdims=True)
    return jnp.where(high > low, (x - low) / jnp.where(high > low, high - low, 1), x)


def equalize(x: Array) -> Array:
    """Each channel with its histogram of 256 levels flattened, in the integers that Pillow uses."""

    def channel(levels: Array) -> Array:
        counts = jnp.bincount(levels.ravel(), length=256)
        last = counts[levels.max()]
        step = (levels.size - last) // 255
        below = jnp.cumsum(counts) - counts
        table = jnp.clip((below + step // 2) // jnp.maximum(step, 1), 0, 255)
        return jnp.where(step > 0, table, jnp.arange(256))[levels]

    return _shade(jax.vmap(channel, -1, -1)(_levels(x)), x)


def posterize(x: Array, bits: int) -> Array:
    """Each value of 8 bits with only its first `bits` kept."""
    step = 2 ** (8 - bits)
    return _shade(_levels(x) // step * step, x)


def solarize(x: Array, threshold: float) -> Array:
    """1 - x where x is at the threshold or above it."""
    return jnp.where(x < threshold, x, 1 - x)


def _levels(x: Array) -> Array:
    return jnp.clip(jnp.round(x * 255), 0, 255).astype(jnp.int32)


def _shade(levels: Array, like: Array) -> Array:
    return (levels / 255).astype(like.dtype)


def _part(difference: Array, chroma: Array) -> Array:
    return difference / jnp.where(chroma > 0, chroma, 1)
