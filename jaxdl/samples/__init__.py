"""What a person looks at: pictures, points and texts a task shows during a run."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct


def unit(x: jax.Array) -> jax.Array:
    """Images as they are drawn, from 0 to 1, whatever they were standardised to."""
    low, high = x.min(), x.max()
    return (x - low) / jnp.maximum(high - low, 1e-6)


class Sample(struct.PyTreeNode):
    """Something to look at; `record` draws it."""


class Images(Sample):
    """Images [n, height, width, channels (1 or 3)], values 0..1, drawn as a grid."""

    pixels: jax.Array
    labels: Any = None  # int [n], shown under each image, or None
    truth: Any = None  # int [n]; labels that differ from it are drawn in red


class Points(Sample):
    """Points in the plane [n, 2] over reference points [m, 2] of the true distribution."""

    points: jax.Array
    reference: jax.Array


class Texts(Sample):
    """Lines of text as code points, int [n, length], padded by 0."""

    codes: jax.Array


class Boxes(Sample):
    """Images [n, height, width, channels (1 or 3)], values 0..1, with boxes drawn on them.

    boxes [n, D, 4] in pixels (x1, y1, x2, y2), classes int [n, D], mask bool [n, D]: each box in
    the colour of its class. truth [n, N, 4] and truth_mask [n, N]: in white, dashed.
    """

    pixels: jax.Array
    boxes: jax.Array
    classes: jax.Array
    mask: jax.Array
    scores: Any = None  # [n, D], written above each box, or None
    truth: Any = None
    truth_mask: Any = None


class Masks(Sample):
    """Segmentations: a row for each image, with the image, its truth and what was predicted.

    pixels: [n, height, width, channels (1 or 3)], values 0..1. truth, predicted: classes, int
    [n, height, width] (or bool); a negative number, or 255 and above, is no class and drawn grey.
    """

    pixels: jax.Array
    truth: jax.Array
    predicted: jax.Array
