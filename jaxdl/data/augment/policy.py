"""RandAugment: a random policy with two numbers to tune."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxdl.data.augment.basic import Transform
from jaxdl.data.augment.colour import (
    adjust_brightness,
    adjust_colour,
    adjust_contrast,
    adjust_sharpness,
    autocontrast,
    equalize,
    posterize,
    solarize,
)
from jaxdl.data.augment.scene import SCENE, Scene
from jaxdl.data.augment.warps import rotation, shearing, transformed
from jaxdl.errors import UsageError
from jaxdl.keys import Key, key_for
from jaxdl.task import Batch

Array = jax.Array
Operation = Callable[[Array, Array], Array]

# The operations; the first six move the image, the others change its colours.
OPERATIONS = (
    *('identity', 'rotate', 'shear_x', 'shear_y', 'translate_x', 'translate_y'),
    *('auto_contrast', 'equalize', 'solarize', 'posterize'),
    *('contrast', 'colour', 'brightness', 'sharpness'),
)


def rand_augment(n: int = 2, magnitude: float = 9.0, *, scene: Scene = SCENE) -> Transform:
    """`n` of 14 operations on each image, drawn with replacement (Cubuk et al. 2020, figure 2).

    From no change at magnitude 0 the operations go in equal steps to the ends of their ranges in
    AutoAugment (Cubuk et al. 2019, table 6) at 10: rotation by 30 degrees, shear by 0.3,
    translation by 150/331 of the side, each to both sides; contrast, colour, brightness and
    sharpness by factors 1 +- 0.9; solarize with the threshold 256 -> 0; posterize to 8 -> 4 bits.
    Autocontrast and equalize have no strength. Beyond 10 the others go on, factors down to 0 and
    bits to 1 at the least. Images have one or three channels.
    """
    if n < 0 or magnitude < 0:
        raise UsageError(f'rand_augment: n={n}, magnitude={magnitude}; both are at least 0')

    def transform(key: Key, batch: Batch) -> Batch:
        rows = len(batch[scene.image])
        for layer in range(n):
            draw = key_for(key, f'layer {layer}')
            choice = jax.random.randint(key_for(draw, 'choice'), (rows,), 0, len(OPERATIONS))
            side = jax.random.rademacher(key_for(draw, 'side'), (rows,), jnp.float32)
            batch = operate(batch, choice, side, strength=magnitude / 10, scene=scene)
        return batch

    return transform


def operate(batch: Batch, choice: Array, side: Array, *, strength: float, scene: Scene) -> Batch:
    """Operation `choice` [B] of the list on each image, to its side -1 or 1 [B]."""

    def amount(name: str) -> Array:
        return jnp.where(choice == OPERATIONS.index(name), side * strength, 0)

    high, wide = batch[scene.image].shape[1:3]
    # All movements are one interpolation: no image has two, so that their matrices may be added.
    a = rotation(30 * amount('rotate')) - jnp.eye(2)[None]
    a = a + shearing(0.3 * amount('shear_x'), 0.3 * amount('shear_y'))
    t = jnp.stack((wide * amount('translate_x'), high * amount('translate_y')), 1) * (150 / 331)
    batch = transformed(batch, scene, a, t, 'rand_augment')
    colours = _colours(strength)

    def change(index: Array, x: Array, side: Array) -> Array:
        return jax.lax.switch(index, colours, x, side)

    x = jax.vmap(change)(jnp.maximum(choice - 5, 0), batch[scene.image], side)
    return {**batch, scene.image: x}


def _colours(strength: float) -> list[Operation]:
    """No change, and the operations of the list from auto_contrast on."""

    def enhanced(adjust: Operation) -> Operation:
        return lambda x, side: adjust(x, jnp.maximum(1 + 0.9 * strength * side, 0))

    threshold = max(0.0, 1 - strength) * 256 / 255
    bits = max(1, round(8 - 4 * strength))
    return [
        lambda x, side: x,
        lambda x, side: autocontrast(x),
        lambda x, side: equalize(x),
        lambda x, side: solarize(x, threshold),
        lambda x, side: posterize(x, bits),
        enhanced(adjust_contrast),
        enhanced(adjust_colour),
        enhanced(adjust_brightness),
        enhanced(adjust_sharpness),
    ]
