"""What a person looks at: pictures, points and texts a task shows during a run."""

from typing import Any

import jax
from flax import struct


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
