"""Affine and elastic maps of the image plane, each in one interpolation. What lies in it follows.

Points are (x, y) in pixels, and the centre of pixel i is at i + 1/2.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates

from jaxdl.data.augment.basic import Transform, real, uniform
from jaxdl.data.augment.scene import SCENE, Scene, areas, linear, move
from jaxdl.keys import Key, key_for
from jaxdl.task import Batch

Array = jax.Array
Range = tuple[float, float]
BORDERS = {'constant': 'constant', 'edge': 'nearest', 'reflect': 'mirror'}  # SciPy's names


def affine(
    *,
    degrees: float = 0.0,
    scale: Range = (1.0, 1.0),
    shear: float = 0.0,
    translate: float = 0.0,
    scene: Scene = SCENE,
) -> Transform:
    """A random affine map about the centre of the image, in one interpolation.

    p -> R Z S p + t: the shear S by angles up to `shear` degrees along each axis, the zoom Z by a
    factor in `scale`, the rotation R by up to `degrees`, each to both sides, and the translation t
    by up to the part `translate` of width and height.
    """

    def transform(key: Key, batch: Batch) -> Batch:
        rows, high, wide = batch[scene.image].shape[:3]
        angle = uniform(key_for(key, 'angle'), rows, (-degrees, degrees))
        zoom = uniform(key_for(key, 'zoom'), rows, scale)
        along_x, along_y = (
            jnp.tan(jnp.deg2rad(uniform(key_for(key, name), rows, (-shear, shear))))
            for name in ('shear x', 'shear y')
        )
        a = _product(rotation(angle) * zoom[:, None, None], shearing(along_x, along_y))
        t = jax.random.uniform(key_for(key, 'translate'), (rows, 2), minval=-1.0, maxval=1.0)
        return transformed(batch, scene, a, translate * t * jnp.array([[wide, high]]), 'affine')

    return transform


def rotate(degrees: float, *, scene: Scene = SCENE) -> Transform:
    """Images turned about their centre by up to `degrees` either way."""
    return affine(degrees=degrees, scene=scene)


def scale(low: float, high: float, *, scene: Scene = SCENE) -> Transform:
    """Images made larger (above 1) or smaller about their centre, by a factor in low..high."""
    return affine(scale=(low, high), scene=scene)


def shear(degrees: float, *, scene: Scene = SCENE) -> Transform:
    """Images sheared along both axes, each by an angle of up to `degrees` either way."""
    return affine(shear=degrees, scene=scene)


def elastic(std: float = 10.0, *, grid: int = 3, scene: Scene = SCENE) -> Transform:
    """A smooth random deformation (Simard et al. 2003; as in Ronneberger et al. 2015, section 3.1).

    The displacements of the centres of grid x grid equal cells are normal with standard deviation
    `std` in pixels; those of pixels are interpolated bicubically. Boxes become the boxes around the
    pixels that lie in them.
    """

    def transform(key: Key, batch: Batch) -> Batch:
        rows, high, wide = real(batch[scene.image], 'elastic').shape[:3]
        coarse = std * jax.random.normal(key, (rows, grid, grid, 2))
        field = jax.image.resize(coarse, (rows, high, wide, 2), 'cubic')
        x, y = (jnp.arange(n) for n in (wide, high))
        x, y = x[None, None] + field[..., 0], y[None, :, None] + field[..., 1]

        def carry(boxes: Array) -> tuple[Array, Array]:
            x1, y1, x2, y2 = jnp.moveaxis(boxes, -1, 0)[..., None, None]
            u, v = x[:, None] + 0.5, y[:, None] + 0.5
            inside = (u >= x1) & (u < x2) & (v >= y1) & (v < y2)
            across, down = _extent(inside.any(2)), _extent(inside.any(3))
            return jnp.stack((across[0], down[0], across[1], down[1]), -1), areas(boxes)

        resample = partial(_warp, at=(y, x), border=BORDERS[scene.border])
        return move(batch, scene, resample, carry)

    return transform


def transformed(batch: Batch, scene: Scene, a: Array, t: Array, name: str) -> Batch:
    """The batch after p -> a (p - c) + c + t, c the centre of the image; a [B, 2, 2], t [B, 2]."""
    high, wide = real(batch[scene.image], name).shape[1:3]
    c = jnp.array([[wide / 2, high / 2]])
    determinant = a[:, 0, 0] * a[:, 1, 1] - a[:, 0, 1] * a[:, 1, 0]
    signs = jnp.array([[[1.0, -1.0], [-1.0, 1.0]]])
    back = jnp.swapaxes(a[:, ::-1, ::-1], 1, 2) * signs / determinant[:, None, None]
    # Relative to the centre, so that the identity finds every pixel centre exactly.
    u = jnp.arange(wide)[None, None, :] + 0.5 - (c + t)[:, 0, None, None]
    v = jnp.arange(high)[None, :, None] + 0.5 - (c + t)[:, 1, None, None]
    x, y = (
        back[:, i, 0, None, None] * u + back[:, i, 1, None, None] * v + c[0, i] - 0.5
        for i in (0, 1)
    )
    resample = partial(_warp, at=(y, x), border=BORDERS[scene.border])
    around = c - _product(a, c[..., None])[..., 0] + t
    return move(batch, scene, resample, linear(a, around))


def rotation(degrees: Array) -> Array:
    """The matrices [B, 2, 2] that turn x towards y (clockwise as images are drawn)."""
    c, s = jnp.cos(jnp.deg2rad(degrees)), jnp.sin(jnp.deg2rad(degrees))
    return jnp.stack((jnp.stack((c, -s), -1), jnp.stack((s, c), -1)), 1)


def shearing(along_x: Array, along_y: Array) -> Array:
    """The matrices [B, 2, 2] of x -> x + along_x y and y -> y + along_y x."""
    one = jnp.ones_like(along_x)
    return jnp.stack((jnp.stack((one, along_x), -1), jnp.stack((along_y, one), -1)), 1)


def _warp(x: Array, order: int, fill: float, *, at: tuple[Array, Array], border: str) -> Array:
    """The images [B, H, W, ...] at the positions (rows, columns) `at`, in pixel indices."""

    def one(image: Array, *at: Array) -> Array:
        return map_coordinates(image, at, order, border, fill)

    function = one
    for _ in x.shape[3:]:
        function = jax.vmap(function, (-1, None, None), -1)
    return jax.vmap(function)(x, *at)


def _product(a: Array, b: Array) -> Array:
    """a b, of [B, i, j] and [B, j, k], in full precision on every device."""
    return (a[..., None] * b[:, None]).sum(2)


def _extent(inside: Array) -> tuple[Array, Array]:
    """The first of what is true in [..., n] and one after the last; both 0 where nothing is."""
    first, after = inside.argmax(-1), inside.shape[-1] - inside[..., ::-1].argmax(-1)
    return first, jnp.where(inside.any(-1), after, 0)
