"""Mirror images and windows: flips and crops. What lies in the plane follows."""

import math
from functools import partial

import jax
import jax.numpy as jnp

from jaxdl.data.augment.basic import Transform, each, real, uniform
from jaxdl.data.augment.scene import SCENE, Scene, linear, move
from jaxdl.errors import UsageError
from jaxdl.keys import Key, key_for
from jaxdl.task import Batch

Array = jax.Array
Range = tuple[float, float]


def flip(horizontal: float = 0.5, vertical: float = 0.0, *, scene: Scene = SCENE) -> Transform:
    """Left becomes right, and top bottom, with these probabilities. Any dtype."""

    def transform(key: Key, batch: Batch) -> Batch:
        rows, height, width = batch[scene.image].shape[:3]
        across = jax.random.bernoulli(key_for(key, 'horizontal'), float(horizontal), (rows,))
        down = jax.random.bernoulli(key_for(key, 'vertical'), float(vertical), (rows,))

        def resample(x: Array, order: int, fill: float) -> Array:
            x = jnp.where(each(across, x), x[:, :, ::-1], x) if horizontal else x
            return jnp.where(each(down, x), x[:, ::-1], x) if vertical else x

        flipped = jnp.stack((across, down), 1)
        a = jnp.where(flipped, -1.0, 1.0)[:, None] * jnp.eye(2)[None]
        b = jnp.where(flipped, jnp.array([[width, height]], jnp.float32), 0)
        return move(batch, scene, resample, linear(a, b))

    return transform


def crop(
    size: tuple[int, int] | None = None, *, padding: int = 0, scene: Scene = SCENE
) -> Transform:
    """A random window of `size` (height, width) of the image padded on all sides. Any dtype.

    size: of the result; None: the image's own (pad and crop, He et al. 2016, section 4.2).
    """

    def transform(key: Key, batch: Batch) -> Batch:
        rows, *extent = batch[scene.image].shape[:3]
        high, wide = size or extent
        room = [extent[0] + 2 * padding - high, extent[1] + 2 * padding - wide]
        if min(room) < 0:
            raise UsageError(
                f'crop: size={size} is more than images of {tuple(extent)} with padding={padding}'
            )
        corners = jax.random.randint(key, (rows, 2), 0, jnp.array([room]) + 1)

        def resample(x: Array, order: int, fill: float) -> Array:
            sides = [(0, 0), (padding, padding), (padding, padding), *[(0, 0)] * (x.ndim - 3)]
            values = {'constant_values': fill} if scene.border == 'constant' else {}
            x = jnp.pad(x, sides, mode=scene.border, **values)
            return jax.vmap(partial(_window, size=(high, wide)))(x, corners)

        a = jnp.broadcast_to(jnp.eye(2), (rows, 2, 2))
        return move(batch, scene, resample, linear(a, padding - corners[:, ::-1] * 1.0))

    return transform


def shift(pixels: int, *, scene: Scene = SCENE) -> Transform:
    """Images moved by a whole number of pixels, up to `pixels` each way. Any dtype."""
    return crop(padding=pixels, scene=scene)


def resized_crop(
    size: tuple[int, int],
    *,
    area: Range = (0.08, 1.0),
    aspect: Range = (3 / 4, 4 / 3),
    scene: Scene = SCENE,
) -> Transform:
    """A random window of random size and shape, resized to `size` (Szegedy et al. 2015, section 6).

    size: height and width of the result, antialiased where it is smaller than the window.
    area: of the window, as a part of the image's.
    aspect: its width over its height, uniform in the logarithm. A window higher or wider than the
        image becomes as high or wide as that.
    """

    def transform(key: Key, batch: Batch) -> Batch:
        rows, high, wide = real(batch[scene.image], 'resized_crop').shape[:3]
        part = uniform(key_for(key, 'area'), rows, area) * (high * wide)
        logarithms = (math.log(aspect[0]), math.log(aspect[1]))
        ratio = jnp.exp(uniform(key_for(key, 'aspect'), rows, logarithms))
        extent = jnp.array([[high, wide]], jnp.float32)
        window = jnp.minimum(jnp.stack((jnp.sqrt(part / ratio), jnp.sqrt(part * ratio)), 1), extent)
        corner = jax.random.uniform(key_for(key, 'corner'), (rows, 2)) * (extent - window)
        zoom = jnp.array([size], jnp.float32) / window

        def resized(x: Array, corner: Array, zoom: Array) -> Array:
            shape = (*size, *x.shape[2:])
            return jax.image.scale_and_translate(x, shape, (0, 1), zoom, -corner * zoom, 'linear')

        def picked(x: Array, corner: Array, zoom: Array) -> Array:
            i, j = (
                ((jnp.arange(n) + 0.5) / zoom[axis] + corner[axis]).astype(jnp.int32)
                for axis, n in enumerate(size)
            )
            return x[jnp.minimum(i, high - 1)][:, jnp.minimum(j, wide - 1)]

        def resample(x: Array, order: int, fill: float) -> Array:
            return jax.vmap(resized if order else picked)(x, corner, zoom)

        a = zoom[:, None, ::-1] * jnp.eye(2)[None]
        return move(batch, scene, resample, linear(a, (-corner * zoom)[:, ::-1]))

    return transform


def _window(x: Array, corner: Array, *, size: tuple[int, int]) -> Array:
    start = (*corner, *[jnp.zeros_like(corner[0])] * (x.ndim - 2))
    return jax.lax.dynamic_slice(x, start, (*size, *x.shape[2:]))
