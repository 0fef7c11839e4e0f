"""The columns of a batch that lie in one plane, and move together."""

from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from jaxdl.task import Batch

Array = jax.Array


class Scene(NamedTuple):
    """Which columns lie in the plane of the image, and what is outside of it.

    Columns that a batch lacks are left out. A scene of other names or rules: ``Scene(boxes='b')``.

    image: [B, H, W, C], resampled bilinearly where a transform does not keep the pixel grid.
    boxes: [B, N, 4], (x1, y1, x2, y2) in pixels: pixel i reaches from i to i + 1.
    boxes_mask: bool [B, N], which of them are boxes; without it all are, and it is made. A box is
        clipped to the image; where less than `least_area` of its area is left it is no box any
        more. What is no box becomes zeros.
    segmentation: labels, int or float [B, H, W] (or [B, H, W, maps]), resampled by nearest
        neighbour.
    border: what is outside: 'constant' (`fill` in images, `ignore` in segmentations), 'edge' (the
        nearest pixel) or 'reflect' (the mirror image about the centres of the outermost pixels).
    """

    image: str = 'x'
    boxes: str = 'boxes'
    boxes_mask: str = 'boxes_mask'
    segmentation: str = 'segmentation'
    border: Literal['constant', 'edge', 'reflect'] = 'constant'
    fill: float = 0.0
    ignore: int = 255
    least_area: float = 0.1


SCENE = Scene()


class Resample(Protocol):
    """How an array [B, H, W, ...] becomes [B, H', W', ...]."""

    def __call__(self, x: Array, order: int, fill: float) -> Array:
        """Order 1 interpolates, order 0 takes the nearest pixel; `fill` is outside."""


# Boxes [B, N, 4] -> where they go, not yet clipped, and the areas of the whole boxes there [B, N].
Carry = Callable[[Array], tuple[Array, Array]]


def move(batch: Batch, scene: Scene, resample: Resample, carry: Carry) -> Batch:
    """The batch after a movement of its plane."""
    image = resample(batch[scene.image], 1, scene.fill)
    moved = {**batch, scene.image: image}
    if scene.segmentation in batch:
        moved[scene.segmentation] = resample(batch[scene.segmentation], 0, scene.ignore)
    if scene.boxes in batch:
        before = batch[scene.boxes]
        known = batch.get(scene.boxes_mask, jnp.ones(before.shape[:2], bool))
        boxes, whole = carry(before)
        boxes = _clipped(boxes, *image.shape[1:3])
        left = areas(boxes)
        known = known & (left > 0) & (left >= scene.least_area * whole)
        moved[scene.boxes] = jnp.where(known[..., None], boxes, 0).astype(before.dtype)
        moved[scene.boxes_mask] = known
    return moved


def linear(a: Array, b: Array) -> Carry:
    """Boxes around what the map p -> a p + b makes of boxes; a [B, 2, 2], b [B, 2] on (x, y)."""

    def carry(boxes: Array) -> tuple[Array, Array]:
        # Products of coordinates one by one: matrix products are not in full precision everywhere.
        x, y = boxes[..., jnp.array([0, 2, 2, 0])], boxes[..., jnp.array([1, 1, 3, 3])]
        corners = [
            a[:, i, 0, None, None] * x + a[:, i, 1, None, None] * y + b[:, i, None, None]
            for i in (0, 1)
        ]
        boxes = jnp.stack([c.min(-1) for c in corners] + [c.max(-1) for c in corners], -1)
        return boxes, areas(boxes)

    return carry


def areas(boxes: Array) -> Array:
    """[..., 4] -> [...]; 0 for a box whose corners are in the wrong order."""
    return jnp.maximum(boxes[..., 2:] - boxes[..., :2], 0).prod(-1)


def _clipped(boxes: Array, height: int, width: int) -> Array:
    x, y = jnp.clip(boxes[..., ::2], 0, width), jnp.clip(boxes[..., 1::2], 0, height)
    return jnp.stack((x[..., 0], y[..., 0], x[..., 1], y[..., 1]), -1)
